// Package static is the passdb whose answer is written in its args: fields with %variables, the same for every
// user. It imports passdb and conf; cmd/dproxy wires it.
package static

import (
	"context"
	"fmt"
	"strings"

	"dproxy/conf"
	"dproxy/passdb"
)

// defaultScheme is that of a password= without {SCHEME} prefix.
const defaultScheme = "PLAIN"

type field struct {
	name  string
	value *conf.Template
}

type driver struct {
	fields       []field
	password     *conf.Template // nil when args have none
	passwordText string
	nopassword   bool
}

// New opens a static passdb. Args are name=value words split at spaces; there is no quoting, and a value cannot
// hold a space. password= is the expected password, perhaps with a {SCHEME}; nopassword wins over it.
func New(p conf.Passdb) (passdb.Driver, error) {
	d := &driver{}
	for _, word := range strings.Split(p.Args, " ") {
		if word == "" {
			continue
		}
		name, value, _ := strings.Cut(word, "=")
		if name == "" {
			return nil, passdb.ConfigError(p, "Invalid passdb template "+p.Args+" - key must not be empty")
		}
		t, err := conf.ParseTemplate(value, conf.AuthLetters)
		if err != nil {
			return nil, passdb.ConfigError(p, fmt.Sprintf("Invalid passdb template %s - %s: %v", p.Args, name, err))
		}
		switch name {
		case "password":
			d.password, d.passwordText = t, value
			continue
		case "nopassword":
			d.nopassword = true
		}
		d.fields = append(d.fields, field{name, t})
	}
	return d, nil
}

// Lookup expands the fields for the request. An unknown %variable is an error.
func (d *driver) Lookup(_ context.Context, r *passdb.Request) (passdb.Result, error) {
	res := passdb.Result{DefaultScheme: defaultScheme}
	for _, f := range d.fields {
		v, err := f.value.Expand(r.Var)
		if err != nil {
			return passdb.Result{}, fmt.Errorf("Failed to expand template: %w", err)
		}
		res.Fields = append(res.Fields, passdb.Field{Name: f.name, Value: v})
	}
	if d.password == nil || d.nopassword {
		return res, nil
	}
	v, err := d.password.Expand(r.Var)
	if err != nil {
		return passdb.Result{}, fmt.Errorf("Failed to expand password=%s: %w", d.passwordText, err)
	}
	res.Password, res.HasPassword = passdb.Secret(v), true
	return res, nil
}
