package socket

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xdg-go/scram"
	"go.uber.org/goleak"

	"dproxy/auth"
	"dproxy/conf"
	"dproxy/event"
	"dproxy/passdb"
	"dproxy/passdb/passwdfile"
	"dproxy/passdb/static"
	"dproxy/test/daemon"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is for an answer that does come.
const patience = 30 * time.Second

// peer is one side of the protocols under test: ours, or a real Dovecot with the same configuration.
type peer struct {
	client, master, userdb string // paths of sockets
}

// dial opens a connection that says what it got line by line.
func dial(t *testing.T, path string) *line {
	t.Helper()
	nc, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(patience))
	return &line{t, nc, bufio.NewReader(nc)}
}

type line struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func (l *line) say(text string) {
	l.t.Helper()
	if _, err := l.Write([]byte(text)); err != nil {
		l.t.Fatal(err)
	}
}

// hear reads a line; an end of the connection is "EOF".
func (l *line) hear() string {
	l.t.Helper()
	s, err := l.r.ReadString('\n')
	if err != nil {
		if ne, ok := err.(net.Error); ok && ne.Timeout() {
			l.t.Fatalf("no answer: %v", err)
		}
		return s + "EOF"
	}
	return strings.TrimSuffix(s, "\n")
}

// greeted is a client's connection after both have said hello.
func greeted(t *testing.T, p peer, minor int) *line {
	t.Helper()
	l := dial(t, p.client)
	for l.hear() != "DONE" {
	}
	l.say(fmt.Sprintf("VERSION\t1\t%d\nCPID\t%d\n", minor, os.Getpid()))
	return l
}

// settings are those that both sides get; %[1]s is a directory.
const settings = `base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = %[1]s/log
protocols =
ssl = no
auth_failure_delay = 0
auth_master_user_separator = *
auth_mechanisms = plain login cram-md5 digest-md5 scram-sha-1 scram-sha-256 external anonymous apop xoauth2 oauthbearer
passdb {
  driver = passwd-file
  args = scheme=plain %[1]s/masters
  master = yes
}
passdb {
  driver = passwd-file
  args = scheme=plain %[1]s/users
}
userdb {
  driver = static
  args = uid=1000 gid=1000 home=/tmp
}
service auth {
  unix_listener auth-client {
    mode = 0666
  }
}
`

const users = `u:p::::::proxy=y host=192.0.2.1 port=143 forward_x=1 userdb_x=1 destuser=d
v:p::::::
w:p::::::user=other nologin reason=
net:p::::::allow_nets=10.0.0.0/8
`

