package conf

import (
	"errors"
	"fmt"
	"strings"
)

// eventParser checks the syntax of an event filter: comparisons of the form field=value, joined by
// AND, OR, NOT and parentheses. Its messages are those of Dovecot 2.3's generated parser.
type eventParser struct {
	rest  string
	token string // its name in messages
	text  string // of a TOKEN or STRING
	depth int
}

const expectExpr = "TOKEN or STRING or NOT or '('"

// parseEventFilter returns nil for a valid filter, and for an empty one.
func parseEventFilter(text string) error {
	p := &eventParser{rest: text}
	p.next()
	switch p.token {
	case "$end":
		return nil
	case "TOKEN", "STRING", "NOT", "'('":
	default:
		return p.unexpected("$end")
	}
	if err := p.expr(); err != nil {
		return err
	}
	if p.token != "$end" {
		return p.unexpected("$end")
	}
	return nil
}

func (p *eventParser) unexpected(expecting string) error {
	if expecting != "" {
		expecting = ", expecting " + expecting
	}
	return fmt.Errorf("event filter: syntax error, unexpected %s%s", p.token, expecting)
}

// expr reads operands joined by AND and OR.
func (p *eventParser) expr() error {
	for {
		if err := p.operand(); err != nil {
			return err
		}
		if p.token != "AND" && p.token != "OR" {
			return nil
		}
		p.next()
	}
}

func (p *eventParser) operand() error {
	for p.token == "NOT" {
		p.next()
	}
	switch p.token {
	case "'('":
		if p.depth++; p.depth > 100 {
			return errors.New("event filter: memory exhausted")
		}
		p.next()
		if err := p.expr(); err != nil {
			return err
		}
		if p.token != "')'" {
			return p.unexpected("AND or OR or ')'")
		}
		p.depth--
		p.next()
		return nil
	case "TOKEN", "STRING":
		return p.comparison()
	}
	return p.unexpected(expectExpr)
}

func (p *eventParser) comparison() error {
	key, op := p.text, ""
	p.next()
	switch p.token {
	case "'='":
		op = "="
		p.next()
	case "'<'", "'>'":
		op = p.token
		p.next()
		if p.token == "'='" {
			p.next()
		}
	default:
		return p.unexpected("'=' or '>' or '<'")
	}
	switch p.token {
	case "TOKEN", "STRING", "AND", "OR", "NOT":
	default:
		return p.unexpected("")
	}
	if op != "=" && (key == "event" || key == "category" || key == "source_location") {
		return errors.New("event filter: Only fields support inequality comparisons")
	}
	p.next()
	return nil
}

// next reads one token.
func (p *eventParser) next() {
	p.rest = strings.TrimLeft(p.rest, " \t\n\r")
	if p.rest == "" {
		p.token = "$end"
		return
	}
	c := p.rest[0]
	switch {
	case c == '"':
		p.quoted()
	case strings.IndexByte("<>=()", c) >= 0:
		p.token = "'" + p.rest[:1] + "'"
		p.rest = p.rest[1:]
	case isEventByte(c):
		i := 0
		for i < len(p.rest) && isEventByte(p.rest[i]) {
			i++
		}
		p.token, p.text, p.rest = "TOKEN", p.rest[:i], p.rest[i:]
		if up := strings.ToUpper(p.text); up == "AND" || up == "OR" || up == "NOT" {
			p.token = up
		}
	default:
		p.token, p.rest = "$undefined", p.rest[1:]
	}
}

func isEventByte(c byte) bool { return isAlnum(c) || strings.IndexByte(":.*?_-", c) >= 0 }

// quoted reads a string. One that is not closed is as if it were not there.
func (p *eventParser) quoted() {
	var b strings.Builder
	for i := 1; i < len(p.rest); i++ {
		switch c := p.rest[i]; {
		case c == '"':
			p.token, p.text, p.rest = "STRING", b.String(), p.rest[i+1:]
			return
		case c == '\\' && i+1 < len(p.rest):
			i++
			if next := p.rest[i]; next != '"' && next != '\\' {
				b.WriteByte('\\')
			}
			b.WriteByte(p.rest[i])
		default:
			b.WriteByte(c)
		}
	}
	p.token, p.rest = "$end", ""
}
