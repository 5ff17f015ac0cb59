package lmtp

import "strings"

// address is a mailbox. The local part is without quotes and quoting backslashes.
type address struct{ local, domain string }

// user is the mailbox as a user name.
func (a address) user() string {
	if a.domain == "" {
		return a.local
	}
	return a.local + "@" + a.domain
}

// path is the mailbox as it stands between angle brackets, quoted where it needs to be. An empty local part
// with a domain is an empty quoted string.
func (a address) path() string {
	if a.local == "" && a.domain == "" {
		return ""
	}
	local := a.local
	if !isDotString(local) {
		local = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(local) + `"`
	}
	if a.domain == "" {
		return local
	}
	return local + "@" + a.domain
}

// split takes the detail off: what follows the first delimiter in the local part.
func (a address) split(delimiters string) (base address, detail string) {
	i := strings.IndexAny(a.local, delimiters)
	if delimiters == "" || i < 0 {
		return a, ""
	}
	return address{a.local[:i], a.domain}, a.local[i:]
}

const openPath = "Missing '>' at end of path"

// leniency is what lmtp_client_workarounds allows.
type leniency struct{ space, bare bool }

// parsePath reads the path behind FROM: or TO: (RFC 5321 section 4.1.2) and returns what follows it. A
// source route is dropped. fault is Dovecot's word for what is wrong, "" when nothing is.
func parsePath(s string, allow leniency) (a address, rest, fault string) {
	if t := strings.TrimLeft(s, " \t"); t != s {
		if !allow.space {
			return a, "", "Unexpected whitespace before path"
		}
		s = t
	}
	if !strings.HasPrefix(s, "<") {
		if !allow.bare || s == "" {
			return a, "", "Missing '<' at beginning of path"
		}
		a, rest, fault = parseMailbox(s)
		if fault == "" && rest != "" && rest[0] != ' ' {
			fault = "Invalid character in path"
		}
		return a, rest, fault
	}
	s = s[1:]
	if strings.HasPrefix(s, "@") {
		if s, fault = skipRoute(s); fault != "" {
			return a, "", fault
		}
	}
	if strings.HasPrefix(s, ">") {
		return a, s[1:], ""
	}
	if a, s, fault = parseMailbox(s); fault != "" {
		return a, "", fault
	}
	rest, ok := strings.CutPrefix(s, ">")
	switch {
	case !ok:
		return a, "", openPath
	case rest != "" && rest[0] != ' ':
		return a, "", "Invalid character in path"
	}
	return a, rest, ""
}

// brokenPath takes what stands between angle brackets for a path that is none: senders are not always what
// they should be, and their mail is delivered all the same (Dovecot 2.3).
func brokenPath(s string) (path, rest string, ok bool) {
	path, rest, ok = strings.Cut(strings.TrimPrefix(s, "<"), ">")
	ok = ok && strings.HasPrefix(s, "<") && !strings.ContainsAny(path, "< \t") && (rest == "" || rest[0] == ' ')
	return path, rest, ok
}

// skipRoute drops a source route, "@a,@b:".
func skipRoute(s string) (rest, fault string) {
	for {
		_, s, fault = parseDomain(s[1:])
		switch {
		case fault != "":
			return "", strings.Replace(fault, "after '@'", "after '@' in source route", 1)
		case strings.HasPrefix(s, ",@"):
			s = s[1:]
		case strings.HasPrefix(s, ":"):
			return s[1:], ""
		default:
			return "", "Missing ':' at end of source route"
		}
	}
}

func parseMailbox(s string) (a address, rest, fault string) {
	if strings.HasPrefix(s, `"`) {
		if a.local, rest, fault = parseQuoted(s[1:]); fault != "" {
			return a, "", fault
		}
	} else {
		n := 0
		for n < len(s) && (isAtom(s[n]) || s[n] == '.') {
			n++
		}
		if n == 0 {
			return a, "", "Invalid character in localpart"
		}
		a.local, rest = s[:n], s[n:]
	}
	if strings.HasPrefix(rest, "@") {
		a.domain, rest, fault = parseDomain(rest[1:])
	}
	return a, rest, fault
}

// parseQuoted reads a quoted string behind its first quote.
func parseQuoted(s string) (value, rest, fault string) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], ""
		case '\\':
			if i++; i == len(s) {
				return "", "", "Missing '\"' at end of quoted string"
			}
		}
		if s[i] < ' ' || s[i] >= 0x7f {
			return "", "", "Invalid character in quoted string"
		}
		b.WriteByte(s[i])
	}
	return "", "", "Missing '\"' at end of quoted string"
}

// parseDomain reads a domain or an address literal.
func parseDomain(s string) (domain, rest, fault string) {
	if strings.HasPrefix(s, "[") {
		i := strings.IndexByte(s, ']')
		if i < 2 || strings.ContainsAny(s[1:i], "[\\ <>\"@") {
			return "", "", "Invalid address literal"
		}
		return s[:i+1], s[i+1:], ""
	}
	n := 0
	for n < len(s) && (isAlnum(s[n]) || s[n] == '-' || s[n] == '_' || s[n] == '.') {
		n++
	}
	domain = s[:n]
	switch {
	case n == 0:
		return "", "", "Missing domain after '@'"
	case domain[0] == '.' || domain[n-1] == '.' || strings.Contains(domain, ".."):
		return "", "", "Empty sub-domain"
	}
	return domain, s[n:], ""
}

func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// isAtom tells whether c is atext (RFC 5322 section 3.2.3).
func isAtom(c byte) bool { return isAlnum(c) || strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0 }

// isDotString tells whether a local part needs no quotes (RFC 5321 section 4.1.2).
func isDotString(s string) bool {
	if s == "" || s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") {
		return false
	}
	for i := 0; i < len(s); i++ {
		if !isAtom(s[i]) && s[i] != '.' {
			return false
		}
	}
	return true
}
