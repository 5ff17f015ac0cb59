package attack

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// peer is a client that sends what a test wants it to send.
type peer struct {
	net.Conn
	raw net.Conn // under TLS
	r   *bufio.Reader
}

// Close closes without a goodbye in TLS, which would wait for a proxy that does not read.
func (p *peer) Close() error { return p.raw.Close() }

// dial connects from an address; with a configuration it speaks TLS from the start.
func dial(addr, from string, conf *tls.Config) (*peer, error) {
	d := net.Dialer{Timeout: patience}
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	nc, err := d.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	if err := nc.SetDeadline(time.Now().Add(patience)); err != nil {
		nc.Close()
		return nil, err
	}
	p := &peer{nc, nc, bufio.NewReader(nc)}
	if conf != nil {
		if err := p.startTLS(conf); err != nil {
			nc.Close()
			return nil, err
		}
	}
	return p, nil
}

func (p *peer) startTLS(conf *tls.Config) error {
	c := tls.Client(p.Conn, conf)
	if err := c.Handshake(); err != nil {
		return err
	}
	p.Conn, p.r = c, bufio.NewReader(c)
	return nil
}

// meet is dial for the listener of a gate, up to the greeting. It ends with the test.
func (g *gate) meet(t *testing.T, listener, from string) *peer {
	t.Helper()
	p := g.connect(t, listener, from)
	if err := p.greeting(listener); err != nil {
		t.Fatal(err)
	}
	return p
}

// connect is dial for the listener of a gate.
func (g *gate) connect(t *testing.T, listener, from string) *peer {
	t.Helper()
	var conf *tls.Config
	if strings.HasSuffix(listener, "s") {
		conf = g.tls()
	}
	p, err := dial(g.addr(listener), from, conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// send writes. An error is not told: what is read next says more.
func (p *peer) send(text string) { _, _ = io.WriteString(p, text) }

// line reads one line without its end.
func (p *peer) line(t *testing.T) string {
	t.Helper()
	l, err := p.next()
	if err != nil {
		t.Fatalf("%v instead of a line", err)
	}
	return l
}

func (p *peer) next() (string, error) {
	l, err := p.r.ReadString('\n')
	return strings.TrimRight(l, "\r\n"), err
}

// until reads up to a line that begins with a prefix, and returns that.
func (p *peer) until(t *testing.T, prefix string) string {
	t.Helper()
	for {
		if l := p.line(t); strings.HasPrefix(l, prefix) {
			return l
		}
	}
}

// rest reads to the end of the connection. It fails the test when the proxy does not end it.
func (p *peer) rest(t *testing.T) string {
	t.Helper()
	b, err := io.ReadAll(p.r)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the connection is not closed; so far it said %.300q", b)
	}
	return string(b)
}

// reset makes the end of a connection an RST.
func reset(nc net.Conn) {
	if t, ok := nc.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	nc.Close()
}

// login logs in and returns the connection.
func (g *gate) login(listener, from, user string) (*peer, error) {
	var conf *tls.Config
	if strings.HasSuffix(listener, "s") {
		conf = g.tls()
	}
	p, err := dial(g.addr(listener), from, conf)
	if err != nil {
		return nil, err
	}
	if err = p.SetDeadline(time.Now().Add(prompt())); err == nil {
		err = p.login(listener, user)
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	return p, p.SetDeadline(time.Now().Add(patience))
}

func (p *peer) login(listener, user string) error {
	if err := p.greeting(listener); err != nil {
		return err
	}
	pr := protocolOf(listener)
	return p.talk(pr, pr.login(user+"@example.org", password))
}

// ask sends a command and wants an answer that begins with a prefix.
func (p *peer) ask(command, prefix string) error {
	p.send(command)
	l, err := p.next()
	if err != nil {
		return fmt.Errorf("%.20q: %w", command, err)
	}
	if !strings.HasPrefix(l, prefix) {
		return fmt.Errorf("%.20q: answer %q", command, l)
	}
	return nil
}

// canaries are sessions that existed before an attack.
type canaries struct {
	g     *gate
	peers map[string]*peer
	n     int
}

// nest are the listeners that have a canary.
var nest = []string{"imap", "imaps", "pop3", "pop3s", "submission", "submissions", "sieve", "lmtp"}

// hatch logs the canaries in.
func (g *gate) hatch(t *testing.T) *canaries {
	t.Helper()
	c := &canaries{g: g, peers: map[string]*peer{}}
	for _, l := range nest {
		p, err := g.login(l, "", "canary")
		if err != nil {
			t.Fatalf("canary %s: %v", l, err)
		}
		t.Cleanup(func() { p.Close() })
		c.peers[l] = p
	}
	return c
}

// check is the canary test: the sessions answer, and another user logs in from another address.
func (c *canaries) check() error {
	for l, p := range c.peers {
		if err := p.SetDeadline(time.Now().Add(prompt())); err != nil {
			return err
		}
		if err := p.chirp(l); err != nil {
			return fmt.Errorf("the %s session: %w", l, err)
		}
	}
	return c.fresh()
}

// chirp is what a session that lives can do. In LMTP it is a message.
func (p *peer) chirp(listener string) error {
	pr := protocolOf(listener)
	script := [][2]string{{"NOOP\r\n", pr.noop[1]}}
	switch pr.name {
	case "imap":
		script[0][0] = pr.noop[0]
	case "lmtp":
		script = pr.login("canary@example.org", "")[1:]
	}
	return p.talk(pr, script)
}

func (c *canaries) fresh() error {
	c.n++
	l := nest[c.n%len(nest)]
	p, err := c.g.login(l, fmt.Sprintf("127.77.%d.%d", c.n/250%250, 1+c.n%250), "fresh")
	if err != nil {
		return fmt.Errorf("a fresh %s login: %w", l, err)
	}
	return p.Close()
}

// during runs an attack and checks the canaries all the while and once afterwards.
func (c *canaries) during(t *testing.T, attack func()) {
	t.Helper()
	over := make(chan struct{})
	result := make(chan error, 1)
	go func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			if err := c.check(); err != nil {
				result <- err
				return
			}
			select {
			case <-over:
				result <- nil
				return
			case <-tick.C:
			}
		}
	}()
	func() {
		defer close(over)
		attack()
	}()
	err := <-result
	if err == nil {
		err = c.check()
	}
	if err != nil {
		t.Error(err)
	}
}
