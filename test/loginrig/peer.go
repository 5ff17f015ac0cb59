package loginrig

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Peer is the test's end of a connection: of a client, or of the backend.
type Peer struct {
	net.Conn
	TCP *net.TCPConn
	tb  testing.TB
	r   *bufio.Reader
}

func newPeer(tb testing.TB, nc *net.TCPConn) *Peer {
	_ = nc.SetDeadline(time.Now().Add(Patience))
	return &Peer{Conn: nc, TCP: nc, tb: tb, r: bufio.NewReader(nc)}
}

// Dial connects a client. From is its address, "127.0.0.1" when empty.
func (r *Rig) Dial(from string) *Peer {
	r.tb.Helper()
	return r.DialFor(r.tb, from)
}

// DialFor is Dial for a test within the rig's, such as a fuzz target.
func (r *Rig) DialFor(tb testing.TB, from string) *Peer {
	tb.Helper()
	if from == "" {
		from = "127.0.0.1"
	}
	nc, err := net.DialTCP("tcp4", &net.TCPAddr{IP: net.ParseIP(from)}, r.Addr)
	if err != nil {
		tb.Fatal(err)
	}
	p := newPeer(tb, nc)
	tb.Cleanup(func() { _ = p.Close() })
	return p
}

// Send writes text as it is.
func (p *Peer) Send(text string) {
	p.tb.Helper()
	if _, err := p.Write([]byte(text)); err != nil {
		p.tb.Errorf("send %.80q: %v", text, err)
	}
}

// Line reads a line, without its CRLF. An end of the connection is "<EOF>".
func (p *Peer) Line() string {
	p.tb.Helper()
	line, err := p.r.ReadString('\n')
	if err != nil {
		return line + ended(err)
	}
	if bare := strings.TrimSuffix(line, "\n"); !strings.HasSuffix(bare, "\r") {
		return bare + "<bare LF>"
	}
	return strings.TrimSuffix(line, "\r\n")
}

func ended(err error) string {
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		return "<nothing>"
	}
	return "<EOF>"
}

// Expect reads one line and compares it. A * in want stands for anything.
func (p *Peer) Expect(want string) {
	p.tb.Helper()
	if got := p.Line(); !match(want, got) {
		p.tb.Errorf("got  %q\nwant %q", got, want)
	}
}

func match(want, got string) bool {
	if !strings.Contains(want, "<*>") {
		return want == got
	}
	parts := strings.Split(want, "<*>")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return regexp.MustCompile("^" + strings.Join(parts, ".*") + "$").MatchString(got)
}

// EOF expects the connection to have ended.
func (p *Peer) EOF() {
	p.tb.Helper()
	if got := p.Line(); got != "<EOF>" {
		p.tb.Errorf("got %q, want the connection to end", got)
	}
}

// Rest reads everything up to the end of the connection.
func (p *Peer) Rest() string {
	b, _ := io.ReadAll(p.r) // a reset ends it as well
	return string(b)
}

// StartTLS makes the client's end a TLS one.
func (p *Peer) StartTLS(c *tls.Config) {
	p.tb.Helper()
	t := tls.Client(p.TCP, c)
	if err := t.Handshake(); err != nil {
		p.tb.Errorf("TLS handshake: %v", err)
		return
	}
	p.Conn, p.r = t, bufio.NewReader(t)
}

// Play runs a dialogue. Each line of the script is one step:
//
//	S: TEXT     a line comes that is TEXT, where <*> stands for anything
//	C: TEXT     a line is sent
//	Q: "TEXT"   exactly these bytes are sent (Go escapes)
//	EOF         the connection has ended
//	# ...       nothing
func (p *Peer) Play(script string) {
	p.tb.Helper()
	for n, step := range strings.Split(script, "\n") {
		step = strings.TrimLeft(step, " \t")
		kind, text, _ := strings.Cut(step, ":")
		text = strings.TrimPrefix(text, " ")
		switch {
		case step == "" || step[0] == '#':
		case step == "EOF":
			if got := p.Line(); got != "<EOF>" {
				p.tb.Errorf("step %d: got %q, want the connection to end", n, got)
				return
			}
		case kind == "S":
			if got := p.Line(); !match(text, got) {
				p.tb.Errorf("step %d:\ngot  %q\nwant %q", n, got, text)
				return
			}
		case kind == "C":
			p.Send(text + "\r\n")
		case kind == "Q":
			raw, err := strconv.Unquote(text)
			if err != nil {
				p.tb.Errorf("step %d: %s: %v", n, step, err)
				return
			}
			p.Send(raw)
		default:
			p.tb.Errorf("step %d: what is %q?", n, step)
			return
		}
	}
}
