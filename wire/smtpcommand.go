package wire

import (
	"strings"
	"unicode/utf8"
)

// maxSMTPName is the longest name of an SMTP command (Dovecot 2.3).
const maxSMTPName = 32

// SMTPCommand splits a command line of an SMTP or LMTP client, without its line end, into the command's name
// and its arguments, which have no blanks at their end. It reports false for a line that is none: a name
// of other bytes than letters, two blanks behind it, control characters, or bytes that are not UTF-8
// (Dovecot 2.3).
func SMTPCommand(line string) (name, args string, ok bool) {
	i := 0
	for i < len(line) && isLetter(line[i]) {
		i++
	}
	if i > maxSMTPName {
		return "", "", false
	}
	name, args = line[:i], line[i:]
	if args == "" {
		return name, "", true
	}
	if args[0] != ' ' || HasControl(strings.ReplaceAll(args, "\t", " ")) || !utf8.ValidString(args) {
		return "", "", false
	}
	args = strings.TrimRight(args[1:], " \t")
	return name, args, !strings.HasPrefix(args, " ")
}

func isLetter(b byte) bool { return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' }

func isAlnum(b byte) bool { return isLetter(b) || b >= '0' && b <= '9' }

// SMTPParam is a parameter of an SMTP command (RFC 5321 section 4.1.2).
type SMTPParam struct {
	Name, Value string // the name in upper case
	Set         bool   // there was a value, even an empty one
}

// SMTPParams reads "NAME=value NAME ..." with single blanks. fault is Dovecot's word for what is wrong with them.
func SMTPParams(s string) (out []SMTPParam, fault string) {
	if s == "" {
		return nil, ""
	}
	for word := range strings.SplitSeq(s, " ") {
		name, value, set := strings.Cut(word, "=")
		switch {
		case word == "":
			return nil, "Parameter is empty"
		case !IsSMTPKeyword(name):
			return nil, "Unexpected character in parameter keyword"
		case !isSMTPValue(value):
			return nil, "Unexpected character in parameter value"
		}
		out = append(out, SMTPParam{strings.ToUpper(name), value, set})
	}
	return out, ""
}

// IsSMTPKeyword tells whether s can be the name of a parameter.
func IsSMTPKeyword(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isAlnum(s[i]) && (s[i] != '-' || i == 0) {
			return false
		}
	}
	return s != ""
}

func isSMTPValue(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == '=' {
			return false
		}
	}
	return true
}

// SMTPString checks an argument that is an atom or a quoted string (RFC 5321 section 4.1.2). fault is Dovecot's
// word for what is wrong with it.
func SMTPString(s string) (fault string) {
	const invalid = "Invalid character in string"
	if !strings.HasPrefix(s, `"`) {
		for i := 0; i < len(s); i++ {
			if !isAlnum(s[i]) && strings.IndexByte("!#$%&'*+-/=?^_`{|}~", s[i]) < 0 {
				return invalid
			}
		}
		return ""
	}
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			if i < len(s)-1 {
				return invalid
			}
			return ""
		case c == '\\' && i < len(s)-1:
			i++
		case c < ' ' || c >= 0x7f:
			return "Invalid character in quoted string"
		}
	}
	return "Premature end of quoted string"
}
