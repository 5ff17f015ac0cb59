package wire

import (
	"net/netip"
	"strconv"
	"strings"
)

// XClient reads the arguments of an SMTP or LMTP client's XCLIENT (Postfix's XCLIENT_README; TTL, SESSION,
// TIMEOUT, FORWARD, DESTADDR and DESTPORT are Dovecot's). The fields come with decoded and checked values:
// addresses without IPV6:, PROTO in upper case, of HELO the beginning that is a host name. Fields that are not
// available are left out; such that nobody knows are as good as any. fault is Dovecot's word for what is
// wrong; with one bad field none counts.
func XClient(args string) (fields []SMTPParam, fault string) {
	params, fault := SMTPParams(args)
	if fault != "" {
		return nil, "Invalid parameter: " + fault
	}
	for _, p := range params {
		value, err := DecodeXtext(p.Value)
		if err != nil {
			return nil, "Invalid " + p.Name + " parameter: " + err.Error()
		}
		if strings.EqualFold(value, "[UNAVAILABLE]") && p.Name != "PROTO" && p.Name != "TTL" && p.Name != "TIMEOUT" {
			continue
		}
		if p.Value = value; !p.xclient() {
			return nil, "Invalid " + p.Name + " parameter"
		}
		if p.Name != "HELO" || p.Value != "" {
			fields = append(fields, p)
		}
	}
	return fields, ""
}

// xclient judges a field's value and brings it into its form.
func (p *SMTPParam) xclient() bool {
	number := func(most uint64) bool {
		n, err := strconv.ParseUint(p.Value, 10, 64)
		return err == nil && n <= most
	}
	switch p.Name {
	case "ADDR", "DESTADDR":
		six := len(p.Value) > 5 && strings.EqualFold(p.Value[:5], "IPV6:")
		if six {
			p.Value = p.Value[5:]
		}
		a, err := netip.ParseAddr(p.Value)
		return err == nil && a.Zone() == "" && (a.Is6() || !six)
	case "PORT", "DESTPORT":
		return number(65535) && strings.Trim(p.Value, "0") != ""
	case "TTL":
		return number(1<<31 - 1)
	case "TIMEOUT":
		return number(1<<32 - 1)
	case "PROTO":
		p.Value = strings.ToUpper(p.Value)
		return p.Value == "SMTP" || p.Value == "ESMTP" || p.Value == "LMTP"
	case "HELO":
		for p.Value != "" && !IsSMTPHost(p.Value) {
			p.Value = p.Value[:len(p.Value)-1]
		}
	}
	return true
}

// IsSMTPHost tells whether a client's name for itself is one of a host, or an address in brackets.
func IsSMTPHost(s string) bool {
	if inner, ok := strings.CutPrefix(s, "["); ok {
		if s, ok = strings.CutSuffix(inner, "]"); !ok {
			return false
		}
	}
	for i := 0; i < len(s); i++ {
		if b := s[i]; !isAlnum(b) && b != '.' && b != '-' && b != '_' && b != ':' {
			return false
		}
	}
	return s != ""
}
