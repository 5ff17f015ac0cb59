package sql

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"dproxy/test/daemon"

	"github.com/jackc/pgx/v5/pgconn"
)

// postgresDatabase starts PostgreSQL.
func postgresDatabase(tb testing.TB, settings ...string) (*database, *daemon.Database) {
	tb.Helper()
	d := daemon.StartPostgres(tb, settings...)
	dsn := fmt.Sprintf("host=127.0.0.1 port=%d user=postgres dbname=postgres sslmode=disable", d.Port)
	db := &database{
		file: fmt.Sprintf("driver = pgsql\nconnect = host=127.0.0.1 port=%d user=postgres dbname=postgres\n", d.Port),
		exec: func(tb testing.TB, statements ...string) {
			tb.Helper()
			c := connectPostgres(tb, dsn)
			for _, s := range statements {
				if _, err := c.Exec(tb.Context(), s).ReadAll(); err != nil {
					tb.Fatalf("%s: %v", s, err)
				}
			}
		},
		insert: func(tb testing.TB) func(user, password string) {
			c := connectPostgres(tb, dsn)
			return func(user, password string) {
				values := [][]byte{[]byte(user), []byte(password)}
				if err := c.ExecParams(tb.Context(), "INSERT INTO users VALUES ($1, $2)", values, nil, nil, nil).Read().Err; err != nil {
					tb.Fatalf("%q: %v", user, err)
				}
			}
		},
	}
	return db, d
}

// connectPostgres connects to a server that may have just begun to listen. It closes with the test.
func connectPostgres(tb testing.TB, dsn string) *pgconn.PgConn {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		c, err := pgconn.Connect(ctx, dsn)
		if err == nil {
			tb.Cleanup(func() { c.Close(context.Background()) })
			return c
		}
		select {
		case <-ctx.Done():
			tb.Fatal(err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// mariaDatabase starts MariaDB.
func mariaDatabase(tb testing.TB, args ...string) (*database, *daemon.Database) {
	tb.Helper()
	d := daemon.StartMariaDB(tb, args...)
	open := func(tb testing.TB) *sql.DB {
		db, err := sql.Open("mysql", fmt.Sprintf("root@unix(%s)/mail", d.Socket))
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { db.Close() })
		return db
	}
	db := &database{
		file: fmt.Sprintf("driver = mysql\nconnect = host=127.0.0.1 port=%d user=test password=test dbname=mail\n", d.Port),
		exec: func(tb testing.TB, statements ...string) {
			tb.Helper()
			db := open(tb)
			for _, s := range statements {
				if _, err := db.Exec(s); err != nil {
					tb.Fatalf("%s: %v", s, err)
				}
			}
		},
		insert: func(tb testing.TB) func(user, password string) {
			db := open(tb)
			return func(user, password string) {
				if _, err := db.Exec("INSERT INTO users VALUES (?, ?)", user, password); err != nil {
					tb.Fatalf("%q: %v", user, err)
				}
			}
		},
	}
	return db, d
}

// link is a TCP connection path to a server that can be cut and stopped, as a network can.
type link struct {
	l      net.Listener
	to     string
	mu     sync.Mutex
	conns  map[net.Conn]bool
	frozen chan struct{} // closed: bytes flow
	all    sync.WaitGroup
}

// newLink listens on addr and leads to a port of 127.0.0.1.
func newLink(tb testing.TB, addr string, port int) *link {
	tb.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	k := &link{l: l, to: fmt.Sprintf("127.0.0.1:%d", port), conns: map[net.Conn]bool{}, frozen: make(chan struct{})}
	close(k.frozen)
	k.all.Go(k.serve)
	tb.Cleanup(k.end)
	return k
}

// end takes the link away for good.
func (k *link) end() {
	k.l.Close()
	k.thaw()
	k.cut()
	k.all.Wait()
}

func (k *link) port() int { return k.l.Addr().(*net.TCPAddr).Port }

func (k *link) serve() {
	for {
		a, err := k.l.Accept()
		if err != nil {
			return
		}
		b, err := net.Dial("tcp", k.to)
		if err != nil {
			a.Close()
			continue
		}
		k.mu.Lock()
		k.conns[a], k.conns[b] = true, true
		k.mu.Unlock()
		k.all.Go(func() { k.copy(a, b) })
		k.all.Go(func() { k.copy(b, a) })
	}
}

func (k *link) copy(to, from net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		k.mu.Lock()
		flow := k.frozen
		k.mu.Unlock()
		<-flow
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	to.Close()
	from.Close()
}

// freeze keeps all bytes back until thaw.
func (k *link) freeze() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.frozen = make(chan struct{})
}

func (k *link) thaw() {
	k.mu.Lock()
	defer k.mu.Unlock()
	select {
	case <-k.frozen:
	default:
		close(k.frozen)
	}
}

// cut ends all connections.
func (k *link) cut() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for c := range k.conns {
		c.Close()
	}
	clear(k.conns)
}

