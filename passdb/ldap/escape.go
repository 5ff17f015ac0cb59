package ldap

import (
	"strings"

	"dproxy/conf"
)

const hexDigits = "0123456789ABCDEF"

// escape makes a value safe in a filter (RFC 4515 section 3) and in a DN (RFC 4514 section 2.4): both take a
// backslash and two hex digits for any byte. The set is Dovecot's, with control characters added.
func escape(value string) string {
	var out strings.Builder
	for i := range len(value) {
		c := value[i]
		if c > 0x20 && c < 0x7f && strings.IndexByte(`*,\#+<>;"()=`, c) < 0 {
			out.WriteByte(c)
			continue
		}
		out.WriteByte('\\')
		out.WriteByte(hexDigits[c>>4])
		out.WriteByte(hexDigits[c&15])
	}
	return out.String()
}

// components escapes a value that %D may have made DN components of: "example,dc=org". Dovecot escapes before
// it modifies; doing it afterwards keeps other modifiers from cutting an escape in half.
func components(value string) string {
	parts := strings.Split(value, ",dc=")
	for i := range parts {
		parts[i] = escape(parts[i])
	}
	return strings.Join(parts, ",dc=")
}

// template is a text with %variables, and the text itself for error messages.
type template struct {
	*conf.Template
	text string
}

func parse(text string) (template, error) {
	t, err := conf.ParseTemplate(text, conf.AuthLetters)
	return template{t, text}, err
}

// expand replaces the variables by escaped values.
func (t template) expand(v conf.Vars) (string, error) {
	comma := false // in a value as it is stored: then no ",dc=" is known to be %D's work
	watched := func(name string) (string, bool) {
		value, ok := v(name)
		comma = comma || strings.Contains(value, ",")
		return value, ok
	}
	var out strings.Builder
	err := t.Walk(watched, func(text string, variable bool) {
		switch {
		case !variable:
			out.WriteString(text)
		case comma:
			out.WriteString(escape(text))
		default:
			out.WriteString(components(text))
		}
		comma = false
	})
	return out.String(), err
}

// constant tells whether the template has no variables.
func (t template) constant() bool {
	_, ok := t.Literal()
	return ok
}
