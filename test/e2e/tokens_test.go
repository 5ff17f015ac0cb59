package e2e

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"dproxy/test/daemon"
	dovecot "dproxy/test/dovecot-backend"
)

// provider is an identity provider with an introspection endpoint. It notes which client asked about which token.
type provider struct {
	mu    sync.Mutex
	asked map[string]int // by client and token
}

// ServeHTTP implements http.Handler: RFC 7662.
func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token := r.PostFormValue("token")
	p.mu.Lock()
	p.asked[r.PostFormValue("client_id")+" "+token]++
	p.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	answer := map[string]string{
		"of-alice": `{"active":true,"email":"Alice@example.org","scope":"mail profile"}`,
		"of-carol": `{"active":true,"email":"carol@example.org","scope":"mail"}`,
		"no-mail":  `{"active":true,"email":"alice@example.org","scope":"profile"}`,
		"broken":   `{"active":tr`,
	}[token]
	switch {
	case token == "trouble":
		w.WriteHeader(http.StatusServiceUnavailable)
	case answer == "":
		answer = `{"active":false}`
	}
	_, _ = io.WriteString(w, answer)
}

func (p *provider) count(client, token string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[client+" "+token]
}

// testTokens logs in with tokens that the proxy and then the backend ask the identity provider about.
func testTokens(t *testing.T, h *house, _ *front) {
	p := &provider{asked: map[string]int{}}
	idp := httptest.NewServer(p)
	defer idp.Close()
	oauth2 := func(client, more string) string {
		return "introspection_url = " + idp.URL + "/introspect\nintrospection_mode = post\nclient_id = " + client + "\nclient_secret = s3cret\nscope = mail\n" + more
	}
	dir := daemon.ShortDir(t)
	if err := os.WriteFile(filepath.Join(dir, "oauth2"), []byte(oauth2("backend", "")), 0o644); err != nil {
		t.Fatal(err)
	}
	backend := dovecot.Start(t, dovecot.Config{
		Users: map[string]string{"alice@example.org": "unknown to the client"}, Trusted: "127.0.0.0/8", Ports: h.ports,
		More: "auth_mechanisms = xoauth2 oauthbearer\npassdb {\n  driver = oauth2\n  args = " + dir + "/oauth2\n}\n",
	})
	attrs := fmt.Sprintf("pass_attrs = proxy=y host=%s port=%d proxy_mech=", backend.IP, backend.Port("imap"))
	f := h.start(t, `auth_mechanisms = plain xoauth2 oauthbearer
passdb {
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = @DIR@/tokens
}
passdb {
  driver = oauth2
  mechanisms = plain
  args = @DIR@/passwords
}
`, map[string]string{
		"tokens":    oauth2("proxy", "openid_configuration_url = https://idp.example.org/.well-known/openid-configuration\n"+attrs+"%m\n"),
		"passwords": oauth2("proxy", attrs+"XOAUTH2\n"),
	})
	const (
		refused = "the server says NO [AUTHENTICATIONFAILED] Authentication failed."
		later   = "the server says NO [UNAVAILABLE] Temporary authentication failure."
		where   = `"openid-configuration":"https://idp.example.org/.well-known/openid-configuration"`
	)
	for _, c := range []struct{ mech, user, token, want, hint string }{
		{"XOAUTH2", "alice@example.org", "of-alice", "", ""},
		{"OAUTHBEARER", "alice@example.org", "of-alice", "", ""},
		{"PLAIN", "alice@example.org", "of-alice", "", ""},
		{"XOAUTH2", "alice@example.org", "of-carol", refused, where},
		{"XOAUTH2", "alice@example.org", "invented", refused, where},
		{"OAUTHBEARER", "alice@example.org", "invented", refused, where},
		{"XOAUTH2", "alice@example.org", "no-mail", refused, where},
		{"PLAIN", "alice@example.org", "invented", refused, ""},
		{"XOAUTH2", "alice@example.org", "trouble", later, ""},
		{"OAUTHBEARER", "alice@example.org", "broken", later, ""},
	} {
		before := p.count("backend", c.token)
		hint, err := authenticate(t, f, c.mech, c.user, c.token)
		if got := fmt.Sprint(err); err == nil != (c.want == "") || err != nil && !strings.HasPrefix(got, c.want) || !strings.Contains(hint, c.hint) || c.hint == "" && hint != "" {
			t.Errorf("%s with the token %q: %v %s, want %q", c.mech, c.token, err, hint, c.want)
		}
		if asked := p.count("backend", c.token) - before; asked > 0 != (c.want == "") {
			t.Errorf("%s with the token %q: the backend was asked %d times", c.mech, c.token, asked)
		}
		if p.count("proxy", c.token) == 0 {
			t.Errorf("the proxy let %q through unasked", c.token)
		}
	}
	if log := f.read(t, "log"); strings.Contains(log, "of-alice") || strings.Contains(log, "s3cret") {
		t.Error("a secret in the log")
	}
}

// authenticate logs in by one AUTHENTICATE with an initial response. hint is what the server says before it refuses.
func authenticate(t *testing.T, f *front, mech, user, token string) (hint string, result error) {
	t.Helper()
	c, err := dialIMAP(f.addr("imap"), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.nc.Close()
	message := map[string]string{
		"XOAUTH2":     "user=" + user + "\x01auth=Bearer " + token + "\x01\x01",
		"OAUTHBEARER": "n,a=" + user + ",\x01host=x\x01auth=Bearer " + token + "\x01\x01",
		"PLAIN":       "\x00" + user + "\x00" + token,
	}[mech]
	tag, err := c.start("AUTHENTICATE %s %s", mech, base64.StdEncoding.EncodeToString([]byte(message)))
	if err != nil {
		t.Fatal(err)
	}
	for {
		l, err := c.line()
		if err != nil {
			t.Fatal(err)
		}
		if challenge, ok := strings.CutPrefix(l, "+ "); ok {
			text, err := base64.StdEncoding.DecodeString(challenge)
			if err != nil {
				t.Fatal(err)
			}
			hint = string(text)
			if _, err := io.WriteString(c.nc, "AQ==\r\n"); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if reply, ok := strings.CutPrefix(l, tag+" "); ok {
			if !strings.HasPrefix(reply, "OK") {
				return hint, fmt.Errorf("the server says %s", reply)
			}
			_, err := c.cmd("SELECT INBOX")
			return hint, err
		}
	}
}
