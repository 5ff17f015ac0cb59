package sql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"dproxy/conf"
	"dproxy/passdb"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// database is what the tests need of a kind of database: a way to run statements and the lines of
// the passdb's file that lead there.
type database struct {
	exec   func(tb testing.TB, statements ...string)
	insert func(tb testing.TB) func(user, password string) // into the table users (u, p)
	file   string
}

// sqliteDatabase makes a new database file.
func sqliteDatabase(tb testing.TB) *database {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "users.db")
	return &database{
		file: "driver = sqlite\nconnect = " + path + "\n",
		exec: func(tb testing.TB, statements ...string) { execSQLite(tb, path, statements...) },
		insert: func(tb testing.TB) func(user, password string) {
			db, err := sql.Open("sqlite", path)
			if err != nil {
				tb.Fatal(err)
			}
			tb.Cleanup(func() { db.Close() })
			return func(user, password string) {
				if _, err := db.Exec("INSERT INTO users VALUES (?, ?)", user, password); err != nil {
					tb.Fatalf("%q: %v", user, err)
				}
			}
		},
	}
}

func execSQLite(tb testing.TB, path string, statements ...string) {
	tb.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		tb.Fatal(err)
	}
	defer db.Close()
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			tb.Fatalf("%s: %v", s, err)
		}
	}
}

// open makes a driver with a query.
func (db *database) open(tb testing.TB, query string) passdb.Driver {
	tb.Helper()
	return openFile(tb, db.file+"password_query = "+query+"\n")
}

func openFile(tb testing.TB, text string) passdb.Driver {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "dovecot-sql.conf.ext")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	d, err := New(conf.Passdb{Driver: "sql", Args: path})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := d.(passdb.Closer).Close(); err != nil {
			tb.Error(err)
		}
	})
	return d
}

func request(user string) *passdb.Request {
	r := &passdb.Request{User: user, OrigUser: user, Mech: "PLAIN", Password: "pw'd", Fields: &passdb.Fields{}}
	r.Service, r.Session, r.LocalName, r.ClientID = "imap", "SID", "sni.example.org", `("name" "x'y")`
	r.Local, r.Remote = netip.MustParseAddrPort("192.0.2.1:143"), netip.MustParseAddrPort("192.0.2.7:5555")
	return r
}

// lookup asks and puts the answer into one line.
func lookup(tb testing.TB, d passdb.Driver, user string) string {
	tb.Helper()
	return show(d.Lookup(tb.Context(), request(user)))
}

func show(r passdb.Result, err error) string {
	if err != nil {
		return "error: " + err.Error()
	}
	var b strings.Builder
	b.WriteString(r.Status.String())
	if r.HasPassword {
		fmt.Fprintf(&b, " password=%s", string(r.Password))
	}
	if r.NoScheme {
		b.WriteString(" noscheme")
	}
	for _, f := range r.Fields {
		fmt.Fprintf(&b, " %s=%s", f.Name, f.Value)
	}
	return b.String()
}

const proxySchema = `CREATE TABLE proxy (
  user varchar(255) NOT NULL,
  host varchar(16) default NULL,
  destuser varchar(255) NOT NULL default '',
  PRIMARY KEY (user)
)`

const proxyQuery = "SELECT NULL AS password, 'Y' as nopassword, host, destuser, 'Y' AS proxy FROM proxy WHERE user = '%u'"

func TestWikiPasswordForwarding(t *testing.T) {
	db := sqliteDatabase(t)
	db.exec(t, proxySchema,
		"INSERT INTO proxy VALUES ('john', '192.168.0.1', '')",
		"INSERT INTO proxy VALUES ('joe', '192.168.0.2', 'joe@example.com')")
	d := db.open(t, proxyQuery)
	for user, want := range map[string]string{
		"john": "ok nopassword=Y host=192.168.0.1 destuser= proxy=Y",
		"joe":  "ok nopassword=Y host=192.168.0.2 destuser=joe@example.com proxy=Y",
		"jane": "user_unknown",
	} {
		if got := lookup(t, d, user); got != want {
			t.Errorf("%s: got %s, want %s", user, got, want)
		}
	}
}

