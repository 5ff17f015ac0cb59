package attack

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// target is a backend. It keeps what it hears, up to a bound.
type target struct {
	port int

	mu    sync.Mutex
	heard []byte
	conns []net.Conn
	wg    sync.WaitGroup
	over  chan struct{} // closed at the test's end
	deaf  chan struct{} // closed when those that read no more hang up

	flooded  atomic.Int64 // bytes sent for FLOOD
	messages []string     // what LMTP brought, each between CRLF and CRLF.CRLF
}

const maxHeard = 1 << 20

// newTarget starts a backend that serves each connection with a function. It ends with the test.
func newTarget(t *testing.T, serve func(*tap)) *target {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &target{port: l.Addr().(*net.TCPAddr).Port, over: make(chan struct{}), deaf: make(chan struct{})}
	b.wg.Go(func() {
		for {
			nc, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue
			}
			b.mu.Lock()
			b.conns = append(b.conns, nc)
			b.mu.Unlock()
			b.wg.Go(func() {
				defer nc.Close()
				serve(newTap(b, nc))
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		close(b.over)
		b.mu.Lock()
		for _, nc := range b.conns {
			nc.Close()
		}
		b.mu.Unlock()
		b.wg.Wait()
	})
	return b
}

// count is how many connections came.
func (b *target) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.conns)
}

// text is what it heard, of all connections.
func (b *target) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.heard)
}

// tap is one connection of a target.
type tap struct {
	net.Conn
	r *bufio.Reader
	b *target
}

func newTap(b *target, nc net.Conn) *tap {
	c := &tap{Conn: nc, b: b}
	c.r = bufio.NewReader(c)
	return c
}

// Read notes what is heard.
func (c *tap) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.b.mu.Lock()
	c.b.heard = append(c.b.heard, p[:min(n, maxHeard-len(c.b.heard))]...)
	c.b.mu.Unlock()
	return n, err
}

func (c *tap) send(text string) error {
	_, err := io.WriteString(c.Conn, text)
	return err
}

// wait holds the connection until the proxy leaves.
func (c *tap) wait() { _, _ = io.Copy(io.Discard, c.r) }

const imapBanner = "* OK [CAPABILITY IMAP4rev1 SASL-IR ID LITERAL+ AUTH=PLAIN] ready\r\n"

// serveIMAP is a backend that takes everybody.
func serveIMAP(c *tap) {
	if c.send(imapBanner) != nil {
		return
	}
	imapCommands(c)
}

// imapCommands answers every line; FLOOD sends for ever and DEAF reads no more.
func imapCommands(c *tap) {
	for {
		l, err := c.r.ReadString('\n')
		if err != nil {
			return
		}
		tag, rest, _ := strings.Cut(strings.TrimRight(l, "\r\n"), " ")
		word, _, _ := strings.Cut(strings.ToUpper(rest), " ")
		switch word {
		case "FLOOD":
			block := strings.Repeat("* OK "+strings.Repeat("x", 1000)+"\r\n", 64)
			for c.send(block) == nil {
				c.b.flooded.Add(int64(len(block)))
			}
			return
		case "DEAF":
			if c.send(tag+" OK deaf\r\n") != nil {
				return
			}
			select {
			case <-c.b.deaf:
			case <-c.b.over:
			}
			return
		}
		if c.send(tag+" OK "+word+" completed\r\n") != nil {
			return
		}
	}
}

// servePOP3 is a backend that takes everybody.
func servePOP3(c *tap) {
	if c.send("+OK [XCLIENT] ready\r\n") != nil {
		return
	}
	for {
		l, err := c.r.ReadString('\n')
		if err != nil {
			return
		}
		if c.send("+OK "+strings.TrimSpace(strings.SplitN(l, " ", 2)[0])+"\r\n") != nil {
			return
		}
	}
}
