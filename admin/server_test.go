package admin

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dproxy/auth"
	"dproxy/event"
	"dproxy/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait.
const patience = 20 * time.Second

// fake is a session that keeps what it is told.
type fake struct {
	info  session.Info
	ended []session.Reason
}

func (f *fake) End(r session.Reason)           { f.ended = append(f.ended, r) }
func (f *fake) Describe() (session.Info, bool) { return f.info, true }

// rig is a control socket with sessions behind it.
type rig struct {
	t        *testing.T
	server   *Server
	path     string
	registry *session.Registry
	sessions []*fake
}

func newRig(t *testing.T, infos ...session.Info) *rig {
	t.Helper()
	dir, err := os.MkdirTemp("", "dp") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	r := &rig{t: t, path: filepath.Join(dir, SocketName), registry: session.NewRegistry()}
	for _, i := range infos {
		s := &fake{info: i}
		if _, ok := r.registry.Add(s, netip.Addr{}); !ok {
			t.Fatal("a session was refused")
		}
		r.sessions = append(r.sessions, s)
	}
	r.server, err = Listen(r.path, Options{
		Registry: r.registry, Events: event.Discard{}, Errors: NewErrors(),
		Auth:   func() (*auth.Authenticator, func()) { return nil, func() {} },
		Reload: func() error { return errors.New("broken") }, Upgrade: func() error { return errors.New("no such file") }, ReopenLog: func() { panic("a fault") },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.server.Close)
	return r
}

func (r *rig) call(q *Request) (rows [][]string, end End) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	end, err := Call(ctx, r.path, q, func(cells []string) error {
		rows = append(rows, append([]string(nil), cells...))
		return nil
	})
	if err != nil {
		r.t.Fatalf("%s: %v", q.Command, err)
	}
	return rows, end
}

func info(user, service, remote, backend string, names ...session.Name) session.Info {
	return session.Info{User: user, Service: service, Remote: netip.MustParseAddrPort(remote), Backend: netip.MustParseAddrPort(backend), Host: "b.example", Names: names}
}

func TestCommands(t *testing.T) {
	all := []session.Info{
		info("a@x", "imap", "192.0.2.1:1", "192.0.2.9:143", session.Name{Field: "user_alt", Value: "al"}),
		info("a@x", "imap", "192.0.2.2:1", "192.0.2.9:143"),
		info("b@x", "pop3", "[2001:db8::1]:1", "[2001:db8::9]:110"),
	}
	for _, c := range []struct {
		name string
		q    Request
		rows [][]string
		end  End
		left int // sessions that were not ended
	}{
		{"proxy list has a column for each user_ field", Request{Command: "proxy list"}, [][]string{
			{"username", "user_alt", "service", "src-ip", "dest-ip", "dest-port"},
			{"a@x", "al", "imap", "192.0.2.1", "192.0.2.9", "143"},
			{"a@x", "", "imap", "192.0.2.2", "192.0.2.9", "143"},
			{"b@x", "", "pop3", "2001:db8::1", "2001:db8::9", "110"},
		}, End{Status: OK}, 3},
		{"proxy kick takes exact names", Request{Command: "proxy kick", Users: []string{"a@x", "b@*"}}, [][]string{{"2"}}, End{Status: OK}, 1},
		{"proxy kick takes other names", Request{Command: "proxy kick", Users: []string{"al"}, Field: "user_alt"}, [][]string{{"1"}}, End{Status: OK}, 2},
		{"proxy kick takes a host as the passdb wrote it", Request{Command: "proxy kick", Hosts: []string{"b.example"}}, [][]string{{"3"}}, End{Status: OK}, 0},
		{"proxy kick takes a host's address", Request{Command: "proxy kick", Hosts: []string{"2001:db8::9"}}, [][]string{{"1"}}, End{Status: OK}, 2},
		{"proxy kick of nobody is refused", Request{Command: "proxy kick"}, nil, End{Usage, "either users or hosts must be given"}, 3},
		{"who masks by user", Request{Command: "who", Users: []string{"?@x"}, Net: "192.0.2.0/24", Separate: true}, [][]string{{"a@x", "imap", "PID", "192.0.2.1"}, {"a@x", "imap", "PID", "192.0.2.2"}}, End{Status: OK}, 3},
		{"who groups", Request{Command: "who"}, [][]string{{"a@x", "2", "imap", "(PID)", "(192.0.2.1 192.0.2.2)"}, {"b@x", "1", "pop3", "(PID)", "(2001:db8::1)"}}, End{Status: OK}, 3},
		{"kick takes masks", Request{Command: "kick", Users: []string{"a*"}, Net: "192.0.2.1"}, [][]string{{"a@x"}}, End{Status: OK}, 2},
		{"kick tells when nothing matches", Request{Command: "kick", Users: []string{"c*"}}, nil, End{NotFound, "no users kicked"}, 3},
		{"kick never means everybody", Request{Command: "kick"}, nil, End{Usage, "user and/or ip[/bits] must be specified."}, 3},
		{"kick of a nonsense network", Request{Command: "kick", Net: "192.0.2.0/99"}, nil, End{Usage, "Invalid netmask '192.0.2.0/99' given"}, 3},
		{"a command of another version", Request{Command: "dance"}, nil, End{Unknown, `this server has no command "dance"; is it of another version?`}, 3},
		{"no authentication", Request{Command: "auth lookup", Users: []string{"u"}}, nil, End{Temporary, "authentication is broken; the log says why"}, 3},
		{"a reload that fails", Request{Command: "reload"}, nil, End{Temporary, "broken"}, 3},
		{"an upgrade that fails", Request{Command: "upgrade"}, nil, End{Temporary, "no such file"}, 3},
		{"a fault in the program", Request{Command: "log reopen"}, nil, End{Temporary, "the command failed; the log says why"}, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, all...)
			pid := strconv.Itoa(os.Getpid())
			rows, end := r.call(&c.q)
			for _, cells := range rows {
				for i, cell := range cells {
					if cell == pid || cell == "("+pid+")" {
						cells[i] = strings.Replace(cell, pid, "PID", 1)
					}
				}
			}
			if !reflect.DeepEqual(rows, c.rows) || end != c.end {
				t.Errorf("got %q %+v\nwant %q %+v", rows, end, c.rows, c.end)
			}
			left := 0
			for _, f := range r.sessions {
				if len(f.ended) == 0 {
					left++
				}
			}
			if left != c.left {
				t.Errorf("%d sessions are left, want %d", left, c.left)
			}
		})
	}
}

