package sql

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"dproxy/passdb"
	"dproxy/test/daemon"
)

// oneServer runs tests against one server of a kind; each leaves it as it found it.
type serverTest struct {
	name string
	run  func(t *testing.T, db *database, d *daemon.Database)
}

func runServerTests(t *testing.T, db *database, d *daemon.Database, tests []serverTest) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, db, d) })
	}
}

func TestPostgreSQL(t *testing.T) {
	db, d := postgresDatabase(t)
	runServerTests(t, db, d, []serverTest{
		{"injection", func(t *testing.T, db *database, _ *daemon.Database) {
			defer db.exec(t, "DROP TABLE users")
			checkInjection(t, db)
		}},
		{"injection with standard_conforming_strings off", func(t *testing.T, db *database, _ *daemon.Database) {
			defer db.exec(t, "DROP TABLE users")
			off := *db
			off.file = strings.Replace(db.file, "host=", "options='-c standard_conforming_strings=off -c backslash_quote=on' host=", 1)
			if got := lookup(t, off.open(t, `SELECT 'x' AS password, 'a\\b' AS z, '\'%u\\' AS v`), "u'"); got != `ok password=x z=a\b v='u'\` {
				t.Fatalf("the setting has no effect: %s", got)
			}
			checkInjection(t, &off)
		}},
		{"values in all places", pgsqlPlaces},
		{"columns", pgsqlColumns},
		{"changes of the schema", pgsqlSchema},
		{"prepared queries that get lost", pgsqlLost},
		{"connections that get lost", func(t *testing.T, db *database, d *daemon.Database) {
			loseConnections(t, db, d, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'dproxy'")
		}},
		{"a frozen server", func(t *testing.T, db *database, d *daemon.Database) {
			freezeServer(t, db, d, "SELECT 'x' AS password, '%u' AS z")
		}},
		{"two hosts", func(t *testing.T, db *database, d *daemon.Database) { loseHost(t, db, d) }},
		{"a long query", func(t *testing.T, db *database, _ *daemon.Database) {
			endLongQuery(t, db, "SELECT 'x' AS password FROM pg_sleep(CASE WHEN '%u' = 'slow' THEN 60 ELSE 0 END)")
		}},
		{"maxconns", func(t *testing.T, db *database, _ *daemon.Database) {
			countConnections(t, db, "SELECT 'x' AS password, count(*) AS n FROM pg_stat_activity, (SELECT pg_sleep(0.1)) s WHERE application_name = 'dproxy'")
		}},
		{"TLS", pgsqlTLS},
		{"a server that is restarted", restartServer},
	})
}

func pgsqlPlaces(t *testing.T, db *database, _ *daemon.Database) {
	db.exec(t, "CREATE TABLE places (id int, u text, d date, j jsonb)", `INSERT INTO places VALUES (7, 'a', '2026-01-02', '{"a": "in json"}')`)
	defer db.exec(t, "DROP TABLE places")
	for _, tt := range []struct{ query, user, want string }{
		{"SELECT u AS password FROM places WHERE id = '%u'", "7", "ok password=a"},
		{"SELECT u AS password FROM places WHERE id = %u", "7", "ok password=a"},
		{"SELECT u AS password FROM places WHERE id = '%u'", "x", `error: Password query failed: ERROR:  invalid input syntax for type integer: "x"`},
		{"SELECT u AS password FROM places WHERE id = %u", "u", "error: Password query failed: a variable outside quotes must hold a number; put it into quotes"},
		{"SELECT u AS password FROM places WHERE d = date '%u'", "2026-01-02", "ok password=a"},
		{"SELECT u AS password FROM places WHERE d + interval '%u' > d", "1 day", "ok password=a"},
		{"SELECT concat('%u', 'x') AS password", "it's", "ok password=it'sx"},
		{"SELECT format('%%s', '%u') AS password", "it's", "ok password=it's"},
		{"SELECT j->>'%u' AS password FROM places", "a", "ok password=in json"},
		{"SELECT 'y' AS password FROM places WHERE u = ANY(ARRAY['%u', 'z'])", "a", "ok password=y"},
		{"SELECT 'y' AS password FROM places WHERE u LIKE '%%%u%%'", "a", "ok password=y"},
		{"SELECT '%u'::text || E'\\\\n%u' AS password", "a'", "ok password=a'\na'"},
		{"SELECT $x$%u$$$x$ AS password", "it's", "ok password=it's$$"},
		{`SELECT 'y' AS password, id AS \"%u\" FROM places`, `q"x`, `ok password=y q"x=7`},
		{"SELECT upper('%u') AS password UNION SELECT '%u' WHERE false", "a", "ok password=A"},
		{"SELECT 'y' AS password, CASE WHEN '%u' = 'a' THEN '%n' ELSE '%d' END AS z", "a", "ok password=y z=a"},
		{"SELECT p AS password FROM (VALUES ('a', 'pa'), ('b', 'pb')) v(u, p) WHERE u = '%u'", "b", "ok password=pb"},
	} {
		q := tt.query
		d := db.open(t, q)
		if strings.ContainsAny(q, `\`) {
			d = openFile(t, db.file+`password_query = "`+q+"\"\n")
		}
		for range 2 {
			if got := lookup(t, d, tt.user); got != tt.want {
				t.Errorf("%s with %q: got %s, want %s", q, tt.user, got, tt.want)
			}
		}
	}
}

func pgsqlColumns(t *testing.T, db *database, _ *daemon.Database) {
	d := db.open(t, `SELECT NULL AS password, '' AS a, true AS b, 1.50::numeric AS c, 'x'::bytea AS d, 1e20::float8 AS e, date '2026-01-02' AS f, NULL::int AS g, 42 AS h, 'é' AS "Ü"`)
	if got, want := lookup(t, d, "u"), `ok a= b=t c=1.50 d=\x78 e=1e+20 f=2026-01-02 h=42 Ü=é`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for query, want := range map[string]string{
		"SELECT 'x' AS password FROM generate_series(1, 2)":      "error: Password query returned multiple matches",
		"SELECT 'x' AS password FROM generate_series(1, 100000)": "error: Password query returned multiple matches",
		"SELECT 'x' AS password FROM generate_series(1, 0)":      "user_unknown",
		"SELECT 'x' AS password; SELECT 2":                       "error: Password query failed: ERROR:  cannot insert multiple commands into a prepared statement",
		"SELECT 1/0 AS password":                                 "error: Password query failed: ERROR:  division by zero",
		"SELEC":                                                  `error: Password query failed: ERROR:  syntax error at or near "SELEC"`,
	} {
		d := db.open(t, query)
		for range 2 {
			if got := lookup(t, d, "u"); got != want {
				t.Errorf("%s: got %s", query, got)
			}
		}
	}
}

func pgsqlSchema(t *testing.T, db *database, _ *daemon.Database) {
	db.exec(t, "CREATE TABLE s (u text, password text)", "INSERT INTO s VALUES ('a', 'x')")
	defer db.exec(t, "DROP TABLE s")
	d := db.open(t, "SELECT * FROM s WHERE u = '%u'")
	if got := lookup(t, d, "a"); got != "ok password=x u=a" {
		t.Fatalf("got %s", got)
	}
	db.exec(t, "ALTER TABLE s ADD COLUMN host text DEFAULT 'h'")
	if got := lookup(t, d, "a"); got != "ok password=x u=a host=h" {
		t.Errorf("after a column was added: got %s", got)
	}
	db.exec(t, "ALTER TABLE s ALTER COLUMN host DROP DEFAULT, ALTER COLUMN host TYPE int USING 5")
	if got := lookup(t, d, "a"); got != "ok password=x u=a host=5" {
		t.Errorf("after its type changed: got %s", got)
	}
	db.exec(t, "ALTER TABLE s RENAME TO s2")
	if got := lookup(t, d, "a"); got != `error: Password query failed: ERROR:  relation "s" does not exist` {
		t.Errorf("after it was renamed: got %s", got)
	}
	db.exec(t, "ALTER TABLE s2 RENAME TO s")
	if got := lookup(t, d, "a"); got != "ok password=x u=a host=5" {
		t.Errorf("after it came back: got %s", got)
	}
}

// PgBouncer hands each query to another connection of its own, where prepared queries are not known.
func pgsqlLost(t *testing.T, db *database, _ *daemon.Database) {
	db.exec(t, "CREATE FUNCTION forget() RETURNS text AS $$ BEGIN EXECUTE 'DEALLOCATE ALL'; RETURN 'x'; END $$ LANGUAGE plpgsql")
	defer db.exec(t, "DROP FUNCTION forget")
	d := db.open(t, "SELECT forget() AS password, '%u' AS z")
	for range 5 {
		if got := lookup(t, d, "it's"); got != "ok password=x z=it's" {
			t.Errorf("got %s", got)
		}
	}
}

func pgsqlTLS(t *testing.T, db *database, d *daemon.Database) {
	ca, cert, key := certificates(t, t.TempDir())
	other, _, _ := certificates(t, t.TempDir())
	st, err := os.Stat(filepath.Join(d.Dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	owner := st.Sys().(*syscall.Stat_t)
	for name, from := range map[string]string{"server.crt": cert, "server.key": key} {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(d.Dir, "data", name)
		if err := os.WriteFile(to, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(to, int(owner.Uid), int(owner.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	db.exec(t, "ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()")
	const q = "SELECT 'x' AS password, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
	open := func(params string) string {
		tls := *db
		tls.file = strings.Replace(db.file, "host=", params+" host=", 1)
		return lookup(t, tls.open(t, q), "u")
	}
	// The server reads its settings again a moment later.
	for end := time.Now().Add(time.Minute); time.Now().Before(end) && open("sslmode=require") != "ok password=x ssl=t"; {
		<-time.After(20 * time.Millisecond)
	}
	for params, want := range map[string]string{
		"sslmode=disable":                       "ok password=x ssl=f",
		"":                                      "ok password=x ssl=t", // prefer
		"sslmode=require":                       "ok password=x ssl=t",
		"sslmode=verify-full sslrootcert=" + ca: "ok password=x ssl=t",
		"sslmode=verify-full sslrootcert=" + other: "error: Password query failed: Not connected to database: ",
		"sslmode=verify-ca sslrootcert=" + other:   "error: Password query failed: Not connected to database: ",
	} {
		if got := open(params); !strings.HasPrefix(got, want) {
			t.Errorf("%q: got %s, want %s", params, got, want)
		}
	}
}

// loseConnections checks that lookups do not notice connections that are gone.
func loseConnections(t *testing.T, db *database, d *daemon.Database, kill string) {
	t.Helper()
	k := newLink(t, "127.0.0.1:0", d.Port)
	far := db.through(k.port())
	p := far.open(t, "SELECT 'x' AS password, '%u' AS z")
	for _, lose := range []func(){k.cut, func() { db.exec(t, kill) }} {
		var all sync.WaitGroup
		for range 4 { // several connections, all of which will be gone
			all.Go(func() { lookup(t, p, "a") })
		}
		all.Wait()
		quiet(t, p)
		lose()
		for range 6 {
			if got := lookup(t, p, "a'b"); got != "ok password=x z=a'b" {
				t.Errorf("got %s", got)
			}
		}
	}
}

// quiet waits until no connection is being made: one that is lost before it is there counts as a host that cannot be reached.
func quiet(t *testing.T, d passdb.Driver) {
	t.Helper()
	pool := d.(*Driver).pool
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		pool.mu.Lock()
		n := len(pool.dials)
		pool.mu.Unlock()
		if n == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d connections are still being made", n)
		}
	}
}

// through is the database by way of another port of 127.0.0.1.
func (db *database) through(port int) *database {
	far := *db
	before, after, _ := strings.Cut(db.file, "port=")
	_, after, _ = strings.Cut(after, " ")
	far.file = fmt.Sprintf("%sport=%d %s", before, port, after)
	return &far
}

// freezeServer checks that a server that stops answering ends lookups in time, and that they go on
// when it does.
func freezeServer(t *testing.T, db *database, d *daemon.Database, query string) {
	t.Helper()
	k := newLink(t, "127.0.0.1:0", d.Port)
	p := db.through(k.port()).open(t, query)
	if got := lookup(t, p, "a"); got != "ok password=x z=a" {
		t.Fatalf("got %s", got)
	}
	k.freeze()
	for range 2 { // on a connection, and while there is none
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		got := show(p.Lookup(ctx, request("a")))
		cancel()
		if !strings.HasPrefix(got, "error: Password query failed: Query timed out") {
			t.Errorf("while frozen: got %s", got)
		}
	}
	k.thaw()
	k.cut()
	end := time.Now().Add(time.Minute)
	for got := ""; got != "ok password=x z=a"; got = lookup(t, p, "a") {
		if time.Now().After(end) {
			t.Fatalf("no recovery: %s", got)
		}
	}
}

// loseHost checks that lookups go on with the other host.
func loseHost(t *testing.T, db *database, d *daemon.Database) {
	t.Helper()
	port, err := daemon.NewPorts().Free("127.0.0.1", "127.0.0.2")
	if err != nil {
		t.Fatal(err)
	}
	a := newLink(t, fmt.Sprintf("127.0.0.1:%d", port), d.Port)
	b := newLink(t, fmt.Sprintf("127.0.0.2:%d", port), d.Port)
	far := db.through(port)
	far.file = strings.Replace(far.file, "host=127.0.0.1", "host=127.0.0.1 host=127.0.0.2", 1)
	p := far.open(t, "SELECT 'x' AS password, '%u' AS z")
	check := func(when string) {
		t.Helper()
		for range 10 {
			if got := lookup(t, p, "a"); got != "ok password=x z=a" {
				t.Fatalf("%s: got %s", when, got)
			}
		}
	}
	check("with both hosts")
	a.end()
	check("without the first host")
	newLink(t, fmt.Sprintf("127.0.0.1:%d", port), d.Port)
	b.end()
	// The first host is tried again within the back-off, which is a fraction of a second here.
	end := time.Now().Add(time.Minute)
	for got := ""; got != "ok password=x z=a"; got = lookup(t, p, "a") {
		if time.Now().After(end) {
			t.Fatalf("with the first host only: %s", got)
		}
	}
	check("with the first host only")
}

func endLongQuery(t *testing.T, db *database, query string) {
	t.Helper()
	p := db.open(t, query)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if got := show(p.Lookup(ctx, request("slow"))); got != "error: Password query failed: Query timed out" {
		t.Errorf("got %s", got)
	}
	if got := lookup(t, p, "quick"); got != "ok password=x" {
		t.Errorf("afterwards: got %s", got)
	}
}

// countConnections runs more queries at a time than there may be connections; the query tells as n
// how many there are.
func countConnections(t *testing.T, db *database, query string) {
	t.Helper()
	few := *db
	few.file = strings.Replace(db.file, "host=", "maxconns=2 host=", 1)
	p := few.open(t, query)
	results := make(chan string, 8)
	for range cap(results) {
		go func() { results <- lookup(t, p, "u") }()
	}
	two := 0
	for range cap(results) {
		switch got := <-results; got {
		case "ok password=x n=1":
		case "ok password=x n=2":
			two++
		default:
			t.Errorf("got %s", got)
		}
	}
	if two == 0 {
		t.Error("never two connections")
	}
}

// restartServer must be the last test of a server.
func restartServer(t *testing.T, db *database, d *daemon.Database) {
	p := db.open(t, "SELECT 'x' AS password, '%u' AS z")
	if got := lookup(t, p, "a"); got != "ok password=x z=a" {
		t.Fatalf("got %s", got)
	}
	d.Stop(t)
	if got := lookup(t, p, "a"); !strings.HasPrefix(got, "error: Password query failed: ") || !strings.Contains(got, "refused") {
		t.Errorf("without the server: got %s", got)
	}
	d.Start(t)
	end := time.Now().Add(time.Minute)
	for got := ""; got != "ok password=x z=a"; got = lookup(t, p, "a") {
		if time.Now().After(end) {
			t.Fatalf("no recovery: %s", got)
		}
	}
}

func BenchmarkPostgreSQL(b *testing.B) {
	db, _ := postgresDatabase(b)
	db.exec(b, strings.ReplaceAll(strings.Replace(proxySchema, "user ", "\"user\" ", 1), "(user)", "(\"user\")"), "INSERT INTO proxy VALUES ('john', '192.168.0.1', 'x')")
	benchmark(b, db.open(b, strings.Replace(proxyQuery, "WHERE user", "WHERE proxy.user", 1)))
}
