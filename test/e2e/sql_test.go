package e2e

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"dproxy/test/daemon"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// database makes an SQLite database for a proxy.
func database(t *testing.T, statements string) string {
	t.Helper()
	path := filepath.Join(daemon.ShortDir(t), "users.db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(statements); err != nil {
		t.Fatal(err)
	}
	return path
}

// wikiFiles is the wiki's table and query for password forwarding. As the reference, Dovecot logs in with an empty
// destuser as the empty user, so there the column is filled.
func (h *house) wikiFiles(t *testing.T) map[string]string {
	t.Helper()
	var rows strings.Builder
	for user, host := range map[string]string{
		"alice@example.org": h.one.IP, "carol@example.org": h.one.IP, "many@example.org": h.one.IP,
		"sync@example.org": h.one.IP, "big@example.org": h.one.IP, "bob@example.org": h.two.IP,
	} {
		if h.reference {
			fmt.Fprintf(&rows, "INSERT INTO proxy (user, host, destuser) VALUES ('%s', '%s', '%s');\n", user, host, user)
		} else {
			fmt.Fprintf(&rows, "INSERT INTO proxy (user, host) VALUES ('%s', '%s');\n", user, host)
		}
	}
	db := database(t, `CREATE TABLE proxy (
  user varchar(255) NOT NULL,
  host varchar(16) default NULL,
  destuser varchar(255) NOT NULL default '',
  PRIMARY KEY (user)
);
`+rows.String())
	return map[string]string{"dovecot-sql.conf.ext": "driver = sqlite\nconnect = " + db + "\n" + wikiQuery + "\n"}
}

// testWiki logs in with both of the wiki's examples, in which only driver, connect and the concatenation of SQLite's
// dialect are changed.
func testWiki(t *testing.T, h *house, f *front) {
	t.Run("password forwarding", func(t *testing.T) {
		for user, server := range map[string]string{"alice@example.org": h.one.IP, "bob@example.org": h.two.IP} {
			c, err := loginIMAP(f.addr("imap"), "", nil, user)
			if err != nil {
				t.Fatalf("%s: %v", user, err)
			}
			c.nc.Close()
			eventually(t, user+" is logged as proxied to "+server, func() bool {
				return strings.Contains(f.read(t, "log"), "imap-login: Info: proxy("+user+","+server+":143): Started proxying to <"+server+">")
			})
		}
		if _, err := loginIMAP(f.addr("imap"), "", nil, "nobody@example.org"); err == nil || !strings.Contains(err.Error(), "[AUTHENTICATIONFAILED] Authentication failed.") {
			t.Errorf("an unknown user: %v", err)
		}
	})
	t.Run("proxy_maybe", func(t *testing.T) {
		db := database(t, fmt.Sprintf(`CREATE TABLE users (user, domain, password, host);
INSERT INTO users VALUES ('alice', 'example.org', '{PLAIN}%[1]s', '%[2]s');
INSERT INTO users VALUES ('bob', 'example.org', '{PLAIN}%[1]s', '%[3]s');
INSERT INTO users VALUES ('alice', 'example.net', '{PLAIN}%[1]s', '%[3]s');
`, password, h.one.IP, h.two.IP))
		own := h.start(t, sqlPassdb, map[string]string{"dovecot-sql.conf.ext": "driver = sqlite\nconnect = " + db + `
password_query = SELECT user || '@' || domain AS user, password, host, 'Y' AS proxy_maybe FROM users WHERE user = '%n' AND domain = '%d'
`})
		for _, user := range []string{"alice@example.org", "bob@example.org"} {
			c, err := loginIMAP(own.addr("imap"), "", nil, user)
			if err != nil {
				t.Fatalf("%s: %v", user, err)
			}
			c.nc.Close()
		}
		c, err := dialIMAP(own.addr("imap"), "", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.nc.Close()
		if _, err := c.cmd("LOGIN alice@example.org wrong"); err == nil || !strings.Contains(err.Error(), "[AUTHENTICATIONFAILED]") {
			t.Errorf("a wrong password: %v", err)
		}
	})
}
