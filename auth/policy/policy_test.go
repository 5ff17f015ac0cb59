package policy

import (
	"encoding/json"
	"strings"
	"testing"

	"dproxy/conf"
)

func settings() *conf.Settings {
	return &conf.Settings{AuthPolicyServerURL: "http://192.0.2.1/x", AuthPolicyHashNonce: "pepper", AuthPolicyHashMech: "sha256", AuthPolicyHashTruncate: 12}
}

func TestHash(t *testing.T) {
	for _, tc := range []struct {
		name, mech string
		bits       uint
		want       string
	}{
		{"twelve bits, right-aligned", "sha256", 12, "00df"},
		{"eight bits", "sha256", 8, "0d"},
		{"one bit", "sha256", 1, "00"},
		{"all", "md5", 0, "9bdfc3a9bf6122fa29a147b860d8993e"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := settings()
			s.AuthPolicyHashMech, s.AuthPolicyHashTruncate = tc.mech, tc.bits
			h, err := newHasher(s)
			if err != nil {
				t.Fatal(err)
			}
			if got := h.of("u@ex", "one"); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

func TestSettingsThatCannotBeUsed(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*conf.Settings)
		want   string
	}{
		{"no nonce", func(s *conf.Settings) { s.AuthPolicyHashNonce = "" }, "auth_policy_hash_nonce must be set when policy server is used"},
		{"an unknown hash", func(s *conf.Settings) { s.AuthPolicyHashMech = "crc" }, "invalid auth_policy_hash_mech given"},
		{"an attribute without a value", func(s *conf.Settings) { s.AuthPolicyRequestAttributes = "login" }, `auth_policy_request_attributes: "login" is not name=template`},
		{"a URL that is none", func(s *conf.Settings) { s.AuthPolicyServerURL = "http://a b" }, "auth_policy_server_url: "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := settings()
			tc.change(s)
			if _, err := New(s); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
	if p, err := New(&conf.Settings{}); p != nil || err != nil {
		t.Errorf("without a URL: %v %v", p, err)
	}
}

func TestURL(t *testing.T) {
	for url, want := range map[string]string{"http://h/": "http://h/?command=", "http://h/?x=1&": "http://h/?x=1&command="} {
		if got := commandURL(url); got != want {
			t.Errorf("%s: %s", url, got)
		}
	}
}

// FuzzBody puts what a client sends into a request: it stays one JSON object, whose text is the client's.
func FuzzBody(f *testing.F) {
	f.Add("a\"b", "p\\", "login=%{requested_username} x/y=%{hashed_password} x/z=%{rip}")
	f.Add("\x00\xff", "", "a=%u")
	f.Fuzz(func(t *testing.T, user, password, attributes string) {
		s := settings()
		s.AuthPolicyRequestAttributes = attributes
		p, err := New(s)
		if err != nil {
			return
		}
		defer p.Close()
		body, err := p.body(Login{User: user, Password: password, Var: func(string) (string, bool) { return user, true }}, `,"success":true`)
		if err != nil {
			return
		}
		var o map[string]any
		if err := json.Unmarshal(body, &o); err != nil || o["tls"] != false && o["tls"] == nil {
			t.Fatalf("%q %q: %s: %v", user, attributes, body, err)
		}
	})
}
