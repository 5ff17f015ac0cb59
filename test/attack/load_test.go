package attack

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"dproxy/test/dialog"
)

// crowd is connections that are held until the test's end.
type crowd struct {
	mu    sync.Mutex
	conns []net.Conn
}

func newCrowd(t *testing.T) *crowd {
	t.Helper()
	c := &crowd{}
	t.Cleanup(c.leave)
	return c
}

// join makes n connections to an address from the given sources in turn and says something on each. It returns how many
// were made.
func (c *crowd) join(addr string, n int, from []string, say string) int {
	made := 0
	for i := range n {
		d := net.Dialer{Timeout: prompt(), LocalAddr: &net.TCPAddr{IP: net.ParseIP(from[i%len(from)])}}
		nc, err := d.Dial("tcp", addr)
		if err != nil {
			continue
		}
		made++
		c.mu.Lock()
		c.conns = append(c.conns, nc)
		c.mu.Unlock()
		_, _ = io.WriteString(nc, say)
	}
	return made
}

// each calls f with the connections there are.
func (c *crowd) each(f func(net.Conn)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, nc := range c.conns {
		f(nc)
	}
}

// ends waits until the proxy has closed every connection.
func (c *crowd) ends(t *testing.T, limit time.Duration) {
	t.Helper()
	c.each(func(nc net.Conn) {
		_ = nc.SetReadDeadline(time.Now().Add(limit))
		if _, err := io.Copy(io.Discard, nc); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("not closed within %s", limit)
		}
	})
}

func (c *crowd) leave() {
	c.each(func(nc net.Conn) { nc.Close() })
	c.mu.Lock()
	c.conns = nil
	c.mu.Unlock()
}

// sources are n addresses of a /24 of the loopback net.
func sources(net string, n int) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("%s.%d", net, 1+i))
	}
	return all
}

// clientHello is the beginning of a handshake.
const clientHello = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"

// testSlowClients: hundreds who dribble, stall in a handshake or vanish take nothing from others.
func testSlowClients(t *testing.T, g *gate) {
	t.Run("slowloris", func(t *testing.T) {
		c := newCrowd(t)
		for _, l := range []string{"imap", "pop3"} {
			c.join(g.addr(l), 300, sources("127.60.1", 10), "a LOG")
		}
		for _, b := range "IN victim" {
			c.each(func(nc net.Conn) { _, _ = io.WriteString(nc, string(b)) })
		}
	})
	t.Run("handshakes that stall", func(t *testing.T) {
		c := newCrowd(t)
		for _, l := range []string{"imaps", "pop3s"} {
			c.join(g.addr(l), 250, sources("127.60.2", 10), clientHello)
		}
		c.each(func(nc net.Conn) { _, _ = io.WriteString(nc, "\x01") })
	})
	t.Run("handshakes of garbage", func(t *testing.T) {
		c := newCrowd(t)
		for _, l := range []string{"imaps", "pop3s"} {
			c.join(g.addr(l), 200, sources("127.60.3", 10), clientHello+strings.Repeat("\xff\x00", 4000))
		}
	})
	t.Run("resets in all places", func(t *testing.T) {
		c := newCrowd(t)
		for i, say := range []string{"", "a", "a LOGIN {5}\r\n", "a AUTHENTICATE PLAIN\r\n", "s STARTTLS\r\n", "s STARTTLS\r\n" + clientHello, "a LOGIN any@example.org x\r\n"} {
			c.join(g.addr("imap"), 40, sources(fmt.Sprintf("127.60.%d", 10+i), 5), say)
		}
		c.each(func(nc net.Conn) { reset(nc) })
	})
	t.Run("half-closed connections", func(t *testing.T) {
		c := newCrowd(t)
		c.join(g.addr("imap"), 100, sources("127.60.20", 5), "a NOOP\r\n")
		c.each(func(nc net.Conn) { _ = nc.(*net.TCPConn).CloseWrite() })
		c.ends(t, patience)
	})
	t.Run("one address has a thousand connections at most", func(t *testing.T) {
		c := newCrowd(t)
		made := c.join(g.addr("imap"), 1200, []string{"127.60.30.1"}, "")
		closed := 0
		c.each(func(nc net.Conn) {
			_ = nc.SetReadDeadline(time.Now().Add(prompt()))
			if _, err := nc.Read(make([]byte, 1)); err != nil {
				closed++
			}
		})
		if closed < 200 || made-closed < 900 {
			t.Errorf("%d connections were made and %d of them closed", made, closed)
		}
	})
}

