// Package proxy starts a login proxy for a test: the dproxy of this tree, or the installed Dovecot as the reference.
// Both are given the same configuration file. Imports test/daemon; imported by test/dialog and test/e2e.
package proxy

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"dproxy/test/daemon"
)

// Program is a proxy that runs in the foreground as `Path -F -c FILE`.
type Program struct {
	Name string // for messages
	Path string
}

// Dovecot is the installed Dovecot. It needs root, which it gives up in the processes that talk to clients.
// Where it is missing, the test is skipped or fails as daemon.Missing says.
func Dovecot(tb testing.TB) Program {
	tb.Helper()
	path := daemon.Program(tb, "dovecot", "/usr/sbin/dovecot")
	if os.Getuid() != 0 {
		daemon.Missing(tb, "Dovecot as a reference needs root")
	}
	return Program{Name: "Dovecot", Path: path}
}

// Dproxy is the program that the environment variable DPROXY names: a dproxy that was built before, as the targets of
// the Makefile do. Without the variable the test is skipped, so that `go test ./...` does not play everything twice.
// DPROXY may name another proxy too, for instance Dovecot, to prove a test right.
func Dproxy(tb testing.TB) Program {
	tb.Helper()
	path := os.Getenv("DPROXY")
	if path == "" {
		tb.Skip("DPROXY names no program: use make conformance or make e2e")
	}
	return Program{Name: filepath.Base(path), Path: path}
}

// Start runs the proxy with a configuration file and waits until it listens on the ports. An error that wraps
// daemon.ErrExited comes with the ended process, whose output says why. Otherwise a failed start is stopped here.
func (p Program) Start(ctx context.Context, conf string, ports ...int) (*daemon.Process, error) {
	proc, err := daemon.Start(p.Path, "-F", "-c", conf)
	if err != nil {
		return nil, err
	}
	err = proc.Ready(ctx, ports...)
	if err == nil || errors.Is(err, daemon.ErrExited) {
		return proc, err
	}
	return nil, errors.Join(err, proc.Stop())
}
