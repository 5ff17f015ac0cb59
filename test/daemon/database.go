package daemon

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// Database is a database server on loopback with an empty data directory of its own. It can be
// stopped and started again on the same port.
type Database struct {
	Port int
	// Dir is the server's directory. The server's user may write there.
	Dir string
	// Socket is the path of its unix socket, for MariaDB the file, for PostgreSQL the directory.
	Socket string

	argv []string
	proc *Process
	// quick ends the server without waiting for its clients, where SIGTERM does wait.
	quick os.Signal
}

// databaseTimeout bounds making and starting a server.
const databaseTimeout = 2 * time.Minute

// as returns a command that runs as another user when we are root: the servers refuse to be. It
// dies with the test.
func as(tb testing.TB, name string, argv ...string) []string {
	tb.Helper()
	if os.Geteuid() != 0 {
		return argv
	}
	if _, err := user.Lookup(name); err != nil {
		Missing(tb, "there is no user %s to run %s as", name, argv[0])
	}
	setpriv := Program(tb, "setpriv")
	return append([]string{setpriv, "--reuid=" + name, "--regid=" + name, "--clear-groups", "--pdeathsig=TERM", "--"}, argv...)
}

// own gives a directory to the user that as runs commands as.
func own(tb testing.TB, name, dir string) {
	tb.Helper()
	if os.Geteuid() != 0 {
		return
	}
	u, err := user.Lookup(name)
	if err != nil {
		Missing(tb, "there is no user %s", name)
		return
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		tb.Fatal(err)
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		tb.Fatal(err)
	}
	if err := os.Chown(dir, uid, gid); err != nil {
		tb.Fatal(err)
	}
}

// run runs a command to its end.
func run(tb testing.TB, dir string, argv []string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), databaseTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("%v: %v\n%s", argv, err, out)
	}
}

// newest finds an executable at the last of the paths that match, which is the newest version's.
func newest(pattern string) string {
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		return filepath.Base(pattern)
	}
	return paths[len(paths)-1]
}

// Start starts the server again after Stop and waits until it listens.
func (d *Database) Start(tb testing.TB) {
	tb.Helper()
	p, err := Start(d.argv[0], d.argv[1:]...)
	if err != nil {
		tb.Fatal(err)
	}
	d.proc = p
	ctx, cancel := context.WithTimeout(context.Background(), databaseTimeout)
	defer cancel()
	if err := p.Ready(ctx, d.Port); err != nil {
		tb.Fatalf("%v: %v\n%s", d.argv, err, p.Output())
	}
}

// Stop ends the server and its connections.
func (d *Database) Stop(tb testing.TB) {
	tb.Helper()
	if d.quick != nil {
		if err := d.proc.Signal(d.quick); err != nil && !errors.Is(err, os.ErrProcessDone) {
			tb.Error(err)
		}
		select {
		case <-d.proc.Done():
		case <-time.After(stopGrace):
		}
	}
	if err := d.proc.Stop(); err != nil {
		tb.Errorf("%v\n%s", err, d.proc.Output())
	}
}

// begin takes a port and starts the server; it ends with the test.
func (d *Database) begin(tb testing.TB, argv func(port string) []string) {
	tb.Helper()
	port, err := NewPorts().Free()
	if err != nil {
		tb.Fatal(err)
	}
	d.Port = port
	d.argv = argv(strconv.Itoa(port))
	d.Start(tb)
	tb.Cleanup(func() { d.Stop(tb) })
}
