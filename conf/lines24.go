package conf

import (
	"fmt"
	"strings"
)

// Line syntax of the 2.4 dialect, where it differs from 2.3: any white space separates, keys may be
// quoted, and a backslash in quotes is only allowed before a backslash or a quote.

const space24 = " \t\n\v\f\r"

// line24 is one logical line.
type line24 struct {
	line
	keyQuoted, valueQuoted bool
	group                  bool // group @key value {
}

func bad24(key, text string) line24 { return line24{line: line{lineBad, key, text}} }

// splitLine24 takes a logical line apart.
func splitLine24(s string) line24 {
	var l line24
	var rest string
	if quoted, ok := strings.CutPrefix(s, `"`); ok {
		key, after, _ := cutQuoted(quoted)
		l.keyQuoted = true
		var err error
		if l.key, err = unescape24(key); err != nil {
			return bad24(key, err.Error())
		}
		rest = after
	} else {
		end := strings.IndexAny(s, space24+"=")
		if end < 0 {
			end = len(s)
		}
		l.key, rest = s[:end], s[end:]
	}
	rest = strings.TrimLeft(rest, space24)
	switch {
	case l.key == "!include" && !l.keyQuoted:
		l.kind, l.value = lineInclude, rest
		return l
	case l.key == "!include_try" && !l.keyQuoted:
		l.kind, l.value = lineIncludeTry, rest
		return l
	case strings.HasPrefix(rest, "="):
		return l.assignment(strings.TrimLeft(rest[1:], space24))
	case l.key == "}" && rest == "":
		l.kind = lineEnd
		return l
	}
	return l.section(rest)
}

// cutQuoted returns what stands before the closing quote, and after it.
func cutQuoted(s string) (in, after string, closed bool) {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

func (l line24) assignment(v string) line24 {
	switch {
	case strings.HasPrefix(v, "<"):
		l.kind, l.value = lineFile, strings.TrimLeft(v[1:], space24)
		return l
	case v == "" || v[0] != '\'' && v[0] != '"':
		l.kind, l.value = lineValue, v
		if strings.Contains(v, "$") {
			l.kind = lineReference
		}
		return l
	}
	l.kind, l.value = lineValue, v
	if last := v[len(v)-1]; last == v[0] && len(v) > 1 {
		l.valueQuoted = true
		var err error
		if l.value, err = unescape24(v[1 : len(v)-1]); err != nil {
			return bad24(l.key, err.Error())
		}
	}
	return l
}

func (l line24) section(rest string) line24 {
	const expecting = "Expecting '{'"
	l.kind = lineBegin
	switch {
	case rest == "":
		return bad24(l.key, expecting)
	case rest[0] == '{':
	case l.key == "group":
		words := strings.Fields(rest)
		if len(words) == 1 {
			return bad24(l.key, "Expecting group name")
		}
		l.group, l.key, l.value = true, words[0], words[1]
		rest = strings.Join(words[2:], " ")
	case rest[0] == '"':
		name, after, closed := strings.Cut(rest[1:], `"`)
		if !closed {
			return bad24(l.key, expecting)
		}
		l.valueQuoted = true
		var err error
		if l.value, err = unescape24(name); err != nil {
			return bad24(l.key, err.Error())
		}
		rest = strings.TrimLeft(after, space24)
	default:
		end := strings.IndexAny(rest, space24)
		if end < 0 {
			return bad24(l.key, expecting)
		}
		l.value = rest[:end]
		rest = strings.TrimLeft(rest[end:], space24)
	}
	switch {
	case !strings.HasPrefix(rest, "{"):
		return bad24(l.key, expecting)
	case rest != "{":
		return bad24(l.key, "Garbage after '{'")
	}
	return l
}

// unescape24 resolves \\ and \".
func unescape24(s string) (string, error) {
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' {
			i++
			if i == len(s) || s[i] != '\\' && s[i] != '"' {
				return "", fmt.Errorf(`Unknown escape sequence \%s`, s[i:min(i+1, len(s))])
			}
		}
		b.WriteByte(s[i])
	}
	return b.String(), nil
}

// splitFlags splits the value of a boolean list: words separated by blanks and commas, which may be
// quoted.
func splitFlags(v string) ([]string, error) {
	var words []string
	var word strings.Builder
	quoted, ended := false, false
	flush := func() {
		if quoted || word.Len() > 0 {
			words = append(words, word.String())
		}
		word.Reset()
		quoted, ended = false, false
	}
	for i := 0; i < len(v); i++ {
		c := v[i]
		switch {
		case c == '"' && !quoted && word.Len() > 0:
			return nil, fmt.Errorf(`'"' in the middle of a string`)
		case c == '"' && !quoted:
			quoted = true
		case (c == ' ' || c == ',') && (!quoted || ended):
			flush()
		case ended:
			return nil, fmt.Errorf(`Expected ',' or ' ' after '"'`)
		case c == '"':
			ended = true
		case c == '\\' && quoted:
			if i++; i == len(v) {
				return nil, fmt.Errorf(`Value ends with '\'`)
			}
			word.WriteByte(v[i])
		default:
			word.WriteByte(c)
		}
	}
	if quoted && !ended {
		return nil, fmt.Errorf(`Missing ending '"'`)
	}
	flush()
	return words, nil
}
