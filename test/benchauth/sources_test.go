package benchauth

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"dproxy/test/daemon"
)

const (
	users    = 1000
	password = "correct horse"
	salt     = "salt"
)

func name(i int) string { return fmt.Sprintf("user%04d@example.org", i) }

// stored is the users' password as databases keep it: a scheme that costs next to nothing, so that the lookup is what is
// measured.
func stored() string {
	sum := sha256.Sum256([]byte(password + salt))
	return "{SSHA256}" + base64.StdEncoding.EncodeToString(append(sum[:], salt...))
}

// source is one place where users are: the passdb block, and settings.
type source struct {
	name, conf string
}

// sources makes the databases and fills them; only names the one wanted, "1" all.
func sources(t *testing.T, only string) []source {
	dir := daemon.ShortDir(t)
	put := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	sql := func(driver, connect string) string {
		return "passdb {\n  driver = sql\n  args = " + put(driver+".conf.ext", "driver = "+driver+"\nconnect = "+connect+
			"\npassword_query = SELECT password, host, 'y' AS proxy FROM users WHERE userid = '%u'\n") + "\n}\n"
	}
	// run tries for as long as a server may take to become ready after it listens.
	run := func(stdin string, argv ...string) {
		t.Helper()
		for until := time.Now().Add(time.Minute); ; {
			cmd := exec.Command(argv[0], argv[1:]...)
			cmd.Stdin = strings.NewReader(stdin)
			out, err := cmd.CombinedOutput()
			switch {
			case err == nil:
				return
			case time.Now().After(until):
				t.Fatalf("%v: %v\n%s", argv, err, out)
			}
		}
	}
	table := rows()
	fromSQLite := func() string {
		sqlite := filepath.Join(dir, "users.db")
		if _, err := os.Stat(sqlite); err != nil {
			run(table, daemon.Program(t, "sqlite3"), sqlite)
			if err := os.Chmod(sqlite, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return sql("sqlite", sqlite)
	}
	all := []struct {
		name string
		conf func() string
	}{
		{"cached", func() string { return fromSQLite() + "auth_cache_size = 100 M\n" }},
		{"SQLite", fromSQLite},
		{"PostgreSQL", func() string {
			pg := daemon.StartPostgres(t)
			run(table, daemon.Program(t, "psql"), "-q", "-h", "127.0.0.1", "-p", strconv.Itoa(pg.Port), "-U", "postgres", "postgres")
			return sql("pgsql", fmt.Sprintf("host=127.0.0.1 port=%d user=postgres dbname=postgres", pg.Port))
		}},
		{"MariaDB", func() string {
			maria := daemon.StartMariaDB(t)
			run(table, daemon.Program(t, "mariadb"), "--socket="+maria.Socket, "-u", "test", "-ptest", "mail")
			return sql("mysql", fmt.Sprintf("host=127.0.0.1 port=%d user=test password=test dbname=mail", maria.Port))
		}},
		{"LDAP", func() string {
			slapd := daemon.StartDirectory(t, daemon.DirectoryOptions{Suffix: "dc=ex", LDIF: entries(), Database: []string{"index cn eq"}})
			return "passdb {\n  driver = ldap\n  args = " + put("ldap.conf.ext", "uris = ldap://"+net.JoinHostPort("127.0.0.1", strconv.Itoa(slapd.Port))+
				"\ndn = cn=admin,dc=ex\ndnpass = admin\nbase = dc=ex\nscope = onelevel\npass_filter = (cn=%u)\npass_attrs = userPassword=password,=proxy=y,description=host\n") + "\n}\n"
		}},
	}
	var out []source
	for _, s := range all {
		if only == "1" || strings.EqualFold(only, s.name) {
			out = append(out, source{s.name, s.conf()})
		}
	}
	return out
}

func rows() string {
	var b strings.Builder
	b.WriteString("CREATE TABLE users (userid VARCHAR(128) PRIMARY KEY, password VARCHAR(255), host VARCHAR(64));\nBEGIN;\n")
	for i := range users {
		fmt.Fprintf(&b, "INSERT INTO users VALUES ('%s', '%s', '192.0.2.1');\n", name(i), stored())
	}
	b.WriteString("COMMIT;\n")
	return b.String()
}

func entries() string {
	var b strings.Builder
	b.WriteString("dn: dc=ex\nobjectClass: dcObject\nobjectClass: organization\no: x\ndc: ex\n\n")
	for i := range users {
		fmt.Fprintf(&b, "dn: cn=%[1]s,dc=ex\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: %[1]s\nuserPassword: %[2]s\ndescription: 192.0.2.1\n\n", name(i), stored())
	}
	return b.String()
}
