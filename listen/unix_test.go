package listen

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"dproxy/conf"
	"dproxy/event"
)

func dialUnix(path string) string {
	nc, err := net.Dial("unix", path)
	if err != nil {
		return "error"
	}
	defer nc.Close()
	b := make([]byte, 64)
	n, _ := nc.Read(b)
	return string(b[:n])
}

// at is a socket of ours in a directory of the test.
func at(path string, mode uint32) Spec {
	return Spec{Protocol: "auth", Name: "auth", Unix: &Unix{Path: path, Mode: mode, UID: os.Geteuid(), GID: os.Getegid()}}
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s := NewSet(echo, event.Discard{})
	defer s.Close()
	commit(t, s, at(path, 0o660))
	if got := dialUnix(path); got != "auth" {
		t.Fatalf("answers %q", got)
	}
	mode := func() os.FileMode {
		st, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		return st.Mode()
	}
	if m := mode(); m != 0o660|os.ModeSocket {
		t.Errorf("mode %v", m)
	}
	commit(t, s, at(path, 0o600))
	if m := mode(); m != 0o600|os.ModeSocket || dialUnix(path) != "auth" {
		t.Errorf("mode %v after a reload", m)
	}
	commit(t, s)
	if _, err := os.Lstat(path); err == nil {
		t.Error("the file of a closed socket is still there")
	}
}

func TestAnotherOnesSocketIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	live, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	rec := &recorder{}
	s := NewSet(echo, rec)
	defer s.Close()
	_, err = s.Prepare([]Spec{at(path, 0o600)})
	if err == nil || !strings.Contains(err.Error(), "service(auth): bind("+path+") failed: Address already in use") {
		t.Errorf("got %v", err)
	}
	optional := at(path, 0o600)
	optional.Unix.Optional = true
	commit(t, s, optional)
	if len(rec.lines) != 1 || !strings.HasSuffix(rec.lines[0], "; going on without it") {
		t.Errorf("%q", rec.lines)
	}
	s.Close()
	if _, err := net.Dial("unix", path); err != nil {
		t.Error("the other one's socket is gone:", err)
	}
}

func TestWhatStandsInTheWay(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	_ = dead.Close()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, path, want string }{
		{"a socket whose server has ended is replaced", stale, ""},
		{"a file is not", file, "there is a file that is no socket"},
		{"a directory that is missing is said", filepath.Join(dir, "no", "s"), "No such file or directory"},
		{"a path that does not fit is said", filepath.Join(dir, strings.Repeat("x", 108)), "longer than 107 bytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := NewSet(echo, event.Discard{})
			defer s.Close()
			c, err := s.Prepare([]Spec{at(tc.path, 0o600)})
			switch {
			case tc.want == "" && err == nil:
				c.Commit()
				if got := dialUnix(tc.path); got != "auth" {
					t.Errorf("answers %q", got)
				}
			case tc.want == "" || err == nil || !strings.Contains(err.Error(), tc.want):
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "x" {
		t.Errorf("the file: %q %v", b, err)
	}
}

func TestAbortRemovesTheSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	c, err := NewSet(echo, event.Discard{}).Prepare([]Spec{at(path, 0o600)})
	if err != nil {
		t.Fatal(err)
	}
	c.Abort()
	if _, err := os.Lstat(path); err == nil {
		t.Error("still there")
	}
}

func TestAuthSpecs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dovecot.conf")
	load := func(text string) *conf.Config {
		t.Helper()
		if err := os.WriteFile(path, []byte("base_dir = /run/x\nlisten = 127.0.0.1\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := conf.Load(path, conf.Options{Serve: true})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	all := func(string) bool { return true }
	specs, err := AuthSpecs(load("service auth {\n unix_listener /var/spool/postfix/private/auth {\n  mode = 0660\n  user = root\n  group = root\n }\n unix_listener auth-login {\n  mode = 0\n }\n inet_listener {\n  port = 12345\n }\n}\n"), all)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, s := range specs {
		if s.Unix == nil {
			got[s.Addr.String()] = true
			continue
		}
		got[s.Unix.Path] = s.Unix.Optional
	}
	if optional, ok := got["/var/spool/postfix/private/auth"]; !ok || optional {
		t.Errorf("%v", got)
	}
	if optional, ok := got["/run/x/auth-client"]; !ok || !optional {
		t.Errorf("%v", got)
	}
	if _, ok := got["/run/x/auth-login"]; ok {
		t.Errorf("a socket of mode 0 is open: %v", got)
	}
	if !got["127.0.0.1:12345"] {
		t.Errorf("%v", got)
	}
	_, err = AuthSpecs(load("service auth {\n unix_listener a {\n  user = nosuchuser\n }\n}\n"), all)
	if err == nil || !strings.Contains(err.Error(), "line 4: unix_listener /run/x/a: user = nosuchuser: User doesn't exist") {
		t.Errorf("got %v", err)
	}
}

// TestASocketIsHandedOver: who takes the descriptor over serves the socket, and the file outlives its maker.
func TestASocketIsHandedOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	old := NewSet(echo, event.Discard{})
	commit(t, old, at(path, 0o600))
	successor := NewSet(func(nc net.Conn, _ Spec) { _, _ = nc.Write([]byte("successor")); _ = nc.Close() }, event.Discard{})
	defer successor.Close()
	var files []*os.File
	if err := old.Descriptors(func(fds []uintptr) error {
		for _, fd := range fds {
			n, err := unix.Dup(int(fd))
			if err != nil {
				return err
			}
			files = append(files, os.NewFile(uintptr(n), "s"))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := successor.Inherit(files); err != nil {
		t.Fatal(err)
	}
	commit(t, successor, at(path, 0o600))
	old.Leave()
	if got := dialUnix(path); got != "successor" {
		t.Errorf("answers %q", got)
	}
}
