package e2e

import (
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"dproxy/test/daemon"
)

// greets says whether a new connection is greeted with a text.
func (f *front) greets(t *testing.T, text string) bool {
	t.Helper()
	c, err := dialIMAP(f.addr("imap"), "", nil)
	if err != nil {
		return false
	}
	defer c.nc.Close()
	return strings.HasSuffix(c.greeting, text)
}

func (f *front) hangUp(t *testing.T) {
	t.Helper()
	if err := f.proc.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
}

// testReload changes the configuration of a running proxy, to a good and to a bad one.
func testReload(t *testing.T, h *house, _ *front) {
	f := h.start(t, sqlPassdb, h.wikiFiles(t))
	before, err := loginIMAP(f.addr("imap"), "", nil, "alice@example.org")
	if err != nil {
		t.Fatal(err)
	}
	defer before.nc.Close()
	good := f.read(t, "dovecot.conf")

	f.write(t, "dovecot.conf", strings.Replace(good, "login_greeting = Proxy ready.", "login_greeting = Second one.", 1))
	f.hangUp(t)
	eventually(t, "a new connection gets the new greeting", func() bool { return f.greets(t, "Second one.") })
	if _, err := before.cmd("NOOP"); err != nil {
		t.Errorf("a session from before the reload: %v", err)
	}

	f.write(t, "dovecot.conf", strings.Replace(good, "login_greeting = Proxy ready.", "login_greeting = Third one.\nno_such_setting = yes", 1))
	f.hangUp(t)
	eventually(t, "the log says what is wrong with the configuration", func() bool {
		return strings.Contains(f.read(t, "log"), "Unknown setting: no_such_setting")
	})
	if h.reference {
		return // Dovecot's login processes may stop for want of a configuration
	}
	if !f.greets(t, "Second one.") {
		t.Error("a bad configuration changed the greeting")
	}
	for _, user := range []string{"alice@example.org", "bob@example.org"} {
		c, err := loginIMAP(f.addr("imap"), "", nil, user)
		if err != nil {
			t.Errorf("login after a bad reload: %v", err)
			continue
		}
		c.nc.Close()
	}
	if _, err := before.cmd("NOOP"); err != nil {
		t.Errorf("a session from before the bad reload: %v", err)
	}
}

// testTerminate ends a proxy that has a session and a connection before login.
func testTerminate(t *testing.T, h *house, _ *front) {
	f := h.start(t, sqlPassdb, h.wikiFiles(t))
	session, err := loginIMAP(f.addr("imap"), "", nil, "alice@example.org")
	if err != nil {
		t.Fatal(err)
	}
	defer session.nc.Close()
	waiting, err := dialIMAP(f.addr("imap"), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.nc.Close()
	if err := f.proc.Stop(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*imapConn{"session": session, "connection before login": waiting} {
		if l, err := c.until(`^nothing`); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: %q, %v", name, l, err)
		}
	}
	if up, err := daemon.Listening(f.port["imap"]); up || err != nil {
		t.Errorf("something listens on after the end: %v, %v", up, err)
	}
	if _, err := os.Stat(f.file("log")); err != nil {
		t.Error(err)
	}
}
