package conf

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// condition is %{if;LHS;OP;RHS;TRUE;FALSE}.
type condition struct {
	part [5]*Template
	// re is the pattern when it has no variables.
	re *regexp.Regexp
}

func (p *templateParser) condition(text string) (source, error) {
	_, rest, ok := strings.Cut(text, ";")
	if !ok {
		return &failure{err: errors.New("if: missing parameter(s)")}, nil
	}
	parts := splitCondition(rest)
	if len(parts) == 4 {
		parts = append(parts, "")
	}
	if len(parts) != 5 {
		return &failure{err: fmt.Errorf("if: requires four or five parameters, got %d", len(parts))}, nil
	}
	c := &condition{}
	for i, text := range parts {
		t, err := p.sub(text)
		if err != nil {
			return nil, err
		}
		c.part[i] = t
	}
	op, constantOp := c.part[1].Literal()
	pattern, constantPattern := c.part[2].Literal()
	if constantOp && constantPattern && strings.HasSuffix(op, "~") {
		// A pattern that does not compile is told at expansion, as all mistakes are.
		c.re, _ = compilePOSIX(pattern)
	}
	return c, nil
}

// splitCondition cuts the parameters at semicolons outside %{...}. A backslash makes the next byte
// an ordinary one and disappears; so does a run of backslashes. An unescaped colon ends the list.
func splitCondition(s string) []string {
	var out []string
	var b []byte
	depth, escaped, percent := 0, false, false
	for i := range len(s) {
		c := s[i]
		switch {
		case c == '\\':
			escaped = true
			continue
		case escaped:
			b = append(b, c)
			escaped = false
			continue
		case c == '%':
			percent = true
		case percent && c == '{':
			depth++
			percent = false
		case depth > 0 && c == '}':
			depth--
		case depth == 0 && c == ';':
			out = append(out, string(b))
			b = b[:0]
			continue
		}
		if depth == 0 && c == ':' {
			break
		}
		b = append(b, c)
	}
	if len(b) > 0 {
		out = append(out, string(b))
	}
	return out
}

func (c *condition) names(add func(string)) {
	for _, t := range c.part {
		t.names(add)
	}
}

func (c *condition) value(v Vars) (string, error) {
	branch, err := c.choose(v)
	if err != nil {
		return "", err
	}
	return branch.Expand(v)
}

// choose evaluates the comparison. A mistake in the branch that is not taken is an error too.
func (c *condition) choose(v Vars) (*Template, error) {
	var arg [3]string
	for i := range arg {
		s, err := c.part[i].Expand(v)
		if err != nil {
			return nil, err
		}
		arg[i] = s
	}
	yes, err := c.compare(arg[0], arg[1], arg[2])
	if err != nil {
		return nil, err
	}
	taken, other := c.part[3], c.part[4]
	if !yes {
		taken, other = other, taken
	}
	if _, err := other.Expand(v); err != nil {
		return nil, err
	}
	return taken, nil
}

func (c *condition) compare(lhs, op, rhs string) (bool, error) {
	switch op {
	case "==", "<", "<=", ">", ">=", "!=":
		return compareNumbers(lhs, op, rhs)
	case "eq":
		return lhs == rhs, nil
	case "ne":
		return lhs != rhs, nil
	case "lt":
		return lhs < rhs, nil
	case "le":
		return lhs <= rhs, nil
	case "gt":
		return lhs > rhs, nil
	case "ge":
		return lhs >= rhs, nil
	case "*":
		return matchWildcards(lhs, rhs), nil
	case "!*":
		return !matchWildcards(lhs, rhs), nil
	case "~", "!~":
		re := c.re
		if re == nil {
			var err error
			if re, err = compilePOSIX(rhs); err != nil {
				return false, err
			}
		}
		return re.MatchString(latin1(lhs)) == (op == "~"), nil
	}
	return false, fmt.Errorf("if: Unsupported comparator '%s'", op)
}

func compareNumbers(lhs, op, rhs string) (bool, error) {
	a, ok := signed(lhs)
	if !ok {
		return false, fmt.Errorf("if: %s (lhs) is not a number", lhs)
	}
	b, ok := signed(rhs)
	if !ok {
		return false, fmt.Errorf("if: %s (rhs) is not a number", rhs)
	}
	switch op {
	case "==":
		return a == b, nil
	case "<":
		return a < b, nil
	case "<=":
		return a <= b, nil
	case ">":
		return a > b, nil
	case ">=":
		return a >= b, nil
	}
	return a != b, nil
}

// signed reads a decimal number with an optional minus.
func signed(s string) (int64, bool) {
	if strings.HasPrefix(s, "+") {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

func compilePOSIX(pattern string) (*regexp.Regexp, error) {
	re, err := regexp.CompilePOSIX(latin1(pattern))
	if err != nil {
		return nil, fmt.Errorf("if: regex failed: %w", err)
	}
	return re, nil
}

// latin1 makes one rune of each byte, because Dovecot's patterns match bytes.
func latin1(s string) string {
	for i := range len(s) {
		if s[i] >= 0x80 {
			r := make([]rune, len(s))
			for i := range len(s) {
				r[i] = rune(s[i])
			}
			return string(r)
		}
	}
	return s
}

// matchWildcards knows * for any bytes and ? for one. An empty text matches stars only.
func matchWildcards(s, mask string) bool {
	star, mark := -1, 0
	i, j := 0, 0
	for i < len(s) {
		switch {
		case j < len(mask) && mask[j] == '*':
			star, mark = j, i
			j++
		case j < len(mask) && (mask[j] == '?' || mask[j] == s[i]):
			i++
			j++
		case star >= 0:
			mark++
			i, j = mark, star+1
		default:
			return false
		}
	}
	return strings.Trim(mask[j:], "*") == ""
}
