package daemon

import (
	"os"
	"syscall"
	"testing"
)

// StartRedis starts a Redis server that keeps nothing on disk. Further arguments are its own: "--requirepass", "x".
// Nothing survives Stop.
func StartRedis(tb testing.TB, args ...string) *Database {
	tb.Helper()
	path := Program(tb, "redis-server")
	dir := ShortDir(tb)
	d := &Database{Dir: dir}
	d.begin(tb, func(port string) []string {
		return append([]string{path, "--port", port, "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--appendonly", "no"}, args...)
	})
	return d
}

// Freeze stops the server in the middle of what it does; its sockets stay open. Thaw ends that.
func (d *Database) Freeze(tb testing.TB) { d.signal(tb, syscall.SIGSTOP) }

// Thaw lets a frozen server go on.
func (d *Database) Thaw(tb testing.TB) { d.signal(tb, syscall.SIGCONT) }

func (d *Database) signal(tb testing.TB, s os.Signal) {
	tb.Helper()
	if err := d.proc.Signal(s); err != nil {
		tb.Fatal(err)
	}
}
