package lua

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dproxy/conf"
	"dproxy/passdb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// write writes a script and returns its path.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "auth.lua")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t *testing.T, text, args string) passdb.Driver {
	t.Helper()
	d, err := New(conf.Passdb{Driver: "lua", Args: "file=" + write(t, text) + args})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = d.(passdb.Closer).Close()
		idle(t, d)
	})
	return d
}

// idle waits until no interpreter is in use.
func idle(t *testing.T, d passdb.Driver) {
	t.Helper()
	var p *pool
	switch d := d.(type) {
	case *driver:
		p = d.pool
	case verifier:
		p = d.pool
	}
	for deadline := time.Now().Add(time.Minute); len(p.slots) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("an interpreter does not come back")
		}
	}
}

func request(user string) *passdb.Request {
	return &passdb.Request{
		User: user, OrigUser: user, Mech: "PLAIN", Fields: &passdb.Fields{},
		Peer: passdb.Peer{Service: "imap", Remote: netip.MustParseAddrPort("192.0.2.7:4711")},
	}
}

func TestNewTells(t *testing.T) {
	for name, c := range map[string]struct{ text, args, want string }{
		"a syntax error":                 {"function f(\nend", "", "auth.lua:2: syntax error near 'end'"},
		"a script that fails":            {"error('load')", "", "lua_pcall(@) failed: @:1: load"},
		"a script_init that says no":     {"function script_init() return 5 end", "", "initialization failed: Script init failed"},
		"a script_init without a number": {"function script_init() end", "", "script_init() returned non-number"},
		"a blocking that is neither":     {"", " blocking=maybe", "Invalid value maybe. Field blocking must be yes or no"},
		"an unknown parameter":           {"", " foo=x", "Unsupported parameter foo=x"},
		"an endless script":              {"error(('x'):rep(1e9))", "", "string.rep: the result would be longer than"},
		"a reach for the system":         {"os.execute('id')", "", "os.execute is not available"},
		"a reach for files":              {"io.open('/etc/passwd')", "", "io.open is not available"},
		"a module from elsewhere":        {"require('/etc/passwd')", "", "only files beside the script"},
		"a module above":                 {"require('..x')", "", "only files beside the script"},
		"a file to run":                  {"dofile('/etc/passwd')", "", "attempt to call a non-function object"},
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, c.text)
			_, err := New(conf.Passdb{Args: "file=" + path + c.args, Position: conf.Position{File: "d.conf", Line: 7}})
			want := strings.ReplaceAll(c.want, "@", path)
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "d.conf") {
				t.Errorf("got %v\nwant %s and the block's place", err, want)
			}
		})
	}
	for args, want := range map[string]string{
		"": "Missing mandatory file= parameter", "file=/nosuch/x.lua": "access(/nosuch/x.lua) failed: No such file or directory",
	} {
		if _, err := New(conf.Passdb{Args: args}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", args, err, want)
		}
	}
}

func TestAFaultIsNeverAVerdict(t *testing.T) {
	const loop = "while true do end "
	for name, body := range map[string]string{
		"an endless loop":                    loop,
		"an endless loop in a pcall":         "while true do pcall(function() " + loop + " end) end",
		"a verdict after its time":           "pcall(function() " + loop + " end) return dovecot.auth.PASSDB_RESULT_PASSWORD_MISMATCH, ''",
		"endless recursion":                  "local function f() return 1 + f() end return f()",
		"a stack that grows":                 "return 1, table.concat({unpack({}, 1, 1e8)})",
		"an error":                           "error('x')",
		"an error that is nil":               "error(nil)",
		"an error from a Go function":        "('x'):rep(1e9)",
		"a result that does not exist":       "return 77, 'password=x'",
		"a result with a fraction":           "return 1.5, 'password=x'",
		"no result":                          "return",
		"a field whose name is a number":     "return 1, {password = 'x', 'first'}",
		"very many fields":                   "local t = {} for i = 1, 5000 do t['f' .. i] = 'x' end return 1, t",
		"a very long field":                  "return 1, {host = ('x'):rep(1e5)}",
		"an internal failure":                "return dovecot.auth.PASSDB_RESULT_INTERNAL_FAILURE, 'the database is down'",
		"an internal failure with a table":   "return dovecot.auth.PASSDB_RESULT_INTERNAL_FAILURE, {}",
		"a request that is over":             "kept = kept or req if kept ~= req then return 1, kept.user end error('x')",
		"a coroutine without an end":         "return 1, coroutine.wrap(function() " + loop + " end)()",
		"a metamethod without an end":        "return 1, tostring(setmetatable({}, {__tostring = function() " + loop + " end}))",
		"a sort whose comparison has no end": "table.sort({1, 2, 3}, function() " + loop + " end)",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, function := range []string{lookupFunction, verifyFunction} {
				d := open(t, "function "+function+"(req, pass) "+body+" end", "")
				for range 2 {
					ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
					res, err := ask(ctx, d)
					cancel()
					if err == nil {
						t.Errorf("%s: got %v, want an error", function, res)
					}
				}
			}
		})
	}
}

