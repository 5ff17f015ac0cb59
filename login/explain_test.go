package login_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"dproxy/login"
	"dproxy/passdb"
	"dproxy/test/loginrig"
)

func TestExplain(t *testing.T) {
	for _, c := range []struct {
		name string
		conf string
		x    login.Explanation
		want []string // in what is said
		err  error
	}{
		{
			name: "a login without a password goes to its route", x: login.Explanation{User: "u1"},
			want: []string{"passdb: answer: ok", "user: u1, fields: proxy=y host=127.0.0.1 port=", "target: timeout 30s"},
		},
		{
			name: "an unknown user", x: login.Explanation{User: "u2"}, err: login.ErrRefused,
			want: []string{"passdb: answer: user_unknown", "refused: the client hears: Authentication failed."},
		},
		{
			name: "a wrong password", x: login.Explanation{User: "u1", Password: "hush", HasPassword: true}, err: login.ErrRefused,
			want: []string{"penalty of 192.0.2.7: 0s", "result_failure: the login stays as it was", "refused: the client hears: Authentication failed."},
		},
		{
			name: "plain text where it is not allowed", conf: "disable_plaintext_auth = yes", x: login.Explanation{User: "u1", Password: "secret", HasPassword: true}, err: login.ErrRefused,
			want: []string{"the client is not secured", "refused: the client hears: Plaintext authentication disabled."},
		},
		{
			name: "the same over TLS", conf: "disable_plaintext_auth = yes", x: login.Explanation{User: "u1", Password: "secret", HasPassword: true, Secure: true},
			want: []string{"the client is TLS", "target: "},
		},
		{
			name: "a login that copies the password into a field", x: login.Explanation{User: "u3", Password: "secret", HasPassword: true},
			want: []string{"copy=<hidden>", "pass=<hidden>"},
		},
		{
			name: "a connection", x: login.Explanation{User: "u1", Depth: login.ToConnect}, want: []string{"target: "},
		},
		{
			name: "nologin", x: login.Explanation{User: "u4"}, err: login.ErrRefused, want: []string{"refused: the client hears: Go away"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			users := map[string]loginrig.User{
				"u1": {Password: "secret"},
				"u3": {Password: "secret", Fields: []passdb.Field{{Name: "proxy"}, {Name: "host", Value: "127.0.0.1"}, {Name: "copy", Value: "secret"}, {Name: "pass", Value: "other"}}},
				"u4": {Password: "secret", Fields: []passdb.Field{{Name: "nologin"}, {Name: "reason", Value: "Go away"}}},
			}
			if c.conf == "" {
				c.conf = "disable_plaintext_auth = no"
			}
			r := loginrig.Start(t, loginrig.Options{Protocol: protocol(), Conf: c.conf, Users: users})
			var said []string
			c.x.Peer = passdb.Peer{Service: "imap", Session: "S", Remote: netip.MustParseAddrPort("192.0.2.7:1")}
			c.x.Say = func(stage, text string) { said = append(said, stage+": "+text) }
			err := r.Server.Explain(t.Context(), c.x)
			if !errors.Is(err, c.err) {
				t.Errorf("error %v, want %v", err, c.err)
			}
			all := strings.Join(said, "\n")
			for _, w := range c.want {
				if !strings.Contains(all, w) {
					t.Errorf("no %q in\n%s", w, all)
				}
			}
			if strings.Contains(all, "secret") || strings.Contains(all, "hush") {
				t.Errorf("a password is shown:\n%s", all)
			}
		})
	}
}
