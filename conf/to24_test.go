package conf

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// everyVariable answers every variable with a value that tells it apart, in capitals and with an @.
func everyVariable(name string) (string, bool) {
	// The parts of a user's name go together with it.
	for part, of := range map[string]string{"orig_username": "orig_user", "orig_domain": "orig_user", "username": "user", "domain": "user"} {
		if name == part {
			user, domain, _ := strings.Cut("V@"+strings.ToUpper(of)+".x", "@")
			if strings.HasSuffix(part, "domain") {
				return domain, true
			}
			return user, true
		}
	}
	return "V@" + strings.ToUpper(name) + ".x", true
}

// expandFor is what a template of 2.3 gives, so that two forms of one can be compared.
func expandFor(t *testing.T, text string, l Letters) string {
	t.Helper()
	p, err := ParseTemplate(text, l)
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.Expand(everyVariable)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return out
}

// plain is a copy of settings with templates expanded and lists separated by single blanks.
func plain(t *testing.T, s *Settings) *Settings {
	t.Helper()
	c := *s
	c.AuthUsernameFormat = expandFor(t, c.AuthUsernameFormat, AuthLetters)
	c.LoginGreeting = expandFor(t, c.LoginGreeting, LoginLetters)
	c.LoginLogFormat = expandFor(t, strings.ReplaceAll(strings.ReplaceAll(c.LoginLogFormat, "%$", "MESSAGE"), "%s", "ELEMENTS"), LoginLetters)
	c.LoginLogFormatElements = expandFor(t, c.LoginLogFormatElements, LoginLetters)
	c.AuthPolicyRequestAttributes = expandFor(t, c.AuthPolicyRequestAttributes, AuthLetters)
	v := reflect.ValueOf(&c).Elem()
	for _, name := range []string{"Listen", "LoginTrustedNetworks", "HAProxyTrustedNetworks", "LoginSourceIPs", "AuthMechanisms"} {
		f := v.FieldByName(name)
		f.SetString(strings.Join(strings.FieldsFunc(f.String(), func(r rune) bool { return r == ',' || r == ' ' }), " "))
	}
	return &c
}

// database is what a passdb asks, wherever it is written.
type database struct {
	Driver, Args, Default, Override, Query, Scheme string
	Connect                                        *SQLConnect
	URIs                                           []string
	Base, Filter, DN, Pass                         string
	Bind                                           bool
	Fields                                         map[string]string
}

