package daemon

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Ports are taken from below the range the kernel gives to outgoing connections (32768 and up on Linux), so
// that no client of a test running at the same time can sit on one between choosing and listening.
const (
	firstPort = 12000
	lastPort  = 32000
)

// Ports hands out TCP ports that are free, each once.
type Ports struct {
	mu   sync.Mutex
	next int
}

// NewPorts starts at a random place, so that test processes running at the same time seldom meet.
func NewPorts() *Ports {
	return &Ports{next: firstPort + rand.IntN(lastPort-firstPort)}
}

// Free returns a port nothing listens on at the given addresses (127.0.0.1 when there are none).
func (p *Ports) Free(ips ...string) (int, error) {
	if len(ips) == 0 {
		ips = []string{"127.0.0.1"}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for range lastPort - firstPort {
		port := p.next
		p.next++
		if p.next == lastPort {
			p.next = firstPort
		}
		if free(port, ips) {
			return port, nil
		}
	}
	return 0, errors.New("no free port is left")
}

func free(port int, ips []string) bool {
	for _, ip := range ips {
		l, err := net.Listen("tcp", net.JoinHostPort(ip, strconv.Itoa(port)))
		if err != nil {
			return false
		}
		if l.Close() != nil {
			return false
		}
	}
	return true
}

// Listening says whether sockets listen on all of the ports, at whatever address. It reads the kernel's table
// instead of connecting, because a connection leaves traces in the log of the server.
func Listening(ports ...int) (bool, error) {
	found := map[int]bool{}
	err := eachSocket(func(port int, state string) {
		if state == stateListen {
			found[port] = true
		}
	})
	for _, p := range ports {
		if !found[p] {
			return false, err
		}
	}
	return err == nil, err
}

// Established counts the connections which the server on one of the ports has accepted and not closed yet, no
// matter what the client has done.
func Established(ports ...int) (int, error) {
	n := 0
	err := eachSocket(func(port int, state string) {
		if (state == stateEstablished || state == stateCloseWait) && slices.Contains(ports, port) {
			n++
		}
	})
	return n, err
}

// States of a socket in the kernel's table (include/net/tcp_states.h).
const (
	stateEstablished = "01"
	stateCloseWait   = "08"
	stateListen      = "0A"
)

// eachSocket calls f with the local port and the state of each TCP socket of the machine, as the kernel lists
// them (proc_net_tcp in its documentation).
func eachSocket(f func(port int, state string)) error {
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		if err := eachSocketOf(table, f); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

func eachSocketOf(table string, f func(port int, state string)) error {
	file, err := os.Open(table)
	if err != nil {
		return err
	}
	defer file.Close()
	s := bufio.NewScanner(file)
	for s.Scan() {
		fields := strings.Fields(s.Text())
		if len(fields) < 4 {
			continue
		}
		_, hex, ok := strings.Cut(fields[1], ":")
		if !ok {
			continue
		}
		port, err := strconv.ParseUint(hex, 16, 16)
		if err != nil {
			return fmt.Errorf("%s: local address %q: %w", table, fields[1], err)
		}
		f(int(port), fields[3])
	}
	return s.Err()
}
