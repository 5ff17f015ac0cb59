// Package sql is the passdb driver of SQLite, PostgreSQL, MySQL and MariaDB: it asks password_query
// of a dovecot-sql.conf.ext. Variables in quotes become parameters of a prepared query; elsewhere
// they are written by the server's own rules, or refused. It imports passdb and conf.
package sql

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"dproxy/conf"
	"dproxy/passdb"
	"dproxy/passdb/sql/query"
)

// maxPlans bounds how many forms of a query with conditions are kept.
const maxPlans = 256

// Driver answers from one database. It is safe for concurrent use.
type Driver struct {
	file     *conf.SQLFile
	template *conf.Template
	names    []string
	pool     *pool
	attempts int // connections to try for one lookup
	scratch  sync.Pool

	mu    sync.RWMutex
	plans map[query.Dialect]map[string]*query.Plan
}

var _ passdb.Factory = New

// New takes p.SQL, or reads the file that p.Args names. It connects with the first lookup, so that a database that
// is down at start costs logins and not the proxy. Errors have Dovecot's wording.
func New(p conf.Passdb) (passdb.Driver, error) {
	if p.SQL != nil {
		return Open(p.SQL)
	}
	file, err := conf.LoadSQLFile(p.Args)
	if err != nil {
		return nil, err
	}
	return Open(file)
}

// Open makes the driver of a parsed file.
func Open(file *conf.SQLFile) (*Driver, error) {
	if strings.IndexByte(file.PasswordQuery, query.Mark) >= 0 {
		return nil, fmt.Errorf("sql %s: password_query holds a NUL byte", file.Path)
	}
	t, err := conf.ParseTemplate(file.PasswordQuery, conf.AuthLetters)
	if err != nil {
		return nil, fmt.Errorf("sql %s: password_query: %w", file.Path, err)
	}
	connect, err := file.ConnectTo()
	if err != nil {
		return nil, err
	}
	d := &Driver{file: file, template: t, names: t.Names(), plans: map[query.Dialect]map[string]*query.Plan{}}
	d.scratch.New = func() any { return newScratch() }
	if err := d.connectTo(connect); err != nil {
		return nil, fmt.Errorf("sql %s: %w", file.Path, err)
	}
	d.attempts = len(d.pool.hosts) + 1
	return d, nil
}

func (d *Driver) connectTo(c *conf.SQLConnect) error {
	names := []string{c.File}
	if c.Driver != "sqlite" {
		names = names[:0]
		for _, h := range c.Hosts {
			names = append(names, h.Name)
		}
	}
	switch c.Driver {
	case "sqlite":
		// Queries only use the CPU: more connections than CPUs are no use.
		d.pool = newPool(names, min(max(runtime.GOMAXPROCS(0), 2), 8), sqliteFile{c.File}.open)
	case "pgsql":
		hosts, err := newPgsql(c.Hosts)
		if err != nil {
			return err
		}
		d.pool = newPool(names, c.MaxConns, hosts.open)
	case "mysql":
		hosts, err := newMySQL(c.Hosts)
		if err != nil {
			return err
		}
		d.pool = newPool(names, c.MaxConns, hosts.open)
	}
	for i, h := range c.Hosts {
		if h.MaxConns > 0 {
			d.pool.hosts[i].limit = h.MaxConns
		}
	}
	return nil
}

// CacheVars lists the variables of password_query.
func (d *Driver) CacheVars() []string { return slices.Clone(d.names) }

// SetLog implements passdb.Talker: it tells what the file should have said differently.
func (d *Driver) SetLog(log func(passdb.Level, string)) {
	for _, w := range d.file.Warnings {
		log(passdb.Warning, w)
	}
}

// Close ends all connections. Lookups that are running fail.
func (d *Driver) Close() error {
	d.pool.close()
	return nil
}

// scratch is what one lookup needs and the next one can use again.
type scratch struct {
	skeleton []byte
	values   []string
	args     []string
	answer   answer
	piece    func(text string, variable bool)
}

func newScratch() *scratch {
	s := &scratch{}
	s.piece = func(text string, variable bool) {
		if variable {
			s.skeleton = append(s.skeleton, query.Mark)
			s.values = append(s.values, text)
		} else {
			s.skeleton = append(s.skeleton, text...)
		}
	}
	return s
}

// clear forgets the values, among which may be a password.
func (s *scratch) clear() {
	clear(s.values)
	clear(s.args)
	clear(s.answer.values)
	s.skeleton, s.values, s.args = s.skeleton[:0], s.values[:0], s.args[:0]
	s.answer.reset()
}

// Lookup asks password_query. Its errors have Dovecot's wording.
func (d *Driver) Lookup(ctx context.Context, r *passdb.Request) (passdb.Result, error) {
	if r.Trace != nil {
		if text, err := d.template.Expand(r.Masked); err == nil { // values are bound, not written into the text
			r.Trace("query: " + text)
		}
	}
	s := d.scratch.Get().(*scratch)
	defer d.scratch.Put(s)
	defer s.clear()
	if err := d.template.Walk(r.Var, s.piece); err != nil {
		return passdb.Result{}, fmt.Errorf("Failed to expand password_query=%s: %w", d.file.PasswordQuery, err)
	}
	if err := d.ask(ctx, s); err != nil {
		if d.file.DefaultPasswordQuery {
			return passdb.Result{}, fmt.Errorf("Password query failed: %w (using built-in default password_query: %s)", err, d.file.PasswordQuery)
		}
		return passdb.Result{}, fmt.Errorf("Password query failed: %w", err)
	}
	return d.result(&s.answer)
}