func TestWikiProxyMaybe(t *testing.T) {
	db := sqliteDatabase(t)
	db.exec(t, "CREATE TABLE users (user varchar(255) NOT NULL, domain varchar(255) NOT NULL, password varchar(100) NOT NULL, host varchar(16) NOT NULL, home varchar(255), PRIMARY KEY (user))",
		"INSERT INTO users VALUES ('john', 'example.com', '{PLAIN}x', '192.168.0.100', '/home/john')")
	d := db.open(t, "SELECT user || '@' || domain AS user, password, host, 'Y' AS proxy_maybe, \\\n"+
		"  home AS userdb_home FROM users WHERE user = '%n' AND domain = '%d' AND user || '@' || domain = '%n@%d'")
	for user, want := range map[string]string{
		"john@example.com": "ok password={PLAIN}x user=john@example.com host=192.168.0.100 proxy_maybe=Y",
		"john@example.org": "user_unknown",
		"john":             "user_unknown",
	} {
		if got := lookup(t, d, user); got != want {
			t.Errorf("%s: got %s, want %s", user, got, want)
		}
	}
}

func TestColumns(t *testing.T) {
	db := sqliteDatabase(t)
	db.exec(t, "CREATE TABLE t (u TEXT, d DATETIME, n INTEGER, r REAL, b BOOLEAN)", "INSERT INTO t VALUES ('a', '2026-01-02', 42, 1.5, 1)", "INSERT INTO t VALUES ('two', NULL, NULL, NULL, NULL)", "INSERT INTO t VALUES ('two', NULL, NULL, NULL, NULL)")
	for _, tt := range []struct{ name, query, want string }{
		{"NULL is no field, empty text is one", "SELECT NULL AS password, '' AS destuser, NULL AS host", "ok destuser="},
		{"a NULL password is no password", "SELECT NULL AS password", "ok"},
		{"an empty password is one", "SELECT '' AS password", "ok password="},
		{"columns keep their order", "SELECT 'x' AS password, 1 AS z, 2 AS a, 'j' AS user, 'd' AS domain", "ok password=x z=1 a=2 user=j domain=d"},
		{"password_noscheme is a password", "SELECT '{A}b' AS password_noscheme", "ok password={A}b noscheme"},
		{"a second password is handed on", "SELECT 'a' AS password, 'b' AS password_noscheme", "ok password=a password_noscheme=b"},
		{"NULL and then a password", "SELECT NULL AS password, 'b' AS password_noscheme", "ok password=b noscheme"},
		{"userdb fields are left out", "SELECT 'x' AS password, 1 AS userdb_uid, NULL AS userdb_home", "ok password=x"},
		{"a column without a name is no field", "SELECT 'x' AS password, 1 AS \"\"", "ok password=x"},
		{"names are case-sensitive", "SELECT 'x' AS Password", "error: Password query must return a field named 'password'"},
		{"there must be a password column", "SELECT 'Y' AS nopassword", "error: Password query must return a field named 'password'"},
		{"but not for an unknown user", "SELECT 1 AS x WHERE 0", "user_unknown"},
		{"several rows are an internal failure", "SELECT 'x' AS password FROM t WHERE u = 'two'", "error: Password query returned multiple matches"},
		{"very many rows too", "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 5000) SELECT 'x' AS password FROM n", "error: Password query returned multiple matches"},
		{"a wrong query is one", "SELECT nothing FROM missing WHERE user = '%u'", `error: Password query failed: near "nothing": syntax error`},
		{"a missing table is one", "SELECT a FROM missing WHERE user = '%u'", "error: Password query failed: no such table: missing"},
		{"an empty query is one", "-- %u", "error: Password query failed: the query is empty"},
		{"numbers and dates are texts", "SELECT 'x' AS password, d, n, r, b, n IS NULL AS z FROM t WHERE u = '%u'", "ok password=x d=2026-01-02 n=42 r=1.5 b=1 z=0"},
		{"a binary value", "SELECT x'00ff41' AS password", "ok password=\x00\xffA"},
		{"a semicolon at the end", "SELECT 'x' AS password;  ", "ok password=x"},
		{"an unknown variable", "SELECT 'x' AS password, '%{nosuch}' AS y", "error: Failed to expand password_query=SELECT 'x' AS password, '%{nosuch}' AS y: Unknown variable '%nosuch'"},
		{"all the variables of a client", "SELECT NULL AS password, '%n|%d|%l|%r|%s|%Lu|%Un|%2n|%1.2d|%{lport}|%m|%w' AS x", "ok x=a||192.0.2.1|192.0.2.7|imap|a|A|a||143|PLAIN|pw'd"},
		{"conditions choose between queries", "SELECT 'x' AS password, '%u' AS z %{if;%s;eq;imap;, 'imap' AS s;WHERE 1=0}", "ok password=x z=a s=imap"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := db.open(t, tt.query)
			for range 2 { // the second time from the prepared query
				if got := lookup(t, d, "a"); got != tt.want {
					t.Errorf("got  %s\nwant %s", got, tt.want)
				}
			}
		})
	}
}

