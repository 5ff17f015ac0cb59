// Package daemon starts real servers for a test on this machine, waits until they listen, and ends them.
// It knows processes and ports, and nothing about mail. Imported by test/dialog, test/dovecot-backend and test/e2e.
package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// maxOutput bounds what is kept of a process's standard output and error, in bytes.
const maxOutput = 256 << 10

// stopGrace is how long a process may take to end after SIGTERM before it is killed.
const stopGrace = 10 * time.Second

// ErrExited says that a process ended before it listened on all its ports.
var ErrExited = errors.New("the process ended before it listened")

// Process is one running server.
type Process struct {
	name string
	proc *os.Process
	done chan struct{}
	err  error // of Wait; read after done
	out  output
}

// Start runs the program at path. The process gets SIGTERM when the test process dies first.
func Start(path string, args ...string) (*Process, error) {
	p := &Process{name: path, done: make(chan struct{})}
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = &p.out, &p.out
	cmd.SysProcAttr = attributes()
	// A daemon's own children may keep the pipe open after it has ended.
	cmd.WaitDelay = time.Second
	started := make(chan error, 1)
	go p.run(cmd, started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	return p, nil
}

// run owns the operating system thread of the process: the kernel's parent-death signal follows the thread.
func (p *Process) run(cmd *exec.Cmd, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Start()
	p.proc = cmd.Process
	started <- err
	if err != nil {
		return
	}
	p.err = cmd.Wait()
	close(p.done)
}

// Ready waits until something listens on every port. It returns ErrExited when the process ended instead,
// or the error of ctx.
func (p *Process) Ready(ctx context.Context, ports ...int) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := Listening(ports...)
		if err != nil {
			return err
		}
		if ok {
			return nil
		}
		select {
		case <-p.done:
			return ErrExited
		case <-ctx.Done():
			return fmt.Errorf("%s does not listen on all of %v: %w", p.name, ports, ctx.Err())
		case <-tick.C:
		}
	}
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// PID is the process id.
func (p *Process) PID() int { return p.proc.Pid }

// Failed says whether an ended process reported an error. It is false while the process runs.
func (p *Process) Failed() bool {
	select {
	case <-p.done:
		return p.err != nil
	default:
		return false
	}
}

// Signal sends a signal to the process.
func (p *Process) Signal(s os.Signal) error { return p.proc.Signal(s) }

// Stop ends the process with SIGTERM and waits for it. A process that does not end in ten seconds is killed
// and Stop returns an error.
func (p *Process) Stop() error {
	select {
	case <-p.done:
		return nil
	default:
	}
	if err := p.proc.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	grace := time.NewTimer(stopGrace)
	defer grace.Stop()
	select {
	case <-p.done:
		return nil
	case <-grace.C:
	}
	_ = p.proc.Kill()
	<-p.done
	return fmt.Errorf("%s did not end within %s of SIGTERM and was killed", p.name, stopGrace)
}

// Output is what the process wrote to standard output and error so far, at most 256 KiB of it.
func (p *Process) Output() string { return p.out.String() }

// Crash finds what the Go runtime says in a process's output or log when something went wrong that no test may
// overlook: a data race, a panic, a fatal error. It gives the text from there on, shortened; "" when there is none.
func Crash(text string) string {
	for _, sign := range []string{"WARNING: DATA RACE", "panic: ", "fatal error: "} {
		if i := strings.Index(text, sign); i >= 0 {
			return text[i:min(len(text), i+4000)]
		}
	}
	return ""
}

type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf.Write(b[:min(len(b), maxOutput-o.buf.Len())])
	return len(b), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// Program finds an executable by name, or at one of the given other places. When it is missing the test is
// skipped, or fails when DPROXY_TEST_REQUIRE is "all".
func Program(tb testing.TB, name string, places ...string) string {
	tb.Helper()
	for _, n := range append([]string{name}, places...) {
		if path, err := exec.LookPath(n); err == nil {
			return path
		}
	}
	Missing(tb, "the program %s is not installed", name)
	return ""
}

// Missing ends the test because something it needs is not on this machine: skipped, or failed when
// DPROXY_TEST_REQUIRE is "all".
func Missing(tb testing.TB, format string, args ...any) {
	tb.Helper()
	if os.Getenv("DPROXY_TEST_REQUIRE") == "all" {
		tb.Fatalf(format, args...)
	}
	tb.Skipf(format, args...)
}

// ShortDir makes a directory whose path is short enough for the unix sockets a daemon puts below it
// (sun_path holds 108 bytes) and which other users may enter. It is removed after the test.
func ShortDir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "dp")
	if err != nil {
		tb.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Errorf("remove the test's directory: %v", err)
		}
	})
	return dir
}
