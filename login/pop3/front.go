// Package pop3 is the POP3 server side before login (RFC 1939, 2449, 2595, 5034), with the commands,
// texts and bounds of Dovecot 2.3's pop3-login. It imports login, backend, capability, wire and event.
package pop3

import (
	"strings"

	"dproxy/backend"
	"dproxy/capability"
	"dproxy/login"
	"dproxy/wire"
)

// New makes the front of one connection.
func New(c *login.Client) login.Front { return &front{c: c} }

type front struct {
	c         *login.Client
	cred      login.Credentials
	user      string // from USER
	hasUser   bool
	bad       int
	challenge string // of APOP, in the greeting
}

// texts are what connections with the same settings share.
type texts struct {
	capa       [4]string // whole replies, by state
	mechanisms [4]string
	apop       bool
}

func derive(t *login.Terms) any {
	x := &texts{}
	for i := range x.capa {
		state := t.State(i&secured != 0, i&tls != 0)
		x.capa[i] = "+OK\r\n" + strings.Join(capability.POP3(state), "\r\n") + "\r\n.\r\n"
		x.mechanisms[i] = "+OK\r\n"
		for _, m := range state.Visible() {
			x.mechanisms[i] += m + "\r\n"
		}
		x.mechanisms[i] += ".\r\n"
	}
	for _, m := range t.Mechanisms {
		x.apop = x.apop || m.Name == "APOP"
	}
	return x
}

func (f *front) texts() *texts { return f.c.Derived(derive).(*texts) }

// The bits of a state.
const (
	secured = 1
	tls     = 2
)

// state is the index of the texts that hold now.
func (f *front) state() int {
	i := 0
	if f.c.Secured() {
		i |= secured
	}
	if f.c.TLS() {
		i |= tls
	}
	return i
}

// Greet implements login.Front. A trusted peer is told that it may use XCLIENT; with APOP enabled the
// challenge stands at the end (RFC 1939 section 7).
func (f *front) Greet() error {
	f.c.Send("+OK ")
	if f.c.Trusted() {
		f.c.Send("[XCLIENT] ")
	}
	f.c.Send(f.c.Greeting())
	if f.texts().apop {
		f.challenge = newChallenge(f.c.Terms().Hostname)
		f.c.Send(" ", f.challenge)
	}
	f.c.Send("\r\n")
	return nil
}

// Refuse implements login.Front.
func (f *front) Refuse(r login.Refusal) error {
	switch r.Cause {
	case login.Aborted, login.Referred, login.BackendFailed, login.Misconfigured:
		f.c.Send("-ERR ", r.Text, "\r\n")
	case login.TempFail, login.Unavailable:
		f.c.Send("-ERR [SYS/TEMP] ", r.Text, "\r\n")
	case login.TooMany:
		f.c.Send("-ERR [IN-USE] ", r.Text, "\r\n")
	case login.BackendRefused:
		f.c.Send(r.Reply, "\r\n")
	default:
		if strings.HasPrefix(r.Text, "[") {
			f.c.Send("-ERR ", r.Text, "\r\n")
		} else {
			f.c.Send("-ERR [AUTH] ", r.Text, "\r\n")
		}
	}
	return nil
}

// Welcome implements login.Front.
func (f *front) Welcome(w backend.Welcome) error {
	line := w.Line
	if wire.HasControl(line) {
		line = wire.Printable(line)
	}
	f.c.Send(line, "\r\n")
	return nil
}

// Bye implements login.Front.
func (f *front) Bye(b login.Bye) {
	if b.Why == login.ByeInternal {
		f.c.Send("-ERR [SYS/TEMP] ", b.Text, "\r\n")
		return
	}
	f.c.Send("-ERR ", b.Text, "\r\n")
}
