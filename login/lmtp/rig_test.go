package lmtp

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dproxy/auth"
	"dproxy/backend/backendtest"
	"dproxy/conf"
	"dproxy/listen"
	"dproxy/login"
	"dproxy/passdb"
	"dproxy/passdb/passwdfile"
	"dproxy/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a proxy on loopback.
type rig struct {
	addr     string
	log      *backendtest.Recorder
	registry *session.Registry
	spec     listen.Spec
	front    func(*login.Client) login.Front
}

const baseConf = `protocols = lmtp
lmtp_proxy = yes
hostname = proxy.example.org
login_greeting = Proxy ready.
login_trusted_networks = 127.0.0.5
state_dir = @DIR@/state
passdb {
  driver = passwd-file
  args = @DIR@/passwd
}
`

// newRig starts a proxy with users in the form "name field=value ...". Settings come behind the base's.
func newRig(t *testing.T, settings string, users ...string) *rig {
	t.Helper()
	return newRigWith(t, func(*rig) {}, settings, users...)
}

// newRigWith lets change what is particular to a rig before it starts.
func newRigWith(t *testing.T, change func(*rig), settings string, users ...string) *rig {
	t.Helper()
	dir := t.TempDir()
	var passwd strings.Builder
	for _, u := range users {
		name, fields, _ := strings.Cut(u, " ")
		passwd.WriteString(name + ":{PLAIN}x::::::" + fields + "\n")
	}
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "@DIR@", dir)), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("passwd", passwd.String())
	if err := os.Mkdir(filepath.Join(dir, "state"), 0o700); err != nil {
		t.Fatal(err)
	}
	c, err := conf.Load(write("dovecot.conf", baseConf+settings), conf.Options{Serve: true})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{log: &backendtest.Recorder{}, registry: session.NewRegistry(), spec: listen.Spec{Protocol: "lmtp", Name: "lmtp"}, front: New}
	change(r)
	r.start(t, c)
	return r
}

func (r *rig) start(t *testing.T, c *conf.Config) {
	t.Helper()
	a, err := auth.New(auth.Options{Config: c, Drivers: map[string]passdb.Factory{"passwd-file": passwdfile.New}, Events: r.log})
	if err != nil {
		t.Fatal(err)
	}
	protocols := map[string]login.Protocol{"lmtp": {Name: "lmtp", ALPN: []string{"smtp"}, NewFront: func(c *login.Client) login.Front { return r.front(c) }}}
	snap, err := login.NewSnapshot(login.SnapshotOptions{
		Context: t.Context(), Config: c, Auth: a, Hostname: "machine", Events: r.log, Resolver: net.DefaultResolver, Protocols: protocols,
	})
	if err != nil {
		t.Fatal(err)
	}
	server := login.NewServer(login.Options{Protocols: protocols, Events: r.log, Registry: r.registry, Resolver: net.DefaultResolver})
	server.Use(snap)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = ln.Addr().String()
	var running sync.WaitGroup
	running.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() { server.Serve(nc.(listen.Conn), r.spec) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		r.registry.Stop(true)
		running.Wait()
		server.Wait()
		server.Use(nil)
	})
}

// client is one connection to a rig.
type client struct {
	t  *testing.T
	nc net.Conn
	r  *bufio.Reader
}

// connect connects from an address, "" for any.
func (r *rig) connect(t *testing.T, from string) *client {
	t.Helper()
	d := net.Dialer{}
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	nc, err := d.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	return &client{t, nc, bufio.NewReader(nc)}
}

// play runs steps:
//
//	C: TEXT    send a line
//	Q: "TEXT"  send exactly these bytes, with Go escapes
//	S: REGEXP  read a line that matches as a whole
//	LHLO       greet, and read on to the end of the answer
//	TLS        be the client of a TLS handshake
//	EOF        read the end of the connection
func (c *client) play(steps ...string) {
	c.t.Helper()
	for _, step := range steps {
		if err := c.step(step); err != nil {
			c.t.Fatalf("%s: %v", step, err)
		}
	}
}

func (c *client) step(step string) error {
	kind, arg, _ := strings.Cut(step, " ")
	switch kind {
	case "C:":
		return c.send(arg + "\r\n")
	case "Q:":
		text, err := strconv.Unquote(arg)
		if err != nil {
			return err
		}
		return c.send(text)
	case "S:":
		line, err := c.line()
		if err != nil {
			return err
		}
		if !regexp.MustCompile("^(?:" + arg + ")$").MatchString(line) {
			return fmt.Errorf("got %q", line)
		}
		return nil
	case "LHLO":
		if err := c.send("LHLO client.example.com\r\n"); err != nil {
			return err
		}
		for {
			if line, err := c.line(); err != nil || strings.HasPrefix(line, "250 ") {
				return err
			}
		}
	case "TLS":
		conn := tls.Client(c.nc, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"smtp"}})
		c.nc, c.r = conn, bufio.NewReader(conn)
		return conn.Handshake()
	case "EOF":
		if b, err := c.r.ReadByte(); !errors.Is(err, io.EOF) {
			return fmt.Errorf("got %q, %v", b, err)
		}
		return nil
	}
	return errors.New("no such step")
}

func (c *client) send(text string) error {
	_, err := io.WriteString(c.nc, text)
	return err
}

func (c *client) line() (string, error) {
	line, err := c.r.ReadString('\n')
	return strings.TrimSuffix(line, "\r\n"), err
}

// at is the fields that lead a user to a backend.
func at(f *fake, more string) string {
	return strings.TrimSpace(fmt.Sprintf("proxy=y host=127.0.0.1 port=%d %s", f.addr.Port(), more))
}

const (
	hello = "S: 220 proxy.example.org Proxy ready."
	sid   = `[A-Za-z0-9+/]{22}`
)

// opened is a client that has said LHLO and MAIL.
func (r *rig) opened(t *testing.T, from string) *client {
	t.Helper()
	c := r.connect(t, from)
	c.play(hello, "LHLO", "C: MAIL FROM:<sender@example.com>", "S: 250 2.1.0 OK")
	return c
}

// waitFor waits until a log line matches.
func (r *rig) waitFor(t *testing.T, pattern string) {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(20 * time.Second); ; {
		for _, l := range r.log.Lines() {
			if re.MatchString(l) {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("no log line matches %s in:\n%s", pattern, strings.Join(r.log.Lines(), "\n"))
		}
		time.Sleep(time.Millisecond)
	}
}
