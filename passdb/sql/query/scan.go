package query

import (
	"errors"
	"strings"
)

// scanner cuts the skeleton of a query into parts. It knows as much SQL as is needed to tell
// strings, names and comments apart and to see where a parameter can stand.
type scanner struct {
	s         string
	d         Dialect
	i         int
	variables int
	plain     []byte // plain text since the last part
	parts     []part
	// prev is what stood before, blanks and comments aside.
	prev     tokenKind
	prevWord string // a word, in upper case
}

type tokenKind uint8

const (
	tokenStart tokenKind = iota
	tokenOperator
	tokenWord
	tokenOther // a quoted text, a closing bracket, a variable
)

// beforeValue are the words after which the grammar takes any expression, and so a parameter. A
// string after another word may be something else: date '...', an alias, a character set's prefix.
var beforeValue = map[string]bool{
	"SELECT": true, "WHERE": true, "AND": true, "OR": true, "XOR": true, "NOT": true, "IN": true, "LIKE": true, "ILIKE": true,
	"RLIKE": true, "REGEXP": true, "GLOB": true, "MATCH": true, "TO": true, "BETWEEN": true, "CASE": true, "WHEN": true,
	"THEN": true, "ELSE": true, "ON": true, "HAVING": true, "BY": true, "DISTINCT": true, "ALL": true, "ANY": true, "SOME": true,
	"VALUES": true, "IS": true, "DIV": true, "MOD": true, "SET": true, "FROM": true, "RETURN": true, "RETURNING": true,
}

// beforeName are the words after which a name follows.
var beforeName = map[string]bool{"FROM": true, "JOIN": true, "INTO": true, "UPDATE": true, "TABLE": true}

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '$' || c >= 0x80
}

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

func (x *scanner) scan() error {
	for x.i < len(x.s) {
		if err := x.token(); err != nil {
			return err
		}
	}
	return nil
}

func (x *scanner) token() error {
	c := x.s[x.i]
	rest := x.s[x.i:]
	switch {
	case c == Mark:
		return x.bare()
	case isSpace(c):
		x.take(1)
	case c == '\'':
		return x.text(x.plainStyle())
	case c == '"':
		return x.doubleQuoted()
	case c == '`' && x.d.Engine != PostgreSQL, c == '[' && x.d.Engine == SQLite:
		return x.name(c)
	case strings.HasPrefix(rest, "/*"):
		return x.blockComment()
	case x.lineComment(rest):
		end := strings.IndexByte(rest, '\n')
		if end < 0 {
			end = len(rest)
		}
		return x.comment(end)
	case c == '$' && x.d.Engine == PostgreSQL:
		if tag := dollarTag(rest); tag != "" {
			return x.text(style{dollar: tag})
		}
		x.word()
	case isWord(c):
		x.word()
	default:
		x.prev = tokenOperator
		if c == ')' || c == ']' {
			x.prev = tokenOther
		}
		x.take(1)
	}
	return nil
}

func (x *scanner) take(n int) {
	x.plain = append(x.plain, x.s[x.i:x.i+n]...)
	x.i += n
}

func (x *scanner) word() {
	end := x.i
	for end < len(x.s) && isWord(x.s[end]) {
		end++
	}
	x.prev, x.prevWord = tokenWord, strings.ToUpper(x.s[x.i:end])
	x.take(end - x.i)
}

func (x *scanner) flush() {
	if len(x.plain) > 0 {
		x.parts = append(x.parts, part{kind: plainPart, text: string(x.plain)})
		x.plain = x.plain[:0]
	}
}

func (x *scanner) add(p part) {
	x.flush()
	x.parts = append(x.parts, p)
	x.prev = tokenOther
}

// lineComment tells whether a comment to the end of the line starts here. MySQL wants a blank or
// control byte behind the two dashes.
func (x *scanner) lineComment(rest string) bool {
	if x.d.Engine == MySQL {
		return rest[0] == '#' || strings.HasPrefix(rest, "--") && (len(rest) == 2 || rest[2] <= ' ' && rest[2] != Mark)
	}
	return strings.HasPrefix(rest, "--")
}

