package wire

import (
	"errors"
	"strings"
)

// SieveKind is the form of a ManageSieve argument.
type SieveKind int

// The forms.
const (
	SieveAtom   SieveKind = iota // a word, or a number
	SieveString                  // quoted, or a literal
	SieveList                    // a response code in parentheses, taken whole
)

// SieveArg is one argument of a ManageSieve line (RFC 5804 section 1.2).
type SieveArg struct {
	Kind SieveKind
	Text string // unquoted; the parentheses of a list are left out
}

// ErrSieveSyntax reports a line that is not made of arguments.
var ErrSieveSyntax = errors.New("invalid syntax")

// maxSieveArgs bounds the arguments of one line.
const maxSieveArgs = 32

// SieveArgs splits a line into its arguments. Literals stand in the line with their bytes, as
// Reader.SieveLine returns them.
func SieveArgs(line string) ([]SieveArg, error) {
	var out []SieveArg
	for {
		line = strings.TrimLeft(line, " ")
		if line == "" {
			return out, nil
		}
		if len(out) == maxSieveArgs {
			return nil, ErrSieveSyntax
		}
		arg, rest, err := sieveArg(line)
		if err != nil || rest != "" && rest[0] != ' ' {
			return nil, ErrSieveSyntax
		}
		out, line = append(out, arg), rest
	}
}

func sieveArg(line string) (SieveArg, string, error) {
	switch line[0] {
	case '"':
		text, rest, err := sieveQuoted(line)
		return SieveArg{SieveString, text}, rest, err
	case '{':
		head, body, ok := strings.Cut(line, "\r\n")
		_, n, _, isLiteral, bad := Literal([]byte(head))
		if !ok || bad || !isLiteral || n > len(body) {
			return SieveArg{}, "", ErrSieveSyntax
		}
		return SieveArg{SieveString, body[:n]}, body[n:], nil
	case '(':
		return sieveList(line)
	case ')':
		return SieveArg{}, "", ErrSieveSyntax
	}
	end := strings.IndexAny(line, " \"(){")
	if end < 0 {
		end = len(line)
	}
	if HasControl(line[:end]) {
		return SieveArg{}, "", ErrSieveSyntax
	}
	return SieveArg{SieveAtom, line[:end]}, line[end:], nil
}

func sieveQuoted(line string) (text, rest string, err error) {
	var b strings.Builder
	for i := 1; i < len(line); i++ {
		switch c := line[i]; c {
		case '"':
			return b.String(), line[i+1:], nil
		case '\\':
			i++
			if i == len(line) {
				return "", "", ErrSieveSyntax
			}
			b.WriteByte(line[i])
		case 0, '\r', '\n':
			return "", "", ErrSieveSyntax
		default:
			b.WriteByte(c)
		}
	}
	return "", "", ErrSieveSyntax
}

// sieveList takes a response code; strings in it may hold parentheses.
func sieveList(line string) (SieveArg, string, error) {
	for i := 1; i < len(line); i++ {
		switch line[i] {
		case ')':
			return SieveArg{SieveList, line[1:i]}, line[i+1:], nil
		case '(':
			return SieveArg{}, "", ErrSieveSyntax
		case '"':
			_, rest, err := sieveQuoted(line[i:])
			if err != nil {
				return SieveArg{}, "", err
			}
			i = len(line) - len(rest) - 1
		}
	}
	return SieveArg{}, "", ErrSieveSyntax
}

// SieveLine returns the next ManageSieve line of at most limit bytes: a line with the literals that it
// announces, each as it stands on the wire. The text is the caller's.
func (r *Reader) SieveLine(limit int) (string, error) {
	var b []byte
	for {
		line, err := r.Line(limit - len(b))
		if err != nil {
			return "", err
		}
		b = append(b, line...)
		_, n, _, ok, bad := Literal(line)
		if bad || !ok || openQuote(string(line)) {
			return string(b), nil
		}
		if n > limit-len(b)-2 {
			return "", ErrTooLong
		}
		body, err := r.Bytes(n)
		if err != nil {
			return "", err
		}
		b = append(append(b, "\r\n"...), body...)
	}
}

// openQuote tells whether a line ends within a quoted string, where {N} announces nothing.
func openQuote(line string) bool {
	open := false
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case '"':
			open = !open
		case '\\':
			if open {
				i++
			}
		}
	}
	return open
}

// SieveQuote writes s as a ManageSieve quoted string, or as a non-synchronising literal when it has
// bytes that a quoted string cannot carry or more than 1024 of them (RFC 5804 section 1.2).
func SieveQuote(s string) string {
	if len(s) > 1024 || strings.ContainsAny(s, "\r\n\x00") {
		return literalPlus(s)
	}
	return `"` + quotedEscaper.Replace(s) + `"`
}
