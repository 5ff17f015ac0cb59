package auth

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"dproxy/conf"
	"dproxy/passdb"
	"dproxy/passdb/scheme"
)

// counted is a cacheable driver that counts its lookups and can be changed and broken.
type counted struct {
	mu     sync.Mutex
	users  memory
	down   bool
	vars   []string
	asked  atomic.Int64
	before func(context.Context) error
}

func (c *counted) CacheVars() []string { return c.vars }

func (c *counted) Lookup(ctx context.Context, r *passdb.Request) (passdb.Result, error) {
	c.asked.Add(1)
	c.mu.Lock()
	before := c.before
	c.mu.Unlock()
	if before != nil {
		if err := before(ctx); err != nil {
			return passdb.Result{}, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.down {
		return passdb.Result{}, errors.New("database is down")
	}
	return c.users.Lookup(ctx, r)
}

func (c *counted) set(name string, res passdb.Result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.users[name] = res
}

// hold makes lookups run before first.
func (c *counted) hold(before func(context.Context) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.before = before
}

func (c *counted) breakDown(down bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = down
}

func caching() *fakeConfig {
	return &fakeConfig{settings: conf.Settings{
		AuthCacheSize: 1 << 20, AuthCacheTTL: time.Hour, AuthCacheNegativeTTL: time.Hour, AuthVerbose: true,
	}}
}

// try is one login of a script: what it should say and whether the database should be asked.
type try struct {
	user, password string
	want           string // ok, no, temp
	asks           int64
}

func (r rig) script(t *testing.T, db *counted, tries ...try) {
	t.Helper()
	for i, x := range tries {
		before := db.asked.Load()
		reply := r.plain(t, x.user, x.password)
		got := "no"
		switch {
		case reply.OK:
			got = "ok"
		case reply.Code == CodeTempFail:
			got = "temp"
		}
		if asks := db.asked.Load() - before; got != x.want || asks != x.asks {
			t.Fatalf("try %d, %s with %q: %s after %d questions, want %s after %d", i+1, x.user, x.password, got, asks, x.want, x.asks)
		}
	}
}

func TestCacheFollowsAChangedPassword(t *testing.T) {
	for _, stored := range []string{"%s", "{SHA256-CRYPT}"} {
		t.Run("stored as "+stored, func(t *testing.T) {
			hash := func(p string) string {
				if stored == "%s" {
					return p
				}
				h, err := scheme.Generate("SHA256-CRYPT", p, "", 1000)
				if err != nil {
					t.Fatal(err)
				}
				return h
			}
			db := &counted{users: memory{"u": user(hash("one"))}}
			r := newRig(t, caching(), db)
			r.script(t, db, try{"u", "one", "ok", 1}, try{"u", "one", "ok", 0})
			db.set("u", user(hash("two")))
			r.script(
				t, db,
				try{"u", "one", "ok", 0},  // until the record expires
				try{"u", "two", "ok", 1},  // may be new: it is
				try{"u", "one", "no", 1},  // may be new: it is not
				try{"u", "one", "no", 0},  // known by now
				try{"u", "two", "ok", 0},  // the record is the new one
				try{"u", "bad", "no", 1},  // after a success the next mismatch asks again
				try{"u", "bad2", "no", 0}, // guesses do not reach the database
			)
		})
	}
}

func TestCacheExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := caching()
		f.settings.AuthCacheTTL, f.settings.AuthCacheNegativeTTL = time.Minute, 10*time.Second
		db := &counted{users: memory{"u": user("p")}}
		r := newRig(t, f, db)
		r.script(t, db, try{"u", "p", "ok", 1}, try{"zz", "p", "no", 1}, try{"zz", "p", "no", 0})
		time.Sleep(11 * time.Second)
		r.script(t, db, try{"zz", "p", "no", 1}, try{"u", "p", "ok", 0})
		r.script(t, db, try{"u", "bad", "no", 1}, try{"u", "bad", "no", 0})
		time.Sleep(11 * time.Second)
		r.script(t, db, try{"u", "bad", "no", 1}) // a mismatch is believed for the negative TTL only
		time.Sleep(2 * time.Minute)
		r.script(t, db, try{"u", "p", "ok", 1})
		f.settings.AuthCacheNegativeTTL = 0
		off := newRig(t, f, db)
		off.script(t, db, try{"zz", "p", "no", 1}, try{"zz", "p", "no", 1})
		db.set("zz", user("p"))
		off.script(t, db, try{"zz", "p", "ok", 1})
	})
}

func TestCacheServesWhileTheDatabaseIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := caching()
		f.settings.AuthCacheTTL, f.settings.AuthCacheNegativeTTL = time.Minute, time.Minute
		db := &counted{users: memory{"u": user("p", "host", "h")}}
		r := newRig(t, f, db)
		r.script(t, db, try{"u", "p", "ok", 1}, try{"gone", "p", "no", 1})
		time.Sleep(time.Hour)
		db.breakDown(true)
		r.log.lines()
		r.script(
			t, db,
			try{"u", "p", "ok", 1},
			try{"u", "bad", "temp", 1},  // nobody can tell whether it is the new one
			try{"gone", "p", "temp", 1}, // nor whether the user is there by now
			try{"other", "p", "temp", 1},
		)
		if lines := strings.Join(r.log.lines(), "\n"); strings.Count(lines, "auth: Info: Falling back to expired data from cache") != 1 {
			t.Errorf("log:\n%s", lines)
		}
		db.breakDown(false)
		r.script(t, db, try{"u", "p", "ok", 1}, try{"u", "p", "ok", 0})
	})
}

func TestAFrozenDatabaseDoesNotHoldCachedUsersUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := caching()
		f.settings.AuthCacheTTL = time.Minute
		db := &counted{users: memory{"u": user("p"), "v": user("p")}}
		r := newRig(t, f, db)
		r.script(t, db, try{"u", "p", "ok", 1}, try{"v", "p", "ok", 1})
		time.Sleep(time.Hour)
		db.hold(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		var wg sync.WaitGroup
		login := func(name, password string, want time.Duration, ok bool) {
			wg.Go(func() {
				began := time.Now()
				_, _, reply := r.Start(t.Context(), Request{Mech: "PLAIN", Initial: []byte("\x00" + name + "\x00" + password), HasInitial: true})
				if reply.OK != ok || !ok && reply.Code != CodeTempFail || time.Since(began) != want {
					t.Errorf("%s with %s: ok=%v code %v after %v, want %v after %v", name, password, reply.OK, reply.Code, time.Since(began), ok, want)
				}
			})
		}
		login("x", "p", lookupTimeout, false) // not cached
		time.Sleep(2 * time.Second)
		login("u", "p", patience, true)
		login("v", "p", patience, true)
		login("v", "bad", lookupTimeout, false) // only the database can say
		wg.Wait()
		db.hold(nil)
		synctest.Wait()
		r.script(t, db, try{"u", "p", "ok", 1}, try{"u", "p", "ok", 0})
	})
}

func TestCacheKeepsNoClearPassword(t *testing.T) {
	const password = "s3cretW0rd"
	f := caching()
	f.settings.AuthMechanisms = "plain cram-md5 apop"
	f.settings.AuthUsernameChars = ""
	crypt, err := scheme.Generate("SHA512-CRYPT", password, "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	db := &counted{vars: []string{"user", "password"}, users: memory{
		"plain": user(password), "b64": user("{PLAIN.b64}czNjcmV0VzByZA=="), "crypt": user(crypt),
		"import": user("", "passdb_import", "password="+password), "trunc": user("{PLAIN-TRUNC}4-" + password),
		"field": row("password", password), "open": row("nopassword", "y"),
	}}
	r := newRig(t, f, db)
	bind := newRig(t, f, &bound{counted: counted{users: memory{"plain": row()}, vars: []string{"user"}}, password: password})
	for name := range db.users {
		if got := r.plain(t, name, password); !got.OK && name != "import" {
			t.Fatalf("%s: %+v", name, got)
		}
	}
	if got := bind.plain(t, "plain", password); !got.OK {
		t.Fatalf("%+v", got)
	}
	r.cramMD5(t, "plain", password)
	for _, c := range []*cache{r.cache, bind.cache} {
		if len(c.positive.Keys()) == 0 {
			t.Fatal("nothing is cached")
		}
		for _, key := range c.positive.Keys() {
			rec, _ := c.positive.Peek(key)
			if text := fmt.Sprintf("%q %q %q %q", rec.key, rec.user, rec.stored.hash.Data, rec.fields); strings.Contains(text, password) || strings.Contains(text, "czNjcmV0VzByZA") {
				t.Errorf("record %s", text)
			}
		}
	}
}

// bound is a cacheable Verifier.
type bound struct {
	counted
	password string
}

func (b *bound) Verify(ctx context.Context, r *passdb.Request, password passdb.Secret) (passdb.Result, error) {
	res, err := b.Lookup(ctx, r)
	if err == nil && res.Status == passdb.OK && string(password) != b.password {
		res.Status = passdb.Mismatch
	}
	return res, err
}

