package relay

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// The benchmarks measure the relay alone: both peers of every session run in a second process, this
// test binary again, which does what lines on its standard input say.
const peersVariable = "RELAY_TEST_PEERS"

// peers is the process with both ends of all sessions, and the sessions between them.
type peers struct {
	b       testing.TB
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Scanner
	listen  *net.TCPListener
	backend string
	kind    kind
	engine  *Engine
}

// newPeers starts the process; open makes sessions.
func newPeers(b testing.TB, e *Engine, k kind) *peers {
	b.Helper()
	p := &peers{b: b, kind: k, engine: e}
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	p.listen = l
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %d", peersVariable, l.Addr(), k.client, k.backend))
	p.cmd.Stderr = os.Stderr
	p.in, err = p.cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	p.out = bufio.NewScanner(out)
	if err := p.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		l.Close()
		p.in.Close()
		p.cmd.Wait()
	})
	p.backend = p.answer()
	return p
}

func (p *peers) answer() string {
	p.b.Helper()
	if !p.out.Scan() {
		p.b.Fatal("the peers are gone")
	}
	if s := p.out.Text(); !strings.HasPrefix(s, "error") {
		return s
	}
	p.b.Fatal(p.out.Text())
	return ""
}

// do has the peers do something and waits until they have.
func (p *peers) do(command string, args ...any) {
	p.b.Helper()
	fmt.Fprintf(p.in, command+"\n", args...)
	p.answer()
}

// open makes n more sessions.
func (p *peers) open(n int) []*Session {
	p.b.Helper()
	fmt.Fprintf(p.in, "open %d\n", n)
	var all []*Session
	for range n {
		var pair Pair
		c, err := p.listen.AcceptTCP()
		if err != nil {
			p.b.Fatal(err)
		}
		pair.Client = c
		d, err := net.Dial("tcp4", p.backend)
		if err != nil {
			p.b.Fatal(err)
		}
		pair.Backend = d
		if v := p.kind.client; v != 0 {
			pair.Client = tls.Server(&swap{c}, configs().server)
		}
		if v := p.kind.backend; v != 0 {
			pair.Backend = tls.Client(&swap{d}, configs().client)
		}
		for _, c := range []net.Conn{pair.Client, pair.Backend} {
			if c, ok := c.(*tls.Conn); ok {
				if err := c.Handshake(); err != nil {
					p.b.Fatal(err)
				}
			}
		}
		all = append(all, p.engine.Start(pair, nil))
	}
	p.answer()
	return all
}

// runPeers is the second process.
func runPeers(arg string) {
	var k kind
	var addr string
	if _, err := fmt.Sscan(arg, &addr, &k.client, &k.backend); err != nil {
		panic(err)
	}
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		panic(err)
	}
	fmt.Println(l.Addr())
	var all []sessionPeers
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var verb string
		var n int
		fmt.Sscan(in.Text(), &verb, &n)
		var err error
		switch verb {
		case "open":
			for range n {
				var s sessionPeers
				if s, err = openPeers(addr, l, k); err != nil {
					break
				}
				all = append(all, s)
			}
		case "down":
			err = each(all, func(s sessionPeers) error { return pour(s.backend, s.client, n) })
		case "up":
			err = each(all, func(s sessionPeers) error { return pour(s.client, s.backend, n) })
		case "ping":
			err = each(all, func(s sessionPeers) error { return s.ping(n) })
		}
		if err != nil {
			fmt.Println("error", verb, err)
			continue
		}
		fmt.Println("ok")
	}
	os.Exit(0)
}

type sessionPeers struct{ client, backend net.Conn }

func openPeers(addr string, l *net.TCPListener, k kind) (s sessionPeers, err error) {
	if s.client, err = net.Dial("tcp4", addr); err != nil {
		return s, err
	}
	if s.backend, err = l.Accept(); err != nil {
		return s, err
	}
	if k.client != 0 {
		s.client = tls.Client(s.client, configs().client)
		if err := s.client.(*tls.Conn).Handshake(); err != nil {
			return s, err
		}
	}
	if k.backend != 0 {
		s.backend = tls.Server(s.backend, configs().server)
		err = s.backend.(*tls.Conn).Handshake()
	}
	return s, err
}

func each(all []sessionPeers, f func(sessionPeers) error) error {
	var wg sync.WaitGroup
	failed := make(chan error, len(all))
	for _, s := range all {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := f(s); err != nil {
				failed <- err
			}
		}()
	}
	wg.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

func pour(from, to net.Conn, n int) error {
	var wg sync.WaitGroup
	wg.Add(1)
	var wErr error
	go func() {
		defer wg.Done()
		buf := make([]byte, 256<<10)
		for left := n; left > 0 && wErr == nil; {
			var m int
			m, wErr = from.Write(buf[:min(left, len(buf))])
			left -= m
		}
	}()
	buf := make([]byte, 256<<10)
	for left := n; left > 0; {
		m, err := to.Read(buf[:min(left, len(buf))])
		if err != nil {
			return err
		}
		left -= m
	}
	wg.Wait()
	return wErr
}

// ping does n small round trips.
func (s sessionPeers) ping(n int) error {
	go func() {
		buf := make([]byte, 128)
		for range n {
			if _, err := io.ReadFull(s.backend, buf[:8]); err != nil {
				return
			}
			if _, err := s.backend.Write(buf[:24]); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, 128)
	for range n {
		if _, err := s.client.Write(buf[:8]); err != nil {
			return err
		}
		if _, err := io.ReadFull(s.client, buf[:24]); err != nil {
			return err
		}
	}
	return nil
}

// cpu is the processor time this process has used.
func cpu(b testing.TB) time.Duration {
	b.Helper()
	d, err := cpuTime()
	if err != nil {
		b.Fatal(err)
	}
	return d
}
