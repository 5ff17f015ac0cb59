// Package loginrig runs the login room in a test: a real server on a loopback port with a real configuration, the real
// auth room over a passdb in memory, the real relay, and a backend that the test scripts. Imports what it wires; the
// tests of login and its fronts import it.
package loginrig

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"dproxy/auth"
	"dproxy/conf"
	"dproxy/event"
	"dproxy/listen"
	"dproxy/login"
	"dproxy/passdb"
	"dproxy/relay"
	"dproxy/session"
)

// Patience bounds every wait of a test. It is no part of what is tested.
const Patience = 20 * time.Second

// Options say what to run.
type Options struct {
	Protocol login.Protocol
	Conf     string // beside the glue; a passdb is part of the glue
	Spec     listen.Spec
	Users    map[string]User
	Limits   session.Limits
	AuthErr  error // there is no auth room
	// Quiet keeps no events, for tests with very many connections.
	Quiet bool
	// Tune changes the server before it serves; may be nil.
	Tune func(*login.Server)
	// Goroutines serves each client on a goroutine, as on systems without event loops.
	Goroutines bool
	// Backend serves each connection of the backend; nil closes them.
	Backend func(*Peer)
}

// User is what the passdb says of a user.
type User struct {
	Password string
	// Fields are the extra fields. Nil stands for proxy to the rig's backend.
	Fields []passdb.Field
	Status passdb.Status
	Err    error
	// Wait, when it is set, holds the lookup until it is closed or the lookup given up.
	Wait chan struct{}
}

// Rig is a running server.
type Rig struct {
	Addr     *net.TCPAddr
	Server   *login.Server
	Registry *session.Registry
	Relay    *relay.Engine
	users    sync.Mutex
	Snapshot *login.Snapshot
	Log      *Log

	tb      testing.TB
	options Options
	backend *net.TCPListener
	serving sync.WaitGroup
}

// glue is the beginning of every configuration.
const glue = `
log_path = /dev/stderr
hostname = proxy.example.org
login_greeting = Proxy ready.
auth_failure_delay = 0
ssl = no
login_proxy_max_reconnects = 0
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
passdb {
  driver = static
  args = password=unused
}
`

// Start runs a server until the test ends. It fails the test when anything is left then.
func Start(tb testing.TB, o Options) *Rig {
	tb.Helper()
	r := &Rig{tb: tb, options: o, Log: &Log{tb: tb}, Registry: session.NewRegistry(), Relay: relay.NewWith(relay.Options{QuickEnds: true})}
	r.Log.changed.L = &r.Log.mu
	r.startBackend()
	r.Registry.SetLimits(o.Limits)
	protocols := map[string]login.Protocol{o.Protocol.Name: o.Protocol}
	var events event.Sink = r.Log
	if o.Quiet {
		events = event.Discard{}
	}
	r.Server = login.NewServer(login.Options{Protocols: protocols, Events: events, Relay: r.Relay, Registry: r.Registry, Resolver: net.DefaultResolver})
	if o.Tune != nil {
		o.Tune(r.Server)
	}
	r.Snapshot = r.NewSnapshot(o.Conf)
	r.Server.Use(r.Snapshot)
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		tb.Fatal(err)
	}
	r.Addr = l.Addr().(*net.TCPAddr)
	spec := o.Spec
	spec.Protocol, spec.Addr = o.Protocol.Name, r.Addr.AddrPort()
	var held net.Listener
	loops := false
	if !o.Goroutines {
		held, loops = r.Relay.Accept(l, func(nc net.Conn) { r.Server.Serve(nc.(listen.Conn), spec) },
			func(error) time.Duration { return time.Millisecond })
	}
	r.serving.Go(func() {
		for !loops {
			nc, err := l.AcceptTCP()
			if err != nil {
				return
			}
			r.serving.Go(func() { r.Server.Serve(nc, spec) })
		}
	})
	tb.Cleanup(func() {
		_ = l.Close()
		if loops {
			_ = held.Close()
		}
		r.Registry.Stop(true)
		r.await("every session to end", r.Registry.Wait())
		_ = r.backend.Close()
		r.Relay.Close()
		r.serving.Wait()
		r.Server.Use(nil)
		if n := r.Server.Panics(); n > 0 && !strings.Contains(tb.Name(), "Panic") {
			tb.Errorf("%d panics:\n%s", n, strings.Join(r.Log.Lines(), "\n"))
		}
	})
	return r
}

// NewSnapshot loads another configuration, for Server.Use.
func (r *Rig) NewSnapshot(text string) *login.Snapshot {
	r.tb.Helper()
	s, err := r.TrySnapshot(text)
	if err != nil {
		r.tb.Fatal(err)
	}
	return s
}

