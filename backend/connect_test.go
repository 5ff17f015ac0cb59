package backend_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"dproxy/backend"
	"dproxy/backend/backendtest"
	"dproxy/conf"
	"dproxy/event"
	"dproxy/passdb"
	"dproxy/route"
)

// hello is the least of a handshake: it wants a line that says ok and answers it.
type hello struct{}

func (h hello) Login(c *backend.Conn, l *backend.Login) (backend.Welcome, error) {
	at := "none"
	c.State = func() string { return "/" + at }
	line, err := c.Line()
	if err != nil {
		return backend.Welcome{}, err
	}
	at = "banner"
	if l.Target.TLS == route.StartTLS {
		if err := c.Send("starttls\r\n"); err != nil {
			return backend.Welcome{}, err
		}
		if _, err := c.Line(); err != nil {
			return backend.Welcome{}, err
		}
		if err := c.StartTLS(); err != nil {
			return backend.Welcome{}, err
		}
	}
	switch {
	case strings.HasPrefix(line, "later"):
		return backend.Welcome{}, &backend.Error{Kind: backend.AuthTempFail, Text: line, Reply: line}
	case strings.HasPrefix(line, "no"):
		return backend.Welcome{}, &backend.Error{Kind: backend.Auth, Text: line}
	case strings.HasPrefix(line, "remote"):
		return backend.Welcome{}, &backend.Error{Kind: backend.Remote, Text: line}
	}
	if err := c.Send("hello " + l.Target.User + "\r\n"); err != nil {
		return backend.Welcome{}, err
	}
	last, err := c.Line()
	return backend.Welcome{Line: last}, err
}

var _ backend.Handshake = hello{}

const welcome = "S: ok\nC: hello u1\nS: welcome\nEOF"

func run(t *testing.T, script string, change func(*backend.Login, *conf.Settings)) backendtest.Result {
	t.Helper()
	return backendtest.Run(t, backendtest.Case{Handshake: hello{}, Service: "imap", Script: script, Change: change})
}

func target(change func(*route.Target)) func(*backend.Login, *conf.Settings) {
	return func(l *backend.Login, _ *conf.Settings) { change(&l.Target) }
}

