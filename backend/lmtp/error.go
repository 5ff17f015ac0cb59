package lmtp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"dproxy/backend"
	"dproxy/route"
	"dproxy/wire"
)

// Kind is how a session failed.
type Kind int

// The kinds.
const (
	Aborted  Kind = iota // from our side
	Connect              // no connection, no TLS, or no greeting in time
	Lost                 // the backend ended the connection
	BadReply             // not the protocol's syntax
	TimedOut             // no answer in time
	Refused              // the backend answered the handshake with a refusal, see Reply
)

// Detail is the kind in the reply for the client: "Proxy failed (connect, session=...)" has "connect, "
// (Dovecot 2.3).
func (k Kind) Detail() string {
	return [...]string{"", "connect, ", "connection lost, ", "bad reply, ", "timed out, ", ""}[k]
}

// Error is a session that failed. Nothing about it has been logged.
type Error struct {
	Kind  Kind
	Text  string     // for the operator, in Dovecot's words
	Reply wire.Reply // of a Refused

	address string
	dial    bool // there was no connection
}

// Error implements error.
func (e *Error) Error() string { return e.Text }

// Verbose is the text for a client under lmtp_verbose_replies.
func (e *Error) Verbose() string {
	switch {
	case e.dial:
		return "Failed to connect to remote server"
	case e.Kind == Lost:
		return "Lost connection to remote server: " + e.Text
	}
	return e.Text
}

// LogText is the message after "lmtp-client: " of Dovecot's line.
func (e *Error) LogText() string { return "conn " + e.address + " [1]: " + e.Text }

func seconds(d time.Duration) string { return fmt.Sprintf("%d seconds", int(d/time.Second)) }

// fail ends the session with an error.
func (s *Session) fail(k Kind, text string) *Error {
	if s.broken == nil {
		s.broken = &Error{Kind: k, Text: text, address: s.c.Address()}
	}
	return s.broken
}

// refusal ends the session with the backend's own word.
func (s *Session) refusal(r wire.Reply) *Error {
	e := s.fail(Refused, backend.Excerpt(r.Text()))
	e.Reply = r
	return e
}

// lost gives a connection's error its kind.
func (s *Session) lost(err error) *Error {
	f := s.c.Failure(err)
	switch {
	case f.Canceled():
		return s.fail(Aborted, "Aborted")
	case f.Kind == backend.Protocol:
		return s.fail(BadReply, "Command reply line too long")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return s.fail(TimedOut, "Command timed out, disconnecting")
	}
	var errno syscall.Errno
	if errors.As(err, &errno) && errno != syscall.EPIPE && errno != syscall.ECONNRESET {
		return s.fail(Lost, "read("+s.c.Address()+") failed: "+errno.Error())
	}
	return s.fail(Lost, "Remote closed connection unexpectedly")
}

// dialError words a connection that could not be made.
func dialError(err error, t route.Target) *Error {
	out := &Error{Kind: Connect, Text: err.Error(), address: t.Addr.String()}
	var be *backend.Error
	if !errors.As(err, &be) {
		return out
	}
	out.address, out.dial = be.Target.Addr.String(), be.Dial()
	var errno syscall.Errno
	var ne net.Error
	cause := be.Unwrap()
	switch {
	case be.Canceled():
		out.Kind, out.Text = Aborted, "Aborted"
	case be.Dial() && errors.As(cause, &errno):
		text := errno.Error()
		out.Text = "connect(" + out.address + ") failed: " + strings.ToUpper(text[:1]) + text[1:]
	case be.Dial() && (errors.Is(cause, context.DeadlineExceeded) || errors.As(cause, &ne) && ne.Timeout()):
		out.Text = "Connection timed out after " + seconds(t.Timeout)
	case cause != nil:
		return tlsError(be, out.address)
	}
	return out
}

// tlsError words a TLS handshake that failed.
func tlsError(err error, address string) *Error {
	text := err.Error()
	var be *backend.Error
	if errors.As(err, &be) && be.Unwrap() != nil {
		text = be.Unwrap().Error()
	}
	return &Error{Kind: Connect, Text: "SSL handshake to " + address + " failed: " + backend.Excerpt(text), address: address}
}
