// Package imap is the IMAP server side before login (RFC 9051), with the commands, texts and bounds
// of Dovecot 2.3's imap-login. It imports login, backend, capability, wire and event.
package imap

import (
	"strings"

	"dproxy/backend"
	"dproxy/capability"
	"dproxy/login"
	"dproxy/wire"
)

// New makes the front of one connection.
func New(c *login.Client) login.Front {
	return &front{c: c, in: input{c: c, ended: true}}
}

type front struct {
	c    *login.Client
	in   input
	cred login.Credentials
	tag  string
	bad  int

	unknown    bool // the command that was bad has no such name
	asked      bool // the client has used CAPABILITY, before any STARTTLS
	startedTLS bool
	idSeen     bool
}

// texts are what connections with the same settings share.
type texts struct {
	capability [4]string // by state
	greeting   [4]string // whole lines; empty when the greeting has variables
	id         string
	retain     bool
	logAll     bool
	logKeys    []string
}

// derive makes the texts of a set of settings.
func derive(t *login.Terms) any {
	x := &texts{id: idReply(t.Settings.IMAPIDSend), retain: t.Settings.IMAPIDRetain}
	list := capability.IMAP{Capability: t.Settings.IMAPCapability, LiteralMinus: t.Settings.IMAPLiteralMinus}
	greeting, literal := t.LiteralGreeting()
	for i := range x.capability {
		x.capability[i] = list.String(t.State(i&secured != 0, i&tls != 0))
		if literal {
			x.greeting[i] = greetingLine(x.capability[i], greeting)
		}
	}
	x.logAll = t.Settings.IMAPIDLog == "*"
	x.logKeys = strings.Fields(t.Settings.IMAPIDLog)
	return x
}

func greetingLine(capability, greeting string) string {
	return "* OK [CAPABILITY " + capability + "] " + greeting + "\r\n"
}

func (t *texts) logs(key string) bool {
	if t.logAll {
		return true
	}
	for _, k := range t.logKeys {
		if equalFold(k, key) {
			return true
		}
	}
	return false
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

func (f *front) reply(text string) { f.c.Send(f.tag, " ", text, "\r\n") }

// Greet implements login.Front.
func (f *front) Greet() error {
	t := f.texts()
	line := t.greeting[f.state()]
	if line == "" {
		line = greetingLine(t.capability[f.state()], f.c.Greeting())
	}
	f.c.Send(line)
	return nil
}

// Waiting implements login.Waiter.
func (f *front) Waiting() {
	f.c.Send("* OK Waiting for authentication process to respond..\r\n")
	_ = f.c.Flush() // the client's goroutine will see the error
}

// Prepare implements login.Preparer.
func (f *front) Prepare(l *backend.Login) {
	l.AskCapability = f.asked
	l.Untagged = func(line string) {
		f.c.Send(oneLine(line), "\r\n")
		_ = f.c.Flush() // the end of the login will see the error
	}
}

// Refuse implements login.Front.
func (f *front) Refuse(r login.Refusal) error {
	switch r.Cause {
	case login.AuthFailed, login.BackendFailed:
		f.reply("NO [AUTHENTICATIONFAILED] " + r.Text)
	case login.AuthReason, login.MechInvalid:
		if strings.HasPrefix(r.Text, "[") {
			f.reply("NO " + r.Text)
		} else {
			f.reply("NO [ALERT] " + r.Text)
		}
	case login.AuthzFailed:
		f.reply("NO [AUTHORIZATIONFAILED] " + r.Text)
	case login.TempFail, login.Unavailable:
		f.reply("NO [UNAVAILABLE] " + r.Text)
	case login.PassExpired:
		f.reply("NO [EXPIRED] " + r.Text)
	case login.InvalidBase64, login.Aborted:
		f.reply("BAD " + r.Text)
	case login.LoginDisabled, login.AnonymousDenied:
		f.reply("NO [CONTACTADMIN] " + r.Text)
	case login.MechNeedsTLS, login.PasswordNeedsTLS, login.NeedsTLS:
		f.reply("NO [PRIVACYREQUIRED] " + r.Text)
	case login.Referred:
		f.reply("NO [REFERRAL " + r.Referral.URL("imap", "143") + "/] " + r.Text)
	case login.TooMany:
		f.reply("NO [LIMIT] " + r.Text)
	case login.Misconfigured:
		f.reply("NO [SERVERBUG] " + r.Text)
	case login.BackendRefused:
		f.reply(r.Reply)
	}
	return nil
}

// Welcome implements login.Front: the backend's OK with the client's tag. A client that has asked for
// capabilities hears the backend's; another gets them in the reply, in the place of any other response
// code.
func (f *front) Welcome(w backend.Welcome) error {
	line := oneLine(w.Line)
	_, text, _ := strings.Cut(line, " ")
	code, rest := responseCode(text)
	list, inReply := cutFold(code, "CAPABILITY ")
	if !inReply {
		list = oneLine(w.Capability)
	}
	switch {
	case list == "":
		f.reply(line)
	case f.asked:
		f.c.Send("* CAPABILITY ", list, "\r\n")
		f.reply(line)
	case inReply:
		f.reply(line)
	default:
		f.reply("OK [CAPABILITY " + list + "] " + rest)
	}
	return nil
}

// Bye implements login.Front.
func (f *front) Bye(b login.Bye) {
	if b.Why == login.ByeInternal {
		f.c.Send("* BYE [UNAVAILABLE] ", b.Text, "\r\n")
		return
	}
	f.c.Send("* BYE ", b.Text, "\r\n")
}

// responseCode splits "[code] text".
func responseCode(text string) (code, rest string) {
	inner, ok := strings.CutPrefix(text, "[")
	if !ok {
		return "", text
	}
	code, rest, ok = strings.Cut(inner, "]")
	if !ok {
		return "", text
	}
	return code, strings.TrimPrefix(rest, " ")
}

func cutFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !equalFold(s[:len(prefix)], prefix) {
		return "", false
	}
	return s[len(prefix):], true
}

func equalFold(a, b string) bool { return strings.EqualFold(a, b) }

// oneLine keeps a backend's bytes from acting on the client's line structure.
func oneLine(s string) string {
	if wire.HasControl(s) {
		return wire.Printable(s)
	}
	return s
}
