// Package passwdfile is the passdb that reads files of user:password lines, one file or one for each value of the
// %variables in its path. It imports passdb and conf; cmd/dproxy wires it.
package passwdfile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"

	"dproxy/conf"
	"dproxy/passdb"
)

type driver struct {
	scheme string
	format template // of the name that is looked up
	path   template
	single *file // the only file, when the path has no variables

	mu     sync.Mutex
	files  map[string]*file // by path; files that exist only
	report func(string)
}

// New opens a passwd-file passdb. Args are [scheme=NAME] [username_format=TEMPLATE] /path; the path is all that
// follows the first word starting with a slash. A file that cannot be read is no error here: it may come later.
func New(p conf.Passdb) (passdb.Driver, error) {
	fail := func(format string, a ...any) (passdb.Driver, error) {
		return nil, passdb.ConfigError(p, "passdb passwd-file: "+fmt.Sprintf(format, a...))
	}
	d := &driver{scheme: "CRYPT", files: map[string]*file{}}
	format, rest := "%u", p.Args
	for rest != "" && rest[0] != '/' {
		word, tail, _ := strings.Cut(rest, " ")
		rest = tail
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "":
		case "scheme":
			d.scheme = strings.ToUpper(value)
		case "username_format":
			format = value
		default:
			return fail("Unknown setting: %s", name)
		}
	}
	if rest == "" {
		return fail("Missing args")
	}
	var err error
	if d.format, err = parse(format); err != nil {
		return fail("username_format: %v", err)
	}
	if d.path, err = parse(rest); err != nil {
		return fail("%s: %v", rest, err)
	}
	if path, ok := d.path.Literal(); ok {
		d.single = &file{path: path}
	}
	return d, nil
}

// SetReport implements passdb.Reporter. It reads the file, so that its faults are told at start.
func (d *driver) SetReport(report func(text string)) {
	d.mu.Lock()
	d.report = report
	d.mu.Unlock()
	if d.single == nil {
		return
	}
	if _, err := d.single.current(d.say); err != nil {
		d.say(fmt.Sprintf("passwd-file %s:%v", d.single.path, err))
	}
}

func (d *driver) say(text string) {
	d.mu.Lock()
	report := d.report
	d.mu.Unlock()
	if report != nil {
		report(text)
	}
}

// Lookup finds the user's line. A missing file means an unknown user, except that a lookup without a password of
// the only file fails: mail for its users must not bounce while the file is being replaced.
func (d *driver) Lookup(_ context.Context, r *passdb.Request) (passdb.Result, error) {
	f, err := d.file(r)
	if err != nil {
		return passdb.Result{}, err
	}
	if f == nil {
		return passdb.Result{Status: passdb.Unknown}, nil
	}
	users, err := f.current(d.say)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			return passdb.Result{}, fmt.Errorf("passwd-file %s:%w", f.path, err)
		}
		d.forget(f)
		missing := "missing passwd file: " + f.path
		if d.single != nil && r.Mech == "" {
			return passdb.Result{}, errors.New(missing)
		}
		return passdb.Result{Status: passdb.Unknown, Detail: missing}, nil
	}
	name, err := expandEscaped(d.format, r.Var)
	if err != nil {
		return passdb.Result{}, fmt.Errorf("Failed to expand username_format=%s: %w", d.format.text, err)
	}
	if r.Trace != nil {
		r.Trace("file " + f.path + ", name " + name)
	}
	line, ok := users.find(name)
	if !ok {
		return passdb.Result{Status: passdb.Unknown}, nil
	}
	return d.answer(line, r)
}

// answer turns a line into fields.
func (d *driver) answer(line string, r *passdb.Request) (passdb.Result, error) {
	e := parseLine(line)
	res := passdb.Result{Password: passdb.Secret(e.password), HasPassword: true, DefaultScheme: d.scheme}
	for _, word := range strings.Split(e.extra, " ") {
		if word == "" {
			continue
		}
		name, value, _ := strings.Cut(word, "=")
		if strings.IndexByte(value, '%') >= 0 {
			t, err := parse(value)
			if err == nil {
				value, err = t.Expand(r.Var)
			}
			if err != nil {
				return passdb.Result{}, fmt.Errorf("Failed to expand extra field %s: %w", word, err)
			}
		}
		res.Fields = append(res.Fields, passdb.Field{Name: name, Value: value})
	}
	return res, nil
}

// file returns the file that may hold the user, or nil when the user's name cannot be part of a path.
func (d *driver) file(r *passdb.Request) (*file, error) {
	if d.single != nil {
		return d.single, nil
	}
	path, ok, err := expandPath(d.path, r.Var)
	if err != nil {
		return nil, fmt.Errorf("Failed to expand passwd-file path %s: %w", d.path.text, err)
	}
	if !ok {
		return nil, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.files[path]
	if f == nil {
		f = &file{path: path}
		d.files[path] = f
	}
	return f, nil
}

// forget drops a missing file, so that invented domains do not fill the memory.
func (d *driver) forget(f *file) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.files[f.path] == f {
		delete(d.files, f.path)
	}
}