func TestConnect(t *testing.T) {
	implicit := func(t *route.Target) { t.TLS = route.Implicit }
	starttls := func(t *route.Target) { t.TLS = route.StartTLS }
	const check = " (check ssl_client_ca_* settings?) (state=/none, duration=0s)"
	for _, tc := range []struct {
		name, script string
		change       func(*route.Target)
		want         string // the welcome line, or kind and text; PORT stands for a port of ours
		line         string // the log line, when it is not "Error: " and the text
	}{
		{"plain", welcome, nil, "welcome", "none"},
		{"implicit TLS", "TLS good\n" + welcome, implicit, "welcome", "none"},
		{"STARTTLS", "S: ok\nC: starttls\nS: go\nTLS good\nC: hello u1\nS: welcome\nEOF", starttls, "welcome", "none"},
		{"any-cert takes a rogue", "TLS rogue\n" + welcome, func(t *route.Target) { t.TLS, t.AnyCert = route.Implicit, true }, "welcome", "none"},
		{"the address is verified when the host is one", "TLS good\n" + welcome, func(t *route.Target) { t.TLS, t.Host = route.Implicit, "127.0.0.1" }, "welcome", "none"},
		{
			"a rogue certificate, before any credential", "FAILTLS rogue", implicit,
			"connect: Disconnected by server: Connection closed: Received invalid SSL certificate: self-signed certificate: /CN=rogue.example.net" + check, "",
		},
		{
			"a rogue certificate after STARTTLS", "S: ok\nC: starttls\nS: go\nFAILTLS rogue", starttls,
			"connect: Disconnected by server: Connection closed: Received invalid SSL certificate: self-signed certificate: /CN=rogue.example.net (check ssl_client_ca_* settings?) (state=/banner, duration=0s)", "",
		},
		{
			"another's certificate", "FAILTLS other", implicit,
			"connect: Disconnected by server: Connection closed: Received invalid SSL certificate: SSL certificate doesn't match expected host name backend.example: did not match to any IP or DNS fields (state=/none, duration=0s)", "",
		},
		{
			"a plain server where TLS is asked", "S: * OK hello\nHANG", implicit,
			"connect: Disconnected by server: Connection closed: SSL_connect() failed: error:0A00010B:SSL routines::wrong version number (state=/none, duration=0s)", "",
		},
		{
			"clear text behind the STARTTLS reply", "S: ok\nC: starttls\nR: \"go\\r\\n* injected\\r\\n\"\nEOF", starttls,
			"protocol: Plaintext data after the STARTTLS reply", "Error: Remote server sent invalid input: Plaintext data after the STARTTLS reply",
		},
		{"closed at once", "CLOSE", nil, "connect: Disconnected by server: Connection closed (state=/none, duration=0s)", ""},
		{"closed within a line", "R: \"o\"\nCLOSE", nil, "connect: Disconnected by server: Connection closed (state=/none, duration=0s)", ""},
		{"closed within the TLS handshake", "N: 5\nRESET", implicit, "connect: Disconnected by server: Connection closed: read(size=4096) failed: Connection reset by peer (state=/none, duration=0s)", ""},
		{"reset", "S: ok\nC: hello u1\nRESET", nil, "connect: Disconnected by server: Connection closed: read(size=4092) failed: Connection reset by peer (state=/banner, duration=0s)", ""},
		{"a line too long", "R: \"" + strings.Repeat("x", 4096) + "\"\nHANG", nil, "protocol: Too long input line", "Error: Remote server sent invalid input: Too long input line"},
		{"silence", "HANG", func(t *route.Target) { t.Timeout = 50 * time.Millisecond }, "connect: Login timed out in state=/none (after 0 secs, local=127.0.0.1:PORT)", ""},
		{"silence within TLS", "N: 5\nHANG", func(t *route.Target) { t.TLS, t.Timeout = route.Implicit, 50*time.Millisecond }, "connect: Login timed out in state=/none (after 0 secs, local=127.0.0.1:PORT)", ""},
		{"refused", "S: no such user\nHANG", nil, "auth: no such user", "Info: Login failed: no such user"},
		{"refused for now", "S: later\nHANG", nil, "auth_tempfail: later | later", "Info: Login failed: later"},
		{
			"a refusal tells the account", "S: no\nHANG", func(t *route.Target) {
				t.User, t.Master, t.Source = "box", "adm", netip.MustParseAddr("127.0.0.9")
			}, "auth: no", "Info: Login failed from 127.0.0.9 as user box (master adm): no",
		},
		{"remote trouble", "S: remote trouble\nHANG", nil, "remote: remote trouble", "Error: Aborting due to remote server: remote trouble"},
		{"control bytes stay out of the log", "R: \"no \\x1b[1m\\x00 \\xe4\\r\\n\"\nHANG", nil, "auth: no \x1b[1m\x00 \xe4", "Info: Login failed: no ?[1m? ?"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var change func(*backend.Login, *conf.Settings)
			if tc.change != nil {
				change = target(tc.change)
			}
			res := run(t, tc.script, change)
			got := ""
			if res.Err != nil {
				got = res.Failure()
			} else {
				got = res.Session.Welcome.Line
			}
			if got = ports.ReplaceAllString(got, "$1:PORT"); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
			want := []string{tc.line}
			switch tc.line {
			case "none":
				want = nil
			case "":
				_, text, _ := strings.Cut(tc.want, ": ")
				want = []string{"Error: " + text}
			}
			for i := range res.Lines {
				res.Lines[i] = ports.ReplaceAllString(res.Lines[i], "$1:PORT")
			}
			if !slices.Equal(res.Lines, want) {
				t.Errorf("lines %q\nwant  %q", res.Lines, want)
			}
		})
	}
}

var ports = regexp.MustCompile(`(local=[0-9a-f.:]+):\d+`)

