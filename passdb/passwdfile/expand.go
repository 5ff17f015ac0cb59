package passwdfile

import (
	"strings"

	"dproxy/conf"
)

// template is a text with %variables and the text itself, for error messages.
type template struct {
	*conf.Template
	text string
}

func parse(text string) (template, error) {
	t, err := conf.ParseTemplate(text, conf.AuthLetters)
	return template{t, text}, err
}

// expandPath expands the path of a file. The answer is false when a value would lead out of the directory that
// the template names: a slash, a NUL, or a component that becomes "." or ".." by it. (Dovecot cuts a value at
// its first slash.)
func expandPath(t template, v conf.Vars) (path string, ok bool, err error) {
	var full, fixed strings.Builder
	ok = true
	err = t.Walk(v, func(text string, variable bool) {
		full.WriteString(text)
		if variable {
			ok = ok && !strings.ContainsAny(text, "/\x00")
			text = "x"
		}
		fixed.WriteString(text)
	})
	if err != nil || !ok {
		return "", false, err
	}
	written := strings.Split(fixed.String(), "/")
	for i, c := range strings.Split(full.String(), "/") {
		if (c == "." || c == "..") && written[i] != c {
			return "", false, nil
		}
	}
	return full.String(), true, nil
}

// expandEscaped expands a template with a backslash before each quote and backslash of a value, as Dovecot 2.3
// does for username_format.
func expandEscaped(t template, v conf.Vars) (string, error) {
	var out strings.Builder
	err := t.Walk(v, func(text string, variable bool) {
		if variable && strings.ContainsAny(text, `'"\`) {
			for i := range len(text) {
				if strings.IndexByte(`'"\`, text[i]) >= 0 {
					out.WriteByte('\\')
				}
				out.WriteByte(text[i])
			}
			return
		}
		out.WriteString(text)
	})
	return out.String(), err
}
