package conf

import "errors"

// Letters maps one-letter variables to long names in one context.
type Letters map[byte]string

// AuthLetters are the one-letter variables of the auth process, LoginLetters those of
// login_log_format_elements (Dovecot 2.3).
var (
	AuthLetters  = Letters{}
	LoginLetters = Letters{}
)

// Vars answers a variable by its long name.
type Vars func(name string) (value string, ok bool)

// Template is a text with %variables, parsed once and safe for concurrent use.
type Template struct{}

// ParseTemplate parses Dovecot 2.3 syntax.
func ParseTemplate(text string, l Letters) (*Template, error) {
	return nil, errors.New("not built yet")
}

// Expand replaces the variables. An unknown one is an error in Dovecot's words
// ("Unknown variable '%nosuch'").
func (t *Template) Expand(v Vars) (string, error) { return "", nil }

// Walk calls fn with each piece of the expanded text in order; variable tells literal text from
// an expanded value, so that the caller can bind or escape values.
func (t *Template) Walk(v Vars, fn func(text string, variable bool)) error { return nil }

// Names lists the long names of the variables used, each once, in order of first use.
func (t *Template) Names() []string { return nil }
