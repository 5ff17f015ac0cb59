package daemon

import (
	"os"
	"path/filepath"
	"testing"
)

// StartMariaDB starts MariaDB. User "test" with the password "test" may log in from loopback and do
// everything; it may change global settings, but init_connect applies to it. User "root" has no
// password. Args are further arguments of mariadbd.
func StartMariaDB(tb testing.TB, args ...string) *Database {
	tb.Helper()
	const owner = "mysql"
	install := Program(tb, "mariadb-install-db")
	server := Program(tb, "mariadbd", "/usr/sbin/mariadbd")
	d := &Database{Dir: ShortDir(tb)}
	d.Socket = filepath.Join(d.Dir, "s")
	own(tb, owner, d.Dir)
	data := filepath.Join(d.Dir, "data")
	run(tb, d.Dir, as(tb, owner, install, "--no-defaults", "--datadir="+data, "--auth-root-authentication-method=normal", "--skip-test-db"))
	boot := filepath.Join(d.Dir, "init.sql")
	text := "CREATE USER IF NOT EXISTS 'test'@'%' IDENTIFIED BY 'test';\n" +
		"CREATE USER IF NOT EXISTS 'test'@'localhost' IDENTIFIED BY 'test';\n" +
		"GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, CREATE ROUTINE, ALTER ROUTINE, EXECUTE ON *.* TO 'test'@'%';\n" +
		"GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, CREATE ROUTINE, ALTER ROUTINE, EXECUTE ON *.* TO 'test'@'localhost';\n" +
		"CREATE DATABASE IF NOT EXISTS mail CHARACTER SET utf8mb4;\n"
	if err := os.WriteFile(boot, []byte(text), 0o644); err != nil {
		tb.Fatal(err)
	}
	d.begin(tb, func(port string) []string {
		return append(as(tb, owner, server, "--no-defaults", "--datadir="+data, "--socket="+d.Socket, "--port="+port,
			"--bind-address=127.0.0.1", "--init-file="+boot, "--pid-file="+filepath.Join(d.Dir, "pid"), "--skip-log-bin",
			"--innodb-buffer-pool-size=16M", "--innodb-flush-log-at-trx-commit=0"), args...)
	})
	return d
}
