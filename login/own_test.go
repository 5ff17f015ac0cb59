//go:build unix

package login_test

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"dproxy/passdb"
	"dproxy/test/loginrig"
)

// TestNotify: the reader of the FIFO hears of a proxied user every proxy_refresh.
func TestNotify(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "login"), 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "login", "proxy-notify")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	pipe, err := os.OpenFile(path, os.O_RDWR, 0) // there is a reader from now on
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	r := loginrig.Start(t, options("base_dir = "+dir))
	r.SetUser("u", loginrig.User{Password: "p", Fields: r.ProxyFields(passdb.Field{Name: "proxy_refresh", Value: "1"}, passdb.Field{Name: "destuser", Value: "there"})})
	c := r.Dial("")
	c.Play("S: <*>\nC: a LOGIN u p\nS: " + welcome)
	lines := bufio.NewReader(pipe)
	for range 2 {
		if err := pipe.SetReadDeadline(time.Now().Add(loginrig.Patience)); err != nil {
			t.Fatal(err)
		}
		if line, err := lines.ReadString('\n'); err != nil || line != "there\n" {
			t.Fatalf("got %q, %v", line, err)
		}
	}
}

func TestNotifyWithoutAPipe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("keep"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := loginrig.Start(t, options("login_proxy_notify_path = "+file))
	r.SetUser("u", loginrig.User{Password: "p", Fields: r.ProxyFields(passdb.Field{Name: "proxy_refresh", Value: "1"})})
	r.Dial("").Play("S: <*>\nC: a LOGIN u p\nS: " + welcome)
	r.Log.Wait("login_proxy_notify_path: " + file + " is not a FIFO")
	if b, err := os.ReadFile(file); err != nil || string(b) != "keep" {
		t.Errorf("the file has %q, %v", b, err)
	}
}

func TestUserIPLimit(t *testing.T) {
	const limited = "a NO [LIMIT] Maximum number of connections from user+IP exceeded (mail_max_userip_connections=2)"
	r := loginrig.Start(t, options("disable_plaintext_auth = no\nmail_max_userip_connections = 2\nlogin_proxy_userip_limit = yes"))
	r.SetUser("v", loginrig.User{Password: "p"})
	enter := func(from, user, want string) *loginrig.Peer {
		c := r.Dial(from)
		c.Play("S: <*>\nC: a LOGIN " + user + " p\nS: " + want)
		return c
	}
	first := enter("127.0.0.1", "u", welcome)
	enter("127.0.0.1", "u", welcome)
	refused := enter("127.0.0.1", "u", limited)
	enter("127.0.0.2", "u", "a <*>")
	enter("127.0.0.1", "v", welcome)
	// A place comes free with the session that had it, also for who was refused before.
	first.Play("C: bye\nS: got: bye\nEOF")
	r.Log.Wait("Disconnected by server")
	refused.Play("C: a LOGIN u p\nS: " + welcome)
	t.Run("is off by default, as in Dovecot", func(t *testing.T) {
		r := loginrig.Start(t, options("mail_max_userip_connections = 1"))
		for range 3 {
			r.Dial("").Play("S: <*>\nC: a LOGIN u p\nS: " + welcome)
		}
	})
	t.Run("a login that fails at the backend has no place", func(t *testing.T) {
		o := options("mail_max_userip_connections = 1\nlogin_proxy_userip_limit = yes")
		o.Backend = func(p *loginrig.Peer) { p.Send("* BYE no\r\n") }
		r := loginrig.Start(t, o)
		c := r.Dial("")
		c.Play("S: <*>\n" + strings.Repeat("C: a LOGIN u p\nS: a NO [UNAVAILABLE] <*>\n", 3) + "C: b LOGOUT\nS: <*>\nS: <*>\nEOF")
	})
}

func TestLocalTargetSetting(t *testing.T) {
	r := loginrig.Start(t, options(""))
	for value, want := range map[string]bool{"127.0.0.1:10143": true, "[::1]:10143": true, "localhost:143": false, "127.0.0.1": false, "127.0.0.1:0": false} {
		s, err := r.TrySnapshot("login_proxy_local = " + value)
		if (err == nil) != want || err != nil && !strings.Contains(err.Error(), "login_proxy_local: ") {
			t.Errorf("%s: %v", value, err)
		}
		if s != nil {
			s.Close()
		}
	}
}

// TestDisconnectDelay: when a backend ends many sessions, their clients do not all come back at once.
func TestDisconnectDelay(t *testing.T) {
	o := options("login_proxy_max_disconnect_delay = 2s")
	r := loginrig.Start(t, o)
	var clients []*loginrig.Peer
	for range 6 {
		c := r.Dial("")
		c.Play("S: <*>\nC: a LOGIN u p\nS: " + welcome)
		clients = append(clients, c)
	}
	for _, c := range clients {
		c.Play("C: bye\nS: got: bye") // the backend closes
	}
	for _, c := range clients {
		c.Play("EOF")
	}
	r.Log.Wait(" - disconnecting client in ")
	at := 0
	for _, line := range r.Log.Lines() {
		if strings.Contains(line, "Disconnected by server") && !strings.Contains(line, "disconnecting client in") {
			at++
		}
	}
	if at == 0 || at > 3 {
		t.Errorf("%d of 6 clients were let go at once", at)
	}
}
