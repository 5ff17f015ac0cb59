package conf

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// The opposite of pipeline.go: templates of 2.3 are written as those of 2.4.

// names24Of are the variables of 2.3 that have another name in 2.4.
var names24Of = func() map[string]string {
	out := map[string]string{}
	for to, from := range names23 {
		if to != "owner_user" {
			out[from] = to
		}
	}
	for user, parts := range userParts {
		for part, from := range parts {
			out[from] = user + " | " + part
		}
	}
	out["username"], out["domain"] = out["n"], out["d"]
	delete(out, "n")
	delete(out, "d")
	return out
}()

// template24 writes a 2.3 template as one of 2.4. extra are letters beside those of l.
func template24(text string, l Letters, extra map[byte]string) (string, error) {
	var b strings.Builder
	p := &templateParser{rest: text, letters: l}
	for p.rest != "" {
		i := strings.IndexByte(p.rest, '%')
		if i < 0 {
			b.WriteString(p.rest)
			break
		}
		b.WriteString(p.rest[:i])
		p.rest = p.rest[i+1:]
		if err := p.variable24(&b, extra); err != nil {
			return "", err
		}
	}
	return b.String(), nil
}

// variable24 writes one variable.
func (p *templateParser) variable24(b *strings.Builder, extra map[byte]string) error {
	m := p.modifiers()
	var name string
	switch {
	case p.rest == "":
		return nil // Dovecot drops it
	case p.rest[0] == '{' && strings.IndexByte(p.rest, '}') >= 0:
		name = p.braces()
	default:
		c := p.rest[0]
		p.rest = p.rest[1:]
		long, known := p.letters[c]
		if e, ok := extra[c]; ok {
			long, known = e, true
		}
		switch {
		case c == '%' && m.none():
			b.WriteByte('%')
			if strings.HasPrefix(p.rest, "{") {
				b.WriteByte('%')
			}
			return nil
		case !known || long == "id":
			return fmt.Errorf("%%%c has no form in 2.4", c)
		}
		name = long
	}
	v, err := source24(name)
	if err != nil {
		return err
	}
	stages, err := stages24(m)
	if err != nil {
		return fmt.Errorf("%%{%s}: %w", name, err)
	}
	b.WriteString("%{" + v + stages + "}")
	return nil
}

// source24 writes what stands between the braces of a variable of 2.3, without modifiers.
func source24(text string) (string, error) {
	key, arg, isFunction := strings.Cut(text, ":")
	name, options, _ := strings.Cut(key, ";")
	switch {
	case strings.EqualFold(name, "if"):
		return if24(text)
	case digests[name].new != nil && isFunction:
		return hash24(name, options, arg)
	case strings.EqualFold(name, pkcs5):
		return "", errors.New("%{pkcs5} has to be written anew for 2.4")
	case !isFunction:
		if to, ok := names24Of[text]; ok {
			return to, nil
		}
		return text, nil
	}
	field, fallback, _ := strings.Cut(arg, ":")
	out := key + ":" + field
	if fallback != "" {
		if strings.ContainsAny(fallback, `'\`) {
			return "", fmt.Errorf("the default in %%{%s} has to be written anew for 2.4", text)
		}
		out += " | default('" + fallback + "')"
	}
	return out, nil
}

// hash24 writes a hash, whose options stand for arguments and filters.
func hash24(name, options, arg string) (string, error) {
	field, err := source24(arg)
	if err != nil {
		return "", err
	}
	anew := fmt.Errorf("%%{%s;%s:%s} has to be written anew for 2.4", name, options, arg)
	if strings.Contains(name, "-") || name == "md4" || name == "size" {
		name = "hash('" + name + "'"
	} else {
		name += "("
	}
	after := ""
	for option := range strings.SplitSeq(options, ",") {
		key, value, _ := strings.Cut(option, "=")
		n, err := strconv.Atoi(value)
		switch {
		case option == "", key == "format" && value == "hex":
		case key == "truncate" && err == nil && n > 0 && n%8 == 0:
			after = fmt.Sprintf(" | truncate(%d)", n/8) + after
		case key == "format" && value == "base64":
			after += " | base64"
		case key == "rounds" && err == nil:
			name += ",rounds=" + value
		case key == "salt" && !strings.ContainsAny(options, `%'\`) && strings.HasSuffix(options, option):
			name += ",salt='" + value + "'"
		default:
			return "", anew
		}
	}
	name = strings.TrimSuffix(strings.Replace(name, "(,", "(", 1)+")", "()")
	return field + " | " + name + after, nil
}

// filters24Of are the filters that do what a modifier of 2.3 does.
var filters24Of = map[rune]string{
	'L': "lower", 'U': "upper", 'R': "reverse", 'M': "md5 | hexlify", 'D': "ldap_dn", 'X': "hex", 'T': `regexp('[ \t\n\r]+$', '')`,
}

// stages24 writes modifiers as filters. substr() of 2.4 fails where a value is too short, which is no error in 2.3.
func stages24(m modifiers) (string, error) {
	var b strings.Builder
	letters, bucket := m.letters, false
	if rest, ok := strings.CutSuffix(letters, "N"); ok && m.width > 0 && m.offset >= 0 {
		letters, bucket = rest, true
	}
	for _, c := range letters {
		f, ok := filters24Of[c]
		if !ok {
			return "", fmt.Errorf("the modifier %c has no form in 2.4", c)
		}
		b.WriteString(" | " + f)
	}
	switch {
	case bucket:
		fmt.Fprintf(&b, " | md5 | substr(0, 8) %% %d | hex", m.width)
		if m.offset > 0 {
			fmt.Fprintf(&b, "(%d)", m.offset)
		}
	case m.offset != 0 && m.zero || m.width < 0 && m.offset >= 0:
		return "", errors.New("this offset and width have no form in 2.4")
	case m.zero && m.width > 0:
		fmt.Fprintf(&b, " | lfill(%d)", m.width)
	case m.offset > 0 && m.width > 0:
		fmt.Fprintf(&b, " | regexp('^.{0,%d}(.{0,%d}).*$', '$1')", m.offset, m.width)
	case m.offset > 0:
		fmt.Fprintf(&b, " | regexp('^.{0,%d}', '')", m.offset)
	case m.offset < 0 && m.width == 0:
		fmt.Fprintf(&b, " | regexp('^.*(.{%d})$', '$1')", -m.offset)
	case m.offset < 0:
		return "", errors.New("an offset from the end with a width has no form in 2.4")
	case m.width > 0:
		fmt.Fprintf(&b, " | truncate(%d)", m.width)
	}
	return b.String(), nil
}
