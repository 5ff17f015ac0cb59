package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"dproxy/test/daemon"
	"dproxy/test/dialog"
	dovecot "dproxy/test/dovecot-backend"
	"dproxy/test/proxy"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds everything that waits for another process.
const patience = 60 * time.Second

const password = "secret"

// house is two real backends and what a proxy in front of them needs.
type house struct {
	program   proxy.Program
	reference bool // the program is Dovecot itself
	certs     *dialog.Certs
	ports     *daemon.Ports
	one, two  *dovecot.Server // at the standard ports of two loopback addresses
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := bareHouse(t)
	// Tests that run at the same time on this machine have their own addresses.
	net := fmt.Sprintf("127.%d.%d", 1+rand.IntN(250), rand.IntN(256))
	h.one = h.backend(t, net+".1", "alice@example.org", "carol@example.org", "many@example.org", "sync@example.org", "big@example.org")
	h.two = h.backend(t, net+".2", "bob@example.org", "alice@example.org")
	return h
}

func (h *house) backend(t *testing.T, ip string, users ...string) *dovecot.Server {
	t.Helper()
	c := dovecot.Config{
		IP:      ip,
		Users:   map[string]string{},
		Trusted: "127.0.0.0/8",
		Cert:    h.certs.File("backend", "crt"),
		Key:     h.certs.File("backend", "key"),
	}
	for _, u := range users {
		c.Users[u] = password
	}
	return dovecot.Start(t, c)
}

// front is a proxy that runs.
type front struct {
	proc *daemon.Process
	dir  string
	port map[string]int // imap, imaps, pop3, pop3s
}

// common: directory, certificates, then the ports in the order imap, imaps, pop3, pop3s. The limits let Dovecot as the
// reference hold thousands of sessions.
const common = `base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = %[1]s/log
log_timestamp = ""
default_login_user = dovenull
default_internal_user = dovecot
listen = 127.0.0.1
protocols = imap pop3
login_greeting = Proxy ready.
disable_plaintext_auth = no
auth_failure_delay = 0
ssl = yes
ssl_cert = <%[2]s/proxy.crt
ssl_key = <%[2]s/proxy.key
default_client_limit = 10000
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
service imap-login {
  service_count = 0
  process_min_avail = 1
  process_limit = 2
  inet_listener imap {
    port = %[3]d
  }
  inet_listener imaps {
    port = %[4]d
    ssl = yes
  }
}
service pop3-login {
  inet_listener pop3 {
    port = %[5]d
  }
  inet_listener pop3s {
    port = %[6]d
    ssl = yes
  }
}
`

// prepare makes a directory with a configuration file: the common part and the given one, where @DIR@ is the directory.
// The files are written beside it, with the same replacement.
func (h *house) prepare(t *testing.T, conf string, files map[string]string) *front {
	t.Helper()
	f := &front{dir: daemon.ShortDir(t), port: map[string]int{}}
	args := []any{f.dir, h.certs.Dir}
	for _, name := range []string{"imap", "imaps", "pop3", "pop3s"} {
		port, err := h.ports.Free("127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		f.port[name] = port
		args = append(args, port)
	}
	for name, text := range files {
		f.write(t, name, text)
	}
	f.write(t, "dovecot.conf", fmt.Sprintf(common, args...)+conf)
	return f
}

func (f *front) write(t *testing.T, name, text string) {
	t.Helper()
	text = strings.ReplaceAll(text, "@DIR@", f.dir)
	if err := os.WriteFile(f.file(name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (f *front) read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(f.file(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (f *front) file(name string) string { return filepath.Join(f.dir, name) }

func (f *front) conf() string { return f.file("dovecot.conf") }

// start prepares and starts a proxy, which ends with the test.
func (h *house) start(t *testing.T, conf string, files map[string]string) *front {
	t.Helper()
	f := h.prepare(t, conf, files)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	proc, err := h.program.Start(ctx, f.conf(), f.port["imap"], f.port["imaps"], f.port["pop3"], f.port["pop3s"])
	if err != nil {
		t.Fatalf("start %s: %v\n%s", h.program.Name, err, proc.Output())
	}
	f.proc = proc
	t.Cleanup(func() {
		if err := proc.Stop(); err != nil {
			t.Error(err)
		}
		if crash := daemon.Crash(proc.Output()); crash != "" {
			t.Error(crash)
		}
		if t.Failed() {
			log, _ := os.ReadFile(f.file("log"))
			t.Logf("the proxy said:\n%s%s", proc.Output(), last(string(log), 4000))
		}
	})
	return f
}

// last is the end of a text.
func last(s string, n int) string { return s[max(0, len(s)-n):] }

func (f *front) addr(name string) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(f.port[name]))
}

// clientTLS is what a client needs to believe in the proxy's certificate.
func (h *house) clientTLS() *tls.Config {
	return &tls.Config{ServerName: "proxy.example.org", RootCAs: h.certs.Roots}
}

// eventually waits until something is true. It fails the test when patience ends.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %s", what, patience)
		case <-tick.C:
		}
	}
}
