package conf

import (
	"errors"
	"fmt"
	"slices"
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
	name    string
	args    []string // with quotes taken off
	options []string // key=value
	mod     string   // the number that the result is taken modulo
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
	for i, s := range stages {
		if hashBits(s.name) > 0 {
			return v.hash(stages[i:])
		}
		if err := v.apply(s); err != nil {
			return "", err
		}
	}
	return v.String(), nil
}

// hash writes a variable with a hash of it, which must be what is done last.
func (v *variable23) hash(stages []stage24) (string, error) {
	s := stages[0]
	// The number of a bucket: md5 | substr(0, 8) % 256 | hex(2) is 2.3's %2.256N.
	if s.name == "md5" && len(s.args) == 0 && len(stages) == 3 && stages[1].name == "substr" &&
		slices.Equal(stages[1].args, []string{"0", "8"}) && stages[1].mod != "" && stages[2].name == "hex" && v.cut == "" {
		v.cut, v.letters = stages[1].mod, v.letters+"N"
		if len(stages[2].args) == 1 {
			v.cut = stages[2].args[0] + "." + v.cut
		}
		return v.String(), nil
	}
	long := map[string]string{"n": "username", "d": "domain"}[v.name]
	if long == "" {
		long = v.name
	}
	options := s.options
	if len(stages) == 2 && stages[1].name == "hexlify" && len(stages[1].args) == 1 {
		n, err := strconv.Atoi(stages[1].args[0])
		if err != nil || n%2 != 0 {
			return "", errors.New("hexlify() is not supported in this form")
		}
		options = append([]string{"truncate=" + strconv.Itoa(4*n)}, options...)
		stages = stages[:1]
	}
	if len(stages) == 2 && stages[1].name == "hexlify" && len(stages[1].args) == 0 {
		stages = stages[:1]
	}
	if v.letters != "" || v.cut != "" || v.fallback != "" || len(s.args) > 0 || len(stages) > 1 {
		return "", errors.New("this use of a hash is not supported")
	}
	// The salt takes the rest of the options in 2.3.
	slices.SortStableFunc(options, func(a, b string) int {
		return btoi(strings.HasPrefix(a, "salt=")) - btoi(strings.HasPrefix(b, "salt="))
	})
	if len(options) > 0 {
		return "%{" + s.name + ";" + strings.Join(options, ",") + ":" + long + "}", nil
	}
	return "%{" + s.name + ":" + long + "}", nil
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
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
	mod := ""
	if i := strings.LastIndexByte(s, '%'); i > 0 {
		if n, err := strconv.Atoi(strings.TrimSpace(s[i+1:])); err == nil && n > 0 {
			s, mod = strings.TrimSpace(s[:i]), strconv.Itoa(n)
		}
	}
	name, args, hasArgs := strings.Cut(s, "(")
	name = strings.TrimSpace(name)
	if strings.ContainsAny(name, " \t'\"+*/%") {
		return stage24{}, fmt.Errorf("%q is not supported", s)
	}
	st := stage24{name: name, mod: mod}
	if mod != "" && name != "substr" {
		return st, errors.New("arithmetic is not supported here")
	}
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
		if k, v, ok := strings.Cut(a, "="); ok && k != "" {
			st.options = append(st.options, k+"="+strings.Trim(v, `'"`))
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
