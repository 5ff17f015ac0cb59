package auth

import (
	"context"
	"crypto/hmac"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dproxy/conf"
	"dproxy/event"
	"dproxy/passdb"
)

// memory is a Driver whose users are in a map.
type memory map[string]passdb.Result

func (m memory) Lookup(_ context.Context, r *passdb.Request) (passdb.Result, error) {
	if m == nil {
		return passdb.Result{}, errors.New("database is down")
	}
	res, ok := m[r.User]
	if !ok {
		return passdb.Result{Status: passdb.Unknown}, nil
	}
	res.DefaultScheme = "PLAIN"
	return res, nil
}

// user is a row with a password and fields.
func user(password string, fields ...string) passdb.Result {
	res := passdb.Result{Password: passdb.Secret(password), HasPassword: true}
	for i := 0; i < len(fields); i += 2 {
		res.Fields = append(res.Fields, passdb.Field{Name: fields[i], Value: fields[i+1]})
	}
	return res
}

// row is a user without a password.
func row(fields ...string) passdb.Result {
	res := user("", fields...)
	res.HasPassword = false
	return res
}

// fakeConfig is a configuration made of Go values.
type fakeConfig struct {
	settings conf.Settings
	passdbs  []conf.Passdb
	services []conf.Service
}

func (f *fakeConfig) Settings(conf.Filter) *conf.Settings { return &f.settings }
func (f *fakeConfig) Services() []conf.Service            { return f.services }
func (f *fakeConfig) Passdbs(string) []conf.Passdb {
	for i := range f.passdbs {
		f.passdbs[i].Index = i
	}
	return f.passdbs
}

// recorder keeps events.
type recorder struct {
	mu     sync.Mutex
	events []event.Event
}

func (r *recorder) Emit(e event.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

// lines are the log lines so far; it forgets them.
func (r *recorder) lines() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, e := range r.events {
		if l, ok := event.LineOf(e); ok {
			out = append(out, l.Source+": "+l.Level.String()+": "+l.Text)
		}
	}
	r.events = nil
	return out
}

// rig is an Authenticator over in-memory passdbs.
type rig struct {
	*Authenticator
	log *recorder
}

// newRig opens one passdb for each of dbs; the nth uses the nth block of c, if there is one.
func newRig(t testing.TB, c *fakeConfig, dbs ...passdb.Driver) rig {
	t.Helper()
	c.settings.AuthMechanisms = orElse(c.settings.AuthMechanisms, "plain login")
	drivers := map[string]passdb.Factory{}
	for i, db := range dbs {
		if i == len(c.passdbs) {
			c.passdbs = append(c.passdbs, conf.Passdb{})
		}
		name := orElse(c.passdbs[i].Driver, "db"+string(rune('1'+i)))
		c.passdbs[i].Driver = name
		drivers[name] = func(conf.Passdb) (passdb.Driver, error) { return db, nil }
	}
	log := &recorder{}
	a, err := open(c, drivers, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return rig{a, log}
}

func (r rig) plain(t *testing.T, user, password string) *Reply {
	t.Helper()
	return r.authenticate(t, Request{Mech: "PLAIN", Initial: []byte("\x00" + user + "\x00" + password), HasInitial: true})
}

func (r rig) authenticate(t *testing.T, q Request, more ...string) *Reply {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if q.Service == "" {
		q.Service = "imap"
	}
	x, challenge, reply := r.Start(ctx, q)
	for _, m := range more {
		if reply != nil {
			t.Fatalf("verdict %+v before the client said %q", reply, m)
		}
		challenge, reply = x.Step(ctx, []byte(m))
	}
	if reply == nil {
		t.Fatalf("challenge %q instead of a verdict", challenge)
	}
	return reply
}

// cramMD5 logs in with CRAM-MD5.
func (r rig) cramMD5(t *testing.T, user, password string) *Reply {
	t.Helper()
	x, challenge, reply := r.Start(t.Context(), Request{Mech: "CRAM-MD5"})
	if reply != nil {
		t.Fatalf("%+v", reply)
	}
	h := hmac.New(md5.New, []byte(password))
	h.Write(challenge)
	_, reply = x.Step(t.Context(), []byte(user+" "+hex.EncodeToString(h.Sum(nil))))
	return reply
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// masterBlocks are a master passdb with pass=yes and a normal one.
var masterBlocks = []conf.Passdb{{Master: true, Pass: true}, {}}
