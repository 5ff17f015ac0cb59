// Package imap is the IMAP client side of a proxied login (RFC 9051): ID, STARTTLS, CAPABILITY and
// LOGIN or AUTHENTICATE, sent without waiting where Dovecot does not wait. It imports backend, route,
// wire and capability.
package imap

import (
	"bytes"
	"strings"

	"dproxy/backend"
	"dproxy/capability"
	"dproxy/route"
	"dproxy/wire"
)

// Handshake implements backend.Handshake.
type Handshake struct{}

// Login runs the dialogue of Dovecot 2.3's imap-proxy.
func (Handshake) Login(c *backend.Conn, l *backend.Login) (backend.Welcome, error) {
	d := &dialogue{c: c, l: l, received: "none", clear: l.Target.TLS == route.StartTLS}
	c.State = d.state
	line, err := c.Line()
	if err != nil {
		return backend.Welcome{}, err
	}
	if err := d.banner(line); err != nil {
		return backend.Welcome{}, err
	}
	for {
		if line, err = c.Line(); err != nil {
			return backend.Welcome{}, err
		}
		if strings.HasPrefix(line, tagLogin+" ") {
			return d.result(line[len(tagLogin)+1:])
		}
		if err := d.reply(line); err != nil {
			return backend.Welcome{}, err
		}
	}
}

// The fixed tags.
const (
	tagID         = "I"
	tagCapability = "C"
	tagStartTLS   = "S"
	tagLogin      = "L"
)

type dialogue struct {
	c        *backend.Conn
	l        *backend.Login
	sent     [6]bool // commands without an answer yet, in the order of sentNames
	received string
	out      strings.Builder

	clear        bool   // STARTTLS is asked for and not done: nothing that comes is believed
	capabilities string // "" while unknown
	banner0      string // the list in the banner, on which SASL-IR and LOGINDISABLED rest
	asked        bool   // CAPABILITY was sent
	sasl         *backend.SASL
	loginSent    bool
}

var sentNames = [...]string{"id", "starttls", "capability", "authenticate", "auth-continue", "login"}

const (
	sentID = iota
	sentStartTLS
	sentCapability
	sentAuthenticate
	sentAuthContinue
	sentLogin
)

// state is "sent+sent/received" as in Dovecot's log lines.
func (d *dialogue) state() string {
	var s []string
	for i, yes := range d.sent {
		if yes {
			s = append(s, sentNames[i])
		}
	}
	return strings.Join(s, "+") + "/" + d.received
}

// queue adds a command to the next write.
func (d *dialogue) queue(kind int, text string) {
	d.sent[kind] = true
	d.out.WriteString(text)
}

// answered notes the reply to a command.
func (d *dialogue) answered(kind int, received string) {
	d.sent[kind] = false
	d.received = received
}

func (d *dialogue) flush() error {
	text := d.out.String()
	d.out.Reset()
	if text == "" {
		return nil
	}
	return d.c.Send(text)
}

// banner reads the greeting. ID is sent on the strength of its capability list alone, in clear text
// even before STARTTLS.
func (d *dialogue) banner(line string) error {
	text, ok := strings.CutPrefix(line, "* OK ")
	d.received = "banner"
	if !ok {
		return &backend.Error{Kind: backend.Protocol, Text: "Invalid banner: " + backend.Excerpt(line)}
	}
	if list, ok := strings.CutPrefix(text, "[CAPABILITY "); ok {
		list, _, _ = strings.Cut(list, "]")
		d.capabilities, d.banner0 = list, list
		if capability.Has(list, "ID") && !d.l.Target.NotTrusted {
			d.queue(sentID, tagID+" ID ("+idList(d.l)+")\r\n")
			if d.l.Target.NoPipelining {
				return d.flush()
			}
		}
	}
	return d.proceed()
}

// proceed sends STARTTLS, whose answer is awaited, or the login.
func (d *dialogue) proceed() error {
	if d.clear {
		if d.capabilities != "" && !capability.Has(d.capabilities, "STARTTLS") {
			return &backend.Error{Kind: backend.RemoteConfig, Text: "STARTTLS not supported"}
		}
		d.queue(sentStartTLS, tagStartTLS+" STARTTLS\r\n")
		return d.flush()
	}
	if err := d.login(); err != nil {
		return err
	}
	return d.flush()
}