// TrySnapshot is NewSnapshot for configurations that may be wrong.
func (r *Rig) TrySnapshot(text string) (*login.Snapshot, error) {
	r.tb.Helper()
	dir := r.tb.TempDir()
	path := filepath.Join(dir, "dovecot.conf")
	whole := "base_dir = " + dir + "\nprotocols = " + r.options.Protocol.Name + "\n" + glue + text + "\n"
	if err := os.WriteFile(path, []byte(whole), 0o600); err != nil {
		r.tb.Fatal(err)
	}
	c, err := conf.Load(path, conf.Options{Expand: true})
	if err != nil {
		r.tb.Fatal(err)
	}
	o := login.SnapshotOptions{
		Context: context.Background(), Config: c, AuthErr: r.options.AuthErr, Hostname: "host", Events: r.Log, Resolver: net.DefaultResolver,
		Protocols: map[string]login.Protocol{r.options.Protocol.Name: r.options.Protocol}, Loops: r.Relay,
	}
	if o.AuthErr == nil {
		drivers := map[string]passdb.Factory{"static": func(conf.Passdb) (passdb.Driver, error) { return memory{r}, nil }}
		if o.Auth, err = auth.New(auth.Options{Config: c, Drivers: drivers, Events: r.Log}); err != nil {
			r.tb.Fatal(err)
		}
	}
	return login.NewSnapshot(o)
}

// memory is the passdb.
type memory struct{ rig *Rig }

// Lookup implements passdb.Driver.
func (m memory) Lookup(ctx context.Context, q *passdb.Request) (passdb.Result, error) {
	m.rig.users.Lock()
	u, ok := m.rig.options.Users[q.User]
	m.rig.users.Unlock()
	if u.Wait != nil {
		select {
		case <-u.Wait:
		case <-ctx.Done():
			return passdb.Result{}, ctx.Err()
		}
	}
	if u.Err != nil {
		return passdb.Result{}, u.Err
	}
	if !ok {
		return passdb.Result{Status: passdb.Unknown}, nil
	}
	fields := u.Fields
	if fields == nil {
		fields = m.rig.ProxyFields()
	}
	return passdb.Result{
		Status: u.Status, Password: passdb.Secret(u.Password), HasPassword: true, DefaultScheme: "PLAIN", Fields: fields,
	}, nil
}

// ProxyFields are the fields of a user who is proxied to the rig's backend.
func (r *Rig) ProxyFields(more ...passdb.Field) []passdb.Field {
	_, port, _ := net.SplitHostPort(r.backend.Addr().String())
	return append([]passdb.Field{{Name: "proxy", Value: "y"}, {Name: "host", Value: "127.0.0.1"}, {Name: "port", Value: port}}, more...)
}

// SetUser changes what the passdb says. It must not run beside a login.
func (r *Rig) SetUser(name string, u User) {
	r.users.Lock()
	defer r.users.Unlock()
	r.options.Users[name] = u
}

func (r *Rig) startBackend() {
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		r.tb.Fatal(err)
	}
	r.backend = l
	r.serving.Go(func() {
		for {
			nc, err := l.AcceptTCP()
			if err != nil {
				return
			}
			if r.options.Backend == nil {
				_ = nc.Close()
				continue
			}
			r.serving.Go(func() {
				p := newPeer(r.tb, nc)
				defer p.Close()
				r.options.Backend(p)
			})
		}
	})
}

// CloseBackend makes the backend refuse connections.
func (r *Rig) CloseBackend() { _ = r.backend.Close() }

// await waits for a channel that is closed.
func (r *Rig) await(what string, done <-chan struct{}) {
	r.tb.Helper()
	select {
	case <-done:
	case <-time.After(Patience):
		r.tb.Errorf("waited in vain for %s; the log:\n%s", what, strings.Join(r.Log.Lines(), "\n"))
	}
}

// Log keeps the events.
type Log struct {
	tb      testing.TB
	mu      sync.Mutex
	changed sync.Cond
	events  []event.Event
}

// Emit implements event.Sink.
func (l *Log) Emit(e event.Event) {
	l.mu.Lock()
	l.events = append(l.events, e)
	l.mu.Unlock()
	l.changed.Broadcast()
}

// Lines are the log lines so far.
func (l *Log) Lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines()
}

func (l *Log) lines() []string {
	var out []string
	for _, e := range l.events {
		if line, ok := event.LineOf(e); ok {
			out = append(out, line.Source+": "+line.Level.String()+": "+spent.ReplaceAllString(line.Text, "${1}0 secs)"))
		}
	}
	return out
}

// spent is the time that a connection took, which a loaded machine decides.
var spent = regexp.MustCompile(`(\((?:no auth|auth failed, \d+) attempts in )\d+ secs\)`)

// Wait returns the first line that has a text, once there is one.
func (l *Log) Wait(text string) string {
	l.tb.Helper()
	late := time.AfterFunc(Patience, l.changed.Broadcast)
	defer late.Stop()
	deadline := time.Now().Add(Patience)
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		for _, line := range l.lines() {
			if strings.Contains(line, text) {
				return line
			}
		}
		if !time.Now().Before(deadline) {
			l.tb.Errorf("no log line has %q:\n%s", text, strings.Join(l.lines(), "\n"))
			return ""
		}
		l.changed.Wait()
	}
}

// Find returns the first event of a type that fits.
func Find[E event.Event](l *Log, fits func(E) bool) (found E, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.events {
		if x, is := e.(E); is && (fits == nil || fits(x)) {
			return x, true
		}
	}
	return found, false
}

// ErrPassdb is a database that does not answer.
var ErrPassdb = errors.New("database is gone")
