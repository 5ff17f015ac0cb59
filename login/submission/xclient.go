package submission

import (
	"strings"

	"dproxy/wire"
)

// stated is what a trusted peer said of the client whose connection it carries, beside what the login room
// keeps.
type stated struct{ helo, proto string }

// xclient takes the identity that a trusted peer forwards. The session begins anew after it.
func (f *front) xclient(args string) (bool, error) {
	if !f.c.Trusted() {
		return false, f.reply("550 5.7.14 You are not from trusted IP")
	}
	fields, fault := wire.XClient(args)
	if fault != "" {
		return false, f.reply("501 5.5.4 " + fault)
	}
	for _, p := range fields {
		switch {
		case p.Name == "HELO":
			f.stated.helo = p.Value
		case p.Name == "PROTO":
			f.stated.proto = p.Value
		case strings.HasPrefix(p.Name, "DEST"): // Dovecot 2.4's
		default:
			f.c.Forward(p.Name, p.Value) // a FORWARD that is no list is ignored
		}
	}
	f.helo, f.old = "", false
	f.bad = 0
	f.greet()
	return false, nil
}
