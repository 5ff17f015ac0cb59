package backend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"dproxy/event"
	"dproxy/wire"
)

// Conn is a connection to a backend during its login.
type Conn struct {
	net.Conn // a TCP connection or a *tls.Conn
	R        *wire.Reader
	// Sent counts bytes written since the last TLS start, for the log.
	Sent uint64
	// State is the handshake's progress as Dovecot prints it ("login/banner").
	State func() string

	tcp          net.Conn
	run          *run
	ctx          context.Context
	stop         func() bool // ends the watch over ctx
	lines, bytes int         // read, against the bounds
	raw          *rawlog     // nil: none is kept
}

// Bounds of what is read before the login's end: a hostile backend takes no memory and has an end.
const (
	maxLine  = 4096
	maxBytes = 64 << 10
	maxLines = 128
)

// Line reads a line from the backend. Lines and bytes of the whole login are bounded.
func (c *Conn) Line() (string, error) {
	line, err := c.R.Line(maxLine)
	if err != nil {
		return "", tooLong(err)
	}
	text := string(line)
	c.raw.received(text)
	return text, c.count(len(text))
}

// SieveLine reads a ManageSieve line with its literals, within the same bounds.
func (c *Conn) SieveLine() (string, error) {
	line, err := c.R.SieveLine(maxLine)
	if err != nil {
		return "", tooLong(err)
	}
	c.raw.received(line)
	return line, c.count(len(line))
}

func tooLong(err error) error {
	if errors.Is(err, wire.ErrTooLong) {
		return &Error{Kind: Protocol, Text: "Too long input line"}
	}
	return err
}

func (c *Conn) count(n int) error {
	c.lines++
	c.bytes += n + len("\r\n")
	if c.lines > maxLines || c.bytes > maxBytes {
		return &Error{Kind: Protocol, Text: "Too much input before the login's end"}
	}
	return nil
}

// Renew starts the bounds of Line anew, for a protocol whose dialogue has no login's end.
func (c *Conn) Renew() { c.lines, c.bytes = 0, 0 }

// Send writes text to the backend.
func (c *Conn) Send(text string) error {
	c.raw.sent(text)
	n, err := c.Conn.Write([]byte(text))
	c.Sent += uint64(n)
	return err
}

// Limit gives what is read and written from now on a time limit. It does not revive a connection whose
// context was canceled.
func (c *Conn) Limit(d time.Duration) error {
	err := c.tcp.SetDeadline(time.Now().Add(d))
	if c.ctx.Err() != nil {
		return c.tcp.SetDeadline(time.Unix(1, 0))
	}
	return err
}

// Report logs a line about the backend that does not end the login.
func (c *Conn) Report(text string) {
	c.run.dialer.events.Emit(event.ProxyLine{Client: c.run.client, Target: c.run.target.Event(), Level: event.Error, Text: event.Clean(text, 300)})
}

// User is the client's user name, which may differ from the one at the backend.
func (c *Conn) User() string { return c.run.client.User }

// Address is the backend's address that the connection was made to.
func (c *Conn) Address() string { return c.run.target.Addr.String() }

// Close closes the connection.
func (c *Conn) Close() error {
	c.stop()
	return c.Conn.Close()
}

func (c *Conn) state() string {
	if c.State == nil {
		return ""
	}
	return c.State()
}

// Failure gives a dialogue's error its class and its text. Errors that are not an *Error are those of
// the connection.
func (c *Conn) Failure(err error) *Error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case c.ctx.Err() != nil:
		return canceled()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &Error{Kind: Connect, Text: fmt.Sprintf("Login timed out in state=%s (%s)", c.state(), c.run.after(addrText(c.tcp.LocalAddr())))}
	}
	return c.disconnected(c.closeText(err))
}

func canceled() *Error {
	return &Error{Kind: Connect, Text: "the login was given up", final: true, canceled: true}
}

// disconnected is the failure of a connection that the backend ended.
func (c *Conn) disconnected(why string) *Error {
	return &Error{Kind: Connect, Text: fmt.Sprintf("Disconnected by server: %s (state=%s, duration=%ds)", why, c.state(), int(time.Since(c.run.began)/time.Second))}
}

// closeText is Dovecot's word for how a connection ended.
func (c *Conn) closeText(err error) string {
	var errno syscall.Errno
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.EPIPE):
		return "Connection closed"
	case errors.As(err, &errno):
		return fmt.Sprintf("Connection closed: read(size=%d) failed: %s", max(maxLine-c.bytes, 1), sentence(errno.Error()))
	}
	return "Connection closed: " + event.Clean(err.Error(), 300)
}

// sentence begins with a capital, as the C library's error texts do.
func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
