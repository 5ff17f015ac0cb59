package listen

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"dproxy/conf"
	"dproxy/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder keeps log lines.
type recorder struct {
	mu    sync.Mutex
	lines []string
	heard chan struct{}
}

func (r *recorder) Emit(e event.Event) {
	l, ok := event.LineOf(e)
	if !ok {
		return
	}
	r.mu.Lock()
	r.lines = append(r.lines, l.Source+": "+l.Level.String()+": "+l.Text)
	r.mu.Unlock()
	select {
	case r.heard <- struct{}{}:
	default:
	}
}

func TestSpecs(t *testing.T) {
	for _, tc := range []struct {
		name, conf string
		want       string
	}{
		{
			"address, port, TLS and PROXY of each listener",
			"protocols = imap\nlisten = 127.0.0.1\nservice imap-login {\n inet_listener imap {\n  port = 1143\n }\n inet_listener imaps {\n  port = 0\n }\n inet_listener ha {\n  port = 1144\n  address = 127.0.0.2, 127.0.0.3\n  ssl = yes\n  haproxy = yes\n  reuse_port = yes\n }\n}\n",
			"imap/imap 127.0.0.1:1143; imap/ha 127.0.0.2:1144 ssl haproxy reuse; imap/ha 127.0.0.3:1144 ssl haproxy reuse",
		},
		{
			"the default ports on all addresses",
			"protocols = pop3\n",
			"pop3/pop3 0.0.0.0:110; pop3/pop3 [::]:110; pop3/pop3s 0.0.0.0:995 ssl; pop3/pop3s [::]:995 ssl",
		},
		{
			"no TLS listener under ssl = no",
			"protocols = imap\nlisten = 127.0.0.1\nssl = no\n",
			"imap/imap 127.0.0.1:143",
		},
		{
			"a protocol that is not served has no listener",
			"protocols = sieve imap\nlisten = [::1]\nssl = no\n",
			"imap/imap [::1]:143",
		},
		{
			"one address twice is one listener",
			"protocols = imap\nlisten = 127.0.0.1, 127.0.0.1\nssl = no\n",
			"imap/imap 127.0.0.1:143",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "dovecot.conf")
			if err := os.WriteFile(path, []byte(tc.conf), 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := conf.Load(path, conf.Options{Serve: true})
			if err != nil {
				t.Fatal(err)
			}
			specs, err := Specs(c, func(p string) bool { return p == "imap" || p == "pop3" })
			var shown []string
			for _, s := range specs {
				text := s.Protocol + "/" + s.Name + " " + s.Addr.String()
				for _, flag := range []struct {
					on   bool
					name string
				}{{s.SSL, " ssl"}, {s.HAProxy, " haproxy"}, {s.ReusePort, " reuse"}} {
					if flag.on {
						text += flag.name
					}
				}
				shown = append(shown, text)
			}
			got := strings.Join(shown, "; ")
			if err != nil {
				t.Fatal(err)
			}
			if got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

// echo answers each connection with the name of its listener.
func echo(nc net.Conn, spec Spec) {
	_, _ = fmt.Fprintf(nc, "%s", spec.Name)
	_ = nc.Close()
}

func dial(t *testing.T, addr netip.AddrPort) string {
	t.Helper()
	nc, err := net.Dial("tcp", addr.String())
	if err != nil {
		return "error"
	}
	defer nc.Close()
	b, _ := io.ReadAll(nc)
	return string(b)
}

// free returns an address that nothing listens on.
func free(t *testing.T, host string) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Skip(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func commit(t *testing.T, s *Set, specs ...Spec) {
	t.Helper()
	c, err := s.Prepare(specs)
	if err != nil {
		t.Fatal(err)
	}
	c.Commit()
}

func TestReload(t *testing.T) {
	s := NewSet(echo, event.Discard{})
	defer s.Close()
	one, two, three := free(t, "127.0.0.1"), free(t, "127.0.0.1"), free(t, "::1")
	commit(t, s, Spec{Addr: one, Name: "one"}, Spec{Addr: two, Name: "two"})
	if dial(t, one) != "one" || dial(t, two) != "two" {
		t.Fatal("not served")
	}
	commit(t, s, Spec{Addr: two, Name: "two, changed"}, Spec{Addr: three, Name: "three"})
	if got := dial(t, one); got != "error" {
		t.Errorf("a listener that is gone answers %q", got)
	}
	if got := dial(t, two); got != "two, changed" {
		t.Errorf("a listener that stayed answers %q", got)
	}
	if got := dial(t, three); got != "three" {
		t.Errorf("a new listener answers %q", got)
	}
}

func TestFailedReloadChangesNothing(t *testing.T) {
	s := NewSet(echo, event.Discard{})
	defer s.Close()
	one, two := free(t, "127.0.0.1"), free(t, "127.0.0.1")
	commit(t, s, Spec{Addr: one, Name: "one"})
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	busy := taken.Addr().(*net.TCPAddr).AddrPort()
	_, err = s.Prepare([]Spec{{Addr: two, Protocol: "imap"}, {Addr: busy, Protocol: "pop3"}})
	if want := fmt.Sprintf("service(pop3-login): listen(127.0.0.1, %d) failed: Address already in use", busy.Port()); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if dial(t, one) != "one" {
		t.Error("the old listener is gone")
	}
	if dial(t, two) != "error" {
		t.Error("a new listener stayed open")
	}
}

func TestAbortClosesWhatWasBound(t *testing.T) {
	s := NewSet(echo, event.Discard{})
	defer s.Close()
	one := free(t, "127.0.0.1")
	c, err := s.Prepare([]Spec{{Addr: one}})
	if err != nil {
		t.Fatal(err)
	}
	c.Abort()
	if dial(t, one) != "error" {
		t.Error("still open")
	}
}

func TestOwnWildcardIsNamed(t *testing.T) {
	s := NewSet(echo, event.Discard{})
	defer s.Close()
	port := free(t, "127.0.0.1").Port()
	all := netip.AddrPortFrom(netip.IPv4Unspecified(), port)
	commit(t, s, Spec{Addr: all, Name: "all"})
	_, err := s.Prepare([]Spec{{Addr: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port), Protocol: "sieve"}})
	want := fmt.Sprintf("service(managesieve-login): listen(127.0.0.1, %d) failed: Address already in use; this process listens on * with the same port: restart it to change between one address and all", port)
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

func TestBothWildcardsCanBeBound(t *testing.T) {
	s := NewSet(echo, event.Discard{})
	defer s.Close()
	port := free(t, "::1").Port()
	commit(t, s, Spec{Addr: netip.AddrPortFrom(netip.IPv4Unspecified(), port), Name: "v4"}, Spec{Addr: netip.AddrPortFrom(netip.IPv6Unspecified(), port), Name: "v6"})
	for host, want := range map[string]string{"127.0.0.1": "v4", "::1": "v6"} {
		if got := dial(t, netip.AddrPortFrom(netip.MustParseAddr(host), port)); got != want {
			t.Errorf("%s: %q", host, got)
		}
	}
}

func TestAcceptedConnectionsOutliveTheListener(t *testing.T) {
	got := make(chan net.Conn, 1)
	s := NewSet(func(nc net.Conn, _ Spec) { got <- nc }, event.Discard{})
	one := free(t, "127.0.0.1")
	commit(t, s, Spec{Addr: one})
	nc, err := net.Dial("tcp", one.String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	server := <-got
	defer server.Close()
	s.Close()
	if _, err := server.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(nc, make([]byte, 1)); err != nil {
		t.Error(err)
	}
}
