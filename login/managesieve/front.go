// Package managesieve is the ManageSieve server side before login (RFC 5804), with the commands, texts and
// bounds of Pigeonhole 0.5's managesieve-login. It imports login, backend, capability and wire.
package managesieve

import (
	"strconv"
	"strings"

	"dproxy/backend"
	"dproxy/capability"
	"dproxy/login"
)

// New makes the front of one connection.
func New(c *login.Client) login.Front { return &front{c: c, in: input{c: c, ended: true}} }

type front struct {
	c    *login.Client
	in   input
	cred login.Credentials
	bad  int
}

// texts are what connections with the same settings share.
type texts struct {
	capability [8]string // lines of the list, by state
}

// derive makes the texts of a set of settings.
func derive(t *login.Terms) any {
	x := &texts{}
	list := capability.Sieve{
		Implementation: t.Settings.ManagesieveImplementationString, Sieve: t.Settings.ManagesieveSieveCapability,
		Notify: t.Settings.ManagesieveNotifyCapability,
	}
	for i := range x.capability {
		list.XClient = i&trusted != 0
		x.capability[i] = strings.Join(list.Lines(t.State(i&secured != 0, i&tls != 0)), "\r\n") + "\r\n"
	}
	return x
}

func (f *front) texts() *texts { return f.c.Derived(derive).(*texts) }

// The bits of a state.
const (
	secured = 1
	tls     = 2
	trusted = 4
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
	if f.c.Trusted() {
		i |= trusted
	}
	return i
}

// capabilities sends the list with its response.
func (f *front) capabilities(text string) {
	f.c.Send(f.texts().capability[f.state()])
	f.reply("OK", text)
}

// reply sends a response with a text for humans. The response may have a code.
func (f *front) reply(response, text string) {
	f.c.Send(response, " ", quote(text), "\r\n")
}

// quote writes a string of a server: quoted, or a literal when it has line ends (RFC 5804 section 4). What is
// not UTF-8 is left out, and a NUL ends it (Pigeonhole 0.5).
func quote(s string) string {
	s, _, _ = strings.Cut(s, "\x00")
	s = strings.ToValidUTF8(s, "")
	if strings.ContainsAny(s, "\r\n") {
		return "{" + strconv.Itoa(len(s)) + "}\r\n" + s
	}
	return `"` + escaper.Replace(s) + `"`
}

var escaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// Greet implements login.Front.
func (f *front) Greet() error {
	f.capabilities(f.c.Greeting())
	return nil
}

// Refuse implements login.Front.
func (f *front) Refuse(r login.Refusal) error {
	switch r.Cause {
	case login.TempFail, login.Unavailable:
		f.reply("NO (TRYLATER)", r.Text)
	case login.NeedsTLS:
		f.reply("NO (ENCRYPT-NEEDED)", r.Text)
	case login.Referred:
		f.reply("NO (REFERRAL "+referral(r.Referral)+")", r.Text)
	case login.TooMany:
		f.reply("NO (LIMIT/CONNECTIONS)", r.Text)
	case login.BackendRefused:
		f.c.Send(r.Reply, "\r\n")
	default:
		f.reply("NO", r.Text)
	}
	return nil
}

// referral is the URL as Pigeonhole 0.5 writes it, without escapes, unless the name needs some to stay within
// the parentheses.
func referral(r *login.Referral) string {
	for _, s := range []string{r.User, r.Mech, r.Host} {
		if strings.ContainsAny(s, " ()\"\\;") {
			return r.URL("sieve", "4190")
		}
	}
	url := "sieve://" + r.User + ";AUTH=" + r.Mech + "@" + r.Host
	if r.Port != "" && r.Port != "4190" {
		url += ":" + r.Port
	}
	return url
}

// Welcome implements login.Front.
func (f *front) Welcome(w backend.Welcome) error {
	f.c.Send(w.Line, "\r\n")
	return nil
}

// Bye implements login.Front.
func (f *front) Bye(b login.Bye) {
	if b.Why == login.ByeShutdown {
		f.reply("BYE (TRYLATER)", b.Text)
		return
	}
	f.reply("BYE", b.Text)
}
