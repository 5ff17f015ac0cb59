package conf

import "strings"

// lineKind is what one logical line is.
type lineKind uint8

const (
	lineSkip       lineKind = iota // empty or a comment
	lineMore                       // continues on the next line
	lineBad                        // value is the error
	lineValue                      // key = value
	lineFile                       // key = <value
	lineReference                  // key = value with $references
	lineBegin                      // key value {
	lineEnd                        // }
	lineInclude                    // !include value
	lineIncludeTry                 // !include_try value
)

// line is one logical line.
type line struct {
	kind       lineKind
	key, value string
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

func trimBlanks(s string) string { return strings.Trim(s, " \t") }

func trimBlanksLeft(s string) string { return strings.TrimLeft(s, " \t") }

// physicalLine strips blanks and the comment of one line of a file. more tells that it ends with a
// backslash, ambiguous that the comment starts without a blank before it.
func physicalLine(s string) (text string, more, ambiguous bool) {
	s = trimBlanksLeft(s)
	if s == "" || s[0] == '#' {
		return "", false, false
	}
	s, ambiguous = stripComment(s)
	s = trimBlanks(s)
	if strings.HasSuffix(s, `\`) {
		return strings.TrimRight(s[:len(s)-1], " \t"), true, ambiguous
	}
	return s, false, ambiguous
}

// stripComment cuts s at the first # outside quotes. A quote that is not closed ends the search:
// then nothing is cut.
func stripComment(s string) (string, bool) {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '\'', '"':
			for i++; i < len(s) && s[i] != c; i++ {
				if s[i] == '\\' && i+1 < len(s) {
					i++
				}
			}
			if i >= len(s) {
				return s, false
			}
		case '#':
			return s[:i], !isBlank(s[i-1])
		}
	}
	return s, false
}

// splitLine takes one logical line apart: an assignment, the start or end of a section, an include.
func splitLine(s string) line {
	i := 0
	for i < len(s) && !isBlank(s[i]) && s[i] != '=' {
		i++
	}
	key, rest := s[:i], trimBlanksLeft(s[i:])
	switch key {
	case "!include":
		return line{lineInclude, key, rest}
	case "!include_try":
		return line{lineIncludeTry, key, rest}
	}
	if strings.HasPrefix(rest, "=") {
		return splitAssignment(key, trimBlanksLeft(rest[1:]))
	}
	if key == "}" && rest == "" {
		return line{lineEnd, key, ""}
	}
	return splitSection(key, rest)
}

func splitAssignment(key, v string) line {
	switch {
	case strings.HasPrefix(v, "<"):
		return line{lineFile, key, trimBlanksLeft(v[1:])}
	case v == "":
		return line{lineValue, key, v}
	case v[0] != '\'' && v[0] != '"':
		if strings.Contains(v, "$") {
			return line{lineReference, key, v}
		}
		return line{lineValue, key, v}
	}
	if last := v[len(v)-1]; last == v[0] {
		if len(v) == 1 {
			return line{lineValue, key, ""}
		}
		v = unescape(v[1 : len(v)-1])
	}
	return line{lineValue, key, v}
}

func splitSection(key, rest string) line {
	bad := line{lineBad, key, "Expecting '{'"}
	name := ""
	switch {
	case rest == "":
		return bad
	case rest[0] == '{':
	case rest[0] == '"':
		end := strings.IndexByte(rest[1:], '"')
		if end < 0 {
			return bad
		}
		name = unescape(rest[1 : 1+end])
		rest = trimBlanksLeft(rest[end+2:])
	default:
		end := strings.IndexAny(rest, " \t")
		if end < 0 {
			return bad
		}
		name = rest[:end]
		rest = trimBlanksLeft(rest[end:])
	}
	switch {
	case !strings.HasPrefix(rest, "{"):
		return bad
	case rest != "{":
		return line{lineBad, key, "Garbage after '{'"}
	}
	return line{lineBegin, key, name}
}

// unescape drops each backslash and keeps what follows it.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' {
			if i++; i == len(s) {
				break
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
