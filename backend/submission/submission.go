// Package submission is the SMTP client side of a proxied login (RFC 5321, 4954, 3207 and Postfix's
// XCLIENT): EHLO, STARTTLS, XCLIENT and AUTH. It imports backend, route and wire.
package submission

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"dproxy/backend"
	"dproxy/route"
	"dproxy/wire"
)

// Handshake implements backend.Handshake.
type Handshake struct{}

// Login runs the dialogue of Dovecot 2.3's submission-proxy.
func (Handshake) Login(c *backend.Conn, l *backend.Login) (backend.Welcome, error) {
	d := &dialogue{c: c, l: l, at: "banner"}
	c.State = func() string { return d.at }
	if _, err := d.reply(expect{220, backend.Protocol, "Invalid banner"}); err != nil {
		return backend.Welcome{}, err
	}
	if err := d.ehlo("ehlo"); err != nil {
		return backend.Welcome{}, err
	}
	if l.Target.TLS == route.StartTLS {
		if err := d.startTLS(); err != nil {
			return backend.Welcome{}, err
		}
	}
	if err := d.xclient(); err != nil {
		return backend.Welcome{}, err
	}
	if l.Target.NoAuth {
		return backend.Welcome{Line: "235 2.7.0 Logged in."}, nil
	}
	return d.login()
}

// maxLine is the longest command without its CRLF: a longer AUTH has its response asked for (RFC 4954
// section 4).
const maxLine = 512

type dialogue struct {
	c  *backend.Conn
	l  *backend.Login
	at string // the state in Dovecot's log lines

	// What the last EHLO reply said.
	starttls, auth, enhanced bool
	listed                   []string // XCLIENT's fields
}

// expect is what a reply must be. Any 2yz does when there is no code.
type expect struct {
	code int
	kind backend.Kind // of a reply that is another
	text string       // before that reply's line
}

// reply reads a reply line by line; the first line that is wrong ends the login.
func (d *dialogue) reply(want expect) (wire.Reply, error) {
	var r wire.Reply
	for {
		line, err := d.c.Line()
		if err != nil {
			return r, err
		}
		done, err := add(&r, line)
		var mixed *backend.Error
		if errors.As(err, &mixed) {
			return r, mixed
		}
		if err != nil || want.code != 0 && r.Code != want.code || want.code == 0 && !r.OK() {
			return r, &backend.Error{Kind: want.kind, Text: want.text + ": " + backend.Excerpt(line)}
		}
		if done {
			return r, nil
		}
	}
}

// add takes a line into a reply. A line of a code alone is too short for Dovecot's submission-proxy.
func add(r *wire.Reply, line string) (done bool, err error) {
	code := r.Code
	if len(line) < 4 {
		return false, wire.ErrReplyCode
	}
	done, err = r.Add(line)
	if errors.Is(err, wire.ErrReplyMixed) {
		return false, &backend.Error{Kind: backend.Protocol, Text: fmt.Sprintf("Inconsistent SMTP reply: %s (status != %d)", backend.Excerpt(line), code)}
	}
	return done, err
}

// ehlo sends EHLO and learns what the backend can do.
func (d *dialogue) ehlo(state string) error {
	d.at = state
	if err := d.c.Send("EHLO " + d.l.Identity.Name() + "\r\n"); err != nil {
		return err
	}
	return d.capabilities()
}

func (d *dialogue) capabilities() error {
	r, err := d.reply(expect{0, backend.Protocol, "Invalid EHLO line"})
	if err != nil {
		return err
	}
	d.starttls, d.auth, d.enhanced, d.listed = false, false, false, nil
	for _, line := range r.Lines {
		word, args := wire.Word(line)
		switch strings.ToUpper(word) {
		case "XCLIENT":
			d.listed = strings.Fields(args)
		case "STARTTLS":
			d.starttls = true
		case "AUTH":
			d.auth = d.auth || args != ""
		case "ENHANCEDSTATUSCODES":
			d.enhanced = true
		}
	}
	return nil
}

func (d *dialogue) startTLS() error {
	if !d.starttls {
		return &backend.Error{Kind: backend.RemoteConfig, Text: "STARTTLS not supported"}
	}
	d.at = "starttls"
	if err := d.c.Send("STARTTLS\r\n"); err != nil {
		return err
	}
	if _, err := d.reply(expect{220, backend.Remote, "STARTTLS failed"}); err != nil {
		return err
	}
	if err := d.c.StartTLS(); err != nil {
		return err
	}
	return d.ehlo("tls-ehlo")
}

// xclient tells the backend of the client, with the EHLO that must follow in the same write. Only that
// EHLO's answer counts afterwards.
func (d *dialogue) xclient() error {
	if d.l.Target.NotTrusted || d.listed == nil {
		return nil
	}
	commands := backend.SMTPXClient(d.fields(), d.listed)
	if len(commands) == 0 {
		return nil
	}
	d.at = "xclient"
	if err := d.c.Send(strings.Join(commands, "\r\n") + "\r\nEHLO " + d.l.Identity.Name() + "\r\n"); err != nil {
		return err
	}
	for range commands {
		if _, err := d.reply(expect{0, backend.Remote, "XCLIENT failed"}); err != nil {
			return err
		}
	}
	d.at = "xclient-ehlo"
	return d.capabilities()
}