func TestSocketIsForItsOwner(t *testing.T) {
	r := newRig(t)
	fi, err := os.Stat(r.path)
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the socket's mode is %v (%v), want 0600", fi.Mode(), err)
	}
	second, err := Listen(r.path, r.server.Options)
	if err != nil {
		t.Fatal("a socket that was left behind is in the way:", err)
	}
	r.server.Close()
	if _, err := os.Stat(r.path); err != nil {
		t.Error("the end of the first server has removed its successor's socket:", err)
	}
	second.Close()
	if _, err := os.Stat(r.path); err == nil {
		t.Error("the socket is left behind")
	}
}

func TestBadRequestsEndTheirConnectionOnly(t *testing.T) {
	r := newRig(t)
	for _, c := range []struct{ name, send, want string }{
		{"no JSON", "hello\n", "the request cannot be read"},
		{"an unknown field", `{"command":"who","nonsense":1}` + "\n", "the request cannot be read"},
		{"two requests", `{"command":"who"} {"command":"stop"}` + "\n", "something follows the request"},
		{"too long", strings.Repeat("x", maxRequest+1), "the request is longer than 65536 bytes"},
		{"deep", strings.Repeat("[", 60000) + "\n", "the request cannot be read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			nc, err := net.Dial("unix", r.path)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			_ = nc.SetDeadline(time.Now().Add(patience))
			go func() { _, _ = io.WriteString(nc, c.send) }()
			line, _ := bufio.NewReader(nc).ReadString('\n')
			if !strings.Contains(line, c.want) {
				t.Errorf("answer %q, want %q in it", line, c.want)
			}
		})
	}
	// One that is silent for ever holds nothing up either.
	var silent []net.Conn
	for range maxCommands / 2 {
		nc, err := net.Dial("unix", r.path)
		if err != nil {
			t.Fatal(err)
		}
		silent = append(silent, nc)
	}
	if _, end := r.call(&Request{Command: "who"}); end.Status != OK {
		t.Errorf("beside silent ones: %+v", end)
	}
	for _, nc := range silent {
		nc.Close()
	}
}

func TestErrorsKeepsTheLast(t *testing.T) {
	e := NewErrors()
	e.Emit(event.Notice{Level: event.Info, Source: "master", Text: "no error"})
	for i := range keptErrors + 5 {
		e.Emit(event.Notice{Level: event.Warning, Source: "master", Text: string(rune('A' + i%26))})
	}
	list := e.List()
	if len(list) != keptErrors || list[0].Text != "F" || list[len(list)-1].Text != string(rune('A'+(keptErrors+4)%26)) {
		t.Errorf("%d lines from %q to %q", len(list), list[0].Text, list[len(list)-1].Text)
	}
}

func TestWildcard(t *testing.T) {
	for _, c := range []struct {
		mask, s string
		want    bool
	}{{"*", "", true}, {"a*c", "abbc", true}, {"a*c", "abcd", false}, {"?b", "ab", true}, {"?b", "b", false}, {"*@x", "a@b@x", true}, {"", "", true}, {"", "a", false}, {"a**", "a", true}} {
		if got := wildcard(c.mask, c.s); got != c.want {
			t.Errorf("wildcard(%q, %q) = %v", c.mask, c.s, got)
		}
	}
}

func FuzzParseRequest(f *testing.F) {
	f.Add([]byte(`{"command":"kick","users":["a*"],"net":"192.0.2.0/24"}`))
	f.Add([]byte(`{"command":"auth test","users":["u"],"password":"p","info":["rip=192.0.2.1"]}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		q, err := parseRequest(line)
		if err != nil {
			return
		}
		_, _ = ParsePeer(q.Info)
		if fl, err := newFilter(q); err == nil {
			fl.match(&session.Info{User: "a@x"})
		}
	})
}
