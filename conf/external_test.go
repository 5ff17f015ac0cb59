package conf

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func writeExternal(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const sqlHead = "driver = sqlite\nconnect = /x.db\n"

func TestLoadSQLFile(t *testing.T) {
	t.Setenv("DPROXY_EXTERNAL_TEST", "from env")
	for _, tt := range []struct{ name, text, want string }{
		{"a plain value", "password_query = SELECT 1 AS password # comment\n", "SELECT 1 AS password"},
		{"no blanks around the equals sign", "password_query=SELECT 1\n", "SELECT 1"},
		{"the last one counts", "password_query = a\npassword_query = b\n", "b"},
		{"continuation", "password_query = SELECT a, \\\n   b \\\n FROM c\n", "SELECT a, b FROM c"},
		{"comments and blank lines do not end a continuation", "password_query = SELECT a, \\\n# note\n\n  b\n", "SELECT a, b"},
		{"a continuation at the end of the file is lost", "password_query = a\npassword_query = b \\\n", "a"},
		{"double quotes", `password_query = "SELECT 'a' # \"b\" \\ "` + "\n", `SELECT 'a' # "b" \ `},
		{"single quotes", `password_query = 'a \'b\''` + "\n", `a 'b'`},
		{"quotes within a value stay", `password_query = SELECT "a", 'b' AS c` + "\n", `SELECT "a", 'b' AS c`},
		{"a hash within quotes is no comment", `password_query = SELECT '#' AS c # real` + "\n", `SELECT '#' AS c`},
		{"environment at the start", "password_query = $ENV:DPROXY_EXTERNAL_TEST x\n", "from env x"},
		{"environment after a blank", "password_query = x $ENV:DPROXY_EXTERNAL_TEST\n", "x from env"},
		{"no environment inside a word", "password_query = x$ENV:DPROXY_EXTERNAL_TEST\n", "x$ENV:DPROXY_EXTERNAL_TEST"},
		{"no environment in quotes", `password_query = "$ENV:DPROXY_EXTERNAL_TEST"` + "\n", "$ENV:DPROXY_EXTERNAL_TEST"},
		{"no files", "password_query = </etc/passwd\n", "</etc/passwd"},
		{"no references", "password_query = $driver\n", "$driver"},
		{"sections are skipped", "foo bar {\n password_query = inner\n x { \n }\n}\npassword_query = outer\n", "outer"},
		{"a section without an end swallows the rest", "password_query = a\nfoo {\npassword_query = inner\n", "a"},
		{"CRLF and no newline at the end", "# x\r\npassword_query = a b\r\nuserdb_warning_disable = YES", "a b"},
		{"the built-in query", "", "SELECT username, domain, password FROM users WHERE username = '%n' AND domain = '%d'"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := writeExternal(t, map[string]string{"f": sqlHead + tt.text})
			f, err := LoadSQLFile(dir + "/f")
			if err != nil {
				t.Fatal(err)
			}
			if f.PasswordQuery != tt.want {
				t.Errorf("got  %q\nwant %q", f.PasswordQuery, tt.want)
			}
			if f.DefaultPasswordQuery != (tt.name == "the built-in query") {
				t.Errorf("DefaultPasswordQuery is %v", f.DefaultPasswordQuery)
			}
			if f.DefaultPassScheme != "MD5" || f.Driver != "sqlite" || f.Connect != "/x.db" {
				t.Errorf("got %+v", f)
			}
		})
	}
}

