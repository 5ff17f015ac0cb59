package conf

import (
	"encoding/hex"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const head24 = "dovecot_config_version = 2.4.4\ndovecot_storage_version = 2.4.4\n"

const proxy24 = head24 + `
protocols = imap pop3 lmtp
auth_mechanisms = plain login
auth_cache_size = 64M
auth_username_format = %{user | lower}
auth_allow_cleartext = yes
login_trusted_networks = 10.0.0.0/8
login_source_ips = 10.1.0.5 10.1.0.6
login_greeting = %{local_ip} ready.
login_log_format_elements = user=<%{user}> method=%{mechanism} rip=%{remote_ip} %{secured}
haproxy_timeout = 5 secs
ssl_server {
  cert_file = cert.pem
  key_file = key.pem
  prefer_ciphers = server
}
ssl_server_require_crl = no
service imap-login {
  restart_request_count = unlimited
  process_limit = 20
  reuse_port = yes
  inet_listener imap {
    port = 1143
    listen = 127.0.0.1 ::1
  }
  inet_listener imaps {
    ssl = yes
  }
}
service auth {
  unix_listener auth-userdb {
    mode = 0600
    user = $SET:default_internal_user
  }
}
passdb static {
  password = secret
  fields {
    proxy = y
    host = %{user | domain | lower}.backend
    port:default = 143
  }
}
protocol imap {
  login_greeting = I
  mail_max_userip_connections = unlimited
  passdb deny {
    driver = passwd-file
    deny = yes
    passwd_file_path = /etc/deny.%{protocol}
  }
}
local_name Mail.Example.org {
  ssl_server_cert_file = other.pem
}
`

func TestDialect24(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"dovecot.conf": proxy24, "cert.pem": "CERT", "key.pem": "KEY", "other.pem": "OTHER"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Load(filepath.Join(dir, "dovecot.conf"), Options{Serve: true})
	if err != nil {
		t.Fatal(err)
	}
	s := c.Settings(Filter{})
	imap := c.Settings(Filter{Protocol: "imap"})
	for _, f := range []struct{ name, got, want string }{
		{"protocols", s.Protocols, "imap pop3 lmtp"},
		{"auth_mechanisms", s.AuthMechanisms, "plain login"},
		{"auth_username_format", s.AuthUsernameFormat, "%Lu"},
		{"login_greeting", s.LoginGreeting, "%{lip} ready."},
		{"elements", s.LoginLogFormatElements, "user=<%u> method=%{mech} rip=%{rip} %{secured}"},
		{"ssl_cert", s.SSLCert, "CERT"},
		{"ssl_key", s.SSLKey, "KEY"},
		{"imap greeting", imap.LoginGreeting, "I"},
		{"login_source_ips", s.LoginSourceIPs, "10.1.0.5 10.1.0.6"},
		{"ssl_cert of a name", c.Settings(Filter{LocalName: "mail.example.org"}).SSLCert, "OTHER"},
	} {
		if f.got != f.want {
			t.Errorf("%s = %q, want %q", f.name, f.got, f.want)
		}
	}
	if s.DisablePlaintextAuth || s.SSLRequireCRL || s.AuthCacheSize != 64<<20 ||
		s.HAProxyTimeout != 5*time.Second ||
		s.SubmissionMaxMailSize != 40<<20 || s.LMTPUserConcurrencyLimit != 10 {
		t.Errorf("settings: %+v", s)
	}
	pop3, imapDBs := c.Passdbs("pop3"), c.Passdbs("imap")
	if len(pop3) != 1 || pop3[0].Driver != "static" || pop3[0].Args != "password=secret proxy=y host=%Ld.backend" || pop3[0].DefaultFields != "port=143" {
		t.Errorf("passdbs: %+v", pop3)
	}
	if len(imapDBs) != 2 || !imapDBs[0].Deny || imapDBs[0].Args != "scheme=CRYPT /etc/deny.%{service}" {
		t.Errorf("passdbs of imap: %+v", imapDBs)
	}
	for _, svc := range c.Services() {
		switch svc.Name {
		case "imap-login":
			if svc.ProcessLimit != 20 || len(svc.Inet) != 2 || svc.Inet[0].Port != 1143 || len(svc.Inet[0].Address) != 2 ||
				!svc.Inet[0].ReusePort || svc.Inet[1].Port != 993 || !svc.Inet[1].SSL {
				t.Errorf("imap-login: %+v", svc)
			}
		case "auth":
			for _, u := range svc.Unix {
				if strings.HasSuffix(u.Path, "auth-userdb") && (u.Mode != 0o600 || u.User != "dovecot") {
					t.Errorf("auth-userdb: %+v", u)
				}
			}
		}
	}
}

func TestDialect24SQL(t *testing.T) {
	c := mustLoad(t, head24+`
sql_driver = mysql
mysql db1 {
  user = dov
  password = x
  dbname = mail
}
mysql db2 {
  user = dov
  password = x
  dbname = mail
}
passdb sql {
  query = SELECT NULL AS password, 'Y' AS nopassword, host FROM users WHERE userid = '%{user}' AND d LIKE '%{user | domain}%'
}
passdb lite {
  driver = sql
  sql_driver = sqlite
  sqlite_path = /var/db
  default_password_scheme = SSHA
  sql_query = SELECT 1
  fields {
    host = %{sql:mailhost}
  }
}
`, Options{Serve: true})
	dbs := c.Passdbs("imap")
	want := []*SQLFile{
		{
			Driver: "mysql", DefaultPassScheme: "CRYPT",
			Servers: &SQLConnect{Driver: "mysql", MaxConns: 5, Hosts: []SQLHost{
				{Name: "db1", Params: map[string]string{"user": "dov", "password": "x", "dbname": "mail"}},
				{Name: "db2", Params: map[string]string{"user": "dov", "password": "x", "dbname": "mail"}},
			}},
			PasswordQuery: "SELECT NULL AS password, 'Y' AS nopassword, host FROM users WHERE userid = '%u' AND d LIKE '%d%%'",
		},
		{Driver: "sqlite", Connect: "/var/db", DefaultPassScheme: "SSHA", PasswordQuery: "SELECT 1"},
	}
	if len(dbs) != len(want) {
		t.Fatalf("passdbs: %+v", dbs)
	}
	for i := range want {
		want[i].Path = c.Path()
		if d := cmp.Diff(want[i], dbs[i].SQL); d != "" || dbs[i].Driver != "sql" {
			t.Errorf("passdb %d (-want +got):\n%s", i, d)
		}
	}
	if d := cmp.Diff([][2]string{{"host", "%{passdb:mailhost}"}}, dbs[1].Answers); d != "" {
		t.Errorf("fields (-want +got):\n%s", d)
	}
}

func TestDialect24LDAP(t *testing.T) {
	c := mustLoad(t, head24+`
ldap_uris = ldap://ds1 ldap://ds2
ldap_base = dc=example,dc=com
passdb ldap {
  ldap_auth_dn = cn=proxy
  filter = (&(objectClass=inetOrgPerson)(uid=%{user | username}))
  bind = yes
  fields {
    user = %{ldap:uid}
    proxy = y
    host = %{ldap:mailHost | default('10.0.0.9')}
  }
}
`, Options{Serve: true})
	f := c.Passdbs("imap")[0].LDAP
	if f == nil || len(f.URIs) != 2 || f.Base != "dc=example,dc=com" || f.DN != "cn=proxy" || !f.AuthBind ||
		f.PassFilter != "(&(objectClass=inetOrgPerson)(uid=%n))" ||
		f.PassAttrs != "=user=%{ldap:uid},=proxy=y,=host=%{|#"+hex.EncodeToString([]byte("ldap:mailHost | default('10.0.0.9')"))+"}" {
		t.Errorf("ldap: %+v", f)
	}
}

func TestDialect24Groups(t *testing.T) {
	c := mustLoad(t, head24+`
group @mysql default {
  mysql db1 {
    user = u
  }
  auth_debug = yes
  protocols {
    imap = yes
  }
}
@mysql = default
@metric_defaults = proxy
protocols {
  pop3 = yes
}
auth_debug = no
login_greeting = a
login_greeting = $SET:login_greeting b
instance_name = $SET:login_greeting c
sql_driver = mysql
passdb sql {
  query = x
}
`, Options{Serve: true})
	s := c.Settings(Filter{})
	if s.Protocols != "pop3 imap" || s.AuthDebug || s.LoginGreeting != "a b" || s.InstanceName != "a b c" {
		t.Errorf("protocols %q, auth_debug %v, greeting %q, instance %q", s.Protocols, s.AuthDebug, s.LoginGreeting, s.InstanceName)
	}
	if got := c.Passdbs("")[0].SQL.Servers.Hosts; len(got) != 1 || got[0].Name != "db1" || got[0].Params["user"] != "u" {
		t.Errorf("servers = %+v", got)
	}
}

func TestDialect24Errors(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"no storage version", "dovecot_config_version = 2.4.0\n", "@: dovecot_storage_version setting must be set"},
		{"an unknown version", "dovecot_config_version = 9\n", "@ line 1: Invalid dovecot_config_version: Currently supported versions are: 2.4.0 2.4.1 2.4.2 2.4.3 2.4.4"},
		{"a changed version", head24 + "dovecot_config_version = 2.4.0\n", "@ line 3: dovecot_config_version value can't be changed once set"},
		{"an unknown setting", head24 + "foo = bar\n", "@ line 3: foo: Unknown setting: foo"},
		{"an unknown key in a section", head24 + "passdb x {\n  qry = 1\n", "@ line 4: qry: Unknown setting: qry (passdb_qry or passdb_x_qry not found either.)"},
		{"a key with another prefix", head24 + "passdb x {\n  query = 1\n", "@ line 4: query: Unknown setting: query (passdb_query or passdb_x_query not found either. Did you mean passdb_sql_query?)"},
		{"an unknown section", head24 + "foo {\n", "@ line 3: Unknown section name: foo"},
		{"an unknown section in a section", head24 + "service a {\nfoo b {\n", "@ line 4: Unknown section name: foo (service_a_foo, service_foo not found either.)"},
		{"a section without name", head24 + "passdb {\n", "@ line 3: passdb { } is missing section name"},
		{"a named filter with a name", head24 + "ssl_server x {\n", "@ line 3: ssl_server { } must not have a section name"},
		{"a list that is assigned", head24 + "passdb = x\n", "@ line 3: passdb: Setting is a named list filter, use 'passdb x {'"},
		{"a filter that is assigned", head24 + "ssl_server = x\n", "@ line 3: ssl_server: Setting is a named filter, use 'ssl_server {'"},
		{"a string list that is assigned", head24 + "imap_id_send = x\n", "@ line 3: imap_id_send: Setting is a string list, use 'imap_id_send {'"},
		{"a bad boolean", head24 + "auth_debug = maybe\n", "@ line 3: auth_debug: Invalid boolean value: maybe (use yes or no)"},
		{"a bad escape", head24 + `login_greeting = "a\t"` + "\n", `@ line 3: Unknown escape sequence \t`},
		{"a setting of 2.3", head24 + "disable_plaintext_auth = no\n", "@ line 3: disable_plaintext_auth: Unknown setting: disable_plaintext_auth"},
		{"the += of command lines", head24 + "mail_plugins += x\n", "@ line 3: Expecting '{'"},
		{"a filter in a section", head24 + "passdb x {\nprotocol imap {\n", "@ line 4: passdb { protocol { .. } } not allowed (use protocol { passdb { .. } } instead)"},
		{"several names", head24 + "local_name \"a b\" {\n", "@ line 3: Multiple names no longer supported in local_name value"},
		{"auth settings by address", head24 + "local 10.0.0.1 {\nauth_debug_passwords = yes\n", "@ line 4: auth_debug_passwords: Auth settings not supported inside local/remote blocks: auth_debug_passwords"},
		{"a group without name", head24 + "group @x {\n", "@ line 3: Expecting '{'"},
		{"an unknown group label", head24 + "@x = y\n", "@ line 3: Unknown group label @x"},
		{"an unknown group", head24 + "@metric_defaults = y\n", "@ line 3: Unknown group @metric_defaults=y"},
		{"a group below a filter", head24 + "protocol imap {\ngroup @a b {\n", "@ line 4: groups must defined at top-level, not under filters"},
		{"a metric without filter", head24 + "metric x {\n}\n", "@ line 4: Named filter metric is required to have metric_filter setting, but it is missing"},
		{"a service in a service", head24 + "service a {\nservice b {\n", "@ line 4: service { .. } not allowed under service { .. }"},
		{"an unclosed section", head24 + "passdb static {\n", "@: Missing '}' (section started at @:3)"},
		{"a bad quote in a list", head24 + "protocols = \"imap\n", "@ line 3: protocols: Missing ending '\"'"},
		{"an unknown $SET", head24 + "login_greeting = $SET:nosuch\n", "@ line 3: login_greeting: Failed to expand $SET:nosuch: Unknown setting: nosuch"},
		{"a loop of $SET", head24 + "login_greeting = $SET:hostname\nhostname = $SET:login_greeting\n", "loops back to itself"},
		{"a filter that does not exist", head24 + "login_greeting = %{user | nosuch}\n", "@ line 3: login_greeting: %{user | nosuch}: No such function 'nosuch'"},
		{"a pipeline that is no pipeline", head24 + "mail_path = %{user | }x{\nlogin_greeting = %{user ( }\n", "@ line 4: login_greeting: %{user ( }: syntax error, unexpected end"},
		{"broken syntax in a setting without effect", head24 + "mail_path = %{user (}\n", "@ line 3: mail_path: %{user (}: syntax error, unexpected end"},
		{"cleartext that has no effect", head24 + "ssl = required\nauth_allow_cleartext = yes\n", "@: auth_allow_cleartext=yes has no effect with ssl=required"},
		{"a cert that is not verified", head24 + "ssl_server_request_client_cert = any-cert\n", "@ line 3: ssl_server_request_client_cert = any-cert is not supported: a certificate that nobody has verified proves nothing; use yes"},
		{"an HTTP proxy", head24 + "http_client_proxy_url = http://x\n", "@ line 3: http_client_proxy_url is not supported: requests would not go through the HTTP proxy; remove it"},
		{"weak schemes that are refused", head24 + "auth_allow_weak_schemes = no\n", "@ line 3: auth_allow_weak_schemes is not supported: passwords of weak schemes are compared all the same; remove it, or set it to yes"},
		{"a field with an unknown suffix", head24 + "passdb static {\nfields {\nreason:x = a b\n}\n}\n", "@ line 3: passdb static: fields { reason:x }: unknown suffix :x"},
		{"a database without connections", head24 + "sql_driver = pgsql\npassdb sql {\nquery = x\npgsql a {\nconnection_limit = 0\n}\n}\n", "@ line 4: passdb sql: pgsql a { }: connection_limit = 0: it has to be a number above 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "dovecot.conf")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Load(path, Options{Serve: true})
			got := "none"
			if err != nil {
				got = strings.ReplaceAll(err.Error(), path, "@")
			}
			if want := "Error in configuration file " + tt.want; got != want && !(strings.HasPrefix(tt.want, "loops") && strings.Contains(got, tt.want)) {
				t.Errorf("error %q, want %q", got, want)
			}
		})
	}
}