// meaning is a passdb with its external file read and its templates expanded.
func meaning(t *testing.T, p Passdb) database {
	t.Helper()
	ex := func(text string) string { return expandFor(t, text, AuthLetters) }
	override := p.OverrideFields
	for _, a := range p.Answers {
		override = strings.TrimSpace(override + " " + a[0] + "=" + a[1])
	}
	words := strings.Fields(override)
	slices.Sort(words)
	d := database{Driver: p.Driver, Default: ex(p.DefaultFields), Override: ex(strings.Join(words, " "))}
	var err error
	sql, ldap := p.SQL, p.LDAP
	switch {
	case p.Driver == "sql" && sql == nil:
		sql, err = LoadSQLFile(p.Args)
	case p.Driver == "ldap" && ldap == nil:
		ldap, err = LoadLDAPFile(p.Args)
	case sql == nil && ldap == nil:
		d.Args = ex(strings.ReplaceAll(p.Args, "scheme=CRYPT ", ""))
	}
	if err != nil {
		t.Fatal(err)
	}
	if sql != nil {
		if d.Connect, err = sql.ConnectTo(); err != nil {
			t.Fatal(err)
		}
		d.Query, d.Scheme = ex(sql.PasswordQuery), sql.DefaultPassScheme
	}
	if ldap != nil {
		d.URIs, d.Base, d.Filter, d.DN, d.Pass, d.Bind = ldap.URIs, ex(ldap.Base), ex(ldap.PassFilter), ldap.DN, ldap.DNPass, ldap.AuthBind
		d.Scheme, d.Fields = ldap.DefaultPassScheme, map[string]string{}
		attrs, err := ParseLDAPAttrs(ldap.PassAttrs, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range attrs.Fields {
			name, _ := a.Name.Literal()
			text := "%{ldap:" + a.Attr + "}"
			if a.Value != nil {
				if text = strings.TrimSuffix(a.Text, "%$"); a.Attr != "" {
					text = strings.ReplaceAll(a.Text, "%$", "%{ldap:"+a.Attr+"}")
				}
			}
			d.Fields[name] = ex(text)
		}
	}
	return d
}

func TestConvert24IsReadAsTheSame(t *testing.T) {
	files := map[string]string{
		"cert.pem": "CERT", "key.pem": "KEY", "other.pem": "OTHER", "ca.pem": "CA",
		"mysql.ext": "driver = mysql\nconnect = host=db1 host=db2 user=dov password=a#b dbname=mail port=3307 maxconns=9\ndefault_pass_scheme = SSHA\n" +
			"password_query = SELECT NULL AS password, 'Y' AS nopassword, host, '%w' AS pass FROM users WHERE userid = '%Lu' AND d LIKE '%Ld%%'\n",
		"pgsql.ext":  "driver = pgsql\nconnect = host=pg dbname=mail user=u password=p sslmode=require\npassword_query = SELECT host FROM u WHERE n = '%n' AND d = '%{domain}' AND b = '%2.256Nu'\n",
		"sqlite.ext": "driver = sqlite\nconnect = /var/db/users\npassword_query = SELECT password FROM users WHERE u = '%u'\n",
		"ldap.ext": "hosts = ds1 ds2:3389\ndn = cn=proxy\ndnpass = se cret\nbase = dc=%d,dc=com\npass_filter = (&(objectClass=x)(uid=%n))\n" +
			"pass_attrs = uid=user,userPassword=password,mailHost=host,=proxy=y,port=port=1%$\n",
		"bind.ext": "uris = ldaps://ds\ntls_require_cert = never\nauth_bind = yes\nbase = dc=x\npass_filter = (uid=%u)\npass_attrs = uid=user,mailHost=host\n",
	}
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, text := range files {
		write(name, text)
	}
	const static = "passdb {\n driver = static\n args = password={PLAIN}x proxy=y host=%Ld.backend.example\n}\n"
	for _, c := range []struct{ name, text string }{
		{"an empty file keeps the defaults of 2.3", ""},
		{"a static proxy", static},
		{"renamed and inverted settings", static + "disable_plaintext_auth = no\nssl_prefer_server_ciphers = yes\nauth_default_realm = example.org\nssl_verify_client_cert = yes\n"},
		{"limits that are off", static + "mail_max_userip_connections = 0\nlmtp_user_concurrency_limit = 0\nsubmission_max_mail_size = 0\n"},
		{"times and sizes", static + "auth_cache_size = 64 M\nauth_cache_ttl = 90 s\nlogin_proxy_timeout = 1500 ms\nhaproxy_timeout = 5 s\nauth_failure_delay = 0\n"},
		{"lists", static + "protocols = imap pop3 lmtp\nauth_mechanisms = plain login cram-md5\nlisten = 127.0.0.1, ::1\nlogin_trusted_networks = 10.0.0.0/8 192.0.2.0/24\nlogin_source_ips = ?10.0.0.1 10.0.0.2\n"},
		{"certificates and keys, relative and absolute", static + "ssl = yes\nssl_cert = <cert.pem\nssl_key = <" + dir + "/key.pem\nssl_ca = <ca.pem\nssl_client_ca_file = " + dir + "/ca.pem\n"},
		{"templates of the log and the greeting", static + "login_greeting = %{lip} is ready: 100%%\nlogin_log_format = %s / %$\nlogin_log_format_elements = user=<%u> method=%m rip=%r lip=%l %k %{orig_user} %{passdb:host:none}\nauth_username_format = %Ln@%5Ud\n"},
		{"references", static + "instance_name = one\nbase_dir = /run/x\nlogin_greeting = $instance_name is ready\n"},
		{"quotes and comments inside values", static + "login_greeting = \"a # b \\\"c\\\" \\\\ $d 'e'\"\n"},
		{"services and listeners", static + "service imap-login {\n service_count = 0\n process_limit = 20\n client_limit = 300\n inet_listener imap {\n port = 1143\n address = 127.0.0.1, ::1\n haproxy = yes\n reuse_port = yes\n }\n inet_listener imaps {\n port = 0\n reuse_port = yes\n }\n}\nservice auth {\n unix_listener auth-userdb {\n mode = 0666\n user = $default_internal_user\n }\n}\n"},
		{"filters", static + "protocol imap {\n login_greeting = I\n mail_max_userip_connections = 3\n passdb {\n driver = passwd-file\n deny = yes\n args = /etc/deny.%s\n }\n}\nprotocol !pop3 {\n imap_id_retain = yes\n}\nremote 10.0.0.0/8 {\n disable_plaintext_auth = no\n protocol pop3 {\n login_greeting = p\n }\n}\nlocal_name \"a.example *.b.example\" {\n ssl_cert = <other.pem\n}\nlocal 192.0.2.1 {\n ssl = no\n}\n"},
		{"two passdbs of one driver", static + "passdb {\n driver = static\n args = proxy=y host=b\n skip = authenticated\n result_failure = return-fail\n mechanisms = plain\n username_filter = *@x\n}\n"},
		{"a passwd-file with fields", "passdb {\n driver = passwd-file\n args = username_format=%Ln /etc/users.%d\n default_fields = proxy=y port=143\n override_fields = host=%{passdb:host}.x ssl=any-cert\n}\n"},
		{"mysql with two hosts", "passdb {\n driver = sql\n args = " + dir + "/mysql.ext\n default_fields = proxy=y\n}\n"},
		{"pgsql", "passdb {\n driver = sql\n args = " + dir + "/pgsql.ext\n}\n"},
		{"sqlite", "passdb {\n driver = sql\n args = " + dir + "/sqlite.ext\n}\n"},
		{"ldap with passwords", "passdb {\n driver = ldap\n args = " + dir + "/ldap.ext\n}\n"},
		{"ldap with binds", "passdb {\n driver = ldap\n args = " + dir + "/bind.ext\n default_fields = proxy=y\n}\n"},
		{"an imap passdb", "passdb {\n driver = imap\n args = host=10.0.0.1 port=1143 username=%n\n default_fields = proxy=y\n}\n"},
		{"storage settings are left out", static + "mail_location = maildir:~/x\nplugin {\n quota = x\n}\nnamespace inbox {\n inbox = yes\n}\nuserdb {\n driver = passwd\n}\ndict {\n a = b\n}\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			from := write("23.conf", c.text)
			conv, err := Convert24(from)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if t.Failed() {
					t.Log(conv.Text)
				}
			}()
			if len(conv.Problems) > 0 {
				t.Errorf("problems: %q", conv.Problems)
			}
			old := mustRead(t, from)
			fresh := mustRead(t, write("24.conf", conv.Text))
			for _, f := range []Filter{
				{},
				{Protocol: "imap"},
				{Protocol: "pop3"},
				{Protocol: "lmtp"},
				{Protocol: "pop3", Remote: netip.MustParseAddr("10.1.1.1")},
				{LocalName: "a.example"},
				{LocalName: "x.b.example"},
				{Local: netip.MustParseAddr("192.0.2.1")},
			} {
				if d := cmp.Diff(plain(t, old.Settings(f)), plain(t, fresh.Settings(f))); d != "" {
					t.Errorf("settings of %+v (-2.3 +2.4):\n%s", f, d)
				}
				was, is := old.Passdbs(f.Protocol), fresh.Passdbs(f.Protocol)
				if len(was) != len(is) {
					t.Fatalf("%d passdbs, want %d", len(is), len(was))
				}
				for i := range was {
					if d := cmp.Diff(meaning(t, was[i]), meaning(t, is[i]), cmpopts.EquateEmpty()); d != "" {
						t.Errorf("passdb %d of %+v (-2.3 +2.4):\n%s", i, f, d)
					}
				}
				same := cmpopts.IgnoreFields(Passdb{}, "Position", "Name", "Args", "DefaultFields", "OverrideFields", "Answers", "SQL", "LDAP")
				if d := cmp.Diff(was, is, same); d != "" {
					t.Errorf("passdbs (-2.3 +2.4):\n%s", d)
				}
			}
			places := cmp.Options{cmpopts.IgnoreTypes(Position{}), cmpopts.EquateEmpty()}
			if d := cmp.Diff(old.Services(), fresh.Services(), places); d != "" {
				t.Errorf("services (-2.3 +2.4):\n%s", d)
			}
		})
	}
}

