package conf

import (
	"os"
	"path/filepath"
	"testing"
)

// load reads text as the main file.
func load(t *testing.T, text string, o Options) (*Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "dovecot.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(path, o)
}

func mustLoad(t *testing.T, text string, o Options) *Config {
	t.Helper()
	c, err := load(t, text, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestLoad(t *testing.T) {
	c := mustLoad(t, `
protocols = imap pop3
ssl = required
protocol imap {
  login_greeting = I
}
service imap-login {
  inet_listener imap {
    port = 1143
  }
}
passdb {
  driver = static
  args = proxy=y host=127.0.0.1
}
`, Options{Serve: true})
	set := c.Settings(Filter{Protocol: "imap"})
	if set.LoginGreeting != "I" || set.SSL != "required" || set.AuthCacheTTL.Hours() != 1 {
		t.Errorf("settings: %+v", set)
	}
	if p := c.Passdbs("imap"); len(p) != 1 || p[0].Driver != "static" || p[0].Skip != "never" {
		t.Errorf("passdbs: %+v", p)
	}
	for _, s := range c.Services() {
		if s.Name == "imap-login" {
			if len(s.Inet) != 2 || s.Inet[0].Port != 1143 || s.Inet[1].Port != 993 || !s.Inet[1].SSL {
				t.Errorf("listeners: %+v", s.Inet)
			}
		}
	}
}