func TestEndlessReply(t *testing.T) {
	res := backendtest.Run(t, backendtest.Case{Handshake: endless{}, Service: "imap", Script: "R: \"" + strings.Repeat("x\\r\\n", 200) + "\"\nHANG"})
	if want := "protocol: Too much input before the login's end"; res.Failure() != want {
		t.Errorf("got %s", res.Failure())
	}
	res = backendtest.Run(t, backendtest.Case{Handshake: endless{}, Service: "imap", Script: "R: \"" + strings.Repeat(strings.Repeat("x", 4000)+"\\r\\n", 20) + "\"\nHANG"})
	if want := "protocol: Too much input before the login's end"; res.Failure() != want {
		t.Errorf("got %s", res.Failure())
	}
}

// endless reads for ever.
type endless struct{}

func (endless) Login(c *backend.Conn, _ *backend.Login) (backend.Welcome, error) {
	for {
		if _, err := c.Line(); err != nil {
			return backend.Welcome{}, err
		}
	}
}

func dialer(set *conf.Settings) (*backend.Dialer, *backendtest.Recorder) {
	rec := &backendtest.Recorder{}
	d := backend.NewDialer(set, rec, nil)
	d.SetPause(time.Millisecond)
	return d, rec
}

// closedPort returns an address that refuses connections.
func closedPort(t *testing.T, ip string) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		t.Skip(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

var client = event.Client{Service: "imap", User: "u1"}

func connect(t *testing.T, d *backend.Dialer, l *backend.Login) (*backend.Session, *backend.Error) {
	t.Helper()
	s, err := d.Connect(t.Context(), hello{}, l, client)
	if err == nil {
		t.Cleanup(func() { _ = s.Conn.Close() })
		return s, nil
	}
	var e *backend.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %T", err)
	}
	return nil, e
}

func TestRefusedIsRetriedWithinTheTime(t *testing.T) {
	for _, tc := range []struct {
		name       string
		reconnects uint
		timeout    time.Duration
		want       string
	}{
		{"three times more", 3, 30 * time.Second, ", 3 reconnects"},
		{"not at all", 0, 30 * time.Second, ""},
		{"not when there is no time for another", 3, 1100 * time.Millisecond, ""},
	} {
		for ip, shown := range map[string]string{"127.0.0.1": "127.0.0.1", "::1": "::1"} {
			t.Run(tc.name+" at "+ip, func(t *testing.T) {
				d, rec := dialer(&conf.Settings{LoginProxyMaxReconnects: tc.reconnects})
				addr := closedPort(t, ip)
				l := backendtest.NewLogin(addr)
				l.Target.Timeout = tc.timeout
				_, e := connect(t, d, l)
				want := fmt.Sprintf("connect(%s, %d) failed: Connection refused (after 0 secs%s, local=%s:PORT)", shown, addr.Port(), tc.want, shown)
				if e == nil || ports.ReplaceAllString(e.Text, "$1:PORT") != want || e.Kind != backend.Connect || !e.Dial() {
					t.Errorf("got  %v\nwant %s", e, want)
				}
				line := fmt.Sprintf("Error: proxy(u1,%s:%d): %s", shown, addr.Port(), want)
				if got := rec.Lines(); len(got) != 1 || ports.ReplaceAllString(got[0], "$1:PORT") != line {
					t.Errorf("lines %q\nwant %s", got, line)
				}
			})
		}
	}
}

func TestBackendThatComesBack(t *testing.T) {
	server := backendtest.Start(t, "127.0.0.1", "CLOSE\n--\nS: later\nHANG\n--\nS: remote\nHANG\n--\n"+welcome)
	d, rec := dialer(&conf.Settings{LoginProxyMaxReconnects: 3, AuthDebug: true})
	s, e := connect(t, d, backendtest.NewLogin(server.Addr))
	if e != nil || s.Reconnects != 3 || s.Welcome.Line != "welcome" {
		t.Fatalf("got %+v, %v", s, e)
	}
	_ = s.Conn.Close()
	prefix := "Debug: proxy(u1," + server.Addr.String() + "): "
	want := []string{
		prefix + "Disconnected by server: Connection closed (state=/none, duration=0s) - reconnecting (attempt #1)",
		prefix + "later - reconnecting (attempt #2)",
		prefix + "Aborting due to remote server: remote - reconnecting (attempt #3)",
	}
	if got := rec.Lines(); !slices.Equal(got, want) {
		t.Errorf("lines %q\nwant %q", got, want)
	}
}

