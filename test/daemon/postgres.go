package daemon

import (
	"os"
	"path/filepath"
	"testing"
)

// StartPostgres starts PostgreSQL. User "postgres" may log in from loopback without a password.
// Settings are name=value pairs of postgresql.conf.
func StartPostgres(tb testing.TB, settings ...string) *Database {
	tb.Helper()
	const owner = "postgres"
	initdb := Program(tb, newest("/usr/lib/postgresql/*/bin/initdb"))
	server := Program(tb, newest("/usr/lib/postgresql/*/bin/postgres"))
	d := &Database{Dir: ShortDir(tb), quick: os.Interrupt} // the fast shutdown
	d.Socket = d.Dir
	own(tb, owner, d.Dir)
	data := filepath.Join(d.Dir, "data")
	run(tb, d.Dir, as(tb, owner, initdb, "-D", data, "-U", owner, "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"))
	d.begin(tb, func(port string) []string {
		argv := as(tb, owner, server, "-D", data, "-p", port, "-k", d.Socket,
			"-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=40", "-c", "shared_buffers=16MB")
		for _, s := range settings {
			argv = append(argv, "-c", s)
		}
		return argv
	})
	return d
}
