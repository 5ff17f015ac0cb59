package conf

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Templates of the 2.4 dialect are pipelines: %{user | lower | regexp('a', 'b')}. This file takes one
// apart; what the filters do is in pipeline_filters.go.

// stage24 is one filter of a pipeline. The first may be the name of a variable instead.
type stage24 struct {
	name  string
	args  []arg24
	named map[string]arg24 // key=value
}

// arg24 is one argument of a filter.
type arg24 struct {
	kind argKind24
	text string
	num  int64
}

type argKind24 uint8

const (
	text24 argKind24 = iota
	number24
	variable24
)

// calculate is the filter that arithmetic stands for: %{port + 1000}.
const calculate = "calculate"

// cutPipeline returns what stands before the closing brace, and after it.
func cutPipeline(s string) (in, after string, err error) {
	quote := byte(0)
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case quote != 0 && c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case c == '}':
			return s[:i], s[i+1:], nil
		}
	}
	return "", "", errors.New("a variable is not closed: %{" + s)
}

// lexer24 cuts a pipeline into tokens.
type lexer24 struct {
	rest string
	kind byte   // of the token that was read: 'n' a name, 'v' a quoted text, '0' a number, 0 the end, else itself
	text string // of names, texts and numbers
}

// parsePipeline takes apart what stands between the braces. Only the syntax is checked.
func parsePipeline(s string) ([]stage24, error) {
	if !utf8.ValidString(s) {
		return nil, errors.New("Invalid UTF-8 string")
	}
	l := &lexer24{rest: s}
	var stages []stage24
	for {
		if err := l.next(); err != nil {
			return nil, err
		}
		if l.kind == 'n' {
			more, err := l.stage()
			if err != nil {
				return nil, err
			}
			stages = append(stages, more...)
		}
		switch l.kind {
		case 0:
			return stages, nil
		case '|':
		default:
			return nil, fmt.Errorf("syntax error, unexpected %s", l)
		}
	}
}

// String names the token for errors.
func (l *lexer24) String() string {
	switch l.kind {
	case 0:
		return "end"
	case 'n', 'v', '0':
		return "'" + l.text + "'"
	}
	return "'" + string(l.kind) + "'"
}

func isName24(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// next reads one token.
func (l *lexer24) next() error {
	l.rest = strings.TrimLeft(l.rest, " \t")
	l.kind, l.text = 0, ""
	if l.rest == "" {
		return nil
	}
	c, i := l.rest[0], 1
	switch {
	case isName24(c):
		for i < len(l.rest) && (isName24(l.rest[i]) || l.rest[i] >= '0' && l.rest[i] <= '9' || strings.IndexByte("_/;:.-", l.rest[i]) >= 0) {
			i++
		}
		l.kind = 'n'
	case c >= '0' && c <= '9':
		for i < len(l.rest) && l.rest[i] >= '0' && l.rest[i] <= '9' {
			i++
		}
		l.kind = '0'
	case c == '\'' || c == '"':
		l.kind = 'v'
		text, rest, err := cutText24(l.rest[1:], c)
		l.text, l.rest = text, rest
		return err
	case strings.IndexByte("|(),=+-*/%", c) >= 0:
		l.kind = c
	default:
		return fmt.Errorf("syntax error, unexpected '%s'", l.rest[:1])
	}
	l.text, l.rest = l.rest[:i], l.rest[i:]
	return nil
}

// cutText24 reads a quoted text up to its closing quote.
func cutText24(s string, quote byte) (text, rest string, err error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case quote:
			return b.String(), s[i+1:], nil
		case '\\':
			value, n, ok := escape24(s[i+1:])
			if !ok {
				return "", "", errors.New("Invalid character escape")
			}
			b.WriteByte(value)
			i += n
		default:
			b.WriteByte(c)
		}
	}
	return "", "", errors.New("a quote is not closed")
}

// escape24 reads what follows a backslash, and how long it is.
func escape24(s string) (value byte, length int, ok bool) {
	if s == "" {
		return 0, 0, false
	}
	switch c := s[0]; {
	case c == '\\' || c == '"' || c == '\'':
		return c, 1, true
	case c == 't':
		return '\t', 1, true
	case c == 'r':
		return '\r', 1, true
	case c == 'n':
		return '\n', 1, true
	case c == 'x' && len(s) >= 3:
		n, err := strconv.ParseUint(s[1:3], 16, 8)
		return byte(n), 3, err == nil
	case c >= '0' && c <= '9':
		i := 1
		for i < min(3, len(s)) && s[i] >= '0' && s[i] <= '9' {
			i++
		}
		n, err := strconv.ParseUint(s[:i], 8, 8)
		return byte(n), i, err == nil
	}
	return 0, 0, false
}

// stage reads a filter with its arguments and the arithmetic behind it. The token after it is read.
func (l *lexer24) stage() ([]stage24, error) {
	st := stage24{name: l.text}
	if err := l.next(); err != nil {
		return nil, err
	}
	if l.kind == '(' {
		if err := l.arguments(&st); err != nil {
			return nil, err
		}
	}
	stages := []stage24{st}
	if l.kind == 0 || strings.IndexByte("+-*/%", l.kind) < 0 {
		return stages, nil
	}
	sum := stage24{name: calculate, args: []arg24{{text: string(l.kind)}}}
	if err := l.next(); err != nil {
		return nil, err
	}
	a, err := l.argument()
	switch {
	case err != nil:
		return nil, err
	case a.kind == text24:
		return nil, errors.New("syntax error, a number or a name has to follow an operator")
	}
	sum.args = append(sum.args, a)
	return append(stages, sum), nil
}

// arguments reads up to the closing parenthesis and the token behind it.
func (l *lexer24) arguments(st *stage24) error {
	for {
		if err := l.next(); err != nil {
			return err
		}
		name := ""
		a, err := l.argument()
		if err == nil && l.kind == '=' && a.kind == variable24 {
			name = strings.ToLower(a.text)
			if err = l.next(); err == nil {
				a, err = l.argument()
			}
		}
		switch {
		case err != nil:
			return err
		case name == "":
			st.args = append(st.args, a)
		case st.named == nil:
			st.named = map[string]arg24{name: a}
		default:
			st.named[name] = a
		}
		switch l.kind {
		case ',':
		case ')':
			return l.next()
		default:
			return fmt.Errorf("syntax error, unexpected %s", l)
		}
	}
}

// argument reads one value, and the token behind it.
func (l *lexer24) argument() (arg24, error) {
	sign := ""
	if l.kind == '-' {
		sign = "-"
		if err := l.next(); err != nil {
			return arg24{}, err
		}
	}
	a := arg24{text: l.text}
	switch {
	case l.kind == '0':
		n, err := strconv.ParseInt(sign+l.text, 10, 64)
		if err != nil {
			return a, errors.New("Not a number")
		}
		a = arg24{kind: number24, num: n, text: sign + l.text}
	case sign != "":
		return a, fmt.Errorf("syntax error, unexpected %s", l)
	case l.kind == 'n':
		a.kind = variable24
	case l.kind != 'v':
		return a, fmt.Errorf("syntax error, unexpected %s", l)
	}
	return a, l.next()
}
