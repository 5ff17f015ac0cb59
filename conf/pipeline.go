package conf

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Templates of the 2.4 dialect are pipelines: %{user | lower}. They are written as those of 2.3, so
// that the rest of the program has one syntax of templates. Pipelines that 2.3 has no form for are
// refused.

// names23 are the variables of 2.4 that have another name in 2.3, and those with a letter that
// matters.
var names23 = map[string]string{
	"user": "user", "protocol": "service", "local_ip": "lip", "remote_ip": "rip", "client_pid": "pid",
	"mechanism": "mech", "local_port": "lport", "remote_port": "rport", "real_local_ip": "real_lip",
	"real_remote_ip": "real_rip", "real_local_port": "real_lport", "real_remote_port": "real_rport",
	"original_user": "orig_user",
}

// userParts are the user name variables of 2.3 by those of 2.4 and the filter that takes a part.
var userParts = map[string]map[string]string{
	"user":          {"username": "n", "domain": "d"},
	"original_user": {"username": "orig_username", "domain": "orig_domain"},
	"auth_user":     {"username": "auth_username", "domain": "auth_domain"},
	"login_user":    {"username": "login_username", "domain": "login_domain"},
}

// template23 writes a 2.4 template as one of 2.3.
func template23(text string) (string, error) {
	var b strings.Builder
	for text != "" {
		i := strings.IndexByte(text, '%')
		if i < 0 {
			b.WriteString(text)
			break
		}
		b.WriteString(text[:i])
		text = text[i:]
		switch {
		case strings.HasPrefix(text, "%%{"):
			b.WriteString("%%{")
			text = text[3:]
		case strings.HasPrefix(text, "%{"):
			in, after, err := cutPipeline(text[2:])
			if err != nil {
				return "", err
			}
			v, err := pipeline23(in)
			if err != nil {
				return "", fmt.Errorf("%%{%s}: %w", in, err)
			}
			b.WriteString(v)
			text = after
		default:
			b.WriteString("%%")
			text = text[1:]
		}
	}
	return b.String(), nil
}

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

// stage24 is one filter of a pipeline.
type stage24 struct {
	name string
	args []string // with quotes taken off
}

// pipeline23 writes one pipeline.
func pipeline23(text string) (string, error) {
	parts, err := splitOutside(text, '|')
	if err != nil {
		return "", err
	}
	stages := make([]stage24, len(parts))
	for i, p := range parts {
		if stages[i], err = parseStage(p); err != nil {
			return "", err
		}
	}
	first, stages := stages[0], stages[1:]
	if first.name == "literal" && len(first.args) == 1 && len(stages) == 0 {
		return strings.ReplaceAll(first.args[0], "%", "%%"), nil
	}
	if first.args != nil || first.name == "" {
		return "", errors.New("this pipeline is not supported")
	}
	v := variable23{name: first.name}
	if len(stages) > 0 && userParts[v.name] != nil && userParts[v.name][stages[0].name] != "" {
		v.name = userParts[v.name][stages[0].name]
		stages = stages[1:]
	} else if name, ok := names23[v.name]; ok {
		v.name = name
	}
	for _, s := range stages {
		if err := v.apply(s); err != nil {
			return "", err
		}
	}
	return v.String(), nil
}

// variable23 is a variable of 2.3 with its modifiers.
type variable23 struct {
	name, letters, cut, fallback string
}

// String writes the variable. The user's name has its letters, as the login log looks for them.
func (v variable23) String() string {
	name := v.name
	switch name {
	case "message":
		return "%$"
	case "elements":
		return "%s"
	case "user":
		name = "u"
	}
	if len(name) > 1 {
		name = "{" + name
		if v.fallback != "" {
			name += ":" + v.fallback
		}
		name += "}"
	}
	return "%" + v.cut + v.letters + name
}

func (v *variable23) apply(s stage24) error {
	switch s.name {
	case "lower":
		v.letters += "L"
	case "upper":
		v.letters += "U"
	case "reverse":
		v.letters += "R"
	case "safe":
		return errors.New("values are always escaped here; remove | safe")
	case "default":
		text := ""
		if len(s.args) == 1 {
			text = s.args[0]
		}
		if text == "" {
			return nil
		}
		if !strings.Contains(v.name, ":") || strings.ContainsAny(text, "{}%:") || v.letters != "" {
			return errors.New("default() is only supported for fields, as in %{passdb:host | default('x')}")
		}
		v.fallback = text
	case "substr":
		return v.substr(s.args)
	default:
		return fmt.Errorf("the filter %s is not supported", s.name)
	}
	return nil
}

func (v *variable23) substr(args []string) error {
	offset, width := 0, 9999
	var err error
	if len(args) > 0 {
		offset, err = strconv.Atoi(args[0])
	}
	if err == nil && len(args) > 1 {
		width, err = strconv.Atoi(args[1])
	}
	if err != nil || len(args) == 0 || len(args) > 2 || v.cut != "" || width == 0 {
		return errors.New("substr() is not supported in this form")
	}
	v.cut = fmt.Sprintf("%d.%d", offset, width)
	return nil
}

// splitOutside splits at a byte that is not inside quotes or parentheses.
func splitOutside(s string, sep byte) ([]string, error) {
	var parts []string
	start, depth, quote := 0, 0, byte(0)
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
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == sep && depth == 0:
			parts = append(parts, s[start:i])
			start = i + 1
		}
	}
	if quote != 0 || depth != 0 {
		return nil, errors.New("a quote or parenthesis is not closed")
	}
	return append(parts, s[start:]), nil
}

func parseStage(s string) (stage24, error) {
	s = strings.TrimSpace(s)
	name, args, hasArgs := strings.Cut(s, "(")
	name = strings.TrimSpace(name)
	if strings.ContainsAny(name, " \t'\"+*/%") {
		return stage24{}, fmt.Errorf("%q is not supported", s)
	}
	st := stage24{name: name}
	if !hasArgs {
		return st, nil
	}
	args, ok := strings.CutSuffix(strings.TrimSpace(args), ")")
	if !ok {
		return st, fmt.Errorf("%q is not supported", s)
	}
	parts, err := splitOutside(args, ',')
	if err != nil {
		return st, err
	}
	st.args = []string{}
	for _, a := range parts {
		a = strings.TrimSpace(a)
		if n := len(a); n >= 2 && (a[0] == '\'' || a[0] == '"') && a[n-1] == a[0] {
			st.args = append(st.args, unescape(a[1:n-1]))
			continue
		}
		if _, err := strconv.Atoi(a); err != nil && a != "" {
			return st, fmt.Errorf("the argument %s is not supported", a)
		}
		if a != "" {
			st.args = append(st.args, a)
		}
	}
	return st, nil
}
