// Package backend logs a user in to a backend: dial from the chosen source address, TLS, the
// protocol's handshake, retries, and the class of every failure. It imports passdb, route, tlsconf, wire,
// capability, conf and event; login imports it.
package backend

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"dproxy/event"
	"dproxy/route"
	"dproxy/tlsconf"
	"dproxy/wire"
)

// Kind names whose fault a failure was; it decides retry, log prefix and the client's answer
// (Dovecot 2.3 login_proxy_failure_type).
type Kind int

// The kinds.
const (
	Connect        Kind = iota // refused, timed out, closed, TLS failed
	Internal                   // on our side, before connecting
	InternalConfig             // a redirect that cannot be followed
	Remote                     // the backend refused STARTTLS or XCLIENT
	RemoteConfig               // no STARTTLS where asked, LOGINDISABLED, hop count used up
	Protocol                   // not the protocol's syntax
	Auth                       // login refused
	AuthTempFail               // login refused for now
)

// String is the metric label of the kind.
func (k Kind) String() string {
	return [...]string{"connect", "internal", "internal_config", "remote", "remote_config", "protocol", "auth", "auth_tempfail"}[k]
}

func (k Kind) retried() bool {
	return k == Connect || k == Remote || k == Protocol || k == AuthTempFail
}

// Error is a failed login at a backend.
type Error struct {
	Kind   Kind
	Target route.Target
	Text   string // for the operator, in Dovecot's words
	// Reply is the backend's own refusal, fit to be shown to the client by the protocol's front;
	// empty when the client gets a fixed text.
	Reply string
	// final forbids another attempt whatever the kind (a bad certificate does not get better).
	final bool
}

// Error implements error.
func (e *Error) Error() string { return e.Text }

// LogText is the message after "proxy(user,ip:port): ".
func (e *Error) LogText() string {
	switch e.Kind {
	case Internal:
		return "Aborting due to internal error: " + e.Text
	case Remote, RemoteConfig:
		return "Aborting due to remote server: " + e.Text
	case Protocol:
		return "Remote server sent invalid input: " + e.Text
	}
	return e.Text
}

// Identity is what the backend is told of the client.
type Identity struct {
	Session       string
	Local, Remote netip.AddrPort
	TTL           int    // hops left; this hop sends TTL-1
	ClientID      string // retained IMAP ID pairs, ready for an ID list
	Secured       bool
}

// Login is one attempt as a Handshake sees it.
type Login struct {
	Target   route.Target
	Identity Identity
	// AskCapability: the client used CAPABILITY before login and must hear the backend's list.
	AskCapability bool
	// Untagged receives lines for the client that come before the login's end; may be nil.
	Untagged func(line string)
}

// Welcome is a backend's consent, for the protocol's front.
type Welcome struct {
	Line       string // the final reply without its tag, or all of it where there are no tags
	Capability string // the backend's list when the reply does not carry it
}

// Handshake is the client side of one protocol until logged in.
type Handshake interface {
	// Login runs the dialogue. Errors are *Error, or the connection's own.
	Login(c *Conn, l *Login) (Welcome, error)
}

// Conn is a connection to a backend during its login.
type Conn struct {
	net.Conn // *net.TCPConn or *tls.Conn
	R        *wire.Reader
	// Sent counts bytes written since the last TLS start, for the log.
	Sent uint64
	// State is the handshake's progress as Dovecot prints it ("login/banner").
	State func() string

	tcp *net.TCPConn
	run *run
	ctx context.Context
}

// bounds of one reply (security rules: a hostile backend takes no memory).
const (
	maxLine  = 4096
	maxBytes = 64 << 10
	maxLines = 128
)

// Line reads a line from the backend.
func (c *Conn) Line() (string, error) {
	line, err := c.R.Line(maxLine)
	if errors.Is(err, wire.ErrTooLong) {
		return "", &Error{Kind: Protocol, Text: "Too long input line"}
	}
	return string(line), err
}

// Budget bounds one login's replies in lines and bytes.
type Budget struct{ lines, bytes int }

// Take counts a line; it fails when the backend never comes to an end.
func (b *Budget) Take(line string) error {
	b.lines++
	b.bytes += len(line)
	if b.lines > maxLines || b.bytes > maxBytes {
		return &Error{Kind: Protocol, Text: "Too much input before the login's end"}
	}
	return nil
}

// Send writes text to the backend.
func (c *Conn) Send(text string) error {
	n, err := c.Conn.Write([]byte(text))
	c.Sent += uint64(n)
	return err
}

// StartTLS makes the connection a TLS one. Bytes read in clear text are dropped: nothing that came
// before the handshake may be believed after it.
func (c *Conn) StartTLS() error {
	if c.R.Buffered() > 0 {
		return &Error{Kind: Protocol, Text: "Plaintext data after the STARTTLS reply"}
	}
	return c.startTLS()
}

func (c *Conn) startTLS() error {
	config, err := c.run.dialer.TLS(c.run.login.Target)
	if err != nil {
		return &Error{Kind: Internal, Text: err.Error()}
	}
	began := time.Now()
	tc := tls.Client(&tlsconf.Transport{Conn: c.tcp}, config) // the relay exchanges it
	err = tc.HandshakeContext(c.ctx)
	e := event.TLSDone{Client: c.run.client, Backend: true, Took: time.Since(began), Err: err}
	if err == nil {
		s := tc.ConnectionState()
		e.Version, e.Cipher = tls.VersionName(s.Version), tls.CipherSuiteName(s.CipherSuite)
	}
	c.run.dialer.events.Emit(e)
	if err != nil {
		return c.tlsError(err)
	}
	c.Conn = tc
	c.R.Reset(tc)
	c.Sent = 0
	return nil
}

// tlsError classes a failed handshake. A certificate that does not verify is final.
func (c *Conn) tlsError(err error) error {
	var ce *tls.CertificateVerificationError
	if errors.As(err, &ce) {
		return &Error{Kind: Connect, final: true, Text: "Disconnected by server: Connection closed: Received invalid SSL certificate: " +
			event.Clean(ce.Err.Error(), 300) + " (check ssl_client_ca_* settings?) (" + c.stateText() + ")"}
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return &Error{Kind: Connect, Text: "Disconnected by server: Connection closed: SSL_connect() failed: " +
		event.Clean(strings.TrimPrefix(err.Error(), "tls: "), 300) + " (" + c.stateText() + ")"}
}

func (c *Conn) stateText() string {
	state := ""
	if c.State != nil {
		state = c.State()
	}
	return "state=" + state
}

// failure gives a handshake's error its class and text.
func (c *Conn) failure(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return &Error{Kind: Connect, Text: fmt.Sprintf("Login timed out in %s (%s)", c.stateText(), c.run.after(c.tcp.LocalAddr().String()))}
	}
	text := "Connection closed"
	var errno syscall.Errno
	if errors.As(err, &errno) {
		text = fmt.Sprintf("read(size=%d) failed: %s", maxLine, sentence(errno.Error()))
	}
	text = fmt.Sprintf("Disconnected by server: %s (%s, duration=%ds)", text, c.stateText(), int(time.Since(c.run.began)/time.Second))
	if rest := c.R.Rest(); len(rest) > 0 {
		text += " - BUG: line not read: " + event.Clean(string(rest), 160)
	}
	return &Error{Kind: Connect, Text: text}
}

func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
