package daemon_test

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"dproxy/test/daemon"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPorts(t *testing.T) {
	t.Parallel()
	t.Run("a port is handed out once and can be listened on", func(t *testing.T) {
		t.Parallel()
		ports := daemon.NewPorts()
		seen := map[int]bool{}
		for range 50 {
			port, err := ports.Free("127.0.0.1", "127.0.0.2")
			if err != nil {
				t.Fatal(err)
			}
			if seen[port] {
				t.Fatalf("port %d came twice", port)
			}
			seen[port] = true
		}
	})
	t.Run("a port is listening only while somebody listens", func(t *testing.T) {
		t.Parallel()
		port, err := daemon.NewPorts().Free("127.0.0.3")
		if err != nil {
			t.Fatal(err)
		}
		check := func(want bool) {
			t.Helper()
			if got, err := daemon.Listening(port); err != nil || got != want {
				t.Errorf("Listening(%d) = %v, %v; want %v", port, got, err, want)
			}
		}
		check(false)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.3", strconv.Itoa(port)))
		if err != nil {
			t.Fatal(err)
		}
		check(true)
		l.Close()
		// A process that another test is starting may hold the descriptor until its exec.
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			if still, err := daemon.Listening(port); err != nil || !still || time.Now().After(deadline) {
				break
			}
		}
		check(false)
	})
}

func TestCrash(t *testing.T) {
	t.Parallel()
	if got := daemon.Crash("starting\npanic: runtime error\n\ngoroutine 1"); !strings.HasPrefix(got, "panic: runtime error") {
		t.Errorf("got %q", got)
	}
	if got := daemon.Crash("imap-login: Info: all is well\n"); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestEstablished(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.4:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	check := func(when string, want int) {
		t.Helper()
		if got, err := daemon.Established(port); err != nil || got != want {
			t.Errorf("%s: Established = %d, %v; want %d", when, got, err, want)
		}
	}
	check("nobody is connected", 0)
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	check("a client is connected", 1)
	client.Close()
	if _, err := server.Read(make([]byte, 1)); err == nil {
		t.Fatal("no end of file")
	}
	check("the client has closed and the server has not", 1)
	server.Close()
	check("both have closed", 0)
}

func TestProcess(t *testing.T) {
	t.Parallel()
	sh := daemon.Program(t, "sh")
	t.Run("a process that ends is not ready and its output is kept", func(t *testing.T) {
		t.Parallel()
		port, err := daemon.NewPorts().Free()
		if err != nil {
			t.Fatal(err)
		}
		p, err := daemon.Start(sh, "-c", "echo broken setting >&2; exit 3")
		if err != nil {
			t.Fatal(err)
		}
		<-p.Done()
		if err := p.Ready(context.Background(), port); !errors.Is(err, daemon.ErrExited) {
			t.Errorf("Ready = %v, want ErrExited", err)
		}
		if !p.Failed() || !strings.Contains(p.Output(), "broken setting") {
			t.Errorf("failed = %v, output = %q", p.Failed(), p.Output())
		}
	})
	t.Run("a running process ends with SIGTERM", func(t *testing.T) {
		t.Parallel()
		p, err := daemon.Start(sh, "-c", "exec sleep 60")
		if err != nil {
			t.Fatal(err)
		}
		if p.Failed() {
			t.Error("a running process counts as failed")
		}
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
		<-p.Done()
	})
	t.Run("a program that does not exist is an error", func(t *testing.T) {
		t.Parallel()
		if _, err := daemon.Start("/nonexistent/program"); err == nil {
			t.Error("no error")
		}
	})
}