func writeConf(t *testing.T, dir, more string) string {
	t.Helper()
	path := filepath.Join(dir, "dovecot.conf")
	for name, text := range map[string]string{"dovecot.conf": fmt.Sprintf(settings, dir) + more, "users": users, "masters": "boss:m::::::\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// lines keeps what was logged.
type lines struct {
	mu   sync.Mutex
	list []string
}

func (l *lines) Emit(e event.Event) {
	if x, ok := event.LineOf(e); ok {
		l.mu.Lock()
		l.list = append(l.list, x.Source+": "+x.Level.String()+": "+x.Text)
		l.mu.Unlock()
	}
}

func (l *lines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.list, "\n")
}

// rig is a Server on sockets of its own.
type rig struct {
	peer
	*Server
	log  *lines
	auth *auth.Authenticator
}

func newRig(t *testing.T, more string) *rig {
	t.Helper()
	dir := daemon.ShortDir(t)
	c, err := conf.Load(writeConf(t, dir, more), conf.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{log: &lines{}}
	r.auth, err = auth.New(auth.Options{Config: c, Drivers: map[string]passdb.Factory{"passwd-file": passwdfile.New, "static": static.New}, Events: r.log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.auth.Close)
	r.Server = New(Options{Events: r.log, Borrow: func() (Authenticator, func()) { return r.auth, func() {} }})
	r.client, r.master, r.userdb = r.listen(t, dir, "auth-client", Source{Kind: Client}), r.listen(t, dir, "auth-master", Source{Kind: Master}), r.listen(t, dir, "auth-userdb", Source{Kind: Userdb, Restricted: true})
	t.Cleanup(r.Close)
	return r
}

func (r *rig) listen(t *testing.T, dir, name string, from Source) string {
	t.Helper()
	path := filepath.Join(dir, name)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { r.Serve(nc, from) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); r.Close(); wg.Wait() })
	return path
}

// dovecot starts a real one with the same settings, or skips the test.
func dovecot(t *testing.T, more string) peer {
	t.Helper()
	path := daemon.Program(t, "dovecot", "/usr/sbin/dovecot")
	if os.Getuid() != 0 {
		daemon.Missing(t, "a Dovecot needs root")
	}
	if _, err := user.Lookup("dovecot"); err != nil {
		daemon.Missing(t, "a Dovecot needs its user: %v", err)
	}
	dir := daemon.ShortDir(t)
	p, err := daemon.Start(path, "-F", "-c", writeConf(t, dir, more))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	sockets := peer{filepath.Join(dir, "run/auth-client"), filepath.Join(dir, "run/auth-master"), filepath.Join(dir, "run/auth-userdb")}
	for {
		if nc, err := net.Dial("unix", sockets.client); err == nil {
			_ = nc.Close()
			return sockets
		}
		select {
		case <-ctx.Done():
			t.Fatalf("Dovecot does not listen: %s", p.Output())
		case <-p.Done():
			t.Fatalf("Dovecot has ended: %s", p.Output())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// plain is an AUTH line for PLAIN.
func plain(id, user, password string, more ...string) string {
	return "AUTH\t" + id + "\tPLAIN\tservice=smtp\tno-penalty" + strings.Join(append([]string{""}, more...), "\t") + "\tresp=" + b64("\x00"+user+"\x00"+password) + "\n"
}

// fuzzRig is a rig without files and sockets.
func fuzzRig(t *testing.T) *rig {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "dovecot.conf")
	text := "protocols =\nssl = no\nauth_failure_delay = 0\nauth_mechanisms = plain login cram-md5 scram-sha-256\npassdb {\n driver = static\n args = password=8f14e45fceea167a5a36dedd4bea2543\n}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := conf.Load(path, conf.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{log: &lines{}}
	if r.auth, err = auth.New(auth.Options{Config: c, Drivers: map[string]passdb.Factory{"static": static.New}, Events: r.log}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.auth.Close)
	r.Server = New(Options{Events: r.log, Borrow: func() (Authenticator, func()) { return r.auth, func() {} }})
	return r
}

// scramLogin logs in with SCRAM-SHA-256. The server's signature comes in the OK line, or as a challenge before it.
func scramLogin(t *testing.T, l *line, param string, separate bool) {
	t.Helper()
	c, err := scram.SHA256.NewClient("v", "p", "")
	if err != nil {
		t.Fatal(err)
	}
	conv := c.NewConversation()
	first, err := conv.Step("")
	if err != nil {
		t.Fatal(err)
	}
	challenge := func(s string) string {
		t.Helper()
		data, ok := strings.CutPrefix(s, "CONT\t1\t")
		if !ok {
			t.Fatalf("got %q", s)
		}
		raw, err := base64.StdEncoding.DecodeString(data)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	l.say("AUTH\t1\tSCRAM-SHA-256\tservice=smtp\tno-penalty" + param + "\tresp=" + b64(first) + "\n")
	proof, err := conv.Step(challenge(l.hear()))
	if err != nil {
		t.Fatal(err)
	}
	l.say("CONT\t1\t" + b64(proof) + "\n")
	var final string
	if separate {
		final = challenge(l.hear())
		l.say("CONT\t1\t\n")
	}
	ok, data, _ := strings.Cut(l.hear(), "\tresp=")
	if ok != "OK\t1\tuser=v" {
		t.Fatalf("got %q", ok)
	}
	if !separate {
		final = challenge("CONT\t1\t" + data)
	}
	if _, err := conv.Step(final); err != nil || !conv.Valid() {
		t.Errorf("the server's signature %q: %v", final, err)
	}
}
