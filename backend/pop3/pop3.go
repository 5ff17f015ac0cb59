// Package pop3 is the POP3 client side of a proxied login (RFC 1939, 2595, 5034): STLS, XCLIENT, and
// USER with PASS or AUTH. It imports backend, route and wire.
package pop3

import (
	"strings"

	"dproxy/backend"
	"dproxy/route"
	"dproxy/wire"
)

// Handshake implements backend.Handshake.
type Handshake struct{}

// Login runs the dialogue of Dovecot 2.3's pop3-proxy.
func (Handshake) Login(c *backend.Conn, l *backend.Login) (backend.Welcome, error) {
	d := &dialogue{c: c, l: l, at: "banner"}
	c.State = func() string { return d.at }
	line, err := c.Line()
	if err != nil {
		return backend.Welcome{}, err
	}
	if !strings.HasPrefix(line, "+OK") {
		return backend.Welcome{}, &backend.Error{Kind: backend.Protocol, Text: "Invalid banner: " + backend.Excerpt(line)}
	}
	// What the banner says counts after STLS too.
	d.xclient = strings.HasPrefix(line, "+OK [XCLIENT]") && !l.Target.NotTrusted
	if l.Target.TLS == route.StartTLS {
		if err := d.startTLS(); err != nil {
			return backend.Welcome{}, err
		}
	}
	return d.login()
}

type dialogue struct {
	c       *backend.Conn
	l       *backend.Login
	at      string // the state in Dovecot's log lines
	xclient bool
}

// send writes a command. A backend that has answered it already is not believed: it hears no password, and says
// nothing about one.
func (d *dialogue) send(text string) error {
	if d.c.R.Buffered() > 0 {
		return &backend.Error{Kind: backend.Protocol, Text: "Reply to a command that was not sent"}
	}
	return d.c.Send(text)
}

// consent awaits +OK.
func (d *dialogue) consent(failure string) error {
	line, err := d.c.Line()
	if err == nil && !strings.HasPrefix(line, "+OK") {
		err = &backend.Error{Kind: backend.Remote, Text: failure + ": " + backend.Excerpt(line)}
	}
	return err
}

func (d *dialogue) startTLS() error {
	d.at = "starttls"
	if err := d.send("STLS\r\n"); err != nil {
		return err
	}
	if err := d.consent("STLS failed"); err != nil {
		return err
	}
	return d.c.StartTLS()
}

// login sends XCLIENT and the first login command in one write.
func (d *dialogue) login() (backend.Welcome, error) {
	t := d.l.Target
	out := ""
	if d.xclient {
		out = d.l.XClient()
		d.at = "xclient"
	}
	var sasl *backend.SASL
	first := "login1"
	if t.Mech != "" {
		sasl = backend.NewSASL(t)
		out += "AUTH " + t.Mech + " " + backend.InitialResponse(sasl.Initial()) + "\r\n"
		first = "login2"
	} else {
		out += "USER " + t.User + "\r\n"
	}
	if !d.xclient {
		d.at = first
	}
	if err := d.send(out); err != nil {
		return backend.Welcome{}, err
	}
	if d.xclient {
		if err := d.consent("XCLIENT failed"); err != nil {
			return backend.Welcome{}, err
		}
		d.at = first
	}
	if sasl != nil {
		return d.authenticate(sasl)
	}
	line, err := d.c.Line()
	if err != nil {
		return backend.Welcome{}, err
	}
	if !strings.HasPrefix(line, "+OK") {
		return backend.Welcome{}, refusal(line)
	}
	d.at = "login2"
	if err := d.send("PASS " + string(t.Password) + "\r\n"); err != nil {
		return backend.Welcome{}, err
	}
	if line, err = d.c.Line(); err != nil {
		return backend.Welcome{}, err
	}
	return judge(line)
}

func (d *dialogue) authenticate(sasl *backend.SASL) (backend.Welcome, error) {
	for {
		line, err := d.c.Line()
		if err != nil {
			return backend.Welcome{}, err
		}
		text, ok := strings.CutPrefix(line, "+ ")
		if !ok {
			return judge(line)
		}
		answer, err := sasl.Answer(text, "Invalid base64 data in AUTH response")
		if err != nil {
			return backend.Welcome{}, err
		}
		if err := d.send(answer + "\r\n"); err != nil {
			return backend.Welcome{}, err
		}
	}
}

func judge(line string) (backend.Welcome, error) {
	if strings.HasPrefix(line, "+OK") {
		return backend.Welcome{Line: line}, nil
	}
	return backend.Welcome{}, refusal(line)
}

// refusal passes the backend's own words on; a temporary one is tried again first.
func refusal(line string) *backend.Error {
	text, ok := strings.CutPrefix(line, "-ERR ")
	if !ok {
		return &backend.Error{Kind: backend.Auth, Text: line, Reply: "-ERR Authentication failed."}
	}
	e := &backend.Error{Kind: backend.Auth, Text: text, Reply: wire.Printable(line)}
	if strings.HasPrefix(text, "[SYS/TEMP]") {
		e.Kind = backend.AuthTempFail
	}
	if where, ok := strings.CutPrefix(text, "[REFERRAL/"); ok { // Dovecot 2.4
		e.Redirect, _, _ = strings.Cut(where, "]")
	}
	return e
}