func TestFile(t *testing.T) {
	db := sqliteDatabase(t)
	db.exec(t, "CREATE TABLE users (username, domain, password)", "INSERT INTO users VALUES ('a', 'b', 'c')")
	r, err := openFile(t, db.file).Lookup(t.Context(), request("a@b"))
	if want := (passdb.Result{Status: passdb.OK, Password: "c", HasPassword: true, DefaultScheme: "MD5", Fields: []passdb.Field{{Name: "username", Value: "a"}, {Name: "domain", Value: "b"}}}); err != nil || !reflect.DeepEqual(r, want) {
		t.Errorf("the built-in query: got %+v, %v", r, err)
	}
	r, err = openFile(t, db.file+"default_pass_scheme = SHA256.HEX\n").Lookup(t.Context(), request("a@b"))
	if err != nil || r.DefaultScheme != "SHA256.HEX" {
		t.Errorf("default_pass_scheme: got %+v, %v", r, err)
	}
	db.exec(t, "DROP TABLE users")
	got := lookup(t, openFile(t, db.file), "a@b")
	if want := "error: Password query failed: no such table: users (using built-in default password_query: SELECT username, domain, password FROM users WHERE username = '%n' AND domain = '%d')"; got != want {
		t.Errorf("got %s", got)
	}
	for text, want := range map[string]string{
		"driver = oracle\nconnect = x\n":                                   "sql: Unknown database driver 'oracle'",
		"driver = mysql\nconnect = user=x\n":                               "sql: No hosts given in connect string",
		"driver = mysql\nconnect = host=a ssl_ca=/none\n":                  "ssl_ca: open /none: no such file or directory",
		"driver = mysql\nconnect = host=a option_file=/none\n":             "option_file: stat /none: no such file or directory",
		"driver = pgsql\nconnect = host=a sslmode=wrong\n":                 "sslmode",
		"driver = sqlite\nconnect = x\npassword_query = \"a\x00\"\n":       "password_query holds a NUL byte",
		"driver = pgsql\nconnect = host=a password=s3cret sslmode=wrong\n": "sslmode",
	} {
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := New(conf.Passdb{Args: path})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
	if _, err := New(conf.Passdb{}); err == nil || err.Error() != "sql: Configuration file path not given" {
		t.Errorf("no args: got %v", err)
	}
}

func TestWarningsAboutTheFileAreTold(t *testing.T) {
	d := openFile(t, sqliteDatabase(t).file+"password_query = SELECT 1#2\n")
	var got []string
	d.(passdb.Talker).SetLog(func(l passdb.Level, text string) { got = append(got, fmt.Sprint(l, " ", text)) })
	if len(got) != 1 || !strings.HasPrefix(got[0], fmt.Sprint(passdb.Warning)+" Configuration file ") || !strings.Contains(got[0], "Ambiguous '#' character") {
		t.Errorf("got %q", got)
	}
}

func TestCacheVars(t *testing.T) {
	d := sqliteDatabase(t).open(t, "SELECT '%n' AS password, '%{if;%r;eq;x;%{session};y}', '%Un'")
	if got := fmt.Sprint(d.(passdb.Cacheable).CacheVars()); got != "[username rip session]" {
		t.Errorf("got %s", got)
	}
}

func TestSQLiteSeesChangesByOthers(t *testing.T) {
	dir := t.TempDir()
	path, other := filepath.Join(dir, "a b?.db"), filepath.Join(dir, "new.db")
	d := openFile(t, "driver = sqlite\nconnect = "+path+"\npassword_query = SELECT p AS password FROM t WHERE u = '%u'\n")
	check := func(when, want string) {
		t.Helper()
		if got := lookup(t, d, "a"); !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %s, want %s", when, got, want)
		}
	}
	create := func(path, password string) {
		t.Helper()
		execSQLite(t, "file:"+strings.ReplaceAll(path, "?", "%3f"), "CREATE TABLE t (u, p)", "INSERT INTO t VALUES ('a', '"+password+"')")
	}
	check("without the file", "error: Password query failed: Not connected to database: open("+path+") failed: no such file or directory")
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the lookup made the file: %v", err)
	}
	create(path, "one")
	d = openFile(t, "driver = sqlite\nconnect = "+path+"\npassword_query = SELECT p AS password FROM t WHERE u = '%u'\n")
	check("at first", "ok password=one")
	execSQLite(t, "file:"+strings.ReplaceAll(path, "?", "%3f"), "UPDATE t SET p = 'two'")
	check("after an update", "ok password=two")
	execSQLite(t, "file:"+strings.ReplaceAll(path, "?", "%3f"), "ALTER TABLE t RENAME TO gone")
	check("after the table went", "error: Password query failed: no such table: t")
	create(other, "three")
	if err := os.Rename(other, path); err != nil {
		t.Fatal(err)
	}
	check("after another file was moved there", "ok password=three")
	if err := os.WriteFile(other, []byte(strings.Repeat("not a database", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other, path); err != nil {
		t.Fatal(err)
	}
	check("after garbage was moved there", "error: Password query failed: Not connected to database: open("+path+") failed: file is not a database")
}

func TestSQLiteDoesNotWrite(t *testing.T) {
	db := sqliteDatabase(t)
	db.exec(t, "CREATE TABLE t (u, p)", "INSERT INTO t VALUES ('a', 'x')")
	d := db.open(t, "DELETE FROM t WHERE u = '%u' RETURNING p AS password")
	if got := lookup(t, d, "a"); got != "error: Password query failed: attempt to write a readonly database" {
		t.Errorf("got %s", got)
	}
}

func TestSQLiteWAL(t *testing.T) {
	db := sqliteDatabase(t)
	db.exec(t, "PRAGMA journal_mode=WAL", "CREATE TABLE t (u, p)", "INSERT INTO t VALUES ('a', 'x')")
	d := db.open(t, "SELECT p AS password FROM t WHERE u = '%u'")
	if got := lookup(t, d, "a"); got != "ok password=x" {
		t.Errorf("got %s", got)
	}
	db.exec(t, "UPDATE t SET p = 'y'")
	if got := lookup(t, d, "a"); got != "ok password=y" {
		t.Errorf("after an update: got %s", got)
	}
}

func TestSQLiteEndsLongQueries(t *testing.T) {
	db := sqliteDatabase(t)
	db.exec(t, "CREATE TABLE t (u)")
	d := db.open(t, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) SELECT count(*) AS password FROM n")
	ctx, cancel := context.WithTimeout(t.Context(), 50e6)
	defer cancel()
	if got := show(d.Lookup(ctx, request("a"))); got != "error: Password query failed: Query timed out" {
		t.Errorf("got %s", got)
	}
	if got := lookup(t, db.open(t, "SELECT 'x' AS password"), "a"); got != "ok password=x" {
		t.Errorf("afterwards: got %s", got)
	}
}

func TestLookupsAtTheSameTime(t *testing.T) {
	db := sqliteDatabase(t)
	db.exec(t, "CREATE TABLE t (u, p)")
	var rows []string
	for i := range 50 {
		rows = append(rows, fmt.Sprintf("INSERT INTO t VALUES ('u%d', 'p%d')", i, i))
	}
	db.exec(t, rows...)
	d := db.open(t, "SELECT p AS password FROM t WHERE u = '%u'")
	done := make(chan string)
	for i := range 20 {
		go func() {
			for j := range 50 {
				n := (i + j) % 50
				if got, want := lookup(t, d, fmt.Sprintf("u%d", n)), fmt.Sprintf("ok password=p%d", n); got != want {
					done <- fmt.Sprintf("got %s, want %s", got, want)
					return
				}
			}
			done <- ""
		}()
	}
	for range 20 {
		if text := <-done; text != "" {
			t.Error(text)
		}
	}
}

func BenchmarkSQLite(b *testing.B) {
	db := sqliteDatabase(b)
	db.exec(b, proxySchema, "INSERT INTO proxy VALUES ('john', '192.168.0.1', 'x')")
	benchmark(b, db.open(b, proxyQuery))
}

func benchmark(b *testing.B, d passdb.Driver) {
	b.Helper()
	r := request("john")
	if got := lookup(b, d, "john"); got != "ok nopassword=Y host=192.168.0.1 destuser=x proxy=Y" {
		b.Fatal(got)
	}
	b.ReportAllocs()
	for b.Loop() {
		res, err := d.Lookup(b.Context(), r)
		if err != nil || len(res.Fields) != 4 {
			b.Fatalf("%+v, %v", res, err)
		}
	}
}
