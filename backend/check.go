package backend

import (
	"strings"

	"dproxy/wire"
)

// check refuses what must never reach a backend: bytes that would end a line or a field of a protocol. Fronts have refused such bytes from clients; these come from a
// passdb, or past a front.
func (l *Login) check() *Error {
	t := &l.Target
	for _, x := range []struct{ name, value string }{
		{"user name", t.User},
		{"password", string(t.Password)},
		{"master user name", t.Master},
		{"session id", l.Identity.Session},
		{"EHLO name", l.Identity.Helo},
		{"XCLIENT login", l.Identity.Login},
	} {
		if wire.HasControl(x.value) {
			return &Error{Kind: Internal, Text: "the " + x.name + " has control characters, which are not sent to a backend"}
		}
	}
	for _, f := range t.Forward {
		if wire.HasControl(f.Name) || strings.ContainsAny(f.Value, "\x00\r\n") {
			return &Error{Kind: Internal, Text: "a forward_ field has control characters, which are not sent to a backend"}
		}
	}
	return nil
}
