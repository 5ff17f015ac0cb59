// Package imap is the IMAP client side of a proxied login (RFC 9051): ID, STARTTLS, CAPABILITY and
// LOGIN or AUTHENTICATE, sent without waiting where Dovecot does not wait. It imports backend, route,
// wire and capability.
package imap

import (
	"encoding/base64"
	"strconv"
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
	d := &dialogue{c: c, l: l, received: "none"}
	c.State = d.state
	if err := d.banner(); err != nil {
		return backend.Welcome{}, err
	}
	if err := d.sendLogin(); err != nil {
		return backend.Welcome{}, err
	}
	return d.replies()
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
	budget   backend.Budget
	sent     [6]bool // in the order of sentNames
	received string
	out      strings.Builder

	capabilities   string // "" while unknown
	bannerCaps     string
	sasl           *backend.SASL
	waitID         bool // proxy_nopipelining: a reply is awaited before the next command
	waitCapability bool
	loginSent      bool
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

func (d *dialogue) send(kind int, text string) {
	d.sent[kind] = true
	d.out.WriteString(text)
}

func (d *dialogue) flush() error {
	text := d.out.String()
	d.out.Reset()
	if text == "" {
		return nil
	}
	return d.c.Send(text)
}

func (d *dialogue) line() (string, error) {
	line, err := d.c.Line()
	if err != nil {
		return "", err
	}
	return line, d.budget.Take(line)
}

// banner reads the greeting and does what must be done before the login command: ID in clear text,
// and STARTTLS.
func (d *dialogue) banner() error {
	line, err := d.line()
	if err != nil {
		return err
	}
	d.received = "banner"
	text, ok := strings.CutPrefix(line, "* OK ")
	if !ok {
		d.received = "none"
		return &backend.Error{Kind: backend.Protocol, Text: "Invalid banner: " + cut(line, 160)}
	}
	if list, ok := strings.CutPrefix(text, "[CAPABILITY "); ok {
		list, _, _ = strings.Cut(list, "]")
		d.capabilities, d.bannerCaps = list, list
		if capability.Has(list, "ID") && !d.l.Target.NotTrusted {
			d.send(sentID, tagID+" ID ("+d.idList()+")\r\n")
			d.waitID = d.l.Target.NoPipelining
		}
	}
	if d.l.Target.TLS == route.StartTLS {
		return d.startTLS()
	}
	return nil
}

func (d *dialogue) startTLS() error {
	if d.capabilities != "" && !capability.Has(d.capabilities, "STARTTLS") {
		return &backend.Error{Kind: backend.RemoteConfig, Text: "STARTTLS not supported"}
	}
	d.send(sentStartTLS, tagStartTLS+" STARTTLS\r\n")
	if err := d.flush(); err != nil {
		return err
	}
	for {
		line, err := d.line()
		if err != nil {
			return err
		}
		rest, ok := strings.CutPrefix(line, tagStartTLS+" ")
		if !ok {
			d.beforeTLS(line)
			continue
		}
		d.received = "starttls"
		if !strings.HasPrefix(rest, "OK ") && rest != "OK" {
			return &backend.Error{Kind: backend.Remote, Text: "STARTTLS failed: " + rest}
		}
		return d.c.StartTLS()
	}
}

// beforeTLS takes a line that came in clear text: nothing of it is believed or relayed.
func (d *dialogue) beforeTLS(line string) {
	if strings.HasPrefix(line, tagID+" ") {
		d.received = "id"
		d.waitID = false
	}
}

// sendLogin sends CAPABILITY when it is needed and the login, in one write unless
// proxy_nopipelining asks to wait.
func (d *dialogue) sendLogin() error {
	if d.waitID {
		return d.flush()
	}
	if !d.sent[sentCapability] && (d.capabilities == "" || d.l.AskCapability) {
		d.send(sentCapability, tagCapability+" CAPABILITY\r\n")
		if d.l.Target.NoPipelining {
			d.waitCapability = true
			return d.flush()
		}
	}
	return d.login()
}

func (d *dialogue) login() error {
	t := d.l.Target
	if t.TLS == route.Plain && capability.Has(d.bannerCaps, "LOGINDISABLED") {
		return &backend.Error{Kind: backend.RemoteConfig, Text: "LOGINDISABLED advertised, but SSL/TLS not enabled"}
	}
	d.loginSent = true
	if t.Mech == "" {
		d.send(sentLogin, tagLogin+" LOGIN "+wire.Quote(t.User)+" "+wire.Quote(string(t.Password))+"\r\n")
		return d.flush()
	}
	d.sasl = backend.NewSASL(t)
	text := tagLogin + " AUTHENTICATE " + t.Mech
	if capability.Has(d.bannerCaps, "SASL-IR") {
		text += " " + backend.InitialResponse(d.sasl.Initial())
	}
	d.send(sentAuthenticate, text+"\r\n")
	return d.flush()
}

// replies reads until the login's tagged reply.
func (d *dialogue) replies() (backend.Welcome, error) {
	for {
		line, err := d.line()
		if err != nil {
			return backend.Welcome{}, err
		}
		tag, rest, _ := strings.Cut(line, " ")
		switch {
		case strings.HasPrefix(line, "+"):
			err = d.challenge(line)
		case tag == tagLogin && d.loginSent:
			d.received = "login"
			return d.finished(rest)
		case tag == tagCapability:
			d.received = "capability"
			if d.waitCapability {
				d.waitCapability = false
				err = d.login()
			}
		case tag == tagID:
			d.received = "id"
			if d.waitID {
				d.waitID = false
				err = d.sendLogin()
			}
		case tag == "*":
			d.untagged(rest)
		}
		if err != nil {
			return backend.Welcome{}, err
		}
	}
}

// untagged keeps the capability list, drops what concerns this dialogue only, and passes the rest to
// the client, ahead of the tagged reply (Dovecot 2.3).
func (d *dialogue) untagged(rest string) {
	word, args, _ := strings.Cut(rest, " ")
	switch {
	case strings.EqualFold(word, "CAPABILITY"):
		d.capabilities = args
	case strings.EqualFold(word, "ID"), strings.EqualFold(word, "BYE"):
	case d.l.Untagged != nil && d.loginSent:
		d.l.Untagged("* " + rest)
	}
}

func (d *dialogue) challenge(line string) error {
	if d.sasl == nil {
		return nil // the go-ahead for a literal that was not waited for
	}
	d.received = "auth-continue"
	text, ok := strings.CutPrefix(line, "+ ")
	in, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil {
		return &backend.Error{Kind: backend.Protocol, Text: "Invalid base64 data in AUTHENTICATE response"}
	}
	out, err := d.sasl.Next(in)
	if err != nil {
		return err
	}
	d.send(sentAuthContinue, base64.StdEncoding.EncodeToString(out)+"\r\n")
	return d.flush()
}

// finished judges the tagged reply to the login.
func (d *dialogue) finished(rest string) (backend.Welcome, error) {
	if text, ok := strings.CutPrefix(rest, "OK"); ok && (text == "" || text[0] == ' ') {
		return backend.Welcome{Line: rest, Capability: d.capabilities}, nil
	}
	e := &backend.Error{Kind: backend.Auth, Text: rest}
	if text, ok := strings.CutPrefix(rest, "NO "); ok {
		e.Text = text
		switch {
		case strings.HasPrefix(text, "[UNAVAILABLE]"):
			e.Kind, e.Reply = backend.AuthTempFail, rest
		case strings.HasPrefix(text, "[AUTHENTICATIONFAILED]"), !strings.HasPrefix(text, "["):
		default:
			e.Reply = rest
		}
	}
	return backend.Welcome{}, e
}

// idList is the ID parameter list that tells the backend of the client (Dovecot 2.3 order).
func (d *dialogue) idList() string {
	id := d.l.Identity
	var b strings.Builder
	if id.ClientID != "" {
		b.WriteString(id.ClientID + " ")
	}
	pair := func(key, value string) {
		if b.Len() > 0 && !strings.HasSuffix(b.String(), " ") {
			b.WriteByte(' ')
		}
		b.WriteString(wire.Quote(key) + " ")
		if value == "" {
			b.WriteString("NIL")
		} else {
			b.WriteString(wire.Quote(value))
		}
	}
	pair("x-session-id", id.Session)
	pair("x-originating-ip", id.Remote.Addr().String())
	pair("x-originating-port", strconv.Itoa(int(id.Remote.Port())))
	pair("x-connected-ip", id.Local.Addr().String())
	pair("x-connected-port", strconv.Itoa(int(id.Local.Port())))
	pair("x-proxy-ttl", strconv.Itoa(id.TTL-1))
	for _, f := range d.l.Target.Forward {
		pair("x-forward-"+f.Name, f.Value)
	}
	return b.String()
}

func cut(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}
