package submission

import (
	"net/netip"
	"strconv"
	"strings"

	"dproxy/wire"
)

// stated is what a trusted peer said of the client whose connection it carries, beside what the login room
// keeps.
type stated struct{ helo, proto string }

// xclient takes the identity that a trusted peer forwards (Postfix's XCLIENT_README; TTL, SESSION, TIMEOUT and
// FORWARD are Dovecot's). With one bad field nothing is taken. The session begins anew after it.
func (f *front) xclient(args string) (bool, error) {
	if !f.c.Trusted() {
		return false, f.reply("550 5.7.14 You are not from trusted IP")
	}
	params, fault := wire.SMTPParams(args)
	if fault != "" {
		return false, f.reply("501 5.5.4 Invalid parameter: " + fault)
	}
	var forward []wire.SMTPParam
	next := f.stated
	for _, p := range params {
		value, err := wire.DecodeXtext(p.Value)
		if err != nil {
			return false, f.reply("501 5.5.4 Invalid " + p.Name + " parameter: Invalid hexchar after '+' in xtext")
		}
		if strings.EqualFold(value, "[UNAVAILABLE]") && p.Name != "PROTO" && p.Name != "TTL" && p.Name != "TIMEOUT" {
			continue
		}
		if p.Value = value; !next.take(&p) {
			return false, f.reply("501 5.5.4 Invalid " + p.Name + " parameter")
		}
		forward = append(forward, p)
	}
	for _, p := range forward {
		if !strings.HasPrefix(p.Name, "DEST") { // Dovecot 2.4's
			f.c.Forward(p.Name, p.Value) // a FORWARD that is no list is ignored
		}
	}
	f.stated, f.helo, f.old = next, "", false
	f.bad = 0
	f.greet()
	return false, nil
}

// take judges a field, brings its value into the form that the login room reads, and keeps what is not that
// room's. Fields that are not known are as good as any (Dovecot 2.3).
func (s *stated) take(p *wire.SMTPParam) bool {
	number := func(most uint64) bool {
		n, err := strconv.ParseUint(p.Value, 10, 64)
		return err == nil && n <= most
	}
	switch p.Name {
	case "ADDR":
		six := len(p.Value) > 5 && strings.EqualFold(p.Value[:5], "IPV6:")
		if six {
			p.Value = p.Value[5:]
		}
		a, err := netip.ParseAddr(p.Value)
		return err == nil && a.Zone() == "" && (a.Is6() || !six)
	case "PORT":
		return number(65535) && strings.Trim(p.Value, "0") != ""
	case "TTL":
		return number(1<<31 - 1)
	case "TIMEOUT":
		return number(1<<32 - 1)
	case "PROTO":
		s.proto = strings.ToUpper(p.Value)
		return s.proto == "SMTP" || s.proto == "ESMTP" || s.proto == "LMTP"
	case "HELO":
		if isName(p.Value) {
			s.helo = p.Value
		}
	}
	return true
}
