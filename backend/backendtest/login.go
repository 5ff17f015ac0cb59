package backendtest

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"dproxy/backend"
	"dproxy/conf"
	"dproxy/event"
	"dproxy/route"
	"dproxy/wire"
)

// Recorder keeps the log lines of the events it hears. It is an event.Sink.
type Recorder struct {
	mu    sync.Mutex
	lines []string
}

// Emit implements event.Sink.
func (r *Recorder) Emit(e event.Event) {
	if l, ok := event.LineOf(e); ok {
		r.mu.Lock()
		r.lines = append(r.lines, l.Level.String()+": "+l.Text)
		r.mu.Unlock()
	}
}

// Lines returns the lines so far.
func (r *Recorder) Lines() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.lines...)
}

// Case is a login at a scripted backend.
type Case struct {
	Handshake backend.Handshake
	Service   string // imap, pop3, ...
	Script    string
	// Change alters the login and the settings before the dial; may be nil.
	Change func(*backend.Login, *conf.Settings)
}

// Result is what came of a Case.
type Result struct {
	Session  *backend.Session // closed at the test's end; nil after a failure
	Err      *backend.Error
	Untagged []string
	Lines    []string // log lines, with the backend's address and the login's own port replaced
}

// NewLogin is the login that a Case begins with: user u1 with password secret, for a client at
// 192.0.2.7:4711 that connected to 198.51.100.1:143, with session SID and five hops to go.
func NewLogin(addr netip.AddrPort) *backend.Login {
	return &backend.Login{
		Target: route.Target{Host: Name, Addr: addr, User: "u1", Password: "secret", Timeout: 5 * time.Second},
		Identity: backend.Identity{
			Session: "SID", TTL: 5, Local: netip.MustParseAddrPort("198.51.100.1:143"), Remote: netip.MustParseAddrPort("192.0.2.7:4711"),
			Hostname: "proxy.example.org", Helo: "client.example.com", Proto: "ESMTP",
		},
	}
}

// Run plays a Case. There are no further attempts after a failure unless Change asks for them.
func Run(t *testing.T, c Case) Result {
	t.Helper()
	server := Start(t, "127.0.0.1", c.Script)
	set := &conf.Settings{LoginProxyTimeout: 5 * time.Second, SSLCA: server.CA(), SSLClientRequireValidCert: true, AuthVerbose: true}
	l := NewLogin(server.Addr)
	var res Result
	l.Untagged = func(line string) { res.Untagged = append(res.Untagged, line) }
	if c.Change != nil {
		c.Change(l, set)
	}
	rec := &Recorder{}
	client := event.Client{Service: c.Service, User: "u1", Session: "SID"}
	s, err := backend.NewDialer(set, rec, nil).Connect(t.Context(), c.Handshake, l, client)
	if err == nil {
		res.Session = s
	} else if !errors.As(err, &res.Err) {
		t.Errorf("error %T, want *backend.Error", err)
	}
	prefix := "proxy(u1," + server.Addr.String() + "): "
	for _, line := range rec.Lines() {
		res.Lines = append(res.Lines, strings.Replace(line, prefix, "", 1))
	}
	if s != nil {
		_ = s.Conn.Close()
	}
	server.Stop()
	return res
}

// Failure describes a failed login for a table test: its kind, the reply for the client, and the log.
func (r Result) Failure() string {
	if r.Err == nil {
		return "no failure"
	}
	text := r.Err.Kind.String() + ": " + r.Err.Text
	if r.Err.Reply != "" {
		text += " | " + r.Err.Reply
	}
	return text
}

// Feed gives a handshake a backend that says in and closes, whatever it is told, and checks that the
// answer is one of the two that there are. It is the body of a fuzz target.
func Feed(t *testing.T, in []byte, hs backend.Handshake, change func(*backend.Login)) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Skip(err) // ports run out under load
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		nc, err := l.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		_, _ = nc.Write(in)
		_ = nc.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, nc)
	}()
	login := NewLogin(l.Addr().(*net.TCPAddr).AddrPort())
	change(login)
	s, err := backend.NewDialer(&conf.Settings{}, event.Discard{}, nil).Connect(t.Context(), hs, login, event.Client{Service: "fuzz", User: "u1"})
	switch {
	case err == nil:
		_ = s.Conn.Close()
	default:
		var e *backend.Error
		if !errors.As(err, &e) {
			t.Errorf("error %T", err)
		} else if reply := strings.ReplaceAll(e.Reply, "\r\n", ""); reply != wire.Printable(reply) {
			t.Errorf("a reply for the client with control bytes: %q", e.Reply)
		}
	}
	_ = l.Close()
	<-done
}