func TestFinalFailuresAreNotRetried(t *testing.T) {
	for name, script := range map[string]string{"a refused login": "S: no\nHANG", "a bad certificate": "FAILTLS rogue"} {
		t.Run(name, func(t *testing.T) {
			server := backendtest.Start(t, "127.0.0.1", script)
			d, _ := dialer(&conf.Settings{LoginProxyMaxReconnects: 3, SSLCA: server.CA()})
			l := backendtest.NewLogin(server.Addr)
			if name != "a refused login" {
				l.Target.TLS = route.Implicit
			}
			if _, e := connect(t, d, l); e == nil {
				t.Error("logged in")
			}
		})
	}
}

func TestKnownRefusalIsNotWaitedFor(t *testing.T) {
	d, rec := dialer(&conf.Settings{LoginProxyMaxReconnects: 3})
	l := backendtest.NewLogin(closedPort(t, "127.0.0.1"))
	for i, want := range []string{"after 0 secs, 3 reconnects, ", "after 0 secs, local", "after 0 secs, local"} {
		if _, e := connect(t, d, l); e == nil || !strings.Contains(e.Text, want) {
			t.Errorf("login %d: %v", i+1, e)
		}
	}
	if n := len(rec.Lines()); n != 3 {
		t.Errorf("%d lines", n)
	}
}

func TestNothingIsSentThatEndsALine(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*backend.Login)
		want   string
	}{
		{"CRLF in the user name", func(l *backend.Login) { l.Target.User = "u1\r\nDELE 1" }, "internal: the user name has control characters, which are not sent to a backend"},
		{"NUL in the password", func(l *backend.Login) { l.Target.Password = "a\x00b" }, "internal: the password has control characters, which are not sent to a backend"},
		{"TAB in the password", func(l *backend.Login) { l.Target.Password = "a\tb" }, "internal: the password has control characters, which are not sent to a backend"},
		{"LF in the master user", func(l *backend.Login) { l.Target.Master = "a\nb" }, "internal: the master user name has control characters, which are not sent to a backend"},
		{"CR in the session id", func(l *backend.Login) { l.Identity.Session = "a\r" }, "internal: the session id has control characters, which are not sent to a backend"},
		{"LF in the EHLO name", func(l *backend.Login) { l.Identity.Helo = "a\n" }, "internal: the EHLO name has control characters, which are not sent to a backend"},
		{"LF in a forward field", func(l *backend.Login) { l.Target.Forward = []passdb.Field{{Name: "a", Value: "b\nc"}} }, "internal: a forward_ field has control characters, which are not sent to a backend"},
		{"LF in its name", func(l *backend.Login) { l.Target.Forward = []passdb.Field{{Name: "a\nb", Value: "c"}} }, "internal: a forward_ field has control characters, which are not sent to a backend"},
		{"hops used up", func(l *backend.Login) { l.Identity.TTL = 1 }, "remote_config: TTL reached zero - proxies appear to be looping?"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d, rec := dialer(&conf.Settings{LoginProxyMaxReconnects: 3})
			l := backendtest.NewLogin(closedPort(t, "127.0.0.1"))
			tc.change(l)
			_, e := connect(t, d, l)
			if e == nil || e.Kind.String()+": "+e.Text != tc.want {
				t.Errorf("got %v", e)
			}
			if lines := rec.Lines(); len(lines) != 1 || strings.Contains(lines[0], "DELE") {
				t.Errorf("lines %q", lines)
			}
		})
	}
}

func TestTTLText(t *testing.T) {
	d, rec := dialer(&conf.Settings{})
	l := backendtest.NewLogin(netip.MustParseAddrPort("127.0.0.1:143"))
	l.Identity.TTL = 1
	connect(t, d, l)
	if got, want := rec.Lines(), []string{"Error: proxy(u1,127.0.0.1:143): Aborting due to remote server: TTL reached zero - proxies appear to be looping?"}; !slices.Equal(got, want) {
		t.Errorf("lines %q", got)
	}
}