func (x *scanner) blockComment() error {
	depth, end := 1, x.i+2
	for depth > 0 {
		switch {
		case end >= len(x.s):
			depth = 0
		case strings.HasPrefix(x.s[end:], "*/"):
			depth--
			end += 2
		case strings.HasPrefix(x.s[end:], "/*") && x.d.Engine == PostgreSQL:
			depth++
			end += 2
		default:
			end++
		}
	}
	return x.comment(min(end, len(x.s)) - x.i)
}

// comment passes a comment of n bytes on, or leaves it out when it holds variables. MySQL runs
// what stands in /*! */.
func (x *scanner) comment(n int) error {
	text := x.s[x.i : x.i+n]
	count := strings.Count(text, string([]byte{Mark}))
	if count == 0 {
		x.take(n)
		return nil
	}
	if x.d.Engine == MySQL && (strings.HasPrefix(text, "/*!") || strings.HasPrefix(text, "/*M!")) {
		return errors.New("a variable stands within /*! */")
	}
	x.variables += count
	x.plain = append(x.plain, ' ')
	x.i += n
	return nil
}

// bare takes a variable outside quotes.
func (x *scanner) bare() error {
	rule := bareNumber
	before, after := byte(' '), byte(' ')
	if x.i > 0 {
		before = x.s[x.i-1]
	}
	if x.i+1 < len(x.s) {
		after = x.s[x.i+1]
	}
	switch {
	case before == '$' || after == '$':
		return errors.New("a variable stands next to a $")
	case after == '\'' || after == '"':
		// A word before a string could change how it is read: E'...', x'...'.
	case isWord(before):
		if first := x.prevWord; x.prev == tokenWord && first != "" && (first[0] < '0' || first[0] > '9') {
			rule = bareName
		}
	case before == '.' || x.prev == tokenWord && beforeName[x.prevWord], isWord(after):
		rule = bareName
	}
	x.add(part{kind: barePart, bare: rule, values: []segment{{variable: x.variables}}})
	x.variables++
	x.i++
	return nil
}

func (x *scanner) plainStyle() style { return style{quote: '\'', escape: x.d.Backslash} }

// doubleQuoted is a string in MySQL, a name in PostgreSQL. SQLite takes it for a name where there
// is one, else for a string; a variable in it is data unless only a name can stand there.
func (x *scanner) doubleQuoted() error {
	string := !x.d.ANSI
	if x.d.Engine == SQLite {
		string = x.prev != tokenWord || !beforeName[x.prevWord]
		if n := len(x.plain); n > 0 && x.plain[n-1] == '.' {
			string = false
		}
	}
	if string {
		return x.text(style{quote: '"', escape: x.d.Backslash})
	}
	return x.name('"')
}

// name takes a quoted name.
func (x *scanner) name(quote byte) error {
	s := style{quote: quote}
	raw, end, err := x.quoted(s)
	if err != nil {
		return err
	}
	if strings.IndexByte(raw, Mark) < 0 {
		x.take(end - x.i)
		x.prev = tokenOther
		return nil
	}
	p := part{kind: quotedPart, style: s, before: string(quote), after: x.s[end-1 : end]}
	if p.values, err = x.segments(s, raw); err != nil {
		return err
	}
	x.add(p)
	x.i = end
	return nil
}

// text takes a string.
func (x *scanner) text(s style) error {
	before, bindable, err := x.prefix(&s)
	if err != nil {
		return err
	}
	raw, end, err := x.quoted(s)
	if err != nil {
		return err
	}
	if strings.IndexByte(raw, Mark) < 0 {
		x.take(end - x.i)
		x.prev = tokenOther
		return nil
	}
	opening := string(s.quote)
	if s.dollar != "" {
		opening = s.dollar
	}
	p := part{kind: quotedPart, style: s, before: opening, after: opening}
	if p.values, err = x.segments(s, raw); err != nil {
		return err
	}
	if bindable && x.parameterAllowed(end) {
		p.kind = paramPart
		p.before = before + opening
		x.plain = x.plain[:len(x.plain)-len(before)]
	}
	x.add(p)
	x.i = end
	return nil
}

