package benchauth

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	conns  = 8  // connections, as of login processes or smtpds
	window = 16 // logins under way on each
)

// storm logs in over the socket for a while and returns how many logins succeeded. A failed one is an error.
func storm(path string, d time.Duration) (int64, error) {
	var done atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, conns)
	until := time.Now().Add(d)
	for c := range conns {
		wg.Go(func() {
			if err := hammer(path, c, until, &done); err != nil {
				errs <- err
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return 0, err
	default:
		return done.Load(), nil
	}
}

func hammer(path string, number int, until time.Time, done *atomic.Int64) error {
	nc, err := net.Dial("unix", path)
	if err != nil {
		return err
	}
	defer nc.Close()
	_ = nc.SetDeadline(until.Add(time.Minute))
	r := bufio.NewReader(nc)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return err
		}
		if line == "DONE\n" {
			break
		}
	}
	next := 0
	ask := func(b *strings.Builder) {
		next++
		fmt.Fprintf(b, "AUTH\t%d\tPLAIN\tservice=imap\tno-penalty\tresp=%s\n", next, credentials[(next+number*97)%users])
	}
	var b strings.Builder
	fmt.Fprintf(&b, "VERSION\t1\t2\nCPID\t%d\n", os.Getpid()*10+number)
	for range window {
		ask(&b)
	}
	for {
		if _, err := nc.Write([]byte(b.String())); err != nil {
			return err
		}
		b.Reset()
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return err
			}
			if !strings.HasPrefix(line, "OK\t") {
				return fmt.Errorf("a login failed: %s", line)
			}
			done.Add(1)
			if time.Now().After(until) {
				return nil
			}
			ask(&b)
			if r.Buffered() == 0 {
				break
			}
		}
	}
}

var credentials = func() []string {
	out := make([]string, users)
	for i := range out {
		out[i] = base64.StdEncoding.EncodeToString([]byte("\x00" + name(i) + "\x00" + password))
	}
	return out
}()

// ticks is the kernel's USER_HZ, which is 100 on Linux.
const ticks = 100

// cpu is the processor time that a process and its descendants have used, those that have ended included.
func cpu(pid int) time.Duration {
	parents := map[int]int{}
	used := map[int]time.Duration{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		text := string(b)
		f := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
		id, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		parents[id], _ = strconv.Atoi(f[1])
		for _, i := range []int{11, 12, 13, 14} { // utime, stime, cutime, cstime
			n, _ := strconv.Atoi(f[i])
			used[id] += time.Duration(n) * time.Second / ticks
		}
	}
	var sum time.Duration
	for id := range used {
		for p := id; p > 1; p = parents[p] {
			if p == pid {
				sum += used[id]
				break
			}
		}
	}
	return sum
}
