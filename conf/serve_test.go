package conf

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// wantError loads text and compares the error, in which @ stands for the file.
func wantError(t *testing.T, text string, o Options, want string) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "dovecot.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(path, o)
	got := ""
	if err != nil {
		got = strings.ReplaceAll(err.Error(), path, "@")
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%v is no *Error", err)
		}
	}
	if got != want {
		t.Errorf("error %q, want %q", got, want)
	}
}

func TestServeRefuses(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"unknown settings", "protocols = imap\nfoo = bar\n", "Error in configuration file @ line 2: Unknown setting: foo"},
		{"unknown references", "login_greeting = a $nosuch\n", "Error in configuration file @ line 1: Unknown variable: $nosuch"},
		{"unreadable files", "ssl_cert = </no/such\n", "Error in configuration file @ line 1: ssl_cert: Can't open file /no/such: No such file or directory"},
		{"failed checks", "passdb {\n}\n", "Error in configuration file @: passdb is missing driver"},
		{"unclosed sections", "protocols = imap\npassdb {\n", "Error in configuration file @: Missing '}' (section started at @:2)"},
		{"tcpwrap", "login_access_sockets = tcpwrap\n", "Error in configuration file @ line 1: login_access_sockets is not supported: connections would not be checked by tcpwrap; remove it, or filter connections elsewhere"},
		{"login plugins", "protocol imap {\n  login_plugins = x\n}\n", "Error in configuration file @ line 2: login_plugins is not supported: plugins of Dovecot's login processes cannot be loaded; remove it"},
		{"a Director in use", "protocols = imap\nservice imap-login {\n  executable = imap-login director\n}\n", "Error in configuration file @ line 3: service imap-login { executable = imap-login director } is not supported: the Director is not built in. Let the passdb name the host"},
		{"a Director for LMTP", "protocols = lmtp\nprotocol lmtp {\n  auth_socket_path = director-userdb\n}\n", "Error in configuration file @ line 3: auth_socket_path = director-userdb is not supported: the Director is not built in. Let the passdb name the host"},
		{"nothing in a Director of a protocol that is off", "service imap-login {\n  executable = imap-login director\n}\n", ""},
		{"no mistakes in mail storage", "pop3_uidl_format = x\nnamespace a {\n  separator = ab\n}\n", ""},
		{"no users that Dovecot would need", "default_login_user = no-such-user-here\n", ""},
		{"no files of mail storage", "plugin {\n  x = </no/such\n}\nimapc_password = </no/such\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) { wantError(t, tt.text, Options{Serve: true}, tt.want) })
	}
}

func TestServeWarns(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"when nothing is served", "ssl = no\n", "protocols is empty: nothing is served"},
		{"when TLS has no certificate", "protocols = imap\n", "ssl = yes, but ssl_cert or ssl_key is not set: imap offers no STARTTLS and no TLS ports"},
		{"of settings without effect", "mail_location = x\nservice imap-login {\n  vsz_limit = 1G\n}\nnamespace inbox {\n  inbox = yes\n}\n", "3 settings have no effect on a proxy: mail_location, service imap-login/vsz_limit, namespace inbox"},
		{"of conflicts", "local_name x {\n  ssl = no\n}\nprotocol imap {\n  ssl = required\n}\nlocal_name x {\n  protocol imap {\n    login_greeting = a\n  }\n}\n", "Conflict in setting ssl found from filter at @:4: the value in local_name x is used"},
		{"of missing users", "default_login_user = no-such-user-here\n", "default_login_user doesn't exist: no-such-user-here"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := mustLoad(t, tt.text, Options{Serve: true})
			all := strings.ReplaceAll(strings.Join(c.Warnings(), "\n"), c.Path(), "@")
			if !strings.Contains(all, tt.want) {
				t.Errorf("warnings:\n%s\nwant %q", all, tt.want)
			}
		})
	}
}

func TestServeResolves(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"cert.pem": "CERT\n", "key.pem": "KEY\n", "greeting": "Hello\r\n",
		"dovecot.conf": "hostname = a.example\nlogin_greeting = <greeting\nssl_cert = <cert.pem\nssl_key = < " + dir + "/key.pem\n" +
			"auth_realms = $hostname b\nlocal_name x {\n  ssl_cert = <cert.pem\n  ssl_alt_cert = <cert.pem\n}\nmail_location = <greeting\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Load(filepath.Join(dir, "dovecot.conf"), Options{Serve: true})
	if err != nil {
		t.Fatal(err)
	}
	s := c.Settings(Filter{LocalName: "X"})
	for _, f := range []struct{ name, got, want string }{
		{"ssl_cert", s.SSLCert, "CERT"},
		{"ssl_key", s.SSLKey, "KEY"},
		{"ssl_alt_cert", s.SSLAltCert, "CERT"},
		{"login_greeting", s.LoginGreeting, "Hello"},
		{"auth_realms", s.AuthRealms, "a.example b"},
	} {
		if f.got != f.want {
			t.Errorf("%s = %q, want %q", f.name, f.got, f.want)
		}
	}
}

