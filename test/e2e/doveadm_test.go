package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"dproxy/test/daemon"
	"dproxy/test/proxy"
)

// doveadmConf is for a proxy that doveadm's commands are given to: one login process, so that Dovecot's proxy list has no
// stray rows, and penalties.
const doveadmConf = `passdb {
  driver = passwd-file
  args = @DIR@/masters
  master = yes
  pass = yes
}
passdb {
  driver = passwd-file
  args = @DIR@/users
}
auth_master_user_separator = *
auth_cache_size = 1M
service imap-login {
  process_limit = 1
}
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0600
  }
}
`

// doveadm is a program that is doveadm for one configuration.
type doveadm struct{ path, conf string }

// said is what a command came to.
type said struct {
	out, err string
	status   int
}

// volatile are the process ids, times and places in doveadm's output, which are not the same in two runs.
var volatile = []struct {
	re *regexp.Regexp
	by string
}{
	{regexp.MustCompile(`\(\d+\)`), "(N)"},
	{regexp.MustCompile(`[A-Z][a-z]{2} \d\d \d\d:\d\d:\d\d`), "TIME"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`), "DATE"},
	{regexp.MustCompile(`\d\d:\d\d:\d\d`), "TIME"},
	{regexp.MustCompile(`/\S+/log\b`), "LOG"},
	{regexp.MustCompile(` +\n`), "\n"}, // a table's last column depends on the pids' width
}

func (d doveadm) run(t *testing.T, args ...string) said {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, d.path, append([]string{"-c", d.conf}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	var s said
	var ee *exec.ExitError
	if err := cmd.Run(); errors.As(err, &ee) {
		s.status = ee.ExitCode()
	} else if err != nil {
		t.Error(err)
	}
	s.out, s.err = out.String(), errs.String()
	for _, v := range volatile {
		s.out = v.re.ReplaceAllString(s.out, v.by)
	}
	return s
}

// both runs a command at two programs at a time.
func both(t *testing.T, want, got doveadm, args ...string) (w, g said) {
	t.Helper()
	var reference sync.WaitGroup
	reference.Go(func() { w = want.run(t, args...) })
	g = got.run(t, args...)
	reference.Wait()
	return w, g
}

// same compares what two programs say to a command.
func same(t *testing.T, want, got doveadm, args ...string) {
	t.Helper()
	w, g := both(t, want, got, args...)
	if w != g {
		t.Errorf("doveadm %s\nDovecot: %d\n%s%s\ndproxy: %d\n%s%s", strings.Join(args, " "), w.status, w.out, w.err, g.status, g.out, g.err)
	}
}

// testDoveadm gives the same commands to a Dovecot proxy and to dproxy, each with the same sessions.
func testDoveadm(t *testing.T, h *house, _ *front) {
	if h.reference {
		t.Skip("compares dproxy with Dovecot")
	}
	users := fmt.Sprintf("alice@example.org:{PLAIN}%[1]s::::::proxy=y host=%[2]s user_alt=ali\n"+
		"carol@example.org:{PLAIN}%[1]s::::::proxy=y host=%[2]s pass=%[1]s\n"+
		"closed:{PLAIN}%[1]s::::::nologin reason=Go=Away\nlocal:{PLAIN}%[1]s::::::\nodd:{NOSUCH}x::::::proxy=y host=%[2]s\n", password, h.one.IP)
	files := map[string]string{"users": users, "masters": "boss:{PLAIN}bosspw::::::\n"}
	f := h.start(t, doveadmConf, files)
	reference := *h
	reference.program = proxy.Dovecot(t)
	r := reference.start(t, doveadmConf, files)
	name := filepath.Join(f.dir, "doveadm")
	program, err := filepath.Abs(h.program.Path)
	if err == nil {
		err = os.Symlink(program, name)
	}
	if err != nil {
		t.Fatal(err)
	}
	want := doveadm{daemon.Program(t, "doveadm", "/usr/bin/doveadm"), r.conf()}
	got := doveadm{name, f.conf()}
	for _, x := range []*front{f, r} {
		c, err := loginIMAP(x.addr("imap"), "", nil, "alice@example.org")
		if err != nil {
			t.Fatal(err)
		}
		defer c.nc.Close()
	}
	for _, d := range []doveadm{want, got} {
		eventually(t, "the session is listed", func() bool { return strings.Contains(d.run(t, "-f", "tab", "proxy", "list").out, "alice@example.org") })
	}
	testSameSessions(t, want, got)
	testSamePenalty(t, f, r, want, got)
	testSameAuth(t, want, got)
	testSameWho(t, h, f, got)
}

func testSameSessions(t *testing.T, want, got doveadm) {
	for _, format := range []string{"flow", "pager", "tab", "table", "json"} {
		same(t, want, got, "-f", format, "proxy", "list")
	}
	for _, words := range []string{
		"proxy", "proxy list x", "proxy kick", "proxy kick nobody", "proxy kick -h 192.0.2.1", "proxy kick -h", "proxy nonsense", "-f json proxy kick nobody", "-f tab proxy kick nobody",
		"-f nonsense proxy list", "who a b", "who nobody", "-f json who nobody", "-f tab who -1 nobody", "kick", "kick nobody", "kick -f",
		"log", "log find", "log errors -s 4000000000", "-f tab log errors -s 4000000000", "-f json log errors -s 4000000000", "log test", "log reopen", "reload x", "stop x",
	} {
		same(t, want, got, strings.Fields(words)...)
	}
	same(t, want, got, "proxy", "kick", "alice@example.org")
	eventually(t, "the kicked session is gone", func() bool { return !strings.Contains(got.run(t, "-f", "tab", "proxy", "list").out, "alice") })
}

func testSameAuth(t *testing.T, want, got doveadm) {
	for _, words := range []string{
		"auth", "auth test", "auth lookup", "auth cache", "auth test alice@example.org " + password, "auth test alice@example.org wrong", "auth test carol@example.org " + password,
		"auth test closed " + password, "auth test nobody x", "auth test odd x", "auth test alice@example.org x y", "auth test -M boss alice@example.org bosspw", "auth test -x nonsense local " + password,
		"auth test -x service=imap -x rip=192.0.2.1 local " + password, "auth test -x rip=300.1.1.1 local x", "auth test -Z local x",
		"auth lookup alice@example.org", "auth lookup alice@example.org nobody closed", "auth lookup -f host alice@example.org carol@example.org", "auth lookup -f host nobody alice@example.org",
		"auth lookup -f nologin closed", "auth lookup odd", "auth login alice@example.org wrong", "auth cache flush", "auth cache flush nobody",
	} {
		same(t, want, got, strings.Fields(words)...)
	}
}

// testSamePenalty fails one login at each proxy and compares the penalties.
func testSamePenalty(t *testing.T, f, r *front, want, got doveadm) {
	same(t, want, got, "penalty", "nonsense")
	same(t, want, got, "-f", "json", "penalty")
	for _, x := range []*front{f, r} {
		c, err := dialIMAP(x.addr("imap"), "", nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.cmd("LOGIN carol@example.org wrong"); err == nil {
			t.Fatal("a wrong password was accepted")
		}
		c.nc.Close()
	}
	for _, format := range []string{"flow", "pager", "tab", "table", "json"} {
		same(t, want, got, "-f", format, "penalty")
	}
	same(t, want, got, "penalty", "127.0.0.0/8")
	same(t, want, got, "penalty", "192.0.2.0/24")
}

// testSameWho compares who and kick with those of the backend, which sees the same session: a Dovecot 2.3 proxy shows none.
func testSameWho(t *testing.T, h *house, f *front, got doveadm) {
	want := doveadm{daemon.Program(t, "doveadm", "/usr/bin/doveadm"), h.one.Conf()}
	const user = "carol@example.org"
	{
		c, err := loginIMAP(f.addr("imap"), "", nil, user)
		if err != nil {
			t.Fatal(err)
		}
		defer c.nc.Close()
		for _, format := range []string{"flow", "pager", "tab", "table", "json"} {
			for _, args := range [][]string{{"who", user}, {"who", "-1", "carol@*", "127.0.0.1"}, {"who", user, "192.0.2.0/24"}} {
				w, g := both(t, want, got, append([]string{"-f", format}, args...)...)
				if pids(w) != pids(g) {
					t.Errorf("doveadm -f %s %s\nbackend:\n%s\ndproxy:\n%s", format, strings.Join(args, " "), w.out, g.out)
				}
			}
		}
		g := got.run(t, "kick", user)
		if _, err := io.ReadAll(c.nc); err != nil {
			t.Error("a kicked session:", err)
		}
		if c, err = loginIMAP(f.addr("imap"), "", nil, user); err != nil {
			t.Fatal(err)
		}
		defer c.nc.Close()
		if w := want.run(t, "kick", user); w != g {
			t.Errorf("kick\nbackend: %+v\ndproxy:  %+v", w, g)
		}
		if log := f.read(t, "log"); !strings.Contains(log, "Disconnected by proxy: Kicked by admin") {
			t.Error("the log does not say that an admin has kicked")
		}
	}
}

// pids hides the process ids of who, and with them the widths of its columns.
func pids(s said) said {
	s.out = regexp.MustCompile(`\b(imap\W+|pid\W+)\d+`).ReplaceAllString(s.out, "${1}N")
	s.out = regexp.MustCompile(` +`).ReplaceAllString(s.out, " ")
	return s
}
