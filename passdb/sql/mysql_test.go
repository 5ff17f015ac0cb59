package sql

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dproxy/passdb"
	"dproxy/test/daemon"
)

func TestMariaDB(t *testing.T) {
	certs := daemon.ShortDir(t)
	ca, cert, key := certificates(t, certs)
	db, d := mariaDatabase(t, "--ssl-ca="+ca, "--ssl-cert="+cert, "--ssl-key="+key)
	db.exec(t, "ALTER DATABASE mail COLLATE utf8mb4_bin")
	injection := func(set, reset string) func(t *testing.T, db *database, d *daemon.Database) {
		return func(t *testing.T, db *database, _ *daemon.Database) {
			if set != "" {
				db.exec(t, set)
				defer db.exec(t, reset)
			}
			defer db.exec(t, "DROP TABLE users")
			checkInjection(t, db)
		}
	}
	runServerTests(t, db, d, []serverTest{
		{"injection", injection("", "")},
		{"injection with NO_BACKSLASH_ESCAPES", injection("SET GLOBAL sql_mode = 'NO_BACKSLASH_ESCAPES'", "SET GLOBAL sql_mode = DEFAULT")},
		{"injection with ANSI_QUOTES", injection("SET GLOBAL sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'", "SET GLOBAL sql_mode = DEFAULT")},
		{"injection with GBK", injection("SET GLOBAL init_connect = 'SET NAMES gbk'", "SET GLOBAL init_connect = DEFAULT")},
		{"injection with a GBK server", injection("SET GLOBAL character_set_server = gbk, GLOBAL character_set_client = gbk, GLOBAL collation_connection = gbk_chinese_ci",
			"SET GLOBAL character_set_server = DEFAULT, GLOBAL character_set_client = DEFAULT, GLOBAL collation_connection = DEFAULT")},
		{"the character set is ours", mysqlCharset},
		{"how the server reads backslashes", mysqlBackslash},
		{"values in all places", mysqlPlaces},
		{"columns", mysqlColumns},
		{"stored procedures", mysqlProcedure},
		{"changes of the schema", mysqlSchema},
		{"connections that get lost", func(t *testing.T, db *database, d *daemon.Database) { loseConnections(t, db, d, "KILL USER test") }},
		{"a frozen server", func(t *testing.T, db *database, d *daemon.Database) {
			freezeServer(t, db, d, "SELECT 'x' AS password, '%u' AS z")
		}},
		{"two hosts", loseHost},
		{"a long query", func(t *testing.T, db *database, _ *daemon.Database) {
			endLongQuery(t, db, "SELECT 'x' AS password FROM DUAL WHERE SLEEP(IF('%u' = 'slow', 60, 0)) = 0")
		}},
		{"maxconns", func(t *testing.T, db *database, d *daemon.Database) {
			db.exec(t, "GRANT PROCESS ON *.* TO 'test'@'%'")
			countConnections(t, db, "SELECT 'x' AS password, COUNT(*) AS n FROM information_schema.PROCESSLIST WHERE USER = 'test' AND INFO LIKE '%%COUNT%%' AND SLEEP(0.1) = 0")
		}},
		{"TLS", func(t *testing.T, db *database, d *daemon.Database) {
			mysqlTLSTest(t, db, newLink(t, "127.0.0.2:0", d.Port).port(), [3]string{ca, cert, key})
		}},
		{"an option file", mysqlOptionFile},
		{"the socket", func(t *testing.T, db *database, d *daemon.Database) {
			s := *db
			s.file = "driver = mysql\nconnect = host=" + d.Socket + " user=test password=test dbname=mail\n"
			if got := lookup(t, s.open(t, "SELECT 'x' AS password, USER() AS z"), "a"); got != "ok password=x z=test@localhost" {
				t.Errorf("got %s", got)
			}
		}},
		{"a wrong password", func(t *testing.T, db *database, _ *daemon.Database) {
			s := *db
			s.file = strings.Replace(db.file, "password=test", "password=s3cret", 1)
			got := lookup(t, s.open(t, "SELECT 1"), "a")
			if !strings.Contains(got, "Not connected to database: Connect failed to database (mail)") || !strings.Contains(got, "Access denied for user 'test'") || strings.Contains(got, "s3cret") {
				t.Errorf("got %s", got)
			}
		}},
		{"a server that is restarted", restartServer},
	})
}

func mysqlCharset(t *testing.T, db *database, _ *daemon.Database) {
	db.exec(t, "SET GLOBAL init_connect = 'SET @run = 1, NAMES gbk'")
	defer db.exec(t, "SET GLOBAL init_connect = DEFAULT")
	d := db.open(t, "SELECT 'x' AS password, @run AS run, @@character_set_client AS c, @@character_set_results AS r, '%u' AS z")
	if got := lookup(t, d, "ü'"); got != "ok password=x run=1 c=utf8mb4 r=utf8mb4 z=ü'" {
		t.Errorf("got %s", got)
	}
}