func ask(ctx context.Context, d passdb.Driver) (passdb.Result, error) {
	if v, ok := d.(passdb.Verifier); ok {
		return v.Verify(ctx, request("alice@example.org"), "secret")
	}
	return d.Lookup(ctx, request("alice@example.org"))
}

// TestATimeOut says so, and the interpreter after it is a new one.
func TestATimeOut(t *testing.T) {
	d := open(t, "n = 0 function auth_passdb_lookup(req) n = n + 1 if req.user == 'slow' then while true do end end return 1, {password='x', n=n} end", " blocking=no")
	lookup := func(ctx context.Context, user string) (string, error) {
		res, err := d.Lookup(ctx, request(user))
		for _, f := range res.Fields {
			return f.Value, err
		}
		return "", err
	}
	if n, err := lookup(t.Context(), "a"); n != "1" || err != nil {
		t.Fatal(n, err)
	}
	if n, err := lookup(t.Context(), "a"); n != "2" || err != nil {
		t.Fatal("an interpreter keeps its global variables:", n, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := lookup(ctx, "slow"); err == nil || !strings.Contains(err.Error(), "deadline exceeded") {
		t.Errorf("an endless loop: %v", err)
	}
	if n, err := lookup(t.Context(), "a"); n != "1" || err != nil {
		t.Fatal("after a time-out:", n, err)
	}
}

// TestBusy: interpreters that do not come back make further questions fail in their time.
func TestBusy(t *testing.T) {
	d := open(t, "function auth_passdb_lookup(req) while true do end end", " blocking=no")
	first, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := d.Lookup(first, request("a"))
		ended <- err
	}()
	for len(d.(*driver).pool.slots) == 0 {
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := d.Lookup(ctx, request("b")); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "all 1 interpreters of the script are busy") {
		t.Errorf("got %v", err)
	}
	stop()
	if err := <-ended; err == nil {
		t.Error("a question whose client is gone has an answer")
	}
}

// TestAPatternCannotBeInterrupted: its question ends in time all the same, and its interpreter when it can.
func TestAPatternCannotBeInterrupted(t *testing.T) {
	d := open(t, "function auth_passdb_lookup(req) return 1, tostring(string.find(string.rep('a', 60), '^a-a-a-a-b')) end", " blocking=no")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if res, err := d.Lookup(ctx, request("a")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %+v, %v", res, err)
	}
	idle(t, d)
}

func TestUserDataIsData(t *testing.T) {
	d := open(t, `
function auth_passdb_lookup(req)
  return 1, {password = "x", user2 = req.user, expanded = req:var_expand("%u"), host = req:var_expand("h-%n"), again = req:response_from_template("a=%u").a}
end`, "")
	for _, user := range []string{
		"a host=evil proxy=y", "a\tproxy=y", "%{password}", "%n%n", "'] os.execute('id')", "]]..error('x')--", "a=b", "../../etc/passwd", "\\0", "ä€", strings.Repeat("%u", 200),
	} {
		res, err := d.Lookup(t.Context(), request(user))
		if err != nil {
			t.Fatalf("%q: %v", user, err)
		}
		local, _, _ := strings.Cut(user, "@")
		want := map[string]string{"user2": user, "expanded": user, "host": "h-" + local, "again": user}
		if len(res.Fields) != len(want) {
			t.Errorf("%q made the fields %q", user, res.Fields)
		}
		for _, f := range res.Fields {
			if f.Value != want[f.Name] {
				t.Errorf("%q: %s=%q", user, f.Name, f.Value)
			}
		}
	}
}

func TestWhatMayBeCached(t *testing.T) {
	for name, c := range map[string]struct {
		body, args string
		noCache    bool
	}{
		"the user":                         {"return 1, {password='x', a=req.user .. req.username .. tostring(req.domain)}", "", false},
		"a template of the user":           {"return 1, {password='x', a=req:var_expand('%u%n%d')}", "", false},
		"the client's address":             {"return 1, {password='x', a=req.remote_ip}", "", true},
		"the client's address in the key":  {"return 1, {password='x', a=req.remote_ip}", " cache_key=%u%r", false},
		"the service by its short name":    {"return 1, {password='x', a=req:var_expand('%s')}", " cache_key=%u%{service}", false},
		"the service":                      {"if req.service == 'imap' then return 1, {password='x'} end return 0, ''", "", true},
		"a field of an earlier passdb":     {"return 1, {password='x', a=tostring(req.passdb.host)}", "", true},
		"whether the password was checked": {"return 1, {password='x', a=req.skip_password_check}", "", true},
		"no such user":                     {"return dovecot.auth.PASSDB_RESULT_USER_UNKNOWN, req.session or ''", "", true},
		"nothing with an empty cache_key":  {"return 1, {password='x'}", " cache_key=", true},
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t, "function auth_passdb_lookup(req) "+c.body+" end", c.args)
			res, err := d.Lookup(t.Context(), request("alice@example.org"))
			if err != nil || res.NoCache != c.noCache {
				t.Errorf("NoCache is %v, err %v", res.NoCache, err)
			}
		})
	}
	d := open(t, "function auth_passdb_get_cache_key() return '%u%s' end", "")
	if got := d.(passdb.Cacheable).CacheVars(); !slices.Equal(got, []string{"user", "service"}) {
		t.Errorf("auth_passdb_get_cache_key: %q", got)
	}
	v := open(t, "function auth_password_verify(req, pass) return 1, {a=req.password, nopassword='y'} end", "")
	res, err := ask(t.Context(), v)
	if err != nil || res.NoCache || len(res.Fields) != 1 || res.Fields[0].Value != "secret" {
		t.Errorf("what has verified a password depends on it anyway, and accepts no other: %+v, %v", res, err)
	}
}

