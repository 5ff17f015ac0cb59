package conf

import (
	"syscall"
	"unicode"
	"unicode/utf8"
)

// strerror is the C library's text of an error number; Go's own starts with a small letter.
func strerror(errno syscall.Errno) string {
	text := errno.Error()
	r, n := utf8.DecodeRuneInString(text)
	return string(unicode.ToUpper(r)) + text[n:]
}
