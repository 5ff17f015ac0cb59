package query

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Engine is a kind of database server.
type Engine uint8

// The engines. MySQL stands for MariaDB too.
const (
	SQLite Engine = iota
	MySQL
	PostgreSQL
)

// Dialect is how the server on one connection reads a query. Two connections of one pool can
// differ: sql_mode and standard_conforming_strings are set per user and per database too.
type Dialect struct {
	Engine Engine
	// Backslash: a backslash escapes the next byte in ordinary strings. MySQL without
	// NO_BACKSLASH_ESCAPES, PostgreSQL with standard_conforming_strings=off.
	Backslash bool
	// ANSI: double quotes hold a name and not a string. PostgreSQL always, MySQL with ANSI_QUOTES.
	ANSI bool
	// UTF8: the server takes the query's bytes for UTF-8, so that no byte of a character can be
	// mistaken for a quote. Without it nothing is written into a query.
	UTF8 bool
}

// style is how one quoted text is written.
type style struct {
	quote  byte   // ', ", ` or [
	dollar string // the tag of a dollar-quoted text, "$x$"; quote is 0 then
	escape bool   // backslash escapes
	hex    bool   // x'...' and b'...': digits only
}

var (
	errNUL      = errors.New("a NUL byte cannot be sent to the database")
	errEncoding = errors.New("the value is not valid UTF-8")
)

// write appends a value to a quoted text in a query. It refuses what it cannot make safe.
func (s style) write(dst []byte, d Dialect, value string) ([]byte, error) {
	switch {
	case strings.IndexByte(value, 0) >= 0:
		return dst, errNUL
	case s.hex:
		for i := range len(value) {
			if !isHexDigit(value[i]) {
				return dst, errors.New("the value is not made of hexadecimal digits")
			}
		}
		return append(dst, value...), nil
	case !d.UTF8:
		return dst, errors.New("the connection's character set is not UTF-8")
	case !utf8.ValidString(value):
		return dst, errEncoding
	case s.dollar != "":
		// "$" + tag could also come from the end of the value and what follows it.
		if strings.Contains(value, "$") {
			return dst, errors.New("the value holds a $ that could end a dollar-quoted text")
		}
		return append(dst, value...), nil
	case s.quote == '[':
		if strings.IndexByte(value, ']') >= 0 {
			return dst, errors.New("the value holds a ] that would end the name")
		}
		return append(dst, value...), nil
	}
	for i := range len(value) {
		c := value[i]
		if c == s.quote || c == '\\' && s.escape {
			dst = append(dst, c)
		}
		dst = append(dst, c)
	}
	return dst, nil
}

func isHexDigit(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// decode returns the text that a quoted text of a query stands for. The backslash escapes are those
// of PostgreSQL 15 (4.1.2.2) and MySQL 8.0 (11.1.1).
func (s style) decode(d Dialect, text string) (string, error) {
	if s.dollar != "" {
		return text, nil
	}
	if !s.escape {
		return strings.ReplaceAll(text, string([]byte{s.quote, s.quote}), string(s.quote)), nil
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case s.quote:
			i++ // a doubled quote
			b.WriteByte(c)
		case '\\':
			if i++; i == len(text) {
				return "", errors.New("a backslash stands before a variable")
			}
			n, err := d.unescape(&b, text[i:])
			if err != nil {
				return "", err
			}
			i += n
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), nil
}

// unescape writes what a backslash before s means and returns how many more bytes it took.
func (d Dialect) unescape(b *strings.Builder, s string) (int, error) {
	if d.Engine == MySQL {
		switch s[0] {
		case '0':
			b.WriteByte(0)
		case 'Z':
			b.WriteByte(26)
		case '%', '_':
			b.WriteByte('\\')
			b.WriteByte(s[0])
		default:
			b.WriteByte(simpleEscape(s[0], "bnrt", "\b\n\r\t"))
		}
		return 0, nil
	}
	switch c := s[0]; c {
	case '0', '1', '2', '3', '4', '5', '6', '7':
		n := 0
		v := 0
		for n < 3 && n < len(s) && s[n] >= '0' && s[n] <= '7' {
			v = v<<3 | int(s[n]-'0')
			n++
		}
		b.WriteByte(byte(v))
		return n - 1, nil
	case 'x':
		v, n := hexDigits(s[1:], 2)
		if n == 0 {
			b.WriteByte('x')
			return 0, nil
		}
		b.WriteByte(byte(v))
		return n, nil
	case 'u', 'U':
		want := 4
		if c == 'U' {
			want = 8
		}
		v, n := hexDigits(s[1:], want)
		if n != want || !utf8.ValidRune(rune(v)) {
			return 0, fmt.Errorf("invalid Unicode escape \\%s", s[:1+n])
		}
		b.WriteRune(rune(v))
		return n, nil
	default:
		b.WriteByte(simpleEscape(c, "bfnrt", "\b\f\n\r\t"))
		return 0, nil
	}
}

func simpleEscape(c byte, letters, meanings string) byte {
	if i := strings.IndexByte(letters, c); i >= 0 {
		return meanings[i]
	}
	return c
}

func hexDigits(s string, most int) (value uint32, n int) {
	for n < most && n < len(s) && isHexDigit(s[n]) {
		c := s[n]
		switch {
		case c <= '9':
			c -= '0'
		default:
			c = c&^0x20 - 'A' + 10
		}
		value = value<<4 | uint32(c)
		n++
	}
	return value, n
}