func TestCanceledLoginEndsWithoutALine(t *testing.T) {
	for name, script := range map[string]string{"while the backend is silent": "HANG", "within the TLS handshake": "HANG"} {
		t.Run(name, func(t *testing.T) {
			server := backendtest.Start(t, "127.0.0.1", script)
			d, rec := dialer(&conf.Settings{LoginProxyMaxReconnects: 3})
			l := backendtest.NewLogin(server.Addr)
			l.Target.Timeout = time.Hour
			if name == "within the TLS handshake" {
				l.Target.TLS = route.Implicit
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() {
				_, err := d.Connect(ctx, hello{}, l, client)
				done <- err
			}()
			cancel()
			var e *backend.Error
			if err := <-done; !errors.As(err, &e) || !e.Canceled() {
				t.Errorf("got %v", err)
			}
			if lines := rec.Lines(); len(lines) != 0 {
				t.Errorf("lines %q", lines)
			}
			// The server may have been left before it was reached.
			if nc, err := net.Dial("tcp", server.Addr.String()); err == nil {
				_ = nc.Close()
			}
		})
	}
}

func TestHandedOverConnectionHasNoDeadline(t *testing.T) {
	server := backendtest.Start(t, "127.0.0.1", "S: ok\nC: hello u1\nR: \"welcome\\r\\nearly\"\nC: go\nS: late\nEOF")
	d, _ := dialer(&conf.Settings{})
	l := backendtest.NewLogin(server.Addr)
	ctx, cancel := context.WithCancel(t.Context())
	s, err := d.Connect(ctx, hello{}, l, client)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Conn.Close()
	cancel() // of no concern any more
	if _, err := s.Conn.Conn.Write([]byte("go\r\n")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 16)
	n, err := s.Conn.Conn.Read(b)
	got := string(s.Conn.R.Take()) + string(b[:n])
	if err != nil || got != "earlylate\r\n" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestSentCountsSinceTLS(t *testing.T) {
	res := run(t, "S: ok\nC: starttls\nS: go\nTLS good\nC: hello u1\nS: welcome\nEOF", target(func(t *route.Target) { t.TLS = route.StartTLS }))
	if res.Err != nil || res.Session.Conn.Sent != uint64(len("hello u1\r\n")) {
		t.Errorf("got %+v", res)
	}
}

// kinds keeps the metric labels of failures.
type kinds struct{ labels []string }

func (k *kinds) Emit(e event.Event) {
	if f, ok := e.(event.BackendFailed); ok {
		k.labels = append(k.labels, f.Kind)
	}
}

func TestBadCertificateHasItsOwnMetric(t *testing.T) {
	server := backendtest.Start(t, "127.0.0.1", "FAILTLS rogue")
	k := &kinds{}
	l := backendtest.NewLogin(server.Addr)
	l.Target.TLS = route.Implicit
	if _, err := backend.NewDialer(&conf.Settings{SSLCA: server.CA()}, k, nil).Connect(t.Context(), hello{}, l, client); err == nil {
		t.Fatal("logged in")
	}
	if !slices.Equal(k.labels, []string{"tls_cert"}) {
		t.Errorf("got %q", k.labels)
	}
}

func TestTLSSessionIsResumed(t *testing.T) {
	// The server of a script keeps no tickets between connections; this one does.
	server := newTLSServer(t)
	d, _ := dialer(&conf.Settings{SSLCA: server.certs})
	for i := range 2 {
		l := backendtest.NewLogin(server.addr)
		l.Target.TLS = route.Implicit
		s, e := connect(t, d, l)
		if e != nil {
			t.Fatal(e)
		}
		_ = s.Conn.Close()
		if resumed := <-server.resumed; resumed != (i == 1) {
			t.Errorf("login %d: resumed %t", i+1, resumed)
		}
	}
}
