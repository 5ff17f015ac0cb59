package dict_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"dproxy/auth"
	"dproxy/conf"
	"dproxy/event"
	"dproxy/passdb"
	"dproxy/passdb/dict"
	"dproxy/test/daemon"
)

type discard struct{}

func (discard) Emit(event.Event) {}

// TestCachedUsersGoOn while the database is down, and nobody else hears that a password is wrong.
func TestCachedUsersGoOn(t *testing.T) {
	s := daemon.StartRedis(t)
	fill := func() {
		c := redis.NewClient(&redis.Options{Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port))})
		defer c.Close()
		for _, u := range []string{"cached", "other"} {
			if err := c.Set(t.Context(), "passdb/"+u, `{"password":"{PLAIN}right"}`, 0).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	fill()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"dict":         fmt.Sprintf("uri = redis:port=%d:timeout_msecs=1000\npassword_key = passdb/%%u\n", s.Port),
		"dovecot.conf": "auth_failure_delay = 0\nauth_cache_size = 1M\nauth_cache_ttl = 1s\nprotocols =\nssl = no\npassdb {\n  driver = dict\n  args = " + dir + "/dict\n}\nservice anvil {\n  unix_listener anvil-auth-penalty {\n    mode = 0\n  }\n}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := conf.Load(filepath.Join(dir, "dovecot.conf"), conf.Options{Serve: true})
	if err != nil {
		t.Fatal(err)
	}
	a, err := auth.New(auth.Options{Config: c, Drivers: map[string]passdb.Factory{"dict": dict.New}, Events: discard{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	ask := func(user, password string) string {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, _, r := a.Start(ctx, auth.Request{Mech: "PLAIN", HasInitial: true, Initial: []byte("\x00" + user + "\x00" + password), Peer: passdb.Peer{Service: "imap"}})
		switch {
		case r.OK:
			return "ok"
		case r.Code == auth.CodeTempFail:
			return "temporary"
		}
		return "refused"
	}
	expect := func(when, user, password, want string) {
		t.Helper()
		if got := ask(user, password); got != want {
			t.Errorf("%s: %s with the %s password: %s, want %s", when, user, password, got, want)
		}
	}
	expect("up", "cached", "right", "ok")
	s.Stop(t)
	for _, when := range []string{"down", "down, and the entry has expired"} {
		expect(when, "cached", "right", "ok")
		expect(when, "cached", "wrong", "temporary")
		expect(when, "other", "right", "temporary")
		expect(when, "nobody", "right", "temporary")
		time.Sleep(1100 * time.Millisecond) // auth_cache_ttl
	}
	s.Start(t)
	fill()
	for deadline := time.Now().Add(5 * time.Second); ask("other", "right") != "ok"; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not back within 5 s")
		}
	}
	expect("up again", "cached", "wrong", "refused")
	expect("up again", "nobody", "right", "refused")
}
