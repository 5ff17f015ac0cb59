package conf

import (
	"errors"
	"os"
	"strings"
)

// templateParser reads one level of a template. Its rules are those of Dovecot 2.3's var_expand:
// %[-][0][offset.][-][0][width][modifiers]X, X a letter or {long name}.
type templateParser struct {
	rest    string
	letters Letters
	// known, when set, is the complete list of variables: others are unknown without asking Vars,
	// and these are empty when Vars has no answer.
	known func(name string) bool
	depth int
}

func (p *templateParser) below(text string) (*templateParser, error) {
	if p.depth > maxTemplateDepth {
		return nil, errors.New("%variables are nested too deeply")
	}
	q := *p
	q.rest, q.depth = text, p.depth+1
	return &q, nil
}

// variable reads what follows a '%'. ok is false when the text ends before the variable does;
// Dovecot drops such a rest.
func (p *templateParser) variable() (x piece, ok bool, err error) {
	m := p.modifiers()
	if p.rest == "" {
		return x, false, nil
	}
	if p.rest[0] == '{' && strings.IndexByte(p.rest, '}') >= 0 {
		name := p.braces()
		if strings.HasPrefix(name, "|") {
			x := p.sealed(name[1:])
			x.mods = m
			return x, true, nil
		}
		s, err := p.long(name)
		if err != nil {
			return x, false, err
		}
		return piece{source: s, mods: m}, true, nil
	}
	c := p.rest[0]
	p.rest = p.rest[1:]
	s := p.short(c)
	if k, isConstant := s.(constant); isConstant && m.none() {
		return piece{text: string(k)}, true, nil
	}
	return piece{source: s, mods: m}, true, nil
}

// modifiers reads offset, width and modifier letters.
func (p *templateParser) modifiers() modifiers {
	var m modifiers
	sign := 1
	if p.skip('-') {
		sign = -1
	}
	m.zero = p.skip('0')
	m.width = p.number()
	if p.skip('.') {
		m.offset = sign * m.width
		sign = 1
		m.zero = p.skip('0')
		if p.skip('-') {
			sign = -1
		}
		m.width = sign * p.number()
	}
	n := 0
	for n < maxModifiers && n < len(p.rest) && strings.IndexByte(modifierLetters, p.rest[n]) >= 0 {
		n++
	}
	m.letters, p.rest = p.rest[:n], p.rest[n:]
	return m
}

func (p *templateParser) skip(c byte) bool {
	if p.rest == "" || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

// number reads digits. Larger numbers than maxNumber count as that.
func (p *templateParser) number() int {
	n := 0
	for p.rest != "" && p.rest[0] >= '0' && p.rest[0] <= '9' {
		n = min(n*10+int(p.rest[0]-'0'), maxNumber)
		p.rest = p.rest[1:]
	}
	return n
}

// braces reads {name} with balanced braces; a backslash hides the next byte from the count.
// Without the closing one the rest of the text is the name.
func (p *templateParser) braces() string {
	open, escaped := 1, false
	for i := 1; i < len(p.rest); i++ {
		c := p.rest[i]
		switch {
		case escaped:
			escaped = false
		case c == '\\':
			escaped = true
		case c == '{':
			open++
		case c == '}':
			open--
		}
		if open == 0 {
			name := p.rest[1:i]
			p.rest = p.rest[i+1:]
			return name
		}
	}
	name := p.rest[1:]
	p.rest = ""
	return name
}

func (p *templateParser) short(c byte) source {
	if name, ok := p.letters[c]; ok {
		return p.named(name, string(c))
	}
	if c == '%' {
		return constant("%")
	}
	return unknown(string(c))
}

// long parses the text between braces: a name, a function with an argument, a hash or a condition.
func (p *templateParser) long(text string) (source, error) {
	key, arg, _ := strings.Cut(text, ":")
	name, options, _ := strings.Cut(key, ";")
	switch {
	case strings.EqualFold(name, "if"):
		return p.condition(text)
	case digests[strings.ToLower(name)].new != nil || strings.EqualFold(name, pkcs5):
		return p.hash(name, options, arg)
	case key == text:
		return p.named(text, text), nil
	case key == "env":
		return constant(os.Getenv(arg)), nil
	case key == "system":
		return system(arg), nil
	}
	field, fallback, _ := strings.Cut(arg, ":")
	return &variable{name: key + ":" + field, written: key, function: key + ":", fallback: fallback}, nil
}

func (p *templateParser) named(name, written string) source {
	if p.known == nil {
		return &variable{name: name, written: written}
	}
	if _, ok := builtin(name); !ok && !p.known(name) {
		return unknown(written)
	}
	return &variable{name: name, written: written, orEmpty: true}
}
