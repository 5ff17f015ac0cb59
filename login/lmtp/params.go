package lmtp

import (
	"strconv"
	"strings"
	"time"

	"dproxy/login"
	"dproxy/wire"
)

// param is a parameter of a command. set tells a value, even an empty one.
type param struct {
	name, value string
	set         bool
}

// parseParams reads "NAME=value NAME ..." (RFC 5321 section 4.1.2). fault is Dovecot's word for what is wrong.
func parseParams(s string) (out []param, fault string) {
	for word := range strings.FieldsSeq(s) {
		p := param{name: strings.ToUpper(word)}
		if name, value, ok := strings.Cut(word, "="); ok {
			p = param{strings.ToUpper(name), value, true}
		}
		if p.name == "" || !isKeyword(p.name) {
			return nil, "Unexpected character in parameter name"
		}
		if strings.Contains(p.value, "=") {
			return nil, "Unexpected character in parameter value"
		}
		out = append(out, p)
	}
	return out, ""
}

func isKeyword(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isAlnum(s[i]) && (s[i] != '-' || i == 0) {
			return false
		}
	}
	return true
}

// stated is what a trusted client said of itself by XCLIENT, beside what the login room keeps.
type stated struct {
	helo, proto, login string
	ttl                int
	hasTTL             bool
	timeout            time.Duration
}

// xclient takes the identity that a trusted client forwards (Postfix's XCLIENT_README; TTL, SESSION and
// TIMEOUT are Dovecot's).
func (f *front) xclient(args string) error {
	switch {
	case f.tx != nil:
		return f.reply(503, "5.5.0", "XCLIENT not permitted during a mail transaction")
	case !f.c.Trusted():
		return f.reply(550, "5.7.14", "You are not from trusted IP")
	}
	params, fault := parseParams(args)
	if fault != "" {
		return f.reply(501, "5.5.4", "Invalid parameter: "+fault)
	}
	next := f.identity
	var forward []param
	for _, p := range params {
		value, err := wire.DecodeXtext(p.value)
		ok := err == nil && p.set && !wire.HasControl(value)
		if ok && value != "[UNAVAILABLE]" {
			var kept bool
			if kept, ok = next.take(p.name, value); ok && !kept {
				if p.name == "ADDR" && len(value) > 5 && strings.EqualFold(value[:5], "IPV6:") {
					value = value[5:]
				}
				forward = append(forward, param{p.name, value, true})
			}
		}
		if !ok {
			return f.reply(501, "5.5.4", "Invalid "+p.name+" parameter")
		}
	}
	for _, p := range forward {
		if !f.c.Forward(p.name, p.value) {
			return f.reply(501, "5.5.4", "Invalid "+p.name+" parameter")
		}
		if p.name == "SESSION" {
			f.session, f.transactions = f.c.Session(), 0
		}
	}
	f.identity = next
	f.restart()
	f.bad = 0
	f.greet()
	return nil
}

// take keeps a field. kept tells that it is none of the login room's; ok that its value is one.
func (s *stated) take(name, value string) (kept, ok bool) {
	number := func(bits int) (int, bool) {
		n, err := strconv.ParseUint(value, 10, bits)
		return int(n), err == nil
	}
	switch name {
	case "HELO":
		s.helo, ok = value, isHelo(value)
		return true, ok
	case "PROTO":
		s.proto = strings.ToUpper(value)
		return true, s.proto == "SMTP" || s.proto == "ESMTP" || s.proto == "LMTP"
	case "LOGIN":
		s.login = value
		return true, value != ""
	case "TTL":
		s.ttl, ok = number(15)
		s.hasTTL = true
		return true, ok
	case "TIMEOUT":
		n, ok := number(31)
		s.timeout = time.Duration(n) * time.Second
		return true, ok
	case "ADDR", "PORT", "SESSION":
		return false, value != ""
	}
	return true, true // fields that are not known are ignored
}

// isHelo tells whether a name can stand in a Received header: no blanks and nothing that has a meaning
// there.
func isHelo(s string) bool {
	return s != "" && !strings.ContainsAny(s, " \t()<>\"\\,;") && inLine(s)
}

var _ login.Standalone = (*front)(nil)
