package wire

import "strings"

// HasControl tells whether s has a byte that may not go into a line: an ASCII control character or DEL.
func HasControl(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] == 0x7f {
			return true
		}
	}
	return false
}

// Printable replaces every byte that is not printable ASCII by a question mark. A backend's refusal
// passes through it before a client sees it: such bytes would act on the client's terminal or log.
func Printable(s string) string {
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] >= 0x7f {
			b := []byte(s)
			for ; i < len(b); i++ {
				if b[i] < 0x20 || b[i] >= 0x7f {
					b[i] = '?'
				}
			}
			return string(b)
		}
	}
	return s
}

// Word cuts s at its first blank.
func Word(s string) (word, rest string) {
	word, rest, _ = strings.Cut(s, " ")
	return word, rest
}