func mustRead(t *testing.T, path string) *Config {
	t.Helper()
	c, err := Load(path, Options{Expand: true})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestConvert24SaysWhatItLeavesOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "23.conf")
	text := "ssl = required\ndisable_plaintext_auth = no\nimap_id_log = *\nlogin_greeting = %{if;%r;eq;1;a%r;b}\nauth_username_format = %Hu\nmail_location = mbox\npassdb {\n driver = pam\n args = dovecot\n pass = yes\n}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Convert24(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"NOT CONVERTED: imap_id_log = *: 2.4 has no such setting", "this %{if} has to be written anew for 2.4", "the modifier H has no form in 2.4",
		"passdb pam { pass = yes }: use result_success = continue", "the driver pam has to be written anew", "# mail_location = mbox: no effect on a proxy", "2.4 refuses it together with ssl = required",
	} {
		if !strings.Contains(c.Text, want) {
			t.Errorf("%q is missing in:\n%s", want, c.Text)
		}
	}
	if len(c.Problems) != 6 {
		t.Errorf("problems: %q", c.Problems)
	}
	if err := os.WriteFile(path, []byte(c.Text), 0o600); err != nil {
		t.Fatal(err)
	}
	mustRead(t, path)
	if _, err := Convert24(path); err == nil || !strings.Contains(err.Error(), "2.4 dialect already") {
		t.Errorf("a 2.4 file: %v", err)
	}
}
