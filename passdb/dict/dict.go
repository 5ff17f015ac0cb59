// Package dict is the passdb that looks users up in a Redis server, by a dovecot-dict-auth.conf.ext. It imports
// passdb and conf; cmd/dproxy wires it.
package dict

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"dproxy/conf"
	"dproxy/passdb"
)

// driver answers from one server.
type driver struct {
	file   *conf.DictFile
	keys   []key // those that are used, those without a default value first
	fields []field
	server server
	vars   []string
}

type key struct {
	*conf.DictKey
	template *conf.Template
}

type field struct {
	name, text string
	template   *conf.Template
}

var _ passdb.Factory = New

// New reads the file that p.Args names. It connects with the first lookup, so that a server that is down at
// start costs logins and not the proxy. Errors have Dovecot's wording.
func New(p conf.Passdb) (passdb.Driver, error) {
	file, err := conf.LoadDictFile(p.Args)
	if err != nil {
		return nil, err
	}
	uri, err := file.Redis()
	if err != nil {
		return nil, err
	}
	d := &driver{file: file}
	if err := d.templates(); err != nil {
		return nil, fmt.Errorf("dict %s: %w", file.Path, err)
	}
	d.server = newServer(uri)
	return d, nil
}

// templates parses what the file has of them, and finds out which keys and variables are used.
func (d *driver) templates() error {
	used := slices.Clone(d.file.PassdbObjects)
	for _, f := range d.file.PassdbFields {
		t, err := conf.ParseTemplate(f.Value, conf.AuthLetters)
		if err != nil {
			return fmt.Errorf("passdb_fields { %s }: %w", f.Name, err)
		}
		d.fields = append(d.fields, field{f.Name, f.Value, t})
		for _, name := range t.Names() {
			if arg, ok := strings.CutPrefix(name, dictVariable); ok {
				name, _, _ = strings.Cut(arg, ".")
				used = append(used, name)
			} else {
				d.vars = append(d.vars, name)
			}
		}
	}
	for i := range d.file.Keys {
		k := &d.file.Keys[i]
		if !slices.Contains(used, k.Name) || d.file.Find(k.Name) != k {
			continue
		}
		t, err := conf.ParseTemplate(k.Key, conf.AuthLetters)
		if err != nil {
			return fmt.Errorf("key %s: %w", k.Name, err)
		}
		d.keys = append(d.keys, key{k, t})
		d.vars = append(d.vars, t.Names()...)
	}
	slices.SortStableFunc(d.keys, func(a, b key) int { return number(a.HasDefault) - number(b.HasDefault) })
	return nil
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

// CacheVars implements passdb.Cacheable.
func (d *driver) CacheVars() []string { return slices.Clone(d.vars) }

// SetLog implements passdb.Talker: it tells what the file should have said differently.
func (d *driver) SetLog(log func(passdb.Level, string)) {
	for _, w := range d.file.Warnings {
		log(passdb.Warning, w)
	}
}

// Close ends all connections. Lookups that are running fail.
func (d *driver) Close() error { return d.server.close() }

var _ passdb.Pinger = (*driver)(nil)

// Ping implements passdb.Pinger.
func (d *driver) Ping(ctx context.Context, report func(server string, err error)) {
	report("redis "+d.server.address, d.server.ping(ctx))
}

// Lookup reads the values of the keys and makes fields of them. A key that is not there and has no default
// value means that there is no such user.
func (d *driver) Lookup(ctx context.Context, r *passdb.Request) (passdb.Result, error) {
	if len(d.fields) == 0 && len(d.file.PassdbObjects) == 0 {
		return passdb.Result{}, errors.New("No passdb_objects or passdb_fields specified")
	}
	values := make(map[string]string, len(d.keys))
	for _, k := range d.keys {
		name, err := k.expand(r)
		if err != nil {
			return passdb.Result{}, fmt.Errorf("Failed to expand key %s: %w", k.Key, err)
		}
		v, found, err := d.server.get(ctx, name)
		switch {
		case err != nil:
			return passdb.Result{}, fmt.Errorf("Failed to lookup key shared/%s: redis: %w", name, err)
		case found:
			values[k.Name] = v
		case k.HasDefault:
			values[k.Name] = k.Default
		default:
			return passdb.Result{Status: passdb.Unknown}, nil
		}
	}
	return d.result(r, values)
}

// pathEscaper keeps a variable from being more than one part of a key (Dovecot's dict_escape_string).
var pathEscaper = strings.NewReplacer("/", `\|`, `\`, `\\`)

// expand replaces the variables of a key.
func (k key) expand(r *passdb.Request) (string, error) {
	var b strings.Builder
	nul := false
	err := k.template.Walk(r.Var, func(text string, variable bool) {
		if variable {
			nul = nul || strings.IndexByte(text, 0) >= 0
			text = pathEscaper.Replace(text)
		}
		b.WriteString(text)
	})
	if err == nil && nul {
		err = errors.New("a variable holds a NUL byte")
	}
	return b.String(), err
}

// dictVariable begins the variables that stand for values.
const dictVariable = "dict:"

// result makes the answer: passdb_fields first, then the objects.
func (d *driver) result(r *passdb.Request, values map[string]string) (passdb.Result, error) {
	a := answer{res: passdb.Result{Status: passdb.OK, DefaultScheme: d.file.DefaultPassScheme}}
	for _, f := range d.fields {
		var broken error
		v, err := f.template.Expand(func(name string) (string, bool) {
			arg, ok := strings.CutPrefix(name, dictVariable)
			if !ok {
				return r.Var(name)
			}
			v, known, err := d.variable(arg, values)
			broken = errors.Join(broken, err)
			return v, known
		})
		if err = errors.Join(err, broken); err != nil {
			return passdb.Result{}, fmt.Errorf("Failed to expand %s=%s: %w", f.name, f.text, err)
		}
		a.set(f.name, v)
	}
	for _, name := range d.file.PassdbObjects {
		err := eachMember(values[name], func(name string, value *string) {
			if value != nil {
				a.set(name, *value)
			}
		})
		if err != nil {
			return passdb.Result{}, err
		}
	}
	return a.res, nil
}

// variable answers %{dict:key} and %{dict:key.name}. What it does not know has the variable's default value.
func (d *driver) variable(arg string, values map[string]string) (text string, known bool, err error) {
	if arg == "" {
		return "", true, nil // it is the name of a function
	}
	name, member, dotted := strings.Cut(arg, ".")
	k := d.file.Find(name)
	if k == nil || k.JSON != dotted {
		return "", false, nil
	}
	if !dotted {
		return values[name], true, nil
	}
	err = eachMember(values[name], func(name string, value *string) {
		if name == member && value != nil {
			text = *value
		}
	})
	return text, true, err
}

type answer struct{ res passdb.Result }

func (a *answer) set(name, value string) {
	if (name == "password" || name == "password_noscheme") && !a.res.HasPassword {
		a.res.Password, a.res.HasPassword, a.res.NoScheme = passdb.Secret(value), true, name == "password_noscheme"
		return
	}
	// A second password is the auth room's to complain about.
	a.res.Fields = append(a.res.Fields, passdb.Field{Name: name, Value: value})
}

// timeoutOf is the bound on one lookup: timeout_msecs, if it is shorter than ours.
func timeoutOf(uri *conf.DictRedis) time.Duration {
	if uri.Timeout > 0 && uri.Timeout < lookupTimeout {
		return uri.Timeout
	}
	return lookupTimeout
}

// isNil tells whether a key is not there.
func isNil(err error) bool { return errors.Is(err, redis.Nil) }