func TestCacheOfAVerifier(t *testing.T) {
	db := &bound{counted: counted{users: memory{"u": row("host", "h")}}, password: "p"}
	r := newRig(t, caching(), db)
	if got := r.Lookup(t.Context(), passdb.Peer{Service: "lmtp"}, "u"); !got.OK {
		t.Fatalf("lookup: %+v", got)
	}
	r.script(
		t, &db.counted,
		try{"u", "bad", "no", 1}, // what a lookup left behind is no permission
		try{"u", "p", "ok", 1}, try{"u", "p", "ok", 0},
		try{"u", "bad", "no", 1}, try{"u", "bad", "no", 1}, // only the server can say no
		try{"u", "p", "ok", 0},
	)
	db.password = "new"
	r.script(t, &db.counted, try{"u", "new", "ok", 1}, try{"u", "new", "ok", 0})
}

func TestACachedLoginNeedsNoExpensiveHash(t *testing.T) {
	hash, err := scheme.Generate("BLF-CRYPT", "p", "", 4)
	if err != nil {
		t.Fatal(err)
	}
	db := &counted{users: memory{"u": user(hash)}}
	r := newRig(t, caching(), db)
	r.script(t, db, try{"u", "p", "ok", 1})
	// With every slot taken, a login that needs the hash waits for its context's end.
	slots := int64(0)
	for r.hashes.TryAcquire(1) {
		slots++
	}
	defer r.hashes.Release(slots)
	r.script(t, db, try{"u", "p", "ok", 0})
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, _, reply := r.Start(ctx, Request{Mech: "PLAIN", Initial: []byte("\x00u\x00bad"), HasInitial: true})
	if reply == nil || reply.Code != CodeTempFail {
		t.Fatalf("without a slot: %+v", reply)
	}
}

func TestEqualLookupsAreAskedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := &counted{users: memory{"u": user("p")}, before: func(ctx context.Context) error {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Second):
				return nil
			}
		}}
		r := newRig(t, caching(), db)
		var wg sync.WaitGroup
		var ok atomic.Int64
		first, leave := context.WithCancel(t.Context())
		wg.Go(func() {
			_, _, reply := r.Start(first, Request{Mech: "PLAIN", Initial: []byte("\x00u\x00p"), HasInitial: true})
			if reply.Code != CodeTempFail {
				t.Errorf("the client that left: %+v", reply)
			}
		})
		synctest.Wait()
		for range 20 {
			wg.Go(func() {
				if _, _, reply := r.Start(t.Context(), Request{Mech: "PLAIN", Initial: []byte("\x00u\x00p"), HasInitial: true}); reply.OK {
					ok.Add(1)
				}
			})
		}
		synctest.Wait()
		leave() // whoever asked first does not take the others' answer away
		wg.Wait()
		if ok.Load() != 20 || db.asked.Load() != 1 {
			t.Fatalf("%d logins after %d questions", ok.Load(), db.asked.Load())
		}
		if lines := r.log.lines(); len(lines) != 0 {
			t.Errorf("log: %q", lines)
		}
	})
}

func TestASlowDatabaseIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := &counted{users: memory{}, before: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
		r := newRig(t, caching(), db)
		began := time.Now()
		if got := r.plain(t, "u", "p"); got.Code != CodeTempFail {
			t.Fatalf("%+v", got)
		}
		if took := time.Since(began); took != lookupTimeout {
			t.Errorf("after %v", took)
		}
		if lines := r.log.lines(); len(lines) != 1 || lines[0] != "auth: Error: db1(u): Lookup timed out after 10s" {
			t.Errorf("log %q", lines)
		}
	})
}

func TestADriverThatPanicsFailsOneLogin(t *testing.T) {
	db := &counted{users: memory{"u": user("p")}, before: func(context.Context) error { panic("boom") }}
	r := newRig(t, caching(), db)
	r.script(t, db, try{"u", "p", "temp", 1})
	if lines := strings.Join(r.log.lines(), "\n"); !strings.Contains(lines, "auth: Error: db1(u): panic: boom") {
		t.Fatalf("log %q", lines)
	}
}

func TestFlush(t *testing.T) {
	db := &counted{users: memory{"u@a": user("p"), "v@a": user("p"), "w@b": user("p")}}
	r := newRig(t, caching(), db)
	login := func(asks int64) {
		t.Helper()
		r.script(t, db, try{"u@a", "p", "ok", asks}, try{"v@a", "p", "ok", asks}, try{"w@b", "p", "ok", asks}, try{"x", "p", "no", asks})
	}
	login(1)
	for _, c := range []struct {
		users []string
		want  int
	}{{[]string{"u@a"}, 1}, {[]string{"*@a"}, 1}, {[]string{"nobody"}, 0}, {[]string{"x"}, 1}, {nil, 1}} {
		if got := r.FlushCache(c.users...); got != c.want {
			t.Fatalf("flush %v: %d, want %d", c.users, got, c.want)
		}
	}
	login(1)
	login(0)
	if s := r.CacheStats(); s.Entries != 4 || s.Bytes > s.Size || s.Hits == 0 || s.Misses == 0 {
		t.Fatalf("%+v", s)
	}
}

