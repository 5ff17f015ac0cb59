// Package pop3 is the POP3 client side of a proxied login (RFC 1939, 2595, 5034): STLS, XCLIENT, and
// USER with PASS or AUTH. It imports backend, route and wire.
package pop3

import (
	"encoding/base64"
	"strconv"
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
	line, err := d.line()
	if err != nil {
		return backend.Welcome{}, err
	}
	if !strings.HasPrefix(line, "+OK") {
		return backend.Welcome{}, &backend.Error{Kind: backend.Protocol, Text: "Invalid banner: " + line}
	}
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
	budget  backend.Budget
	at      string
	xclient bool
}

func (d *dialogue) line() (string, error) {
	line, err := d.c.Line()
	if err != nil {
		return "", err
	}
	return line, d.budget.Take(line)
}

func (d *dialogue) startTLS() error {
	d.at = "starttls"
	if err := d.c.Send("STLS\r\n"); err != nil {
		return err
	}
	line, err := d.line()
	if err != nil {
		return err
	}
	if !strings.HasPrefix(line, "+OK") {
		return &backend.Error{Kind: backend.Remote, Text: "STLS failed: " + line}
	}
	return d.c.StartTLS()
}

// login sends XCLIENT and the first login command in one write.
func (d *dialogue) login() (backend.Welcome, error) {
	t := d.l.Target
	out := ""
	if d.xclient {
		out = d.xclientLine()
	}
	var sasl *backend.SASL
	if t.Mech != "" {
		sasl = backend.NewSASL(t)
		out += "AUTH " + t.Mech + " " + backend.InitialResponse(sasl.Initial()) + "\r\n"
	} else {
		out += "USER " + t.User + "\r\n"
	}
	if err := d.c.Send(out); err != nil {
		return backend.Welcome{}, err
	}
	if d.xclient {
		d.at = "xclient"
		line, err := d.line()
		if err != nil {
			return backend.Welcome{}, err
		}
		if !strings.HasPrefix(line, "+OK") {
			return backend.Welcome{}, &backend.Error{Kind: backend.Remote, Text: "XCLIENT failed: " + line}
		}
	}
	if sasl != nil {
		return d.authenticate(sasl)
	}
	d.at = "login1"
	line, err := d.line()
	if err != nil {
		return backend.Welcome{}, err
	}
	if !strings.HasPrefix(line, "+OK") {
		return backend.Welcome{}, refusal(line)
	}
	d.at = "login2"
	if err := d.c.Send("PASS " + string(t.Password) + "\r\n"); err != nil {
		return backend.Welcome{}, err
	}
	return d.finished()
}

func (d *dialogue) authenticate(sasl *backend.SASL) (backend.Welcome, error) {
	d.at = "login2"
	for {
		line, err := d.line()
		if err != nil {
			return backend.Welcome{}, err
		}
		text, ok := strings.CutPrefix(line, "+ ")
		if !ok {
			return judge(line)
		}
		in, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return backend.Welcome{}, &backend.Error{Kind: backend.Protocol, Text: "Invalid base64 data in AUTH response"}
		}
		answer, err := sasl.Next(in)
		if err != nil {
			return backend.Welcome{}, err
		}
		if err := d.c.Send(base64.StdEncoding.EncodeToString(answer) + "\r\n"); err != nil {
			return backend.Welcome{}, err
		}
	}
}

func (d *dialogue) finished() (backend.Welcome, error) {
	line, err := d.line()
	if err != nil {
		return backend.Welcome{}, err
	}
	return judge(line)
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
	switch {
	case !ok:
		return &backend.Error{Kind: backend.Auth, Text: line}
	case strings.HasPrefix(text, "[SYS/TEMP]"):
		return &backend.Error{Kind: backend.AuthTempFail, Text: text, Reply: line}
	}
	return &backend.Error{Kind: backend.Auth, Text: text, Reply: line}
}

// xclientLine tells the backend of the client: XCLIENT ADDR PORT SESSION TTL and, when there are
// forward_* fields, FORWARD with their tab-escaped list in base64 (Dovecot 2.3).
func (d *dialogue) xclientLine() string {
	id := d.l.Identity
	var b strings.Builder
	b.WriteString("XCLIENT ADDR=" + id.Remote.Addr().String() + " PORT=" + strconv.Itoa(int(id.Remote.Port())) +
		" SESSION=" + id.Session + " TTL=" + strconv.Itoa(id.TTL-1))
	if f := d.l.Target.Forward; len(f) > 0 {
		list := make([]string, len(f))
		for i, x := range f {
			list[i] = wire.TabEscape(x.Name) + "=" + wire.TabEscape(x.Value)
		}
		b.WriteString(" FORWARD=" + base64.StdEncoding.EncodeToString([]byte(strings.Join(list, "\t"))))
	}
	b.WriteString("\r\n")
	return b.String()
}
