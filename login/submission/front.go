// Package submission is the Submission server side before login (RFC 6409, 4954, 3207, and Postfix's
// XCLIENT), with the commands, texts and bounds of Dovecot 2.3's submission-login. Nothing but a login
// leads to a backend. It imports login, backend, capability, wire and event.
package submission

import (
	"strings"

	"dproxy/backend"
	"dproxy/event"
	"dproxy/login"
)

// New makes the front of one connection.
func New(c *login.Client) login.Front { return &front{c: c} }

type front struct {
	c     *login.Client
	cred  login.Credentials
	bad   int    // bad commands in a row
	fault string // the reply to a line that was no SASL response

	helo   string // the argument of EHLO or HELO, if it is a name
	old    bool   // it was HELO
	stated stated
}

// greet sends the greeting, which stands at the session's begin and at every new one.
func (f *front) greet() {
	f.c.Send("220 ", f.c.Terms().Hostname, " ", f.c.Greeting(), "\r\n")
}

// Greet implements login.Front.
func (f *front) Greet() error {
	f.greet()
	return nil
}

// codes are the beginnings of the replies to AUTH (RFC 4954 section 6, RFC 5248).
var codes = map[login.Cause]string{
	login.TempFail:         "454 4.7.0 ",
	login.Unavailable:      "454 4.7.0 ",
	login.Misconfigured:    "454 4.7.0 ",
	login.TooMany:          "421 4.7.0 ",
	login.Aborted:          "501 5.5.2 ",
	login.InvalidBase64:    "501 5.5.2 ",
	login.NeedsTLS:         "530 5.7.0 ",
	login.MechNeedsTLS:     "523 5.7.10 ",
	login.PasswordNeedsTLS: "523 5.7.10 ",
	login.MechInvalid:      "504 5.5.4 ",
	login.LoginDisabled:    "525 5.7.13 ",
	login.AnonymousDenied:  "525 5.7.13 ",
}

// Refuse implements login.Front.
func (f *front) Refuse(r login.Refusal) error {
	fault := f.fault
	f.fault = ""
	switch code, ok := codes[r.Cause]; {
	case fault != "":
		return f.reply(fault)
	case r.Cause == login.BackendRefused && strings.HasPrefix(r.Reply, "421"):
		f.c.Send(r.Reply, "\r\n")
		return &login.End{Log: "Server closed the connection: " + event.Clean(r.Reply, 200), Label: "backend_bye"}
	case r.Cause == login.BackendRefused:
		return f.reply(r.Reply)
	case ok:
		return f.reply(code + r.Text)
	}
	return f.reply("535 5.7.8 " + r.Text)
}

// Welcome implements login.Front: the backend's final reply, with its codes.
func (f *front) Welcome(w backend.Welcome) error {
	f.c.Send(w.Line, "\r\n")
	return nil
}

// Prepare implements login.Preparer. What a trusted peer has stated wins over what it said of itself.
func (f *front) Prepare(l *backend.Login) {
	l.Identity.Helo, l.Identity.Proto = f.helo, "ESMTP"
	if f.old {
		l.Identity.Proto = "SMTP"
	}
	if f.stated.helo != "" {
		l.Identity.Helo = f.stated.helo
	}
	if f.stated.proto != "" {
		l.Identity.Proto = f.stated.proto
	}
}

// Bye implements login.Front.
func (f *front) Bye(b login.Bye) {
	code := "421 4.0.0 "
	switch b.Why {
	case login.ByeClient:
		code = "421 4.7.0 "
	case login.ByeTimeout:
		code = "421 4.4.2 "
	case login.ByeShutdown:
		code = "421 4.3.2 "
	}
	f.c.Send(code, f.c.Terms().Hostname, " ", b.Text, "\r\n")
}