func TestAnAnswerFromBeforeAFlushIsNotKept(t *testing.T) {
	var r rig
	db := &counted{users: memory{"u": user("p")}}
	db.before = func(context.Context) error { r.FlushCache("u"); return nil }
	r = newRig(t, caching(), db)
	r.script(t, db, try{"u", "p", "ok", 1})
	db.before = nil
	r.script(t, db, try{"u", "p", "ok", 1}, try{"u", "p", "ok", 0})
}

func TestCacheSizeIsABound(t *testing.T) {
	f := caching()
	f.settings.AuthCacheSize = 16 << 10
	db := &counted{users: memory{}}
	for i := range 20 {
		db.users[fmt.Sprintf("u%d", i)] = user("p")
	}
	r := newRig(t, f, db)
	for i := range 20 {
		r.script(t, db, try{fmt.Sprintf("u%d", i), "p", "ok", 1})
	}
	for i := range 1000 {
		r.script(t, db, try{fmt.Sprintf("guess%d", i), "p", "no", 1})
		if s := r.CacheStats(); s.Bytes > s.Size {
			t.Fatalf("%d bytes after %d guesses", s.Bytes, i)
		}
	}
	// Guessed names did not push the users out.
	for i := range 20 {
		r.script(t, db, try{fmt.Sprintf("u%d", i), "p", "ok", 0})
	}
}

func TestFieldsAreJudgedOnEveryHit(t *testing.T) {
	db := &counted{users: memory{"u": user("p", "allow_nets", "local")}}
	r := newRig(t, caching(), db)
	r.script(t, db, try{"u", "p", "ok", 1}, try{"u", "p", "ok", 0})
	q := Request{Mech: "PLAIN", Initial: []byte("\x00u\x00p"), HasInitial: true}
	q.Remote = addrPort("192.0.2.1:1")
	if got := r.authenticate(t, q); got.OK || db.asked.Load() != 1 {
		t.Fatalf("from elsewhere: %+v after %d questions", got, db.asked.Load())
	}
}

func TestNoauthenticateIsNotCached(t *testing.T) {
	db := &counted{users: memory{"u": row("noauthenticate", "y", "host", "h")}}
	r := newRig(t, caching(), db, memory{"u": user("p")})
	r.script(t, db, try{"u", "p", "ok", 1}, try{"u", "p", "ok", 1})
}

// TestCacheKey is about CVE-2025-30189: two users must never share a record, whatever the query uses.
func TestCacheKey(t *testing.T) {
	vars := []string{"username", "domain", "service", "rip", "master_user", "passdb:x", "password"}
	r := newRig(t, caching(), &counted{vars: vars}, &counted{vars: vars})
	text := rapid.StringOfN(rapid.RuneFrom([]rune("ab@\x00\x01\t")), 0, 4, -1)
	type input struct{ user, master, scheme, service, field, password string }
	gen := rapid.Custom(func(t *rapid.T) input {
		return input{text.Draw(t, "user"), text.Draw(t, "master"), rapid.SampledFrom([]string{"", "PLAIN"}).Draw(t, "scheme"), text.Draw(t, "service"), text.Draw(t, "field"), text.Draw(t, "password")}
	})
	key := func(in input, entry int) string {
		c, err := r.chain("imap")
		if err != nil {
			t.Fatal(err)
		}
		a := r.attempt(c, passdb.Peer{Service: in.service}, "PLAIN")
		a.req.User, a.req.MasterUser, a.req.CredentialsScheme, a.req.Password = in.user, in.master, in.scheme, passdb.Secret(in.password)
		a.fields.Set("x", in.field)
		return a.key(c.normal[entry]).key
	}
	rapid.Check(t, func(t *rapid.T) {
		x, y := gen.Draw(t, "x"), gen.Draw(t, "y")
		i, j := rapid.IntRange(0, 1).Draw(t, "entry x"), rapid.IntRange(0, 1).Draw(t, "entry y")
		if same := x == y && i == j; (key(x, i) == key(y, j)) != same {
			t.Fatalf("%+v in %d and %+v in %d", x, i, y, j)
		}
	})
}

func TestVariablesOfOneLoginAreNotCached(t *testing.T) {
	db := &counted{users: memory{"u": user("p")}, vars: []string{"user", "session"}}
	r := newRig(t, caching(), db)
	r.script(t, db, try{"u", "p", "ok", 1}, try{"u", "p", "ok", 1})
	if s := r.CacheStats(); s.Entries != 0 {
		t.Fatalf("%+v", s)
	}
}