// fields are XCLIENT's, in Dovecot's order. IPv6 addresses have the prefix that Postfix asks for, which
// Dovecot 2.3 leaves out and 2.4 has.
func (d *dialogue) fields() []backend.XClientField {
	id := d.l.Identity
	orUnavailable := func(s string) string {
		if s == "" {
			return "[UNAVAILABLE]"
		}
		return s
	}
	out := []backend.XClientField{{Name: "HELO", Value: orUnavailable(id.Helo)}, {Name: "PROTO", Value: orUnavailable(id.Proto)}}
	if d.l.Target.NoAuth {
		out = append(out, backend.XClientField{Name: "LOGIN", Value: orUnavailable(d.c.User())})
	}
	addr := id.Remote.Addr().String()
	if id.Remote.Addr().Is6() {
		addr = "IPV6:" + addr
	}
	out = append(out,
		backend.XClientField{Name: "TTL", Value: strconv.Itoa(id.TTL - 1)},
		backend.XClientField{Name: "PORT", Value: strconv.Itoa(int(id.Remote.Port()))},
		backend.XClientField{Name: "ADDR", Value: addr},
		backend.XClientField{Name: "SESSION", Value: id.Session},
	)
	if list := backend.ForwardList(d.l.Target.Forward); list != "" {
		out = append(out, backend.XClientField{Name: "FORWARD", Value: backend.Base64(list)})
	}
	return out
}

func (d *dialogue) login() (backend.Welcome, error) {
	if !d.auth {
		// No credentials for a server that has login switched off, perhaps for want of TLS.
		return backend.Welcome{}, &backend.Error{Kind: backend.RemoteConfig, Text: "Authentication support not advertised (TLS required?)"}
	}
	d.at = "authenticate"
	t := d.l.Target
	mech := t.Mech
	if mech == "" {
		mech = "PLAIN"
	}
	sasl := backend.NewSASL(t)
	initial := backend.InitialResponse(sasl.Initial())
	line, asked := "AUTH "+mech+" "+initial, ""
	if len(line) > maxLine {
		line, asked = "AUTH "+mech, initial
	}
	if d.c.R.Buffered() > 0 {
		return backend.Welcome{}, &backend.Error{Kind: backend.Protocol, Text: "Reply to a command that was not sent"}
	}
	if err := d.c.Send(line + "\r\n"); err != nil {
		return backend.Welcome{}, err
	}
	for {
		r, err := d.result()
		if err != nil {
			return backend.Welcome{}, err
		}
		if r.Code != 334 {
			return d.judge(r)
		}
		answer, err := d.challenge(r, sasl, asked)
		if err != nil {
			return backend.Welcome{}, err
		}
		asked = ""
		if err := d.c.Send(answer + "\r\n"); err != nil {
			return backend.Welcome{}, err
		}
	}
}

// result reads any reply to AUTH. What is no reply at all is no refusal either.
func (d *dialogue) result() (wire.Reply, error) {
	var r wire.Reply
	for {
		line, err := d.c.Line()
		if err != nil {
			return r, err
		}
		done, err := add(&r, line)
		var mixed *backend.Error
		switch {
		case errors.As(err, &mixed):
			return r, mixed
		case err != nil:
			return r, &backend.Error{Kind: backend.Protocol, Text: "Invalid AUTH reply: " + backend.Excerpt(line)}
		case done:
			return r, nil
		}
	}
}

// challenge answers a 334. asked is an initial response that waits for an empty one.
func (d *dialogue) challenge(r wire.Reply, sasl *backend.SASL, asked string) (string, error) {
	text := r.Lines[0]
	switch {
	case len(r.Lines) > 1:
		return "", &backend.Error{Kind: backend.Protocol, Text: "Server returned multi-line challenge: 334 " + backend.Excerpt(text)}
	case asked == "":
		return sasl.Answer(text, "Invalid base64 data in AUTH response")
	case text != "":
		return "", &backend.Error{Kind: backend.Protocol, Text: "Server sent unexpected server-first challenge: 334 " + backend.Excerpt(text)}
	}
	return asked, nil
}

// judge takes the final reply to AUTH, which goes to the client as it is.
func (d *dialogue) judge(r wire.Reply) (backend.Welcome, error) {
	if r.OK() {
		return backend.Welcome{Line: r.Wire()}, nil
	}
	text := r.Lines[len(r.Lines)-1]
	if d.enhanced {
		_, text = wire.Enhanced(r.Code, text)
	}
	e := &backend.Error{Kind: backend.Auth, Text: text}
	switch r.Class() {
	case 4:
		e.Kind = backend.AuthTempFail
	case 3:
		return backend.Welcome{}, &backend.Error{Kind: backend.Protocol, Text: "Invalid AUTH reply: " + backend.Excerpt(r.Wire())}
	}
	e.Redirect = backend.SMTPRedirect(r)
	clean := wire.Reply{Code: r.Code}
	for _, line := range r.Lines {
		clean.Lines = append(clean.Lines, wire.Printable(line))
	}
	e.Reply = clean.Wire()
	return backend.Welcome{}, e
}