// prefix looks at the letters glued to the front of a string, which are already in plain: E of
// PostgreSQL's escapes, N, X, B, _utf8, date'...'. It returns those that belong to the string and
// vanish with it when it becomes a parameter.
func (x *scanner) prefix(s *style) (before string, bindable bool, err error) {
	n := len(x.plain)
	if n == 0 || s.dollar != "" {
		return "", true, nil
	}
	if x.d.Engine == PostgreSQL && n >= 2 && x.plain[n-1] == '&' && x.plain[n-2]|0x20 == 'u' && (n == 2 || !isWord(x.plain[n-3])) &&
		strings.IndexByte(x.s[x.i:], Mark) >= 0 {
		return "", false, errors.New("a variable stands behind U&'")
	}
	if !isWord(x.plain[n-1]) {
		return "", true, nil
	}
	switch x.prevWord {
	case "E":
		if x.d.Engine == PostgreSQL {
			s.escape = true
			return string(x.plain[n-1:]), true, nil
		}
	case "X", "B":
		s.hex = true
	}
	return "", false, nil
}

// parameterAllowed tells whether the grammar lets a parameter stand for the string that ends at end.
func (x *scanner) parameterAllowed(end int) bool {
	for end < len(x.s) && isSpace(x.s[end]) {
		end++
	}
	if end < len(x.s) && (x.s[end] == '\'' || x.s[end] == '"') {
		return false // strings next to each other are one
	}
	switch x.prev {
	case tokenOther:
		return false
	case tokenWord:
		// The prefix E counts as the word before.
		n := len(x.plain)
		if x.prevWord == "E" && n > 0 && isWord(x.plain[n-1]) {
			return true
		}
		return beforeValue[x.prevWord]
	}
	return true
}

// quoted finds the end of a quoted text that starts at i, and the text between the quotes. One that
// is not closed goes to the end; it is for the server to complain, unless it holds variables.
func (x *scanner) quoted(s style) (raw string, end int, err error) {
	open := func(n int) (string, int, error) {
		raw := x.s[x.i+n:]
		if strings.IndexByte(raw, Mark) >= 0 {
			return "", 0, errors.New("a quoted text with a variable is not closed")
		}
		return raw, len(x.s), nil
	}
	if s.dollar != "" {
		start := x.i + len(s.dollar)
		n := strings.Index(x.s[start:], s.dollar)
		if n < 0 {
			return open(len(s.dollar))
		}
		return x.s[start : start+n], start + n + len(s.dollar), nil
	}
	closing := s.quote
	if closing == '[' {
		closing = ']'
	}
	for i := x.i + 1; i < len(x.s); i++ {
		switch c := x.s[i]; {
		case c == '\\' && s.escape:
			i++
		case c != closing:
		case i+1 < len(x.s) && x.s[i+1] == closing && closing != ']':
			i++
		default:
			return x.s[x.i+1 : i], i + 1, nil
		}
	}
	return open(1)
}

// segments cuts the inside of a quoted text at its variables.
func (x *scanner) segments(s style, raw string) ([]segment, error) {
	var out []segment
	for {
		before, after, found := strings.Cut(raw, string([]byte{Mark}))
		if before != "" {
			text, err := s.decode(x.d, before)
			if err != nil {
				return nil, err
			}
			out = append(out, segment{raw: before, text: text, variable: -1})
		}
		if !found {
			return out, nil
		}
		out = append(out, segment{variable: x.variables})
		x.variables++
		raw = after
	}
}

// dollarTag returns the opening of a dollar-quoted text at the start of s, or nothing.
func dollarTag(s string) string {
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '$':
			return s[:i+1]
		case !isWord(c), i == 1 && c >= '0' && c <= '9':
			return ""
		}
	}
	return ""
}
