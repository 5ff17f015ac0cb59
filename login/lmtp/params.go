package lmtp

import (
	"strconv"
	"strings"

	"dproxy/login"
	"dproxy/wire"
)

// stated is what a trusted client said of itself by XCLIENT, beside what the login room keeps.
type stated struct {
	helo, proto, login string
	ttl                int
	hasTTL             bool
}

// xclient takes the identity that a trusted client forwards.
func (f *front) xclient(args string) error {
	switch {
	case f.tx != nil:
		return f.reply(503, "5.5.0", "XCLIENT not permitted during a mail transaction")
	case !f.c.Trusted():
		return f.reply(550, "5.7.14", "You are not from trusted IP")
	}
	fields, fault := wire.XClient(args)
	if fault != "" {
		return f.reply(501, "5.5.4", fault)
	}
	for _, p := range fields {
		if !f.identity.take(p) && !strings.HasPrefix(p.Name, "DEST") { // Dovecot 2.4's
			f.c.Forward(p.Name, p.Value)
		}
		if p.Name == "SESSION" {
			f.session, f.transactions = f.c.Session(), 0
		}
	}
	f.restart()
	f.bad = 0
	f.greet()
	return nil
}

// take keeps a field, unless it is one of the login room's.
func (s *stated) take(p wire.SMTPParam) bool {
	switch p.Name {
	case "HELO":
		s.helo = p.Value
	case "PROTO":
		s.proto = p.Value
	case "LOGIN":
		if !wire.HasControl(p.Value) {
			s.login = p.Value
		}
	case "TTL":
		n, _ := strconv.ParseUint(p.Value, 10, 31) // has been judged
		s.ttl, s.hasTTL = int(n), true
	case "TIMEOUT": // not sent on (Dovecot 2.3)
	default:
		return false
	}
	return true
}

var _ login.Standalone = (*front)(nil)
