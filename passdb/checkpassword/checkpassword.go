// Package checkpassword is the passdb that runs a program for each question, by the checkpassword interface with
// Dovecot's additions. It imports passdb and conf; cmd/dproxy wires it.
package checkpassword

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"dproxy/conf"
	"dproxy/passdb"
)

// maxPrograms is how many programs run at once; further questions wait.
const maxPrograms = 30 // as many as Dovecot has auth workers

type driver struct {
	program string
	args    []argument
	slots   chan struct{}
}

type argument struct {
	*conf.Template
	text string
}

// New opens a checkpassword passdb. Args are the program's path and its arguments, split at spaces before their
// %variables are replaced: a value stays within one argument.
func New(p conf.Passdb) (passdb.Driver, error) {
	words := strings.FieldsFunc(p.Args, func(r rune) bool { return r == ' ' })
	if len(words) == 0 {
		return nil, passdb.ConfigError(p, "passdb checkpassword: Missing args: the program to run")
	}
	d := &driver{program: words[0], slots: make(chan struct{}, maxPrograms)}
	for _, w := range words[1:] {
		t, err := conf.ParseTemplate(w, conf.AuthLetters)
		if err != nil {
			return nil, passdb.ConfigError(p, fmt.Sprintf("passdb checkpassword: %s: %v", w, err))
		}
		d.args = append(d.args, argument{t, w})
	}
	return d, nil
}

// Exit statuses of a program.
const (
	exitOK      = 0
	exitFailed  = 1
	exitUserdb  = 2 // success of a lookup without a password
	exitUnknown = 3 // of a lookup
)

// Verify implements passdb.Verifier. The program gets name and password on descriptor 3.
func (d *driver) Verify(ctx context.Context, r *passdb.Request, password passdb.Secret) (passdb.Result, error) {
	o, err := d.run(ctx, r, string(password), nil)
	switch {
	case err != nil:
		return passdb.Result{}, err
	case o.status == exitFailed:
		return passdb.Result{Status: passdb.Mismatch, Detail: "Login failed (status=1)"}, nil
	case o.status == exitUserdb:
		return passdb.Result{}, errors.New(o.exited() + " (tried to use userdb-only checkpassword program for passdb?)")
	case o.status != exitOK:
		return passdb.Result{}, errors.New(o.exited())
	}
	return o.result()
}

// Lookup asks without a password: the program sees AUTHORIZED=1 and must set it to 2, which a program that knows
// nothing of this does not do. It exits with 3 for an unknown user.
func (d *driver) Lookup(ctx context.Context, r *passdb.Request) (passdb.Result, error) {
	o, err := d.run(ctx, r, "", []string{"AUTHORIZED=1", "CREDENTIALS_LOOKUP=1", "SCHEME=" + r.CredentialsScheme})
	switch {
	case err != nil:
		return passdb.Result{}, err
	case o.status == exitUnknown:
		return passdb.Result{Status: passdb.Unknown}, nil
	case o.status != exitOK && o.status != exitUserdb:
		return passdb.Result{}, errors.New(o.exited())
	case o.env["AUTHORIZED"] != "2":
		return passdb.Result{}, fmt.Errorf("%s did not set AUTHORIZED=2: it cannot look users up without their password", d.program)
	}
	return o.result()
}

// outcome is how a program ended, and the environment it ended with.
type outcome struct {
	pid, status int
	env         map[string]string
}

func (o outcome) exited() string {
	return fmt.Sprintf("Child %d exited with status %d", o.pid, o.status)
}

// result reads the fields: USER, HOME, the user and group ids, and the variables that EXTRA names.
func (o outcome) result() (passdb.Result, error) {
	if o.env == nil {
		return passdb.Result{}, errors.New("Received no input")
	}
	res := passdb.Result{DefaultScheme: "CRYPT"}
	add := func(name, variable string) {
		switch v, ok := o.env[variable]; {
		case !ok:
		case name == "password":
			res.Password, res.HasPassword = passdb.Secret(v), true
		default:
			res.Fields = append(res.Fields, passdb.Field{Name: name, Value: v})
		}
	}
	if o.env["USER"] != "" {
		add("user", "USER")
	}
	add("userdb_home", "HOME")
	for _, name := range strings.Fields("userdb_uid userdb_gid " + o.env["EXTRA"]) {
		if slices.ContainsFunc(res.Fields, func(f passdb.Field) bool { return f.Name == name }) {
			continue
		}
		add(name, name)
	}
	return res, nil
}
