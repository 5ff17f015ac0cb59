package conf

import (
	"slices"
	"strings"
)

// Letters maps one-letter variables to long names in one context.
type Letters map[byte]string

// AuthLetters are the one-letter variables of the auth process, LoginLetters those of
// login_log_format_elements (Dovecot 2.3). "id" is the number of the passdb that is asked; Dovecot
// 2.3 has no long name for it. Nobody writes to these maps; a room with further letters copies them.
var (
	AuthLetters = Letters{
		'u': "user", 'n': "username", 'd': "domain", 's': "service", 'h': "home", 'l': "lip", 'r': "rip", 'p': "pid",
		'w': "password", '!': "id", 'm': "mech", 'c': "secured", 'a': "lport", 'b': "rport", 'k': "cert",
	}
	LoginLetters = Letters{
		'u': "user", 'n': "username", 'd': "domain", 's': "service", 'h': "home", 'l': "lip", 'r': "rip", 'p': "pid",
		'm': "mech", 'a': "lport", 'b': "rport", 'c': "secured", 'k': "ssl_security", 'e': "mail_pid",
	}
)

// Vars answers a variable by its long name. A variable that exists and has no value is "", true.
//
// A function variable is asked with its argument and without its default, "ldap:mail". When the
// answer is false, the function counts as known if Vars knows it with an empty argument ("ldap:");
// the default, or else "", is the value then. passdb: and userdb: are always known.
type Vars func(name string) (value string, ok bool)

// UnknownVariableError says that a template uses a variable its context does not have.
type UnknownVariableError struct {
	Name string // as written, without braces, arguments and modifiers
}

// Error has Dovecot's words.
func (e *UnknownVariableError) Error() string { return "Unknown variable '%" + e.Name + "'" }

// maxTemplateDepth bounds conditions within conditions.
const maxTemplateDepth = 24

// Template is a text with %variables, parsed once and safe for concurrent use.
type Template struct{ pieces []piece }

// piece is one part of a template: literal text, or a source with the changes made to its value.
type piece struct {
	text   string // literal text when source is nil
	source source
	mods   modifiers
}

// source produces the value of one variable. Beside an error the text is what stands in its place.
type source interface {
	value(v Vars) (string, error)
	names(add func(name string))
}

// ParseTemplate parses Dovecot 2.3 syntax. As in Dovecot, a mistake within a variable is no error
// here but whenever the template is expanded; an error means that the text is nested too deeply.
func ParseTemplate(text string, l Letters) (*Template, error) {
	return (&templateParser{letters: l}).sub(text)
}

// sub parses text one level below p.
func (p *templateParser) sub(text string) (*Template, error) {
	p, err := p.below(text)
	if err != nil {
		return nil, err
	}
	t := &Template{}
	for p.rest != "" {
		i := strings.IndexByte(p.rest, '%')
		if i < 0 {
			t.literal(p.rest)
			break
		}
		t.literal(p.rest[:i])
		p.rest = p.rest[i+1:]
		x, ok, err := p.variable()
		switch {
		case err != nil:
			return nil, err
		case !ok:
		case x.source == nil:
			t.literal(x.text)
		default:
			t.pieces = append(t.pieces, x)
		}
	}
	return t, nil
}

func (t *Template) literal(text string) {
	if text == "" {
		return
	}
	if n := len(t.pieces); n > 0 && t.pieces[n-1].source == nil {
		t.pieces[n-1].text += text
		return
	}
	t.pieces = append(t.pieces, piece{text: text})
}

// Expand replaces the variables. An unknown one is an error in Dovecot's words ("Unknown variable
// '%nosuch'", an *UnknownVariableError). The text is complete even then, with
// UNSUPPORTED_VARIABLE_nosuch in its place, for the contexts where Dovecot goes on with that.
func (t *Template) Expand(v Vars) (string, error) {
	if len(t.pieces) == 0 {
		return "", nil
	}
	if len(t.pieces) == 1 {
		return t.pieces[0].expand(v)
	}
	var room [256]byte
	b, err := t.Append(room[:0], v)
	return string(b), err
}

// Append is Expand into a buffer.
func (t *Template) Append(dst []byte, v Vars) ([]byte, error) {
	var first error
	for i := range t.pieces {
		s, err := t.pieces[i].expand(v)
		if err != nil && first == nil {
			first = err
		}
		dst = append(dst, s...)
	}
	return dst, first
}

// Walk calls fn with each piece of the expanded text in order; variable tells literal text from
// an expanded value, so that the caller can bind or escape values. The texts of an unmodified
// %{if} are literal as far as they are written in the template. Walk ends at the first error.
func (t *Template) Walk(v Vars, fn func(text string, variable bool)) error {
	for i := range t.pieces {
		p := &t.pieces[i]
		if p.source == nil {
			fn(p.text, false)
			continue
		}
		if c, ok := p.source.(*condition); ok && p.mods.none() {
			branch, err := c.choose(v)
			if err != nil {
				return err
			}
			if err := branch.Walk(v, fn); err != nil {
				return err
			}
			continue
		}
		s, err := p.expand(v)
		if err != nil {
			return err
		}
		fn(s, true)
	}
	return nil
}

// Names lists the long names of the variables used, each once, in order of first use: also those
// within conditions and hashes, functions with their argument ("passdb:host"). Values that are the
// same for the whole process (env:, system:, hostname, uid, gid) are not listed.
func (t *Template) Names() []string {
	var out []string
	t.names(func(name string) {
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	})
	return out
}

func (t *Template) names(add func(string)) {
	for i := range t.pieces {
		if s := t.pieces[i].source; s != nil {
			s.names(add)
		}
	}
}

// Literal tells whether the template has no variables, and its text.
func (t *Template) Literal() (string, bool) {
	switch {
	case len(t.pieces) == 0:
		return "", true
	case len(t.pieces) == 1 && t.pieces[0].source == nil:
		return t.pieces[0].text, true
	}
	return "", false
}

func (p *piece) expand(v Vars) (string, error) {
	if p.source == nil {
		return p.text, nil
	}
	s, err := p.source.value(v)
	if err != nil || p.mods.none() {
		return s, err
	}
	return p.mods.apply(s), nil
}
