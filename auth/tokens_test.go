package auth_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"dproxy/auth"
	"dproxy/conf"
	"dproxy/event"
	"dproxy/passdb"
	"dproxy/passdb/oauth2"
)

type sink func(event.Event)

func (s sink) Emit(e event.Event) { s(e) }

// TestTokensAreCachedByUserAndToken is the oauth2 driver behind the cache: a token that was found good is not asked about
// again, and is good for nobody else.
func TestTokensAreCachedByUserAndToken(t *testing.T) {
	var asked atomic.Int32
	down := atomic.Bool{}
	idp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		user, ok := strings.CutPrefix(r.PostFormValue("token"), "of-")
		switch {
		case down.Load():
			w.WriteHeader(http.StatusServiceUnavailable)
		case !ok:
			_, _ = io.WriteString(w, `{"active":false}`)
		default:
			user, _, _ = strings.Cut(user, "-")
			_, _ = fmt.Fprintf(w, `{"active":true,"email":%q,"exp":4102444800}`, user)
		}
	}))
	defer idp.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "oauth2")
	main := filepath.Join(dir, "dovecot.conf")
	for path, text := range map[string]string{
		file: "introspection_url = " + idp.URL + "\nintrospection_mode = post\npass_attrs = proxy=y host=h\n",
		main: "auth_mechanisms = xoauth2\nauth_cache_size = 1M\nauth_failure_delay = 0\nservice anvil {\n unix_listener anvil-auth-penalty {\n mode = 0\n }\n}\n" +
			"passdb {\n driver = oauth2\n args = " + file + "\n}\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := conf.Load(main, conf.Options{Expand: true})
	if err != nil {
		t.Fatal(err)
	}
	a, err := auth.New(auth.Options{Config: c, Drivers: map[string]passdb.Factory{"oauth2": oauth2.New}, Events: sink(func(event.Event) {})})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	for _, try := range []struct {
		user, token string
		want        string
		asks        int32
	}{
		{"bob", "of-bob", "ok", 1},
		{"bob", "of-bob", "ok", 0},
		{"bob", "of-bob-phone", "ok", 1},
		{"bob", "of-bob", "ok", 0}, // the other device has not pushed it out
		{"alice", "of-bob", "no", 1},
		{"alice", "of-bob", "no", 1}, // a refusal is not kept
		{"bob", "bad", "no", 1},
		{"bob", "of-bob", "ok", 0},
		{"down", "", "", 0},
		{"bob", "of-bob", "ok", 0},
		{"bob", "of-bob-new", "later", 1},
	} {
		if try.user == "down" {
			down.Store(true)
			continue
		}
		before := asked.Load()
		req := auth.Request{Mech: "XOAUTH2", Initial: []byte("user=" + try.user + "\x01auth=Bearer " + try.token + "\x01\x01"), HasInitial: true}
		req.Service = "imap"
		x, _, reply := a.Start(t.Context(), req)
		if reply == nil {
			_, reply = x.Step(t.Context(), nil) // the client acknowledges the refusal
		}
		got := "no"
		switch {
		case reply.OK:
			got = "ok"
		case reply.Code == auth.CodeTempFail:
			got = "later"
		}
		if asks := asked.Load() - before; got != try.want || asks != try.asks {
			t.Errorf("%s with %s: %s after %d questions, want %s after %d", try.user, try.token, got, asks, try.want, try.asks)
		}
	}
}
