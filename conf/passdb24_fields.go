package conf

import (
	"fmt"
	"slices"
	"strings"
)

// fields converts fields { }. Most drivers have default_fields and override_fields of 2.3 for them. What needs the
// driver's answer, or decides with it, goes with the answer instead.
func (d *passdb24) fields() error {
	l := d.s.strs["passdb_fields"]
	if l == nil {
		l = &list24{}
	}
	var late [][2]string
	for _, k := range l.keys {
		write := word23
		if d.driver == "oauth2" {
			write = template23 // it takes pairs, not words
		}
		t, err := write(l.vals[k].text)
		if err != nil {
			return fmt.Errorf("fields { %s }: %w", k, err)
		}
		name, kind, _ := strings.Cut(k, ":")
		if strings.ContainsAny(name, " \t,=") {
			return fmt.Errorf("fields { %s }: a name has no blanks, commas and equals signs", k)
		}
		// What is only set when it is missing comes last.
		switch kind {
		case "":
			d.pairs = append(d.pairs, [2]string{name, t})
		case "default", "protected":
			late = append(late, [2]string{name + ":protected", t})
		case "remove":
			late = append(late, [2]string{k, t})
		default:
			return fmt.Errorf("fields { %s }: unknown suffix :%s", k, kind)
		}
	}
	d.pairs = append(d.pairs, late...)
	if v, ok := d.s.find("passdb_fields_import_all"); ok {
		on, _, _ := parseBool(v.text)
		d.inline.OnlyAnswers = on == 0
	}
	for _, p := range d.pairs {
		d.field(p[0], p[1])
	}
	return nil
}

// decisive are the fields that say whether a password fits. They belong to the answer.
var decisive = []string{"password", "password_noscheme", "nopassword", "noauthenticate"}

// field sorts one field.
func (d *passdb24) field(key, text string) {
	name, kind, _ := strings.Cut(key, ":")
	word := name + "=" + text
	if text == "" {
		word = name
	}
	ownWay := slices.Contains([]string{"static", "ldap", "oauth2"}, d.driver)
	switch {
	case !ownWay && (uses(text, "passdb:") || slices.Contains(decisive, name) || d.inline.OnlyAnswers):
		d.inline.Answers = append(d.inline.Answers, [2]string{key, text})
	case d.driver == "ldap" && kind == "protected" && uses(text, "ldap:"):
	case kind == "protected":
		d.defaults = append(d.defaults, word)
	case kind == "":
		d.override = append(d.override, word)
	default:
		d.override = append(d.override, key)
	}
}

// uses tells whether a template has variables with a prefix: of what a passdb answered, for example.
func uses(text, prefix string) bool {
	t, err := ParseTemplate(text, AuthLetters)
	return err == nil && slices.ContainsFunc(t.Names(), func(name string) bool { return strings.HasPrefix(name, prefix) })
}
