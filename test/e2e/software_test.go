package e2e

import (
	"context"
	"os/exec"
	"testing"

	"dproxy/test/daemon"
	"dproxy/test/dialog"
	"dproxy/test/proxy"
)

// bareHouse is a house for backends that are not Dovecot.
func bareHouse(t *testing.T) *house {
	t.Helper()
	program := proxy.Dproxy(t)
	return &house{program: program, reference: program.Name == "dovecot", certs: dialog.NewCerts(t), ports: daemon.NewPorts()}
}

// freePort is a port of 127.0.0.1 that nothing listens on.
func (h *house) freePort(t *testing.T) int {
	t.Helper()
	port, err := h.ports.Free("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// run runs a program to its end, which has to be a good one, and gives what it said.
func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", program, err, out)
	}
	return string(out)
}

// start starts a server and waits until it listens. It ends with the test.
func start(t *testing.T, port int, program string, args ...string) *daemon.Process {
	t.Helper()
	proc, err := daemon.Start(program, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := proc.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("%s said:\n%s", program, last(proc.Output(), 4000))
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := proc.Ready(ctx, port); err != nil {
		t.Fatalf("%v\n%s", err, proc.Output())
	}
	return proc
}