// ask runs the query on one connection after another until one is not broken.
func (d *Driver) ask(ctx context.Context, s *scratch) error {
	now := time.Now()
	until := now.Add(queryTimeout)
	if t, ok := ctx.Deadline(); ok && t.Before(until) {
		until = t
	}
	// A query begun at the last moment would only break its connection.
	wait, cancel := context.WithDeadline(ctx, until.Add(now.Sub(until)/5))
	defer cancel()
	steady := context.WithoutCancel(ctx)
	for attempt := 1; ; attempt++ {
		c, err := d.pool.get(wait)
		if err != nil {
			return err
		}
		begun := time.Now()
		c.deadline(until)
		err = d.run(steady, c, s)
		switch {
		case errors.Is(err, errTooMany):
			d.pool.discard(ctx, c)
			return nil
		case !errors.Is(err, errBroken):
			d.pool.put(c)
			return err
		case errors.Is(err, errTimeout) && until.Sub(begun) < fairTime:
			d.pool.discard(ctx, c) // says nothing about the server
			return err
		}
		d.pool.drop(ctx, c, err)
		if errors.Is(err, errTimeout) || attempt >= d.attempts || wait.Err() != nil {
			return err
		}
		s.answer.reset()
	}
}

// run asks on one connection. A query that the server does not take with parameters is written out.
func (d *Driver) run(ctx context.Context, c conn, s *scratch) (err error) {
	defer caught(&err)
	p, err := d.plan(c.dialect(), s.skeleton)
	if err != nil {
		return err
	}
	s.args = s.args[:0]
	written := p.Written.Load()
	if !written {
		s.args = p.Args(s.args, s.values)
	}
	if p.Fixed && !written {
		err = c.query(ctx, p, s.args, &s.answer)
	} else {
		var text string
		if text, err = p.Render(s.values, !written); err != nil {
			return err
		}
		err = c.queryOnce(ctx, text, s.args, &s.answer)
	}
	if written || p.Params == 0 || !errors.Is(err, errRefused) {
		return err
	}
	text, werr := p.Render(s.values, false)
	if werr != nil {
		return err
	}
	s.answer.reset()
	switch werr := c.queryOnce(ctx, text, nil, &s.answer); {
	case werr == nil:
		p.Written.Store(true)
		return nil
	case errors.Is(werr, errBroken):
		return werr
	}
	return err
}

// plan finds or makes the plan of a skeleton. Only conditions in the query make several.
func (d *Driver) plan(dl query.Dialect, skeleton []byte) (*query.Plan, error) {
	d.mu.RLock()
	p := d.plans[dl][string(skeleton)]
	d.mu.RUnlock()
	if p != nil {
		return p, nil
	}
	p, err := query.Compile(trimQuery(string(skeleton)), dl)
	if err != nil {
		return nil, fmt.Errorf("%w; correct password_query in %s", err, d.file.Path)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if q := d.plans[dl][string(skeleton)]; q != nil {
		return q, nil
	}
	if d.plans[dl] == nil {
		d.plans[dl] = map[string]*query.Plan{}
	}
	if len(d.plans[dl]) >= maxPlans {
		p.Fixed = false // not kept, so it must not stay prepared either
		return p, nil
	}
	d.plans[dl][string(skeleton)] = p
	return p, nil
}

// trimQuery drops blanks and semicolons at the end: no server prepares a second, empty query.
func trimQuery(q string) string { return strings.TrimRight(q, "; \t\r\n") }

// result turns the first row into an answer. NULL is no field, an empty text is one.
func (d *Driver) result(a *answer) (passdb.Result, error) {
	if a.rows == 0 {
		return passdb.Result{Status: passdb.Unknown}, nil
	}
	if !slices.Contains(a.columns, "password") && !slices.Contains(a.columns, "password_noscheme") {
		return passdb.Result{}, errors.New("Password query must return a field named 'password'")
	}
	if a.rows > 1 {
		return passdb.Result{}, errors.New("Password query returned multiple matches")
	}
	r := passdb.Result{Status: passdb.OK, DefaultScheme: d.file.DefaultPassScheme}
	fields := make([]passdb.Field, 0, len(a.columns))
	for i, name := range a.columns {
		value := a.values[i]
		switch {
		case name == "" || a.null[i] || strings.HasPrefix(name, "userdb_"):
		case (name == "password" || name == "password_noscheme") && !r.HasPassword:
			r.Password, r.HasPassword, r.NoScheme = passdb.Secret(value), true, name == "password_noscheme"
		default:
			// A second password is the auth room's to complain about.
			fields = append(fields, passdb.Field{Name: name, Value: value})
		}
	}
	r.Fields = fields
	return r, nil
}
