// Package managesieve is the ManageSieve client side of a proxied login (RFC 5804): STARTTLS, XCLIENT and
// AUTHENTICATE. It imports backend, route and wire.
package managesieve

import (
	"strings"

	"dproxy/backend"
	"dproxy/route"
	"dproxy/wire"
)

// Handshake implements backend.Handshake.
type Handshake struct{}

// Login runs the dialogue of Pigeonhole 0.5's managesieve-proxy. Unlike there, proxy_not_trusted is
// obeyed.
func (Handshake) Login(c *backend.Conn, l *backend.Login) (backend.Welcome, error) {
	d := &dialogue{c: c, l: l, at: "none"}
	c.State = func() string { return d.at }
	ok, _, err := d.capabilities()
	if err == nil && !ok {
		err = &backend.Error{Kind: backend.Protocol, Text: "Remote sent unexpected NO/BYE instead of capability response"}
	}
	if err == nil && l.Target.TLS == route.StartTLS {
		err = d.startTLS()
	}
	if err == nil && d.xclient && !l.Target.NotTrusted {
		err = d.sendXClient()
	}
	if err != nil {
		return backend.Welcome{}, err
	}
	return d.login()
}

type dialogue struct {
	c  *backend.Conn
	l  *backend.Login
	at string // the state in Dovecot's log lines

	// What the last capability list said.
	sasl, starttls, xclient bool
}

// capabilities reads a list up to its response, which is OK or not.
func (d *dialogue) capabilities() (ok bool, last string, err error) {
	d.sasl, d.starttls, d.xclient = false, false, false
	for {
		line, err := d.c.SieveLine()
		if err != nil {
			return false, "", err
		}
		args, err := wire.SieveArgs(line)
		if err != nil || len(args) == 0 || args[0].Kind == wire.SieveList {
			return false, "", &backend.Error{Kind: backend.Protocol, Text: "Remote returned with invalid capability/greeting line: " + backend.Excerpt(line)}
		}
		if args[0].Kind == wire.SieveAtom {
			switch strings.ToUpper(args[0].Text) {
			case "OK":
				return true, line, nil
			case "NO", "BYE":
				return false, line, nil
			}
			return false, "", &backend.Error{Kind: backend.Protocol, Text: "Remote sent invalid response: " + backend.Excerpt(line)}
		}
		switch strings.ToUpper(args[0].Text) {
		case "SASL":
			if len(args) < 2 || args[1].Kind != wire.SieveString {
				return false, "", &backend.Error{Kind: backend.Protocol, Text: "Server returned erroneous SASL capability"}
			}
			d.sasl = strings.Trim(args[1].Text, " ") != ""
		case "STARTTLS":
			d.starttls = true
		case "XCLIENT":
			d.xclient = true
		}
	}
}

func (d *dialogue) startTLS() error {
	if !d.starttls {
		return &backend.Error{Kind: backend.RemoteConfig, Text: "Remote doesn't support STARTTLS"}
	}
	d.at = "tls-start"
	if err := d.c.Send("STARTTLS\r\n"); err != nil {
		return err
	}
	line, err := d.c.SieveLine()
	if err != nil {
		return err
	}
	if !is(line, "OK") {
		return &backend.Error{Kind: backend.Remote, Text: "Remote refused STARTTLS command"}
	}
	if err := d.c.StartTLS(); err != nil {
		return err
	}
	d.at = "tls-ready"
	ok, last, err := d.capabilities()
	if err == nil && !ok {
		err = &backend.Error{Kind: backend.Remote, Text: "Remote STARTTLS failed: " + backend.Excerpt(last)}
	}
	return err
}

// sendXClient tells the backend of the client and waits for its consent.
func (d *dialogue) sendXClient() error {
	d.at = "xclient"
	if err := d.c.Send(d.l.XClient()); err != nil {
		return err
	}
	line, err := d.c.SieveLine()
	if err == nil && !is(line, "OK") {
		err = &backend.Error{Kind: backend.Remote, Text: "Remote XCLIENT failed: " + backend.Excerpt(line)}
	}
	return err
}

// is tells whether a line begins with a response.
func is(line, response string) bool {
	word, _ := wire.Word(line)
	return strings.EqualFold(word, response)
}

func (d *dialogue) login() (backend.Welcome, error) {
	if !d.sasl {
		// No credentials for a server that has login switched off, perhaps for want of TLS.
		return backend.Welcome{}, &backend.Error{Kind: backend.RemoteConfig, Text: "Server has disabled authentication (TLS required?)"}
	}
	d.at = "auth"
	if d.c.R.Buffered() > 0 {
		return backend.Welcome{}, &backend.Error{Kind: backend.Protocol, Text: "Reply to a command that was not sent"}
	}
	t := d.l.Target
	mech := t.Mech
	if mech == "" {
		mech = "PLAIN"
	}
	sasl := backend.NewSASL(t)
	line := "AUTHENTICATE " + wire.SieveQuote(mech)
	if initial := sasl.Initial(); len(initial) > 0 {
		line += " " + wire.SieveQuote(backend.Base64(string(initial)))
	}
	if err := d.c.Send(line + "\r\n"); err != nil {
		return backend.Welcome{}, err
	}
	for {
		line, err := d.c.SieveLine()
		if err != nil {
			return backend.Welcome{}, err
		}
		args, err := wire.SieveArgs(line)
		if err != nil || len(args) == 0 || args[0].Kind == wire.SieveList {
			return backend.Welcome{}, &backend.Error{Kind: backend.Protocol, Text: "Server sent invalid SASL challenge line: " + backend.Excerpt(line)}
		}
		if args[0].Kind == wire.SieveAtom {
			return judge(line, args)
		}
		answer, err := sasl.Answer(args[0].Text, "Server sent invalid base64 data in AUTHENTICATE response")
		if err != nil {
			return backend.Welcome{}, err
		}
		if err := d.c.Send(wire.SieveQuote(answer) + "\r\n"); err != nil {
			return backend.Welcome{}, err
		}
	}
}

// judge takes the response to AUTHENTICATE. A consent goes to the client as it is. A refusal does not,
// so that it cannot tell which users exist, unless it is for now.
func judge(line string, args []wire.SieveArg) (backend.Welcome, error) {
	switch strings.ToUpper(args[0].Text) {
	case "OK":
		return backend.Welcome{Line: line}, nil
	case "NO":
	case "BYE": // a server that goes, which says nothing of the password
		return backend.Welcome{}, &backend.Error{Kind: backend.Remote, Text: "Remote ended the session: " + backend.Excerpt(line)}
	default:
		return backend.Welcome{}, &backend.Error{Kind: backend.Protocol, Text: "Remote sent invalid response: " + backend.Excerpt(line)}
	}
	e := &backend.Error{Kind: backend.Auth, Text: line}
	rest := args[1:]
	later := len(rest) > 0 && rest[0].Kind == wire.SieveList && strings.EqualFold(rest[0].Text, "TRYLATER")
	for _, a := range rest {
		if a.Kind == wire.SieveString {
			e.Text = a.Text
		}
	}
	if _, where, ok := strings.Cut(line, "(REFERRAL "); ok { // RFC 5804 section 1.3
		where, _, _ = strings.Cut(where, ")")
		e.Redirect = strings.Trim(where, `"`)
	}
	if later {
		e.Kind, e.Reply = backend.AuthTempFail, "NO (TRYLATER) "+wire.SieveQuote(wire.Printable(e.Text))
	}
	return backend.Welcome{}, e
}
