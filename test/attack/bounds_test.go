package attack

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"dproxy/test/dialog"
)

// rss is the resident size of a process in KiB.
func rss(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(status)) {
		var kib int
		if n, _ := fmt.Sscanf(l, "VmRSS: %d kB", &kib); n == 1 {
			return kib
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

// cpuTime is what a process has used, user and system, in ticks of 1/100 s.
func cpuTime(t *testing.T, pid int) int {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	sum := 0
	for _, f := range fields[11:13] { // utime and stime, see proc(5)
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}

// descriptors is how many a process has open.
func descriptors(t *testing.T, pid int) int {
	t.Helper()
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// Bounds on what a connection before login may take, in KiB.
const (
	plainBound = 24
	tlsBound   = 64
)

// testMemory: connections before login, as many as the proxy lets in, cost little each.
func testMemory(t *testing.T, certs *dialog.Certs) {
	for _, tt := range []struct {
		name, listener string
		n, bound       int
	}{
		{"plain", "imap", 10000, plainBound},
		{"TLS", "imaps", 1500, tlsBound},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGate(t, certs)
			g.start(t, "", 0)
			birds := g.hatch(t)
			before := rss(t, g.proc.PID())
			c := newCrowd(t)
			birds.during(t, func() {
				if tt.listener == "imap" {
					c.join(g.addr(tt.listener), tt.n, sources("127.61.1", 100), "")
				} else {
					c.joinTLS(t, g, tt.n)
				}
			})
			open := descriptors(t, g.proc.PID())
			grown := rss(t, g.proc.PID()) - before
			t.Logf("%d connections held, %d KiB more", open, grown)
			if open < 500 {
				t.Fatalf("only %d descriptors: nothing to measure", open)
			}
			if grown > open*tt.bound+8<<10 {
				t.Errorf("%d connections took %d KiB, more than %d each", open, grown, tt.bound)
			}
			c.leave()
			eventually(t, "everything is let go", func() bool { return descriptors(t, g.proc.PID()) < 100 })
		})
	}
}

// joinTLS makes connections up to the greeting.
func (c *crowd) joinTLS(t *testing.T, g *gate, n int) {
	t.Helper()
	from := sources("127.61.2", 100)
	for i := range n {
		p, err := dial(g.addr("imaps"), from[i%len(from)], g.tls())
		if err != nil {
			t.Error(err)
			return
		}
		c.mu.Lock()
		c.conns = append(c.conns, net.Conn(p))
		c.mu.Unlock()
		p.line(t)
	}
}

// testDescriptors: a proxy that has no descriptor left accepts again by itself, and waits quietly until then.
func testDescriptors(t *testing.T, certs *dialog.Certs) {
	const limit = 200
	g := newGate(t, certs)
	g.start(t, "", limit)
	birds := g.hatch(t)
	// Sessions that are logged in are not ended to make room: they fill the table.
	c := newCrowd(t)
	for range limit {
		p, err := g.login("imap", "127.62.0.1", "victim")
		if err != nil {
			break
		}
		c.mu.Lock()
		c.conns = append(c.conns, net.Conn(p))
		c.mu.Unlock()
	}
	idle := newCrowd(t)
	idle.join(g.addr("imap"), limit, sources("127.62.1", 50), "")
	full := descriptors(t, g.proc.PID())
	if full < limit-20 {
		t.Errorf("%d of %d descriptors are in use: not full", full, limit)
	}
	began, used := time.Now(), cpuTime(t, g.proc.PID())
	for l, p := range birds.peers {
		if strings.HasPrefix(l, "lmtp") {
			continue // a message needs another connection, for which there is no room
		}
		if err := p.chirp(l); err != nil {
			t.Errorf("while it is full: the %s session: %v", l, err)
		}
	}
	// A loop that spins would use all of this time.
	pause := time.NewTimer(3 * time.Second)
	<-pause.C
	if share := float64(cpuTime(t, g.proc.PID())-used) / 100 / time.Since(began).Seconds(); share > 0.5 {
		t.Errorf("the full proxy uses %.0f %% of a core", 100*share)
	}
	idle.leave()
	c.leave()
	eventually(t, "logins work again", func() bool { return birds.check() == nil })

	// Messages that do not end take three descriptors each: the client's, a backend's and the spool file's.
	letters := newCrowd(t)
	message := "LHLO x\r\nMAIL FROM:<a@example.net>\r\nRCPT TO:<fresh@example.org>\r\nBDAT 1000000 LAST\r\n" + strings.Repeat("x", 200<<10)
	letters.join(g.addr("lmtp"), limit/2, sources("127.62.2", 50), message)
	for l, p := range birds.peers {
		if strings.HasPrefix(l, "lmtp") {
			continue
		}
		if err := p.chirp(l); err != nil {
			t.Errorf("while messages fill it: the %s session: %v", l, err)
		}
	}
	letters.leave()
	eventually(t, "logins work again after the messages", func() bool { return birds.check() == nil })
}
