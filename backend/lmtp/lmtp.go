// Package lmtp is the LMTP client side of proxied deliveries (RFC 2033, 5321, 3030), and SMTP for
// backends that the passdb names so: one Session for one mail transaction at one backend. There is no
// login and no relay; the lmtp front asks for each step and merges what several backends say. It
// imports backend, route and wire.
package lmtp

import (
	"bytes"
	"context"
	"strconv"
	"strings"
	"time"

	"dproxy/backend"
	"dproxy/route"
	"dproxy/wire"
)

const (
	// commandTime bounds the answer to one command (Dovecot 2.3).
	commandTime = 5 * time.Minute
	// DataTime is how long the answers to a message may take when the passdb gives no proxy_timeout
	// (Dovecot 2.3).
	DataTime = 125 * time.Second
	quitTime = 2 * time.Second
)

// Session is a connection to a backend that is ready for one mail transaction. It is used by one
// goroutine at a time.
type Session struct {
	c    *backend.Conn
	l    *backend.Login
	smtp bool // protocol=smtp

	listed map[string]string // what the last LHLO said: keyword to arguments

	// Patience bounds the answer to one command.
	Patience time.Duration

	mail     string      // the MAIL command until it is sent
	mailed   bool        // MAIL was accepted
	refused  *wire.Reply // what MAIL was refused with
	accepted int         // recipients
	broken   *Error      // the connection is of no use any more
}

// Dial connects, greets, and tells the backend of the client with XCLIENT where it is listed. The
// target's timeout bounds all of it. l.Identity.TTL-1 is the hop count that is sent. The error is an
// *Error.
func Dial(ctx context.Context, d *backend.Dialer, l *backend.Login, client backend.Client) (*Session, error) {
	c, err := d.Open(ctx, l, client)
	if err != nil {
		return nil, dialError(err, l.Target)
	}
	s := &Session{c: c, l: l, smtp: l.Target.Protocol == "smtp", Patience: commandTime}
	if err := s.handshake(); err != nil {
		s.part()
		if err.Kind == TimedOut {
			err.Kind = Connect
			err.Text = "SMTP handshake timed out after " + seconds(l.Target.Timeout)
		}
		return nil, err
	}
	return s, nil
}

func (s *Session) handshake() *Error {
	r, err := s.reply()
	switch {
	case err != nil:
		return err
	case r.Code != 220 && r.OK():
		return s.fail(BadReply, "Received inappropriate greeting")
	case r.Code != 220:
		return s.refusal(r)
	}
	if err := s.hello(); err != nil {
		return err
	}
	if s.l.Target.TLS == route.StartTLS {
		if err := s.startTLS(); err != nil {
			return err
		}
	}
	if s.l.Target.NotTrusted {
		return nil
	}
	return s.xclient()
}

// hello sends LHLO or EHLO and learns what the backend can do. An SMTP server that does not know EHLO gets
// HELO.
func (s *Session) hello() *Error {
	verb := "LHLO"
	if s.smtp {
		verb = "EHLO"
	}
	r, err := s.command(verb + " " + s.l.Identity.Name())
	if err == nil && s.smtp && (r.Code == 500 || r.Code == 502) {
		r, err = s.command("HELO " + s.l.Identity.Name())
	}
	if err != nil {
		return err
	}
	if !r.OK() {
		return s.refusal(r)
	}
	s.listed = map[string]string{}
	for _, line := range r.Lines[1:] {
		word, args := wire.Word(line)
		s.listed[strings.ToUpper(word)] = args
	}
	return nil
}

// Offers tells whether the backend listed a capability.
func (s *Session) Offers(capability string) bool {
	_, ok := s.listed[strings.ToUpper(capability)]
	return ok
}

func (s *Session) startTLS() *Error {
	if !s.Offers("STARTTLS") {
		return s.fail(Connect, "Requested STARTTLS, but server doesn't support it")
	}
	r, err := s.command("STARTTLS")
	if err != nil {
		return err
	}
	if !r.OK() {
		return s.refusal(r)
	}
	if err := s.c.StartTLS(); err != nil {
		return tlsError(err, s.c.Address())
	}
	return s.hello()
}