func TestDialect24Print(t *testing.T) {
	c := mustLoad(t, proxy24, Options{})
	dump := func(c *Config, o DumpOptions) string {
		t.Helper()
		var b strings.Builder
		if err := c.Dump(&b, o); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	first := dump(c, DumpOptions{Scope: ScopeChanged, ShowSecrets: true})
	again := mustLoad(t, first, Options{})
	if second := dump(again, DumpOptions{Scope: ScopeChanged, ShowSecrets: true}); first != second {
		t.Errorf("printed (-first +again):\n%s", cmp.Diff(first, second))
	}
	for _, tt := range []struct {
		o    DumpOptions
		want string
	}{
		{DumpOptions{Scope: ScopeChanged}, "dovecot_config_version = 2.4.4\n"},
		{DumpOptions{Scope: ScopeChanged}, "\nssl_server {\n  cert_file = cert.pem\n  key_file = key.pem\n  prefer_ciphers = server\n  require_crl = no\n}\n"},
		{DumpOptions{Scope: ScopeChanged}, "\npassdb static {\n  fields {\n    host = %{user | domain | lower}.backend\n    port:default = 143\n    proxy = y\n  }\n  password = # hidden, use -P to show it\n}\n"},
		{DumpOptions{Scope: ScopeChanged}, "\nlocal_name mail.example.org {\n  ssl_server {\n    cert_file = other.pem\n  }\n}\n"},
		{DumpOptions{}, "\nauth_cache_ttl = 1 hours\n"},
		{DumpOptions{Names: []string{"protocols"}}, "protocols = imap pop3 lmtp\n"},
		{DumpOptions{Names: []string{"auth_cache_ttl"}, NoKeys: true}, "1 hours\n"},
		{DumpOptions{Names: []string{"passdb"}}, "passdb static {\n"},
		{DumpOptions{Simple: true, Scope: ScopeChanged}, "ssl_server/cert_file=cert.pem\n"},
	} {
		if got := dump(c, tt.o); !strings.Contains(got, tt.want) {
			t.Errorf("%+v: %q is missing in:\n%s", tt.o, tt.want, got)
		}
	}
}

// TestTwins reads the same proxy in both dialects.
func TestTwins(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"cert.pem", "key.pem", "ca.pem"} {
		write(name, name)
	}
	write("23.conf", `
protocols = imap pop3 sieve
listen = 127.0.0.1
base_dir = /run/proxy
disable_plaintext_auth = no
login_greeting = Hello %{rip}
login_trusted_networks = 10.0.0.0/8
ssl = required
ssl_cert = <cert.pem
ssl_key = <key.pem
ssl_ca = <ca.pem
ssl_verify_client_cert = yes
ssl_min_protocol = TLSv1.3
auth_mechanisms = plain login
auth_default_realm = example.org
auth_cache_size = 1M
default_idle_kill = 2 mins
submission_max_mail_size = 40 M
lmtp_user_concurrency_limit = 10
managesieve_implementation_string = Proxy
mail_plugins = x
service imap-login {
  service_count = 0
  inet_listener imap {
    port = 143
    address = 127.0.0.2
  }
}
service submission-login {
  inet_listener submissions {
    port = 465
    ssl = yes
  }
}
passdb static {
  driver = static
  args = password=p proxy=y host=%Ld
}
protocol pop3 {
  login_greeting = pop
}
remote 10.0.0.0/8 {
  ssl = yes
}
`)
	write("24.conf", head24+`
protocols = imap pop3 sieve
listen = 127.0.0.1
base_dir = /run/proxy
auth_allow_cleartext = yes
login_greeting = Hello %{remote_ip}
login_trusted_networks = 10.0.0.0/8
ssl = required
ssl_server {
  cert_file = cert.pem
  key_file = key.pem
  ca_file = ca.pem
  request_client_cert = yes
}
ssl_min_protocol = TLSv1.3
auth_mechanisms = plain login
auth_default_domain = example.org
auth_cache_size = 1M
default_idle_kill_interval = 2 mins
managesieve_implementation_string = Proxy
mail_plugins = x
service imap-login {
  restart_request_count = unlimited
  inet_listener imap {
    port = 143
    listen = 127.0.0.2
  }
}
service submission-login {
  inet_listener submissions {
    port = 465
    ssl = yes
  }
}
passdb static {
  password = p
  fields {
    proxy = y
    host = %{user | domain | lower}
  }
}
protocol pop3 {
  login_greeting = pop
}
remote 10.0.0.0/8 {
  ssl = yes
}
`)
	var twins [2]*Config
	for i, name := range []string{"23.conf", "24.conf"} {
		var err error
		if twins[i], err = Load(filepath.Join(dir, name), Options{Expand: true}); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []Filter{{}, {Protocol: "imap"}, {Protocol: "pop3"}, {Remote: netip.MustParseAddr("10.1.1.1")}} {
		// The one setting of dproxy's own whose default is each version's.
		own := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".LoginProxyFollowReferrals" }, cmp.Ignore())
		if d := cmp.Diff(twins[0].Settings(f), twins[1].Settings(f), own); d != "" {
			t.Errorf("settings of %+v (-2.3 +2.4):\n%s", f, d)
		}
	}
	ignorePlace := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Position" }, cmp.Ignore())
	if d := cmp.Diff(twins[0].Passdbs("imap"), twins[1].Passdbs("imap"), ignorePlace); d != "" {
		t.Errorf("passdbs (-2.3 +2.4):\n%s", d)
	}
	if d := cmp.Diff(twins[0].Services(), twins[1].Services(), ignorePlace); d != "" {
		t.Errorf("services (-2.3 +2.4):\n%s", d)
	}
}

