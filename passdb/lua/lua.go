// Package lua is the passdb that asks a script: auth_passdb_lookup(req) or auth_password_verify(req, password)
// with the request object of Dovecot 2.3 and 2.4. Scripts run in Lua 5.1 with bounded stacks and time, and
// without io and os. It imports passdb, passdb/scheme and conf; cmd/dproxy wires it.
package lua

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"dproxy/conf"
	"dproxy/passdb"
)

const (
	// timeout bounds one call into a script.
	timeout = 10 * time.Second
	// grace is how long an interpreter may take to notice that its time is over.
	grace = 100 * time.Millisecond
	// maxStates bounds how many interpreters there are; Dovecot has up to 30 auth workers.
	maxStates = 30

	lookupFunction = "auth_passdb_lookup"
	verifyFunction = "auth_password_verify"
	keyFunction    = "auth_passdb_get_cache_key" // 2.4
)

// driver asks a script that has no auth_password_verify.
type driver struct {
	script   *script
	pool     *pool
	log      *lines
	scheme   string          // of passwords in a table without {SCHEME}
	vars     []string        // of cache_key
	allowed  map[string]bool // what an answer may depend on and still be cached
	uncached bool
	dialect  dialect
}

// verifier asks a script that judges passwords itself.
type verifier struct{ *driver }

var _ passdb.Factory = New

// New loads the script of a block: args "file=PATH [blocking=yes|no] [cache_key=TEMPLATE] [scheme=NAME]", or
// p.Lua. With blocking=no all questions are asked of one interpreter, one after the other; else there
// are several, each with global variables of its own. Errors have Dovecot's wording.
func New(p conf.Passdb) (passdb.Driver, error) {
	set, err := readArgs(p)
	if err != nil {
		return nil, passdb.ConfigError(p, err.Error())
	}
	d := &driver{log: &lines{}, scheme: set.scheme, dialect: set.dialect, uncached: set.cacheKey == ""}
	if d.script, err = load(set, d.log); err != nil {
		return nil, passdb.ConfigError(p, "passdb-lua: initialization failed: "+err.Error())
	}
	first, err := d.script.start()
	if err != nil {
		return nil, passdb.ConfigError(p, "passdb-lua: initialization failed: "+err.Error())
	}
	n := min(max(2*runtime.NumCPU(), 4), maxStates)
	if !set.blocking {
		n = 1
	}
	d.pool = newPool(n, d.script.start)
	d.pool.free = append(d.pool.free, first)
	if err := d.setCacheKey(first, set.cacheKey); err != nil {
		_ = d.Close()
		return nil, passdb.ConfigError(p, "passdb-lua: "+err.Error())
	}
	if first.has(verifyFunction) {
		return verifier{d}, nil
	}
	return d, nil
}

// setCacheKey takes the variables of cache_key, or of what the script says.
func (d *driver) setCacheKey(s *state, key string) error {
	if s.has(keyFunction) {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		text, err := s.text(ctx, keyFunction)
		if err != nil {
			return fmt.Errorf("%s() failed: %w", keyFunction, err)
		}
		key, d.uncached = text, text == ""
	}
	t, err := conf.ParseTemplate(key, conf.AuthLetters)
	if err != nil {
		return fmt.Errorf("cache_key=%s: %w", key, err)
	}
	d.vars = t.Names()
	d.allowed = keyed(d.vars)
	return nil
}

// CacheVars implements passdb.Cacheable. A script may read more than these: see passdb.Unshared.
func (d *driver) CacheVars() []string { return slices.Clone(d.vars) }

// Unshared implements passdb.Unshared.
func (d *driver) Unshared() {}

// SetLog implements passdb.Talker.
func (d *driver) SetLog(log func(passdb.Level, string)) { d.log.set(log) }

// Close calls script_deinit in all interpreters.
func (d *driver) Close() error {
	d.pool.close()
	d.log.set(func(passdb.Level, string) {})
	return nil
}

// Lookup calls auth_passdb_lookup. The script's errors are errors, never a verdict about the password.
func (d *driver) Lookup(ctx context.Context, r *passdb.Request) (passdb.Result, error) {
	res, err := d.ask(ctx, newCall(r, d.allowed), lookupFunction)
	if err != nil {
		return res, fmt.Errorf("db-lua: %w", err)
	}
	return res, nil
}

// Verify calls auth_password_verify.
func (d verifier) Verify(ctx context.Context, r *passdb.Request, password passdb.Secret) (passdb.Result, error) {
	c := newCall(r, d.allowed)
	c.password, c.verify = string(password), true
	res, err := d.ask(ctx, c, verifyFunction)
	if err != nil {
		return res, fmt.Errorf("passdb-lua: %w", err)
	}
	return res, nil
}

// ask calls a function of the script in an interpreter that is free. One that does not end in time is left to
// itself: it holds its place until it does.
func (d *driver) ask(ctx context.Context, c *call, function string) (passdb.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	s, err := d.pool.get(ctx)
	if err != nil {
		return passdb.Result{}, err
	}
	type outcome struct {
		res passdb.Result
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		var o outcome
		defer func() {
			// A fault in the interpreter must not end the process.
			if r := recover(); r != nil {
				o.err = fmt.Errorf("panic: %v", r)
			}
			d.pool.put(s, ctx.Err() == nil)
			done <- o
		}()
		o.res, o.err = s.ask(ctx, c, function, d)
	}()
	select {
	case o := <-done:
		return o.res, o.err
	case <-ctx.Done():
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case o := <-done:
		if o.err == nil {
			return o.res, nil
		}
	case <-timer.C:
	}
	return passdb.Result{}, fmt.Errorf("%s: %w", function, ctx.Err())
}

// settings are what a block says.
type settings struct {
	file     string
	text     string // instead of file
	blocking bool
	cacheKey string
	scheme   string
	dialect  dialect
	init     [][2]string // 2.4: what script_init is told
}

// dialect is Dovecot's version as far as scripts notice it.
type dialect int

const (
	dialect23 dialect = iota
	dialect24
)

func readArgs(p conf.Passdb) (settings, error) {
	set := settings{blocking: true, cacheKey: "%u", scheme: "PLAIN"}
	if l := p.Lua; l != nil {
		set.file, set.text, set.init, set.dialect = l.File, l.Text, l.Settings, dialect24
		if l.Scheme != "" {
			set.scheme = l.Scheme
		}
		if set.file == "" && set.text == "" {
			return set, fmt.Errorf("passdb-lua: lua_file is not set")
		}
		return set, nil
	}
	for word := range strings.FieldsFuncSeq(p.Args, func(r rune) bool { return r == ' ' }) {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "file":
			set.file = value
		case "blocking":
			if value != "yes" && value != "no" {
				return set, fmt.Errorf("Invalid value %s. Field blocking must be yes or no", value)
			}
			set.blocking = value == "yes"
		case "cache_key":
			set.cacheKey = value
		case "scheme":
			set.scheme = value
		default:
			return set, fmt.Errorf("Unsupported parameter %s", word)
		}
	}
	if set.file == "" {
		return set, fmt.Errorf("passdb-lua: Missing mandatory file= parameter")
	}
	return set, nil
}
