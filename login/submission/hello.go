package submission

import (
	"strings"
	"sync"

	"dproxy/capability"
	"dproxy/event"
	"dproxy/login"
	"dproxy/wire"
)

// texts are what connections with the same settings share.
type texts struct {
	ehlo [8]string // whole replies, by state
	helo string

	unknown []string // words of submission_backend_capabilities that are no capability
	warned  sync.Once
}

// derive makes the texts of a set of settings.
func derive(t *login.Terms) any {
	set := t.Settings
	list := capability.NewSubmission(set.SubmissionBackendCapabilities, set.SubmissionClientWorkarounds)
	list.MaxSize = set.SubmissionMaxMailSize
	x := &texts{helo: "250 " + t.Hostname, unknown: list.Unknown}
	for i := range x.ehlo {
		list.XClient = i&trusted != 0
		lines := append([]string{t.Hostname}, list.Lines(t.State(i&secured != 0, i&tls != 0))...)
		last := len(lines) - 1
		for j := range lines[:last] {
			lines[j] = "250-" + lines[j]
		}
		lines[last] = "250 " + lines[last]
		x.ehlo[i] = strings.Join(lines, "\r\n")
	}
	return x
}

// texts returns the texts of the connection's settings. What is wrong with those is reported once.
func (f *front) texts() *texts {
	t := f.c.Derived(derive).(*texts)
	t.warned.Do(func() {
		for _, word := range t.unknown {
			f.c.Report(event.Warning, "Unknown SMTP capability in submission_backend_capabilities: "+word)
		}
	})
	return t
}

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

func (f *front) ehlo(args string) (bool, error) {
	return f.hello(args, f.texts().ehlo[f.state()], false)
}

func (f *front) oldHelo(args string) (bool, error) { return f.hello(args, f.texts().helo, true) }

// hello takes the client's name. One that is none is answered like any other, and not handed on.
func (f *front) hello(args, reply string, old bool) (bool, error) {
	if args == "" {
		return false, f.reply("501 Missing hostname")
	}
	f.helo, _, _ = strings.Cut(args, " ")
	if !wire.IsSMTPHost(f.helo) {
		f.helo = ""
	}
	f.old = old
	return false, f.reply(reply)
}