func TestTheLog(t *testing.T) {
	var mu sync.Mutex
	var got []string
	logger := func(prefix string) func(passdb.Level, string) {
		return func(l passdb.Level, text string) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, fmt.Sprintf("%s%d %s", prefix, l, text))
		}
	}
	d := open(t, `
dovecot.i_info("loaded")
function script_init() dovecot.i_warning("init") return 0 end
function script_deinit() dovecot.i_error("deinit") end
function auth_passdb_lookup(req)
  req:log_debug("d") req:log_info("i") req:log_warning("w") req:log_error("e")
  req:event():append_log_prefix("p: "):add_str("k", "v"):log_warning("ev")
  dovecot.i_debug("later")
  print("nowhere")
  return 1, "password=x"
end`, " blocking=no")
	d.(passdb.Talker).SetLog(logger("script "))
	r := request("alice")
	r.Log = logger("request ")
	if _, err := d.Lookup(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	r.Log = nil // nobody listens
	if _, err := d.Lookup(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if err := d.(passdb.Closer).Close(); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"script 1 loaded", "script 2 init", "request 0 db-lua: d", "request 1 db-lua: i", "request 2 db-lua: w", "request 3 db-lua: e",
		"request 2 p: ev", "script 0 later", "script 0 later", "script 3 deinit",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// Test24: lua_settings reach script_init, and nil is an answer.
func Test24(t *testing.T) {
	path := write(t, `
function script_init(set) host = set.host end
function auth_passdb_lookup(req)
  if req.user ~= "alice" then return dovecot.auth.PASSDB_RESULT_USER_UNKNOWN end
  return dovecot.auth.PASSDB_RESULT_OK, {password = "x", host = host, proto = req.protocol}
end`)
	d, err := New(conf.Passdb{Lua: &conf.LuaScript{File: path, Settings: [][2]string{{"host", "192.0.2.1"}}, Scheme: "CRYPT"}})
	if err != nil {
		t.Fatal(err)
	}
	defer d.(passdb.Closer).Close()
	res, err := d.Lookup(t.Context(), request("alice"))
	if err != nil || res.DefaultScheme != "CRYPT" || !slices.Contains(res.Fields, passdb.Field{Name: "host", Value: "192.0.2.1"}) || !slices.Contains(res.Fields, passdb.Field{Name: "proto", Value: "imap"}) {
		t.Errorf("%+v %v", res, err)
	}
	if res, err = d.Lookup(t.Context(), request("bob")); err != nil || res.Status != passdb.Unknown {
		t.Errorf("%+v %v", res, err)
	}
}

func TestModulesBesideTheScript(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"auth.lua":         "local b = require('lib.backends') assert(require('lib.backends') == b)\nfunction auth_passdb_lookup(req) return 1, {password='x', host=b[req.domain]} end",
		"lib/backends.lua": "return {['example.org'] = '192.0.2.1'}",
	} {
		if err := os.MkdirAll(filepath.Join(dir, "lib"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d, err := New(conf.Passdb{Args: "file=" + filepath.Join(dir, "auth.lua")})
	if err != nil {
		t.Fatal(err)
	}
	defer d.(passdb.Closer).Close()
	if res, err := d.Lookup(t.Context(), request("alice@example.org")); err != nil || len(res.Fields) != 1 || res.Fields[0].Value != "192.0.2.1" {
		t.Errorf("%+v %v", res, err)
	}
}

// TestParallel asks from many goroutines at once.
func TestParallel(t *testing.T) {
	d := open(t, "function auth_passdb_lookup(req) local s = 0 for i = 1, 100 do s = s + i end return 1, {password='x', me=req.user} end", "")
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() {
			user := fmt.Sprintf("u%d", i)
			for range 10 {
				res, err := d.Lookup(t.Context(), request(user))
				if err != nil || len(res.Fields) != 1 || res.Fields[0].Value != user {
					t.Errorf("%s: %+v %v", user, res, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkLookup(b *testing.B) {
	path := filepath.Join(b.TempDir(), "auth.lua")
	text := "function auth_passdb_lookup(req) return dovecot.auth.PASSDB_RESULT_OK, {password='x', host='h.' .. req.domain, proxy='y'} end"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	d, err := New(conf.Passdb{Args: "file=" + path})
	if err != nil {
		b.Fatal(err)
	}
	defer d.(passdb.Closer).Close()
	r := request("alice@example.org")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Lookup(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
}
