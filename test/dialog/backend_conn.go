package dialog

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// slowGreeting is how long "connect slow" waits before it greets.
const slowGreeting = 700 * time.Millisecond

// errDone ends a connection without an accident.
var errDone = errors.New("connection is done")

// backendConn is one connection of the proxy to a backend.
type backendConn struct {
	b        *backend
	peer     string // address without port
	raw      net.Conn
	nc       net.Conn // raw, or TLS on it
	r        *bufio.Reader
	secured  bool
	loggedIn bool

	mu     sync.Mutex
	lines  []string
	closed bool
}

// protocols has the function that serves one connection in each protocol.
var protocols = map[string]func(*backendConn) error{
	"imap": serveIMAP, "pop3": servePOP3, "smtp": serveSMTP, "lmtp": serveSMTP, "sieve": serveSieve,
}

func newBackendConn(b *backend, nc net.Conn) *backendConn {
	peer, _, err := net.SplitHostPort(nc.RemoteAddr().String())
	if err != nil {
		peer = nc.RemoteAddr().String()
	}
	return &backendConn{b: b, peer: peer, raw: nc, nc: nc, r: bufio.NewReader(nc)}
}

func (c *backendConn) run() {
	err := c.serve()
	_ = c.nc.Close() // the proxy may be gone already
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if err != nil && !errors.Is(err, errDone) && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && !isReset(err) {
		c.lines = append(c.lines, "<"+err.Error()+">")
	}
}

func (c *backendConn) serve() error {
	switch c.b.options.connect {
	case "reset":
		c.reset()
		return errDone
	case "close":
		return errDone
	case "silent":
		return c.hang()
	case "slow":
		time.Sleep(slowGreeting)
	}
	if c.b.options.tls == "implicit" {
		if err := c.startTLS(); err != nil {
			return err
		}
	}
	return protocols[c.b.protocol](c)
}

// record notes a line of the view.
func (c *backendConn) record(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = append(c.lines, fmt.Sprintf(format, args...))
}

// heard is what the connection has noted. It says so when the connection is still open.
func (c *backendConn) heard() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		return append(c.lines[:len(c.lines):len(c.lines)], "<still open after all clients closed>")
	}
	return c.lines
}

func (c *backendConn) open() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.closed
}

// abort ends the connection from outside.
func (c *backendConn) abort() { _ = c.raw.Close() }

// reset makes the end of the connection an RST.
func (c *backendConn) reset() {
	if t, ok := c.raw.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
}

// hang never says anything again, until the proxy leaves.
func (c *backendConn) hang() error {
	if _, err := io.Copy(io.Discard, c.r); err != nil {
		return err
	}
	return errDone
}

// readLine reads a line without its end.
func (c *backendConn) readLine() (string, error) {
	if first, err := c.r.Peek(1); err == nil && first[0] == 0x16 && !c.secured { // a TLS record of type handshake
		c.record("<a TLS handshake on a port without TLS>")
		return "", errDone
	}
	text, err := c.r.ReadString('\n')
	if err != nil {
		if text != "" {
			c.record("<no line end> %s", line([]byte(text)))
		}
		return "", err
	}
	return strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r"), nil
}

// send writes lines.
func (c *backendConn) send(lines ...string) error {
	_, err := io.WriteString(c.nc, strings.Join(lines, "\r\n")+"\r\n")
	return err
}

// startTLS does the handshake. A name the proxy asks for is noted, unless it is an address, which RFC 6066 forbids.
func (c *backendConn) startTLS() error {
	cert := c.b.options.cert
	if cert == "" {
		cert = "backend"
	}
	t := tls.Server(c.nc, c.b.certs.Server(cert))
	if err := t.Handshake(); err != nil {
		c.record("<TLS handshake failed>")
		return errDone
	}
	c.nc, c.r, c.secured = t, bufio.NewReader(t), true
	name := t.ConnectionState().ServerName
	if name == "" || net.ParseIP(name) != nil {
		c.record("<TLS started>")
	} else {
		c.record("<TLS started, server name %s>", name)
	}
	return nil
}

// greet sends the first lines, or does what a rule for CONNECT says.
func (c *backendConn) greet(usual string) error {
	return c.byRule("CONNECT", "", func() error {
		if g := c.b.options.greeting; g != "" {
			usual = g
		}
		return c.send(usual)
	})
}

// command notes a command and answers it: as a rule says, or as usual.
func (c *backendConn) command(notation, tag string, usual func() error) error {
	c.record("%s", notation)
	return c.byRule(notation, tag, usual)
}

func (c *backendConn) byRule(command, tag string, usual func() error) error {
	r := c.b.options.ruleFor(command)
	if r == nil {
		return usual()
	}
	for _, a := range r.actions {
		text := strings.ReplaceAll(a, "$TAG", tag)
		if err := c.act(text); err != nil {
			return err
		}
		c.loggedIn = c.loggedIn || loginCommand.MatchString(command) && saysLoggedIn(c.b.protocol, tag, text)
	}
	return nil
}

// act does one action of a rule.
func (c *backendConn) act(action string) error {
	word, rest, _ := strings.Cut(action, " ")
	switch word {
	case "!close":
		return errDone
	case "!reset":
		c.reset()
		return errDone
	case "!hang":
		return c.hang()
	case "!sleep":
		ms, err := strconv.Atoi(rest)
		time.Sleep(time.Duration(ms) * time.Millisecond)
		return err
	case "!raw":
		text, err := strconv.Unquote(rest)
		if err != nil {
			return err
		}
		_, err = io.WriteString(c.nc, text)
		return err
	}
	return c.send(action)
}
