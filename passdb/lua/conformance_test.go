package lua_test

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"dproxy/auth"
	"dproxy/conf"
	"dproxy/event"
	"dproxy/passdb"
	"dproxy/passdb/lua"
	"dproxy/test/daemon"
)

// dovecotConf: directory, args of the passdb.
const dovecotConf = `base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = %[1]s/log
log_timestamp = ""
protocols =
ssl = no
auth_verbose = yes
auth_failure_delay = 0
passdb {
  driver = lua
  args = %[2]s
}
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
`

// outcome is an answer in the words of doveadm auth test: its fields, sorted, and whether it is a success.
type outcome struct {
	ok     bool
	fields []string
}

func (o outcome) String() string { return fmt.Sprintf("ok=%v %q", o.ok, o.fields) }

// users finds the names that a script of testdata answers for.
func users(t *testing.T, script string) []string {
	t.Helper()
	text, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range regexp.MustCompile(`(?m)^  ([a-z]+) = \{|u == "([a-z]+)"`).FindAllStringSubmatch(string(text), -1) {
		out = append(out, m[1]+m[2]+"@example.org")
	}
	if len(out) < 5 {
		t.Fatalf("%d users in %s", len(out), script)
	}
	return append(out, "plain", "nosuch@example.org")
}

// dovecot asks a real Dovecot.
type dovecot struct{ socket string }

func startDovecot(t *testing.T, args string) dovecot {
	t.Helper()
	path := daemon.Program(t, "dovecot", "/usr/sbin/dovecot")
	if _, err := os.Stat("/usr/lib/dovecot/modules/auth/libauthdb_lua.so"); err != nil || os.Getuid() != 0 {
		daemon.Missing(t, "Dovecot's Lua module (dovecot-auth-lua) and root are needed")
	}
	dir := daemon.ShortDir(t)
	d := dovecot{filepath.Join(dir, "run", "auth-client")}
	conf := filepath.Join(dir, "dovecot.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, dovecotConf, dir, args), 0o644); err != nil {
		t.Fatal(err)
	}
	proc, err := daemon.Start(path, "-F", "-c", conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := proc.Stop(); err != nil {
			t.Error(err)
		}
	})
	deadline := time.Now().Add(30 * time.Second)
	for {
		if _, err := os.Stat(d.socket); err == nil {
			return d
		}
		if time.Now().After(deadline) {
			t.Fatal("Dovecot has no auth socket")
		}
		select {
		case <-proc.Done():
			t.Fatal(proc.Output())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// ask asks about all users in one connection of the auth client protocol: Dovecot answers failures in batches.
func (d dovecot) ask(t *testing.T, users []string) map[string]outcome {
	t.Helper()
	nc, err := net.Dial("unix", d.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("VERSION\t1\t2\nCPID\t1\n")
	for i, user := range users {
		fmt.Fprintf(&b, "AUTH\t%d\tPLAIN\tservice=doveadm\tsession=S1\tlip=192.0.2.1\trip=192.0.2.5\tlport=143\trport=5555\tresp=%s\n",
			i+1, base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00x")))
	}
	if _, err := io.WriteString(nc, b.String()); err != nil {
		t.Fatal(err)
	}
	out := map[string]outcome{}
	for r := bufio.NewScanner(nc); len(out) < len(users); {
		if !r.Scan() {
			t.Fatalf("%d of %d answers: %v", len(out), len(users), r.Err())
		}
		words := strings.Split(r.Text(), "\t")
		if words[0] != "OK" && words[0] != "FAIL" {
			continue
		}
		n, err := strconv.Atoi(words[1])
		if err != nil || n < 1 || n > len(users) {
			t.Fatal(r.Text())
		}
		o := outcome{ok: words[0] == "OK"}
		for _, f := range words[2:] {
			if f != "" {
				o.fields = append(o.fields, f)
			}
		}
		slices.Sort(o.fields)
		out[users[n-1]] = o
	}
	return out
}

func newAuth(t *testing.T, args string) *auth.Authenticator {
	t.Helper()
	path := filepath.Join(t.TempDir(), "dovecot.conf")
	text := "auth_failure_delay = 0\nauth_verbose = yes\nauth_cache_size = 1M\nprotocols =\nssl = no\npassdb {\n  driver = lua\n  args = " + args +
		"\n}\nservice anvil {\n  unix_listener anvil-auth-penalty {\n    mode = 0\n  }\n}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := conf.Load(path, conf.Options{Serve: true})
	if err != nil {
		t.Fatal(err)
	}
	a, err := auth.New(auth.Options{Config: c, Drivers: map[string]passdb.Factory{"lua": lua.New}, Events: discard{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

type discard struct{}

func (discard) Emit(event.Event) {}

// ours asks dproxy's auth room the same.
func ours(t *testing.T, a *auth.Authenticator, user string) outcome {
	t.Helper()
	address := func(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
	_, _, r := a.Start(t.Context(), auth.Request{
		Mech: "PLAIN", HasInitial: true, Initial: []byte("\x00" + user + "\x00x"),
		Peer: passdb.Peer{
			Service: "doveadm", Session: "S1", Local: address("192.0.2.1:143"), Remote: address("192.0.2.5:5555"),
			RealLocal: address("192.0.2.1:143"), RealRemote: address("192.0.2.5:5555"),
		},
	})
	if r == nil {
		t.Fatal("no verdict")
	}
	o := outcome{ok: r.OK, fields: []string{"user=" + r.User}}
	if r.Code != auth.CodeNone {
		o.fields = append(o.fields, "code="+r.Code.String())
	}
	if r.OK && r.User != r.OrigUser {
		o.fields = append(o.fields, "original_user="+r.OrigUser)
	}
	for _, f := range r.Fields.All() {
		switch {
		case f.Value == "" || f.Name == "proxy": // a flag's value is not sent
			o.fields = append(o.fields, f.Name)
		default:
			o.fields = append(o.fields, strings.TrimSpace(f.Name+"="+f.Value))
		}
	}
	slices.Sort(o.fields)
	return o
}

// TestConformance asks a real Dovecot and dproxy the same of the same scripts.
func TestConformance(t *testing.T) {
	for script, args := range map[string]string{
		"answers.lua": " blocking=yes", "verify.lua": " blocking=no", "scheme.lua": " scheme=sha256.hex",
	} {
		t.Run(script, func(t *testing.T) {
			path, err := filepath.Abs(filepath.Join("testdata", script))
			if err != nil {
				t.Fatal(err)
			}
			dir := daemon.ShortDir(t) // Dovecot's own user has to read it
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			path = filepath.Join(dir, script)
			if err := os.WriteFile(path, text, 0o644); err != nil {
				t.Fatal(err)
			}
			d, a := startDovecot(t, "file="+path+args), newAuth(t, "file="+path+args)
			all := users(t, path)
			answers := d.ask(t, all)
			for _, user := range all {
				t.Run(user, func(t *testing.T) {
					want := answers[user]
					if got := ours(t, a, user); got.String() != want.String() {
						t.Errorf("\n  dproxy %s\n Dovecot %s", got, want)
					}
				})
			}
		})
	}
}