func TestLoadSQLFileMistakes(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"unknown setting", sqlHead + "\nfoo = 1\n", "sql DIR/f: Error in configuration file DIR/f line 4: Unknown setting: foo"},
		{"no equals sign", "driver\n", "sql DIR/f: Error in configuration file DIR/f line 1: Expecting '='"},
		{"brace without a section", "}\n", "sql DIR/f: Error in configuration file DIR/f line 1: Unexpected '}'"},
		{"bad boolean", sqlHead + "userdb_warning_disable = true\n", "sql DIR/f: Error in configuration file DIR/f line 3: Invalid boolean: true"},
		{"no driver", "connect = x\n", "sql: driver not set in configuration file DIR/f"},
		{"no connect", "driver = sqlite\n", "sql: connect string not set in configuration file DIR/f"},
		{"missing include", "!include none*\n", "sql DIR/f: Error in configuration file DIR/f line 1: No matches"},
		{"include of itself", "!include f\n", "sql DIR/f: Error in configuration file DIR/f line 1: Recursive include file: DIR/f"},
		{"error in an included file", "driver = sqlite\n!include_try g\n", "sql DIR/f: Error in configuration file DIR/g line 2: Unknown setting: bar"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := writeExternal(t, map[string]string{"f": tt.text, "g": "connect = x\nbar = 1\n"})
			_, err := LoadSQLFile(dir + "/f")
			if want := strings.ReplaceAll(tt.want, "DIR", dir); err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
	dir := writeExternal(t, map[string]string{"big": sqlHead + strings.Repeat("# comment\n", 500_000)})
	if _, err := LoadSQLFile(dir + "/big"); err == nil || !strings.Contains(err.Error(), "the file is larger than 4 MB") {
		t.Errorf("5 MB of comments: got %v", err)
	}
	for path, want := range map[string]string{
		"":            "sql: Configuration file path not given",
		dir + "/none": "sql " + dir + "/none: Can't open configuration file " + dir + "/none: No such file or directory",
		dir:           "sql " + dir + ": Can't open configuration file " + dir + ": Is a directory",
	} {
		if _, err := LoadSQLFile(path); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

func TestLoadSQLFileIncludes(t *testing.T) {
	dir := writeExternal(t, map[string]string{
		"f":   sqlHead + "!include_try none\n!include [ac].x\npassword_query = %u\n",
		"a.x": "user_query = from a\nupdate_query = from a\n", "c.x": "user_query = from c\n!include b.y\n", "b.y": "iterate_query = from b\n",
	})
	f, err := LoadSQLFile(dir + "/f")
	if err != nil {
		t.Fatal(err)
	}
	got := []string{f.UserQuery, f.UpdateQuery, f.IterateQuery, f.PasswordQuery}
	if want := []string{"from a", "from a", "from b", "%u"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q: the first file of a glob is read last", got, want)
	}
}

func TestLoadSQLFileWarning(t *testing.T) {
	dir := writeExternal(t, map[string]string{"f": sqlHead + "user_query = a# b\n"})
	f, err := LoadSQLFile(dir + "/f")
	if err != nil || f.UserQuery != "a" {
		t.Fatalf("got %+v, %v", f, err)
	}
	want := "Configuration file " + dir + "/f line 3: Ambiguous '#' character in line, treating it as comment. Add a space before it to remove this warning."
	if !slices.Equal(f.Warnings, []string{want}) {
		t.Errorf("got %q", f.Warnings)
	}
}

func TestConnectTo(t *testing.T) {
	for _, tt := range []struct {
		driver, connect string
		want            SQLConnect
		err             string
	}{
		{"sqlite", "/a b/users.db", SQLConnect{File: "/a b/users.db", MaxConns: 5}, ""},
		{"mysql", "host=db1  host=db2 dbname=mail user=u password=a=b port=3307 maxconns=2", SQLConnect{MaxConns: 2, Hosts: []SQLHost{
			{Name: "db1", Params: map[string]string{"dbname": "mail", "user": "u", "password": "a=b", "port": "3307"}},
			{Name: "db2", Params: map[string]string{"dbname": "mail", "user": "u", "password": "a=b", "port": "3307"}},
		}}, ""},
		{"mysql", "hostaddr=192.0.2.1 maxconns=0", SQLConnect{MaxConns: 5, Hosts: []SQLHost{{Name: "192.0.2.1", Params: map[string]string{}}}}, ""},
		{"mysql", "option_file=/x", SQLConnect{MaxConns: 5, Hosts: []SQLHost{{Params: map[string]string{"option_file": "/x"}}}}, ""},
		{"mysql", "host=a secretrest", SQLConnect{}, "sql: Missing value in connect string: se... (connect in F)"},
		{"mysql", "host=a passwd=x", SQLConnect{}, "sql: Unknown connect string: passwd (connect in F)"},
		{"mysql", "user=a", SQLConnect{}, "sql: No hosts given in connect string (connect in F)"},
		{"mysql", "host=a port=x", SQLConnect{}, "sql: Invalid port number: x (connect in F)"},
		{"mysql", "host=a client_flags=x", SQLConnect{}, "sql: Invalid client flags: x (connect in F)"},
		{"mysql", "host=a ssl_verify_server_cert=1", SQLConnect{}, "sql: Invalid boolean: 1 (connect in F)"},
		{"pgsql", "host=a maxconns=x", SQLConnect{}, "sql: Invalid value for maxconns: x (connect in F)"},
		{"pgsql", "host=a host=b dbname=mail  password='it''s' options='-c  a=b' sslmode=verify-full", SQLConnect{}, "sql: Missing \"=\" after \"'s...\" in connect string (connect in F)"},
		{"pgsql", `host=a host='b' dbname=mail password='it\'s' options='-c a=b' sslmode=verify-full`, SQLConnect{MaxConns: 5, Hosts: []SQLHost{
			{Name: "a", Params: map[string]string{"dbname": "mail", "password": "it's", "options": "-c a=b", "sslmode": "verify-full"}},
			{Name: "b", Params: map[string]string{"dbname": "mail", "password": "it's", "options": "-c a=b", "sslmode": "verify-full"}},
		}}, ""},
		{"pgsql", "dbname=mail", SQLConnect{MaxConns: 5, Hosts: []SQLHost{{Params: map[string]string{"dbname": "mail"}}}}, ""},
		{"pgsql", "postgresql://u:p@h/db?sslmode=disable", SQLConnect{MaxConns: 5, Hosts: []SQLHost{{URI: "postgresql://u:p@h/db?sslmode=disable"}}}, ""},
		{"pgsql", "password='x", SQLConnect{}, "sql: Unterminated quoted string in connect string (connect in F)"},
		{"cassandra", "host=a", SQLConnect{}, "sql: Database driver 'cassandra' is not supported; use mysql, pgsql or sqlite in F"},
		{"oracle", "host=a", SQLConnect{}, "sql: Unknown database driver 'oracle'"},
	} {
		f := &SQLFile{Path: "F", Driver: tt.driver, Connect: tt.connect}
		got, err := f.ConnectTo()
		if tt.err != "" {
			if err == nil || err.Error() != tt.err {
				t.Errorf("%s: got  %v\nwant %s", tt.connect, err, tt.err)
			}
			continue
		}
		tt.want.Driver = tt.driver
		if err != nil || !reflect.DeepEqual(*got, tt.want) {
			t.Errorf("%s: %v\n%s", tt.connect, err, cmp.Diff(tt.want, *got))
		}
	}
}

func TestLoadLDAPFile(t *testing.T) {
	dir := writeExternal(t, map[string]string{"f": `
hosts = a b:390 ::1
dn = cn=admin,dc=example
dnpass = "a # b"
auth_bind = yes
base = ou=%d,dc=example
scope = ONELEVEL
ldap_version = 0x3
tls_require_cert = Hard
pass_attrs = =proxy=y, \
  # the backend
  mailHost=host
`})
	f, err := LoadLDAPFile(dir + "/f")
	if err != nil {
		t.Fatal(err)
	}
	want := &LDAPFile{
		Path: dir + "/f", URIs: []string{"ldap://a", "ldap://b:390", "ldap://[::1]"}, DN: "cn=admin,dc=example", DNPass: "a # b",
		AuthBind: true, Base: "ou=%d,dc=example", Scope: "onelevel", Version: 3, TLSRequireCert: "hard", Deref: "never", DebugLevel: "0",
		PassAttrs: "=proxy=y, mailHost=host", PassFilter: "(&(objectClass=posixAccount)(uid=%u))",
		UserAttrs: "homeDirectory=home,uidNumber=uid,gidNumber=gid", UserFilter: "(&(objectClass=posixAccount)(uid=%u))",
		IterateAttrs: "uid=user", IterateFilter: "(objectClass=posixAccount)", DefaultPassScheme: "crypt", hosts: "a b:390 ::1",
	}
	if !reflect.DeepEqual(f, want) {
		t.Errorf("got  %+v\nwant %+v", f, want)
	}
}

func TestLoadLDAPFileMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"uris = ldap://x\n":                                        "LDAP DIR/f: No base given",
		"base = x\n":                                               "LDAP DIR/f: No uris or hosts set",
		"base = x\nuris = ldap://x\nderef = x\n":                   "LDAP DIR/f: Unknown deref option 'x'",
		"base = x\nuris = ldap://x\nscope = one\n":                 "LDAP DIR/f: Unknown scope option 'one'",
		"base = x\nuris = ldap://x\ntls = yes\nldap_version = 2":   "LDAP DIR/f: tls=yes requires ldap_version=3",
		"base = x\nuris = ldap://x\nsasl_bind=yes\nldap_version=2": "LDAP DIR/f: sasl_bind=yes requires ldap_version=3",
		"base = x\nuris = ldap://x\ntls_require_cert = maybe\n":    "LDAP DIR/f: Unknown tls_require_cert value 'maybe'",
		"base = x\nuris = ldap://x LDAPS://y\ntls = yes\n":         "LDAP DIR/f: Don't use both tls=yes and ldaps URI",
		"ldap_version = x\n":                                       "ldap DIR/f: Error in configuration file DIR/f line 1: Invalid number: x",
		"bse = x\n":                                                "ldap DIR/f: Error in configuration file DIR/f line 1: Unknown setting: bse",
	} {
		dir := writeExternal(t, map[string]string{"f": text})
		_, err := LoadLDAPFile(dir + "/f")
		if want := strings.ReplaceAll(want, "DIR", dir); err == nil || err.Error() != want {
			t.Errorf("%q: got  %v\nwant %s", text, err, want)
		}
	}
	if _, err := LoadLDAPFile(""); err == nil || err.Error() != "LDAP: Configuration file path not given" {
		t.Errorf("got %v", err)
	}
}