// xclient tells of the client. Any answer but 421 is taken (Dovecot 2.3), and LHLO follows in all cases.
func (s *Session) xclient() *Error {
	commands := backend.SMTPXClient(s.fields(), strings.Fields(s.listed["XCLIENT"]))
	if len(commands) == 0 {
		return nil
	}
	for _, line := range commands {
		if _, err := s.command(line); err != nil {
			return err
		}
	}
	return s.hello()
}

// fields are XCLIENT's, in Dovecot's order. LMTP servers before Dovecot 2.4 do not expect the prefix of
// IPv6 addresses.
func (s *Session) fields() []backend.XClientField {
	id := s.l.Identity
	var out []backend.XClientField
	add := func(name, value string) {
		if value != "" {
			out = append(out, backend.XClientField{Name: name, Value: value})
		}
	}
	add("HELO", id.Helo)
	add("PROTO", id.Proto)
	add("LOGIN", id.Login)
	add("SESSION", id.Session)
	if id.TTL > 0 {
		add("TTL", strconv.Itoa(id.TTL-1))
	}
	if id.Remote.IsValid() {
		addr := id.Remote.Addr().String()
		if s.smtp && id.Remote.Addr().Is6() {
			addr = "IPV6:" + addr
		}
		add("PORT", strconv.Itoa(int(id.Remote.Port())))
		add("ADDR", addr)
	}
	return out
}

// command sends a line and reads its reply. A 421 is the end of the connection.
func (s *Session) command(line string) (wire.Reply, *Error) {
	if err := s.send(line + "\r\n"); err != nil {
		return wire.Reply{}, err
	}
	return s.reply()
}

func (s *Session) send(text string) *Error {
	if s.broken != nil {
		return s.broken
	}
	// What came early is an answer to nothing, but for the goodbye of a server that stops.
	if early := s.c.R.Rest(); len(early) > 0 && !bytes.HasPrefix(early, []byte("421")) {
		return s.fail(BadReply, "Reply to a command that was not sent: "+backend.Excerpt(string(early[:min(len(early), 100)])))
	}
	if err := s.c.Send(text); err != nil {
		return s.lost(err)
	}
	return nil
}

// reply reads one reply, bounded as a login's are.
func (s *Session) reply() (wire.Reply, *Error) {
	var r wire.Reply
	if s.broken != nil {
		return r, s.broken
	}
	s.c.Renew()
	for {
		line, err := s.c.Line()
		if err != nil {
			return r, s.lost(err)
		}
		done, err := r.Add(line)
		if err != nil {
			return r, s.fail(BadReply, "Invalid command reply: "+err.Error())
		}
		if done {
			break
		}
	}
	if r.Code == 421 {
		return r, s.fail(Lost, "Remote closed connection: "+backend.Excerpt(r.Wire()))
	}
	return r, nil
}

// Quit ends the session. It waits a moment for the backend's goodbye.
func (s *Session) Quit() {
	if s.broken != nil {
		s.part()
		return
	}
	if s.c.Limit(quitTime) == nil {
		_, _ = s.command("QUIT")
	}
	_ = s.c.Close()
}

// part closes a connection that is of no use any more, with a goodbye to a backend that may hear it.
func (s *Session) part() {
	if k := s.broken; k != nil && (k.Kind == Refused || k.Kind == BadReply) && s.c.Limit(quitTime) == nil {
		_ = s.c.Send("QUIT\r\n")
	}
	_ = s.c.Close()
}

// Abort ends the session without a word, so that a message that is under way is not delivered.
func (s *Session) Abort() {
	if s.broken == nil {
		s.broken = &Error{Kind: Aborted, Text: "Aborted", address: s.c.Address()}
	}
	_ = s.c.Close()
}

// Address is the backend's address.
func (s *Session) Address() string { return s.c.Address() }