func TestDialect24CountsWhatIsIgnored(t *testing.T) {
	c := mustLoad(t, head24+"mail_driver = maildir\nmail_path = ~/Maildir\nnamespace inbox {\n  inbox = yes\n}\nauth_debug = yes\nsieve_x = y\nfts_autoindex = yes\n", Options{Serve: true})
	if w := strings.Join(c.Warnings(), "\n"); !strings.Contains(w, "3 settings have no effect on a proxy: mail_driver, mail_path, namespace inbox") {
		t.Errorf("warnings:\n%s", w)
	}
}

func TestDialect24FieldsOfAnyForm(t *testing.T) {
	c := mustLoad(t, head24+`
sql_driver = pgsql
ssl_client {
  ca_file = /ca.pem
}
passdb sql {
  query = SELECT pw, host FROM u WHERE u = '%{user | regexp('(.*), (.*)', '$2')}' AND d = %{user | domain | safe}
  fields_import_all = no
  use_cache = no
  fields {
    password = %{sql:pw}
    host = %{sql:host | default('10.0.0.9')}
    reason = Not, today
    port:default = %{if(local_port, '==', 143, 1143, 2143)}
    pass:remove = x
  }
  pgsql db1 {
    connection_limit = 3
    parameters {
      user = some one
      password = p'w
    }
  }
  pgsql db2 {
    host = /run/postgresql
  }
}
passdb static {
  password = {PLAIN}a b
  fields {
    reason = Not, today
    proxy:default = y
  }
}
passdb other {
  driver = sql
  sql_driver = mysql
  sql_query = x
  mysql db1 {
    ssl = yes
    connect_timeout = 1 mins
    read_timeout = 5 secs
    ssl_client_require_valid_cert = no
    port = 3307
  }
}
passdb third {
  driver = sql
  sql_driver = mysql
  sql_query = x
  mysql db1 {
    ssl = yes
    ssl_client {
      ca_dir = /ca
    }
  }
  fields {
    proxy = y
    reason = a b
  }
}
passdb passwd-file {
  passwd_file_path = /etc/u, v/%{user | domain | lower}
  auth_username_format = %{user | username | concat('-', local_port)}
}
`, Options{Serve: true})
	expand := func(text string) string {
		t.Helper()
		p, err := ParseTemplate(text, AuthLetters)
		if err != nil {
			t.Fatal(err)
		}
		out, err := p.Expand(pipelineVar)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	words := func(text string) string {
		var out []string
		for w := range strings.FieldsSeq(text) {
			out = append(out, expand(w))
		}
		return strings.Join(out, "|")
	}
	dbs := c.Passdbs("imap")
	sql := dbs[0]
	var fields []string
	for _, a := range sql.Answers {
		fields = append(fields, a[0]+"="+expand(a[1]))
	}
	if d := cmp.Diff([]string{"password=", "host=h1", "reason=Not, today", "port:protected=1143", "pass:remove=x"}, fields); d != "" || !sql.OnlyAnswers || !sql.NoCache {
		t.Errorf("fields (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]SQLHost{
		{Name: "db1", Params: map[string]string{"user": "some one", "password": "p'w"}},
		{Name: "/run/postgresql", MaxConns: 5, Params: map[string]string{}},
	}, sql.SQL.Servers.Hosts); d != "" {
		t.Errorf("pgsql (-want +got):\n%s", d)
	}
	if !slices.ContainsFunc(c.Warnings(), func(w string) bool { return strings.Contains(w, "values are escaped in spite of | safe") }) {
		t.Errorf("no warning about safe: %q", c.Warnings())
	}
	if got := words(dbs[1].Args); got != "password={PLAIN}a b|reason=Not, today" || dbs[1].DefaultFields != "proxy=y" {
		t.Errorf("static: %q, %q", got, dbs[1].DefaultFields)
	}
	want := map[string]string{"ssl": "any-cert", "ssl_ca": "/ca.pem", "connect_timeout": "60", "read_timeout": "5", "port": "3307"}
	if d := cmp.Diff(want, dbs[2].SQL.Servers.Hosts[0].Params); d != "" {
		t.Errorf("mysql (-want +got):\n%s", d)
	}
	want = map[string]string{"ssl": "yes", "ssl_ca": "/ca.pem", "ssl_ca_path": "/ca"}
	if d := cmp.Diff(want, dbs[3].SQL.Servers.Hosts[0].Params); d != "" {
		t.Errorf("mysql (-want +got):\n%s", d)
	}
	if got := words(dbs[3].OverrideFields); got != "proxy=y|reason=a b" {
		t.Errorf("override_fields = %q", got)
	}
	if got := expand(dbs[4].Args); got != "scheme=CRYPT username_format=FooBar-143 /etc/u, v/example.com" {
		t.Errorf("passwd-file: %q", got)
	}
}

func TestDialect24TLSOfOneSide(t *testing.T) {
	c := mustLoad(t, head24+`
ssl_min_protocol = TLSv1.2
ssl_cipher_list = A
ssl_server {
  ssl_min_protocol = TLSv1.3
}
ssl_client {
  require_valid_cert = no
  ssl_cipher_list = B
}
`, Options{})
	s := c.Settings(Filter{})
	if s.SSLMinProtocol != "TLSv1.3" || s.SSLClientMinProtocol != "TLSv1.2" || s.SSLCipherList != "A" || s.SSLClientCipherList != "B" ||
		s.SSLClientRequireValidCert {
		t.Errorf("%+v", s)
	}
	if _, err := load(t, "ssl_client ssl_min_protocol = x\n", Options{}); err == nil {
		t.Error("the name is taken in a 2.3 file")
	}
}

func TestDialect24PipelinesInLists(t *testing.T) {
	c := mustLoad(t, head24+`
login_log_format_elements = user=<%{user | regexp('(.)oo', '$1')}> x=%{if(remote_ip, '*', '10.*', 'in side', '')} %{session}
auth_policy_request_attributes {
  who = %{user | username | lower} here
}
`, Options{})
	s := c.Settings(Filter{})
	f, err := NewLogElements("%$: %s", s.LoginLogFormatElements)
	if err != nil {
		t.Fatal(err)
	}
	vars := map[string]string{"user": "foo@x", "rip": "10.1.1.1", "session": "S"}
	if got := f.Line(func(name string) (string, bool) { v, ok := vars[name]; return v, ok }, "Login"); got != "Login: user=<f@x>, x=in side, S" {
		t.Errorf("line %q", got)
	}
	vars = map[string]string{}
	if got := f.Line(func(name string) (string, bool) { v, ok := vars[name]; return v, ok }, "Login"); got != "Login: user=<>" {
		t.Errorf("line without values %q", got)
	}
	var own []string
	for w := range strings.FieldsSeq(s.AuthPolicyRequestAttributes) {
		own = append(own, w)
	}
	if !slices.ContainsFunc(own, func(w string) bool { return strings.HasPrefix(w, "who=%Ln%{|=") }) {
		t.Errorf("attributes %q", own)
	}
}
