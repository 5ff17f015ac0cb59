package auth

import (
	"fmt"
	"slices"
	"strings"

	"dproxy/passdb"
)

// shape sets the fields of the 2.4 dialect that go with a driver's answer. The cache keeps the shaped answer.
func (e *entry) shape(res *passdb.Result, r *passdb.Request) error {
	given := res.Fields
	password, has := res.Password, res.HasPassword
	vars := func(name string) (string, bool) {
		field, ok := strings.CutPrefix(name, "passdb:")
		switch {
		case !ok:
		case field == "password" && has:
			return string(password), true
		default:
			// The last of several counts, as with fields that are set one after the other.
			for i := len(given) - 1; i >= 0; i-- {
				if given[i].Name == field {
					return given[i].Value, true
				}
			}
		}
		return r.Var(name)
	}
	res.Fields = slices.Clone(given)
	if e.OnlyAnswers {
		res.Fields = nil
		if e.Driver == "sql" {
			res.Password, res.HasPassword = "", false
		}
	}
	for _, f := range e.answers {
		text, err := f.value.Expand(vars)
		if err != nil {
			return fmt.Errorf("Failed to expand field %s: %w", f.name, err)
		}
		setAnswer(res, f.name, text)
	}
	return nil
}

// setAnswer sets one field of an answer.
func setAnswer(res *passdb.Result, key, text string) {
	name, kind, _ := strings.Cut(key, ":")
	same := func(f passdb.Field) bool { return f.Name == name }
	switch {
	case kind == "remove":
		res.Fields = append(slices.DeleteFunc(res.Fields, same), passdb.Field{Name: key})
	case name == "password" || name == "password_noscheme":
		if kind == "protected" && res.HasPassword {
			return
		}
		res.Password, res.HasPassword, res.NoScheme = passdb.Secret(text), true, name == "password_noscheme"
	case kind == "protected" && slices.ContainsFunc(res.Fields, same):
	default:
		if kind == "" {
			res.Fields = slices.DeleteFunc(res.Fields, same)
		}
		res.Fields = append(res.Fields, passdb.Field{Name: key, Value: text})
	}
}