func mysqlBackslash(t *testing.T, db *database, _ *daemon.Database) {
	// The configuration file halves backslashes in quotes.
	const q = `SELECT 'x' AS password, 'a\\b\'%u\\' AS z, '%u' AS v`
	open := func() passdb.Driver {
		return openFile(t, db.file+`password_query = "`+strings.ReplaceAll(q, `\`, `\\`)+"\"\n")
	}
	if got := lookup(t, open(), `u\`); got != `ok password=x z=a\b'u\\ v=u\` {
		t.Errorf("got %s", got)
	}
	db.exec(t, "SET GLOBAL sql_mode = 'NO_BACKSLASH_ESCAPES'")
	defer db.exec(t, "SET GLOBAL sql_mode = DEFAULT")
	d := db.open(t, `SELECT 'x' AS password, 'a\' AS z, '%u' AS v`)
	if got := lookup(t, d, `u\`); got != `ok password=x z=a\ v=u\` {
		t.Errorf("with NO_BACKSLASH_ESCAPES: got %s", got)
	}
}

func mysqlPlaces(t *testing.T, db *database, _ *daemon.Database) {
	db.exec(t, "CREATE TABLE places (id int, u text, d date)", "INSERT INTO places VALUES (7, 'a', '2026-01-02')", "CREATE TABLE `t_a``b` (p text)", "INSERT INTO `t_a``b` VALUES ('tick')")
	defer db.exec(t, "DROP TABLE places, `t_a``b`")
	for _, tt := range []struct{ query, user, want string }{
		{"SELECT u AS password FROM places WHERE id = '%u'", "7", "ok password=a"},
		{"SELECT u AS password FROM places WHERE id = %u", "7", "ok password=a"},
		{"SELECT u AS password FROM places WHERE id = %u", "u", "error: Password query failed: a variable outside quotes must hold a number; put it into quotes"},
		{"SELECT u AS password FROM places WHERE d = DATE '%u'", "2026-01-02", "ok password=a"},
		{"SELECT 'it' 's%u' AS password", "'x", "ok password=its'x"},
		{`SELECT "%u" AS password`, `q"x'`, `ok password=q"x'`},
		{"SELECT _utf8mb4'%u' AS password", `ü'\`, `ok password=ü'\`},
		{"SELECT N'%u' AS password", `ü'\`, `ok password=ü'\`},
		{"SELECT x'%u' AS password", "414243", "ok password=ABC"},
		{"SELECT p AS password FROM `t_%u`", "a`b", "ok password=tick"},
		{"SELECT 'y' AS password FROM places WHERE u LIKE '%%%u%%' LIMIT %{lport}", "a", "ok password=y"},
		{"SELECT CONCAT('%n', '@', '%d') AS password, IF('%u' = 'a@b', 'yes', 'no') AS z", "a@b", "ok password=a@b z=yes"},
		{"SELECT 'y' AS password, '%u' AS z", "a\x00b", "ok password=y z=a\x00b"},
		{"SELECT 'y' AS password, ? AS z WHERE '%u' = 'a'", "a", "error: Password query failed: the query has 2 parameters and not 1: it must hold no question mark outside quotes"},
	} {
		d := db.open(t, tt.query)
		for range 2 {
			if got := lookup(t, d, tt.user); got != tt.want {
				t.Errorf("%s with %q: got %s, want %s", tt.query, tt.user, got, tt.want)
			}
		}
	}
}

func mysqlColumns(t *testing.T, db *database, _ *daemon.Database) {
	db.exec(t, "CREATE TABLE c (i int, u bigint unsigned, f float, d double, n decimal(6,2), t datetime, y year, b blob, e enum('x','y'), z tinyint(1))",
		"INSERT INTO c VALUES (-5, 18446744073709551615, 1.5, 1e20, 2.50, '2026-01-02 03:04:05', 2026, x'00ff', 'y', 1)")
	defer db.exec(t, "DROP TABLE c")
	// Once from a prepared query with a parameter, once without.
	for _, query := range []string{"SELECT NULL AS password, '' AS a, c.* FROM c WHERE '%u' = 'u'", "SELECT NULL AS password, '' AS a, c.* FROM c"} {
		want := "ok a= i=-5 u=18446744073709551615 f=1.5 d=1e20 n=2.50 t=2026-01-02 03:04:05 y=2026 b=\x00\xff e=y z=1"
		d := db.open(t, query)
		for range 2 {
			if got := lookup(t, d, "u"); got != want {
				t.Errorf("%s: got  %s\nwant %s", query, got, want)
			}
		}
	}
	for query, want := range map[string]string{
		"SELECT 'x' AS password UNION SELECT 'y'":      "error: Password query returned multiple matches",
		"SELECT 'x' AS password FROM seq_1_to_100000":  "error: Password query returned multiple matches",
		"SELECT 'x' AS password FROM DUAL WHERE 0":     "user_unknown",
		"SELECT a FROM missing":                        "error: Password query failed: Table 'mail.missing' doesn't exist",
		"SELECT a FROM missing WHERE b = '%u'":         "error: Password query failed: Table 'mail.missing' doesn't exist",
		"SELECT 'x' AS password; SELECT 1":             "error: Password query failed: You have an error in your SQL syntax",
		"SELECT (SELECT 1 UNION SELECT 2) AS password": "error: Password query failed: Subquery returns more than 1 row",
	} {
		d := db.open(t, query)
		for range 2 {
			if got := lookup(t, d, "u"); !strings.HasPrefix(got, want) {
				t.Errorf("%s: got %s", query, got)
			}
		}
	}
}

func mysqlProcedure(t *testing.T, db *database, _ *daemon.Database) {
	db.exec(t, "CREATE PROCEDURE ask(IN name VARCHAR(255)) BEGIN SELECT NULL AS password, 'Y' AS nopassword, name AS destuser; END")
	defer db.exec(t, "DROP PROCEDURE ask")
	d := db.open(t, "CALL ask('%u')")
	for range 3 {
		if got := lookup(t, d, "it's"); got != "ok nopassword=Y destuser=it's" {
			t.Errorf("got %s", got)
		}
	}
}

func mysqlSchema(t *testing.T, db *database, _ *daemon.Database) {
	db.exec(t, "CREATE TABLE s (u varchar(20), password text)", "INSERT INTO s VALUES ('a', 'x')")
	d := db.open(t, "SELECT * FROM s WHERE u = '%u'")
	if got := lookup(t, d, "a"); got != "ok password=x u=a" {
		t.Fatalf("got %s", got)
	}
	db.exec(t, "ALTER TABLE s ADD COLUMN host varchar(20) DEFAULT 'h'")
	if got := lookup(t, d, "a"); got != "ok password=x u=a host=h" {
		t.Errorf("after a column was added: got %s", got)
	}
	db.exec(t, "DROP TABLE s")
	if got := lookup(t, d, "a"); got != "error: Password query failed: Table 'mail.s' doesn't exist" {
		t.Errorf("after it was dropped: got %s", got)
	}
}

// mysqlTLSTest gets the port of 127.0.0.2 that leads to the server, whose certificate is for another
// address, and the files of the authority, the certificate and its key.
func mysqlTLSTest(t *testing.T, db *database, elsewhere int, files [3]string) {
	ca, cert, key := files[0], files[1], files[2]
	const q = "SELECT 'x' AS password, VARIABLE_VALUE <> '' AS tls FROM information_schema.SESSION_STATUS WHERE VARIABLE_NAME = 'SSL_CIPHER'"
	other, _, _ := certificates(t, t.TempDir())
	dir := t.TempDir()
	text, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "some.pem"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	for params, want := range map[string]string{
		"":                   "ok password=x tls=0",
		"ssl_ca=" + ca:       "ok password=x tls=1",
		"ssl_ca_path=" + dir: "ok password=x tls=1",
		"ssl_ca=" + ca + " ssl_cert=" + cert + " ssl_key=" + key:         "ok password=x tls=1",
		"ssl_ca=" + ca + " ssl_verify_server_cert=no hostaddr=127.0.0.2": "ok password=x tls=1",
		"ssl_ca=" + ca + " hostaddr=127.0.0.2":                           "error: Password query failed: Not connected to database: ",
		"ssl_ca=" + other:                                                "error: Password query failed: Not connected to database: ",
		"ssl_ca=" + other + " ssl_verify_server_cert=no":                 "error: Password query failed: Not connected to database: ",
	} {
		s := *db
		if strings.Contains(params, "127.0.0.2") {
			s = *db.through(elsewhere)
		}
		s.file = strings.Replace(s.file, "host=", params+" host=", 1)
		if got := lookup(t, s.open(t, q), "u"); !strings.HasPrefix(got, want) {
			t.Errorf("%q: got %s, want %s", params, got, want)
		}
	}
}

func mysqlOptionFile(t *testing.T, db *database, d *daemon.Database) {
	path := filepath.Join(t.TempDir(), "my.cnf")
	text := "# a comment\n[mysqld]\nuser = nobody\n[client]\nuser = nobody\n\n[mail]\nuser=test\npassword = \"test\" \nsocket = " + d.Socket + " # here\ndatabase= mail\nunknown-thing\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := *db
	s.file = "driver = mysql\nconnect = option_file=" + path + " option_group=mail\n"
	if got := lookup(t, s.open(t, "SELECT 'x' AS password, DATABASE() AS z"), "a"); got != "ok password=x z=mail" {
		t.Errorf("got %s", got)
	}
}

func BenchmarkMariaDB(b *testing.B) {
	db, _ := mariaDatabase(b)
	db.exec(b, proxySchema, "INSERT INTO proxy VALUES ('john', '192.168.0.1', 'x')")
	benchmark(b, db.open(b, proxyQuery))
}
