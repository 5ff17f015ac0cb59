package wire

import "strings"

// TabEscape escapes a value for a tab-separated list, as Dovecot's str_tabescape does: 0x01 and
// the separators become 0x01 followed by a digit or letter.
func TabEscape(s string) string { return tabEscaper.Replace(s) }

var tabEscaper = strings.NewReplacer("\x00", "\x010", "\x01", "\x011", "\t", "\x01t", "\r", "\x01r", "\n", "\x01n")

// TabUnescape undoes TabEscape. An unknown escape stands for its second byte and a lone 0x01 at the
// end is dropped, as in Dovecot.
func TabUnescape(s string) string {
	if strings.IndexByte(s, 1) < 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == 1 {
			i++
			if i == len(s) {
				break
			}
			switch c = s[i]; c {
			case '0':
				c = 0
			case '1':
				c = 1
			case 't':
				c = '\t'
			case 'r':
				c = '\r'
			case 'n':
				c = '\n'
			}
		}
		b.WriteByte(c)
	}
	return b.String()
}