// testStalledReaders: a client that does not read stops its backend's flood, and the other way round.
func testStalledReaders(t *testing.T, g *gate) {
	defer close(g.good["imap"].deaf)
	for _, l := range []string{"imap", "imaps"} {
		for name, command := range map[string]string{"a client that never reads": "f FLOOD\r\n", "a backend that never reads": "f DEAF\r\n"} {
			t.Run(l+": "+name+" costs no memory", func(t *testing.T) {
				before := rss(t, g.proc.PID())
				const n = 10
				for range n {
					p, err := g.login(l, stranger, "victim")
					if err != nil {
						t.Fatal(err)
					}
					defer p.Close()
					p.send(command)
					if strings.Contains(command, "DEAF") {
						p.until(t, "f OK")
						_ = p.SetWriteDeadline(time.Now().Add(150 * time.Millisecond))
						for block := strings.Repeat("x", 64<<10); ; {
							if _, err := io.WriteString(p, block); err != nil {
								break
							}
						}
					}
				}
				g.standstill(t)
				if grown := rss(t, g.proc.PID()) - before; grown > n*200+16<<10 {
					t.Errorf("%d sessions took %d KiB", n, grown)
				}
			})
		}
	}
}

// standstill waits until the good IMAP backend's floods get no further.
func (g *gate) standstill(t *testing.T) {
	t.Helper()
	last, same := int64(-1), 0
	eventually(t, "the flood is held back", func() bool {
		if now := g.good["imap"].flooded.Load(); now != last {
			last, same = now, 0
		}
		same++
		return same > 25
	})
}

// testNames: handshakes with names that nobody has leave nothing behind.
func testNames(t *testing.T, g *gate) {
	shake := func(n int) {
		for range n {
			name := fmt.Sprintf("%x.example.net", rand.Uint64())
			nc, err := net.DialTimeout("tcp", g.addr("imaps"), prompt())
			if err != nil {
				continue
			}
			_ = nc.SetDeadline(time.Now().Add(prompt()))
			_ = tls.Client(nc, &tls.Config{ServerName: name, RootCAs: g.certs.Roots}).Handshake() // the certificate is another's
			nc.Close()
		}
	}
	shake(500) // what a handshake takes once
	before := rss(t, g.proc.PID())
	shake(1500)
	if grown := rss(t, g.proc.PID()) - before; grown > 8<<10 {
		t.Errorf("1500 names took %d KiB", grown)
	}
}

// testReloads: a storm of SIGHUP with every second configuration broken leaves the good one in use.
func testReloads(t *testing.T, g *gate) {
	good := g.conf(lenient)
	for i := range 60 {
		text := good
		if i%2 == 1 {
			text = []string{"nonsense = yes\n" + good, good + "passdb {\n", "", good + "ssl_cert = </nowhere\n", good + "\x00\xff{{{"}[i/2%5]
		}
		g.write(t, "dovecot.conf", text)
		if err := g.proc.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		p, err := g.login("imap", "127.60.40.1", "victim")
		if err != nil {
			t.Fatalf("reload %d: %v", i, err)
		}
		p.Close()
	}
	g.write(t, "dovecot.conf", good)
	if err := g.proc.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	g.awaitLog(t, "configuration reloaded")
	g.awaitLog(t, "reload failed, the old configuration stays")
}

// testGuessing: who guesses waits longer and longer, and nobody waits with him.
func testGuessing(t *testing.T, certs *dialog.Certs) {
	g := newGate(t, certs)
	g.start(t, "auth_failure_delay = 1 secs\n", 0)
	birds := g.hatch(t)
	birds.during(t, func() {
		var guessers sync.WaitGroup
		answers := make(chan int, 60)
		until := time.Now().Add(5 * time.Second)
		for range 60 {
			guessers.Go(func() {
				n := 0
				defer func() { answers <- n }()
				p, err := dial(g.addr("imap"), "127.66.6.6", nil)
				if err != nil {
					return
				}
				defer p.Close()
				_ = p.SetDeadline(until)
				for {
					p.send(fmt.Sprintf("a LOGIN victim@example.org guess%d\r\n", n))
					for l := ""; !strings.HasPrefix(l, "a NO"); {
						if l, err = p.next(); err != nil {
							return
						}
					}
					n++
				}
			})
		}
		guessers.Wait()
		close(answers)
		sum := 0
		for n := range answers {
			sum += n
		}
		// Without any penalty each would have five answers in this time.
		if sum > 60*3 {
			t.Errorf("60 guessers had %d answers in 5 s", sum)
		}
		t.Logf("60 guessers had %d answers in 5 s", sum)
	})
}
