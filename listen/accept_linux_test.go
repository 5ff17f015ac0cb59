package listen

import (
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestDescriptorsRunOut: the accept loop pauses when no descriptor is left, says so with the remedy, and
// goes on by itself.
func TestDescriptorsRunOut(t *testing.T) {
	rec := &recorder{heard: make(chan struct{}, 1)}
	served := make(chan struct{}, 4)
	s := NewSet(func(nc net.Conn, _ Spec) { _ = nc.Close(); served <- struct{}{} }, rec)
	defer s.Close()
	addr := free(t, "127.0.0.1")
	commit(t, s, Spec{Addr: addr, Protocol: "imap"})

	client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(client)
	limit := limitTo(t, lowestFree(t))
	if err := unix.Connect(client, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}); err != nil {
		limit()
		t.Fatal(err)
	}
	<-rec.heard
	limit()
	<-served
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if got := rec.lines[0]; got != "imap-login: Error: accept() failed: Too many open files; raise the limit of open files (LimitNOFILE=)" {
		t.Errorf("got %q", got)
	}
	if len(rec.lines) > 3 {
		t.Errorf("%d lines: %s", len(rec.lines), strings.Join(rec.lines, "\n"))
	}
}

// lowestFree is the number of the next descriptor.
func lowestFree(t *testing.T) uint64 {
	t.Helper()
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return uint64(f.Fd())
}

// limitTo lowers the descriptor limit and returns what restores it.
func limitTo(t *testing.T, n uint64) func() {
	t.Helper()
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: n, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
			t.Error(err)
		}
	}
}