func TestLenientPassesOverTheUnknown(t *testing.T) {
	c := mustLoad(t, `
foo = bar
strange x {
  a = b
  service imap-login {
    client_limit = 9
  }
}
service imap-login {
  nosuch = 1
  client_limit = 5
}
login_greeting = x
`, Options{Lenient: true})
	if got := c.Settings(Filter{}).LoginGreeting; got != "x" {
		t.Errorf("login_greeting = %q", got)
	}
	for _, s := range c.Services() {
		if s.Name == "imap-login" && s.ClientLimit != 5 {
			t.Errorf("client_limit = %d", s.ClientLimit)
		}
	}
	if w := strings.Join(c.Warnings(), "\n"); strings.Count(w, "Unknown setting") != 3 ||
		!strings.Contains(w, "Unknown setting: strange { strange") || !strings.Contains(w, "service { nosuch") {
		t.Errorf("warnings:\n%s", w)
	}
}

func TestGiven(t *testing.T) {
	c := mustLoad(t, "ssl = yes\nlogin_greeting = x\nlocal 10.0.0.1 {\n  mail_plugins = y\n}\n", Options{})
	g := c.Given()
	if len(g) != 2 || g[0].Name != "login_greeting" || g[0].Use != Used || g[0].Line != 2 ||
		g[1].Name != "mail_plugins" || g[1].Use != Ignored || g[1].Block != "local 10.0.0.1" || g[1].Why == "" {
		t.Errorf("given: %+v", g)
	}
}

func TestServices(t *testing.T) {
	c := mustLoad(t, `
protocols = imap
base_dir = /run/x
default_process_limit = 7
default_internal_user = nobody
service imap-login {
  client_limit = 3
  inet_listener extra {
    port = 1143
    address = 10.0.0.1, ::1
    haproxy = yes
    reuse_port = yes
  }
  inet_listener imaps {
    port = 0
  }
}
service auth {
  unix_listener /var/spool/postfix/private/auth {
    mode = 0660
    user = postfix
  }
}
`, Options{})
	byName := map[string]Service{}
	for _, s := range c.Services() {
		byName[s.Name] = s
	}
	if _, ok := byName["pop3-login"]; ok {
		t.Error("a service of a protocol that is off")
	}
	imap := byName["imap-login"]
	if imap.ProcessLimit != 7 || imap.ClientLimit != 3 || imap.Protocol != "imap" || len(imap.Inet) != 3 {
		t.Fatalf("imap-login: %+v", imap)
	}
	if l := imap.Inet[1]; l.Name != "imaps" || l.Port != 0 || !l.SSL {
		t.Errorf("imaps: %+v", l)
	}
	if l := imap.Inet[2]; l.Name != "extra" || l.Port != 1143 || len(l.Address) != 2 || !l.HAProxy || !l.ReusePort || l.Line != 8 {
		t.Errorf("extra: %+v", l)
	}
	unix := map[string]UnixListener{}
	for _, l := range byName["auth"].Unix {
		unix[l.Path] = l
	}
	if l := unix["/var/spool/postfix/private/auth"]; l.Mode != 0o660 || l.User != "postfix" {
		t.Errorf("auth socket: %+v", l)
	}
	if l := unix["/run/x/auth-client"]; l.Mode != 0o600 || l.User != "nobody" {
		t.Errorf("built-in auth socket: %+v", l)
	}
}

func TestPassdbs(t *testing.T) {
	c := mustLoad(t, `
passdb {
  driver = a
}
protocol imap {
  passdb {
    driver = b
    args = x
    deny = yes
    result_failure = return
  }
}
protocol !pop3 {
  passdb named {
    driver = c
  }
}
`, Options{})
	names := func(protocol string) string {
		var out []string
		for _, p := range c.Passdbs(protocol) {
			out = append(out, p.Driver)
		}
		return strings.Join(out, " ")
	}
	for protocol, want := range map[string]string{"imap": "b c a", "pop3": "a", "lmtp": "c a", "": "a"} {
		if got := names(protocol); got != want {
			t.Errorf("%s: %s, want %s", protocol, got, want)
		}
	}
	p := c.Passdbs("imap")
	if !p[0].Deny || p[0].ResultFailure != "return" || p[0].Name != "b" || p[1].Name != "named" {
		t.Errorf("passdbs: %+v", p)
	}
	if p[0].Index == p[1].Index || p[1].Index == p[2].Index {
		t.Errorf("passdbs share an index: %+v", p)
	}
}

func TestLookupOfHostNamesInFilters(t *testing.T) {
	o := Options{Lookup: func(host string) ([]netip.Addr, error) {
		if host != "proxy.example" {
			t.Errorf("look-up of %q", host)
		}
		return []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")}, nil
	}}
	c := mustLoad(t, "local proxy.example {\n  login_greeting = x\n}\n", o)
	if got := c.Blocks(Filter{Local: netip.MustParseAddr("192.0.2.1")}); len(got) != 1 || got[0] != "local 192.0.2.1" {
		t.Errorf("blocks: %q", got)
	}
}
