package auth

import (
	"fmt"
	"strings"
	"time"

	"dproxy/event"
	"dproxy/passdb"
)

// What follows tells of a login that somebody wants explained. For all others it is a comparison with nil.

// traceCache tells what the cache has.
func (t *attempt) traceCache(state string, r *record) {
	if t.req.Trace == nil {
		return
	}
	text := "cache " + state
	if r != nil {
		text += fmt.Sprintf(", entry of %s ago", time.Since(r.created).Round(time.Second))
	}
	t.req.Trace(text)
}

// traceAnswer tells what a driver answered, without passwords.
func (t *attempt) traceAnswer(a *answer) {
	if t.req.Trace == nil {
		return
	}
	text := "answer: " + a.status.String()
	switch {
	case a.verified:
		text += ", the driver has judged the password"
	case a.stored.present:
		text += ", password {" + a.stored.hash.Scheme() + "}<hidden>"
	}
	t.req.Trace(text + shownFields(a.fields, string(t.password)))
}

// shownFields lists fields for people. The client's password is hidden wherever a query may have put it.
func shownFields(fields []passdb.Field, password string) string {
	var b strings.Builder
	for _, f := range fields {
		value := event.Clean(f.Value, 256)
		if f.Secret() || password != "" && strings.Contains(f.Value, password) {
			value = "<hidden>"
		}
		b.WriteString(" " + event.Clean(f.Name, 64))
		if value != "" {
			b.WriteString("=" + value)
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return ", fields" + b.String()
}

// traceRule tells which rule a passdb's answer came under.
func (t *attempt) traceRule(s passdb.Status, r rule) {
	if t.req.Trace == nil {
		return
	}
	name := "result_failure"
	switch s {
	case passdb.OK:
		name = "result_success"
	case passdb.InternalFailure:
		name = "result_internalfail"
	}
	text := map[verdict]string{succeed: "succeeds", fail: "fails"}[r.verdict]
	if text == "" {
		text = "stays as it was"
	}
	if r.next {
		text += "; the next passdb is asked"
	}
	t.req.Trace(fmt.Sprintf("%s: the login %s", name, text))
}

// tracePenalty tells how long an address has to wait.
func (t *attempt) tracePenalty(d time.Duration) {
	if t.req.Trace != nil && t.req.Remote.IsValid() {
		t.req.Trace(fmt.Sprintf("penalty of %s: %s", t.req.Remote.Addr(), d))
	}
}