// login queues CAPABILITY when it is needed, and the login unless proxy_nopipelining asks to wait.
func (d *dialogue) login() error {
	t := d.l.Target
	if early := d.c.R.Rest(); bytes.HasPrefix(early, []byte(tagLogin+" ")) || bytes.Contains(early, []byte("\n"+tagLogin+" ")) {
		return premature()
	}
	if !d.asked && (d.capabilities == "" || d.l.AskCapability) {
		d.asked = true
		d.queue(sentCapability, tagCapability+" CAPABILITY\r\n")
		if t.NoPipelining {
			return nil
		}
	}
	d.loginSent = true
	if t.Mech == "" {
		if t.TLS == route.Plain && capability.Has(d.banner0, "LOGINDISABLED") {
			return &backend.Error{Kind: backend.RemoteConfig, Text: "LOGINDISABLED advertised, but SSL/TLS not enabled"}
		}
		d.queue(sentLogin, tagLogin+" LOGIN "+wire.Quote(t.User)+" "+wire.Quote(string(t.Password))+"\r\n")
		return nil
	}
	d.sasl = backend.NewSASL(t)
	text := tagLogin + " AUTHENTICATE " + t.Mech
	if capability.Has(d.banner0, "SASL-IR") {
		text += " " + backend.InitialResponse(d.sasl.Initial())
	}
	d.queue(sentAuthenticate, text+"\r\n")
	return nil
}

// premature is a result before there was a login.
func premature() *backend.Error {
	return &backend.Error{Kind: backend.Protocol, Text: "Tagged reply to a login that was not sent"}
}

// reply handles a line that is not the login's result, in the order of Dovecot's tests.
func (d *dialogue) reply(line string) error {
	tag, rest, _ := strings.Cut(line, " ")
	switch {
	case strings.HasPrefix(line, "+"):
		return d.challenge(line)
	case tag == tagStartTLS && d.clear && d.sent[sentStartTLS]:
		return d.startTLS(line, rest)
	case tag == tagCapability:
		d.answered(sentCapability, "capability")
		if d.asked && !d.loginSent && !d.clear {
			return d.proceed()
		}
	case tag == tagID:
		waits := d.sent[sentID] && d.l.Target.NoPipelining
		d.answered(sentID, "id")
		if waits {
			return d.proceed()
		}
	case tag == "*":
		d.untagged(line, rest)
	default:
		d.c.Report("Unexpected input, ignoring: " + backend.Excerpt(line))
	}
	return nil
}

func (d *dialogue) startTLS(line, rest string) error {
	d.answered(sentStartTLS, "starttls")
	if !strings.HasPrefix(rest, "OK ") {
		// Dovecot shows what follows five bytes.
		return &backend.Error{Kind: backend.Remote, Text: "STARTTLS failed: " + backend.Excerpt(line[min(len("S OK "), len(line)):])}
	}
	d.clear = false
	// The login is queued first, so that a stuck handshake shows Dovecot's state.
	if err := d.login(); err != nil {
		return err
	}
	if err := d.c.StartTLS(); err != nil {
		return err
	}
	return d.flush()
}

// untagged keeps the capability list, drops what concerns this dialogue only, and passes the rest to
// the client, ahead of the tagged reply (Dovecot 2.3). Before STARTTLS nothing is kept or passed.
func (d *dialogue) untagged(line, rest string) {
	word, args, _ := strings.Cut(rest, " ")
	switch {
	case d.clear:
	case strings.EqualFold(word, "CAPABILITY"):
		d.capabilities = args
	case strings.EqualFold(word, "ID"), strings.EqualFold(word, "BYE"):
	case d.l.Untagged != nil:
		d.l.Untagged(line)
	}
}

func (d *dialogue) challenge(line string) error {
	if d.sasl == nil || d.clear {
		return nil // the go-ahead for a literal that was not waited for
	}
	const invalid = "Invalid base64 data in AUTHENTICATE response"
	d.answered(sentAuthenticate, "auth-continue")
	text, ok := strings.CutPrefix(line, "+ ")
	if !ok {
		return &backend.Error{Kind: backend.Protocol, Text: invalid}
	}
	answer, err := d.sasl.Answer(text, invalid)
	if err != nil {
		return err
	}
	d.queue(sentAuthContinue, answer+"\r\n")
	return d.flush()
}

// result judges the tagged reply to the login.
func (d *dialogue) result(rest string) (backend.Welcome, error) {
	if !d.loginSent || d.clear {
		return backend.Welcome{}, premature()
	}
	d.answered(sentLogin, "login")
	if strings.HasPrefix(rest, "OK ") { // Dovecot takes a bare OK for a refusal
		return backend.Welcome{Line: rest, Capability: d.capabilities}, nil
	}
	e := &backend.Error{Kind: backend.Auth, Text: rest}
	if len(rest) > 3 && strings.EqualFold(rest[:3], "NO ") {
		e.Text = rest[3:]
	}
	// A text without a code is not passed on: it may tell which users exist.
	if code, ok := strings.CutPrefix(rest, "NO ["); ok {
		code, _, _ = strings.Cut(code, "]")
		switch {
		case strings.EqualFold(code, "AUTHENTICATIONFAILED"):
		case strings.EqualFold(code, "UNAVAILABLE"):
			e.Kind, e.Reply = backend.AuthTempFail, wire.Printable(rest)
		default:
			e.Reply = wire.Printable(rest)
			if where, ok := strings.CutPrefix(code, "REFERRAL "); ok {
				e.Redirect = where // RFC 2221
			}
		}
	}
	return backend.Welcome{}, e
}