// certificates writes a CA and a server certificate for 127.0.0.1 that it signed into dir.
func certificates(tb testing.TB, dir string) (ca, cert, key string) {
	tb.Helper()
	newKey := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			tb.Fatal(err)
		}
		return k
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o644); err != nil {
			tb.Fatal(err)
		}
		return path
	}
	template := func(name string) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(int64(len(name))), Subject: pkix.Name{CommonName: name}, BasicConstraintsValid: true,
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		}
	}
	caKey, serverKey := newKey(), newKey()
	caTemplate := template("test authority")
	caTemplate.IsCA, caTemplate.KeyUsage = true, x509.KeyUsageCertSign
	caDER, err := x509.CreateCertificate(rand.Reader, caTemplate, caTemplate, caKey.Public(), caKey)
	if err != nil {
		tb.Fatal(err)
	}
	server := template("127.0.0.1")
	server.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	serverDER, err := x509.CreateCertificate(rand.Reader, server, caTemplate, serverKey.Public(), caKey)
	if err != nil {
		tb.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(serverKey)
	if err != nil {
		tb.Fatal(err)
	}
	return write("ca.pem", "CERTIFICATE", caDER), write("server.pem", "CERTIFICATE", serverDER), write("server.key", "PRIVATE KEY", keyDER)
}

// nasty are user names that would change a query if they got into it as they are.
var nasty = []string{
	`'`, `''`, `'''`, `"`, `\`, `\'`, `\\'`, `\"`, `' OR '1'='1`, `' OR 1=1 -- `, `x'; DROP TABLE users; --`, `" OR ""="`, "`",
	"%", "_", "a%", "\n", "a\nb", "\r\n", "\t", "/*", "*/", "--", "#", ";", "$$", "$1", "?", ":name", "@x", "{}", "%u", "%%", "NULL", "0",
	"ü", "日本語", "\u2019", "\u00a0", "e\u0301", "𝒳", "\ufeff", "\x1a", "\x08", strings.Repeat("x'", 200),
}

// broken are names that are no UTF-8; GBK and other character sets take some for half a character
// together with the quote that follows.
var brokenUTF8 = []string{"\xbf'", "\xbf' OR 1=1 -- ", "\xe9", "\xc0\xa7 OR 1=1", "\x95\x5c' OR 1=1 -- ", "\xf0\x9f\x98", "a\xff"}

// checkInjection stores each name as a user and asks for it, with queries that use the name in each
// way there is. Nobody but the user itself may be found.
func checkInjection(t *testing.T, db *database) {
	t.Helper()
	db.exec(t, "CREATE TABLE users (u varchar(500), p varchar(500))")
	insert := db.insert(t)
	insert("victim", "victim")
	queries := map[string]string{
		"a parameter":        "SELECT p AS password, '%u' AS z FROM users WHERE u = '%u'",
		"part of a string":   "SELECT p AS password, 'a''%u|b' AS z FROM users WHERE u = '%u' AND 'x%u' = 'x%u'",
		"a comment":          "SELECT p AS password /* %u ' */ FROM users /* '%u */ WHERE u = '%u' -- %u '",
		"a written string":   "SELECT p AS password FROM users WHERE u = '%u' AND CAST('%u' AS char(500)) = CAST('%u' AS char(500))",
		"every variable":     "SELECT p AS password FROM users WHERE u = '%u' AND '%n%d%s%l%r%m%w%{client_id}%{local_name}%{session}%{orig_user}%{auth_user}%{login_user}%{master_user}%{passdb:x}%{env:PATH}' IS NOT NULL",
		"changed by letters": "SELECT p AS password FROM users WHERE u = '%u' AND '%Eu%Mu%Lu%Uu%Hu%256Nu%05u' IS NOT NULL",
	}
	for name, q := range queries {
		t.Run(name, func(t *testing.T) {
			d := db.open(t, q)
			if got := lookup(t, d, "victim"); !strings.HasPrefix(got, "ok password=victim") {
				t.Fatalf("an ordinary user: %s", got)
			}
			for i, user := range nasty {
				if got := lookup(t, d, user); got != "user_unknown" {
					t.Errorf("%q before it exists: %s", user, got)
				}
				insert(user, fmt.Sprintf("p%d", i))
			}
			for i, user := range nasty {
				want := fmt.Sprintf("ok password=p%d", i)
				got := lookup(t, d, user)
				if got, _, _ = strings.Cut(got, " z="); got != want {
					t.Errorf("%q: got %s, want %s", user, got, want)
				}
			}
			for _, user := range append(brokenUTF8, "a\x00' OR 1=1 -- ", "\x00") {
				if got := lookup(t, d, user); got != "user_unknown" && !strings.HasPrefix(got, "error: Password query failed: ") {
					t.Errorf("%q: %s", user, got)
				}
			}
			if got := lookup(t, d, "victim"); !strings.HasPrefix(got, "ok password=victim") {
				t.Errorf("afterwards: %s", got)
			}
			db.exec(t, "DELETE FROM users WHERE u <> 'victim'")
		})
	}
}
