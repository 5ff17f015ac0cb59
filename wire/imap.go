package wire

import (
	"strconv"
	"strings"
)

// Quote writes s as an IMAP quoted string (RFC 9051 section 9), or as a literal when it has bytes
// that a quoted string cannot carry. Dovecot sends such a literal without waiting for the go-ahead.
func Quote(s string) string {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c >= 0x80 || c == '\r' || c == '\n' || c == 0 {
			return "{" + strconv.Itoa(len(s)) + "}\r\n" + s
		}
	}
	return `"` + quotedEscaper.Replace(s) + `"`
}

// literalPlus writes s as a non-synchronising literal (RFC 7888).
func literalPlus(s string) string { return "{" + strconv.Itoa(len(s)) + "+}\r\n" + s }

var quotedEscaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// Literal reports whether a line ends in a literal announcement {N} or {N+}: the number, whether
// it is synchronising, and the line before it. Numbers that overflow or lack digits are no literals
// but bad syntax (bad is true).
func Literal(line []byte) (before []byte, n int, sync, ok, bad bool) {
	end := len(line)
	if end == 0 || line[end-1] != '}' {
		return line, 0, false, false, false
	}
	i := end - 2
	sync = true
	if i >= 0 && line[i] == '+' {
		sync = false
		i--
	}
	digitsEnd := i + 1
	for i >= 0 && line[i] >= '0' && line[i] <= '9' {
		i--
	}
	if i < 0 || line[i] != '{' || i > 0 && line[i-1] != ' ' && line[i-1] != '(' {
		return line, 0, false, false, false
	}
	digits := line[i+1 : digitsEnd]
	if len(digits) == 0 {
		return line, 0, false, false, true
	}
	v, err := strconv.ParseUint(string(digits), 10, 31)
	if err != nil {
		return line[:i], int(^uint(0) >> 1), sync, true, false
	}
	return line[:i], int(v), sync, true, false
}