func TestParseLDAPAttrs(t *testing.T) {
	// Each field is "attr>name=value", with * for a subquery and ! for an attribute only asked for.
	vars := func(name string) (string, bool) {
		return "<" + name + ">", true
	}
	describe := func(f LDAPField) string {
		name, _ := f.Name.Expand(vars)
		s := f.Attr + ">" + name
		if f.Value != nil {
			v, _ := f.Value.Expand(vars)
			s += "=" + v
		}
		if f.Subquery {
			s = "*" + s
		}
		if f.Fetch {
			s = "!" + s
		}
		return s
	}
	for _, tt := range []struct {
		in, skip string
		fields   []string
		request  []string
		sub      map[string][]string
		warnings []string
	}{
		{"mail", "", []string{"mail>mail"}, []string{"mail"}, nil, nil},
		{"uid=user,userPassword=password", "", []string{"uid>user", "userPassword>password"}, []string{"uid", "userPassword"}, nil, nil},
		{"uid=user,userPassword=password", "password", []string{"uid>user"}, []string{"uid"}, nil, nil},
		{" mail , x", "", []string{"mail >mail ", "x>x"}, []string{"mail ", "x"}, nil, nil},
		{"mail=destuser=u_", "", []string{"mail>destuser=u_<$>"}, []string{"mail"}, nil, nil},
		{"mail=destuser=%L$@x", "", []string{"mail>destuser=<$>@x"}, []string{"mail"}, nil, nil},
		{"=starttls,=proxy=y", "", []string{">starttls=", ">proxy=y<$>"}, nil, nil, nil},
		{"=host=%{ldap:mailHost:fallback}", "", []string{">host=<ldap:mailHost>"}, []string{"mailHost"}, nil, nil},
		{"=x=a=b", "", []string{">x=a=b<$>"}, nil, nil, nil},
		{"mail=%{ldap:uid}_d", "", []string{"mail><ldap:uid>_d"}, []string{"uid", "mail"}, nil, nil},
		{
			"@boss=%{ldap:manager},mail@boss=bossmail,=x=%{ldap:telephoneNumber@boss}", "",
			[]string{"*>boss=<ldap:manager>", "mail@boss>bossmail", ">x=<ldap:telephoneNumber@boss>"},
			[]string{"manager"},
			map[string][]string{"boss": {"mail", "telephoneNumber"}},
			nil,
		},
		{"!ptr,=x=%{ldap_ptr:ptr}", "", []string{"!ptr>", ">x=<ldap_ptr:ptr>"}, []string{"ptr"}, nil, nil},
		{"a=,b", "", []string{"b>b"}, []string{"b"}, nil, []string{"Invalid attrs entry: a="}},
		{",,a,,", "", []string{"a>a"}, []string{"a"}, nil, nil},
		{"", "", nil, nil, nil, nil},
	} {
		a, err := ParseLDAPAttrs(tt.in, tt.skip)
		if err != nil {
			t.Errorf("%s: %v", tt.in, err)
			continue
		}
		var fields []string
		for _, f := range a.Fields {
			fields = append(fields, describe(f))
		}
		if tt.sub == nil {
			tt.sub = map[string][]string{}
		}
		if !slices.Equal(fields, tt.fields) || !slices.Equal(a.Request, tt.request) ||
			!reflect.DeepEqual(a.Subrequest, tt.sub) || !slices.Equal(a.Warnings, tt.warnings) {
			t.Errorf("%s: got fields %q, request %q, subrequest %v, warnings %q", tt.in, fields, a.Request, a.Subrequest, a.Warnings)
		}
	}
}

func FuzzExternal(f *testing.F) {
	f.Add(sqlHead + "password_query = a \\\n b\n")
	f.Add("a {\n}\n!include_try x\nuserdb_warning_disable = 'yes'\n")
	f.Add("# x\nconnect = \"host=a \\\"b\"\n")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(dir, "f")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := LoadSQLFile(path); err == nil {
			if s.Driver == "" || s.Connect == "" {
				t.Errorf("a file without driver or connect is accepted: %+v", s)
			}
			s.ConnectTo()
		}
		ParseLDAPAttrs(text, "password")
	})
}
