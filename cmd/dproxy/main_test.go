package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestMain lets the test binary be dproxy: the tests run the program as a user does, by command lines.
func TestMain(m *testing.M) {
	if os.Getenv("DPROXY_TEST_IS_DPROXY") != "" {
		os.Exit(run(os.Args))
	}
	os.Exit(m.Run())
}

type result struct {
	out, err string
	status   int
}

// dproxy runs a command line with the given standard input.
func dproxy(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), "DPROXY_TEST_IS_DPROXY=1")
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	r := result{}
	var ee *exec.ExitError
	if err := cmd.Run(); errors.As(err, &ee) {
		r.status = ee.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	r.out, r.err = out.String(), errs.String()
	return r
}

// confFile writes a configuration that can be served by whoever runs the test, and returns its path and base_dir.
func confFile(t *testing.T, more string) (path, base string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "dp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	base = filepath.Join(dir, "base")
	text := fmt.Sprintf(`base_dir = %[1]s
log_path = %[2]s/log
default_login_user = %[3]s
default_internal_user = %[3]s
protocols = imap
listen = 127.0.0.1
ssl = no
passdb {
  driver = static
  args = proxy=y host=127.0.0.1 nopassword=y
}
service imap-login {
  inet_listener imap {
    port = %[4]d
  }
  inet_listener imaps {
    port = 0
  }
}
%[5]s
`, base, dir, me.Username, port, more)
	path = filepath.Join(dir, "dovecot.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, base
}

func TestCommandLine(t *testing.T) {
	good, _ := confFile(t, "login_greeting = Hello.\nplugin {\n  quota_password = hush\n}")
	bad, _ := confFile(t, "no_such_setting = 1")
	for _, c := range []struct {
		name     string
		args     []string
		stdin    string
		out, err string // parts
		never    string // not in the output
		status   int
	}{
		{name: "the version names the program", args: []string{"--version"}, out: "dproxy " + version},
		{name: "conf prints one setting", args: []string{"conf", "-c", good, "login_greeting"}, out: "login_greeting = Hello.\n"},
		{name: "conf -h prints its value only", args: []string{"conf", "-c", good, "-h", "login_greeting"}, out: "Hello.\n"},
		{name: "-n leaves defaults out and hides secrets", args: []string{"-n", "-c", good}, never: "auth_cache_ttl", out: "quota_password = # hidden, use -P to show it"},
		{name: "conf -P shows secrets", args: []string{"conf", "-n", "-P", "-c", good}, out: "quota_password = hush"},
		{name: "conf -d prints defaults", args: []string{"conf", "-d", "-c", good, "login_greeting"}, out: "login_greeting = Dovecot "},
		{name: "a filter of no known kind is refused", args: []string{"conf", "-c", good, "-f", "foo=bar"}, err: "doveconf: Fatal: Unknown filter argument: foo=bar", status: exitFatal},
		{name: "a configuration error is Dovecot's, with file and line", args: []string{"-F", "-c", bad}, err: "doveconf: Fatal: Error in configuration file " + bad + " line 20: Unknown setting: no_such_setting", status: exitFatal},
		{name: "a missing configuration is an error", args: []string{"-F", "-c", good + "x"}, err: "Fatal: open(" + good + "x) failed: No such file or directory", status: exitFatal},
		{name: "stop without a server says so", args: []string{"stop", "-c", good}, err: "Fatal: dproxy is not running", status: exitTemp},
		{name: "an unknown command is a usage error", args: []string{"nosuch"}, err: "nosuch", status: exitUsage},
		{name: "pw checks a hash", args: []string{"pw", "-t", "{PLAIN}x", "-p", "x"}, out: "{PLAIN}x (verified)\n"},
		{name: "pw tells a wrong password", args: []string{"pw", "-t", "{PLAIN}x", "-p", "y"}, err: "Password mismatch", status: exitPw},
		{name: "pw knows no such scheme", args: []string{"pw", "-s", "nosuch", "-p", "y"}, err: "Fatal: Unknown scheme: NOSUCH", status: exitPw},
		{name: "pw reads the password twice from standard input", args: []string{"pw", "-s", "PLAIN-MD5"}, stdin: "x\nx\n", out: "{PLAIN-MD5}9dd4e461268c8034f5c8564e155c67a6\n"},
		{name: "pw refuses two passwords that differ", args: []string{"pw", "-s", "SHA"}, stdin: "x\ny\n", err: "Passwords don't match!", status: exitPw},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := dproxy(t, c.stdin, c.args...)
			if c.never != "" && strings.Contains(r.out, c.never) {
				t.Errorf("stdout has %q", c.never)
			}
			if r.status != c.status || !strings.Contains(r.out, c.out) || !strings.Contains(r.err, c.err) {
				t.Errorf("status %d, want %d\nstdout %q, want %q\nstderr %q, want %q", r.status, c.status, r.out, c.out, r.err, c.err)
			}
		})
	}
}

func TestBackground(t *testing.T) {
	path, base := confFile(t, "")
	if r := dproxy(t, "", "-c", path); r.status != exitOK {
		t.Fatalf("start: %+v", r)
	}
	stopped := false
	t.Cleanup(func() {
		if !stopped {
			dproxy(t, "", "stop", "-c", path)
		}
	})
	b, err := os.ReadFile(pidFile(base))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || !alive(pid) {
		t.Fatalf("the pid file says %q", b)
	}
	t.Run("a second one is refused", func(t *testing.T) {
		r := dproxy(t, "", "-c", path)
		if want := fmt.Sprintf("already running with PID %d", pid); r.status != exitFatal || !strings.Contains(r.err, want) {
			t.Errorf("%+v, want %q", r, want)
		}
	})
	t.Run("reload finds it", func(t *testing.T) {
		if r := dproxy(t, "", "reload", "-c", path); r.status != exitOK {
			t.Errorf("%+v", r)
		}
	})
	t.Run("stop returns when it has ended", func(t *testing.T) {
		r := dproxy(t, "", "stop", "-c", path)
		stopped = r.status == exitOK
		if !stopped || alive(pid) {
			t.Errorf("%+v, alive %v", r, alive(pid))
		}
		if _, err := os.Stat(pidFile(base)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the pid file is still there: %v", err)
		}
	})
}
