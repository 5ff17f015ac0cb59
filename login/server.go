// Package login is one client from accept to relay: the connection's life before hand-over, with a
// protocol's front for what the client sees. It imports auth, passdb, route, backend, relay, session,
// capability, wire, listen, tlsconf, conf and event; cmd/dproxy wires it.
package login

import (
	"context"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"dproxy/backend"
	"dproxy/conf"
	"dproxy/event"
	"dproxy/listen"
	"dproxy/relay"
	"dproxy/route"
	"dproxy/session"
)

// Protocol is everything that sets one protocol apart.
type Protocol struct {
	Name      string // imap, pop3, ...
	Ports     route.Ports
	ALPN      []string
	Handshake backend.Handshake
	// NewFront makes the client-facing half for one connection.
	NewFront func(*Client) Front
}

// Front is the server side of a protocol before login. Errors are the connection's own.
type Front interface {
	// Greet sends the greeting.
	Greet() error
	// Credentials talks to the client until it asks to authenticate.
	Credentials() (Credentials, error)
	// Continue sends a SASL challenge and reads the answer, decoded. ErrAborted and ErrBadBase64
	// leave the connection usable.
	Continue(challenge []byte) ([]byte, error)
	// Refuse answers an attempt that failed.
	Refuse(Refusal) error
	// Welcome answers an attempt that succeeded, in the backend's words.
	Welcome(backend.Welcome) error
	// Bye says why the connection ends. What it writes is best effort.
	Bye(Bye)
}

// Credentials is a client's wish to authenticate.
type Credentials struct {
	Mech       string
	Initial    []byte
	HasInitial bool
	// Command is set for logins that are no SASL exchange (IMAP LOGIN, POP3 USER and PASS); User is
	// their name, for the log.
	Command bool
	User    string
}

// Options are what NewServer needs.
type Options struct {
	Protocols map[string]Protocol
	Events    event.Sink
	Relay     *relay.Engine
	Registry  *session.Registry
	Resolver  route.Resolver
}

// Server serves clients of every protocol.
type Server struct {
	Options
	router   *route.Router
	snapshot atomic.Pointer[Snapshot]
	panics   atomic.Uint64
	clients  sync.WaitGroup // goroutines in the login phase
}

// NewServer returns a server without a snapshot; Use must come before the first connection.
func NewServer(o Options) *Server {
	return &Server{Options: o, router: route.New(o.Resolver, o.Events)}
}

// Use makes s the snapshot of new connections. The old one is released when its last connection has
// let go.
func (s *Server) Use(snap *Snapshot) {
	if old := s.snapshot.Swap(snap); old != nil {
		old.release()
	}
}

// Panics counts connections that a fault in the program ended.
func (s *Server) Panics() uint64 { return s.panics.Load() }

// Wait returns when no connection is in its login phase.
func (s *Server) Wait() { s.clients.Wait() }

// Serve runs one accepted connection until it ends or is handed over. It is a listen.Handler.
func (s *Server) Serve(nc *net.TCPConn, spec listen.Spec) {
	s.clients.Add(1)
	defer s.clients.Done()
	c := s.accept(nc, spec)
	defer s.recovered(c)
	if c == nil {
		return
	}
	s.serve(c)
}

// recovered ends the one client that hit a fault in the program; all others go on.
func (s *Server) recovered(c *Client) {
	r := recover()
	if r == nil {
		return
	}
	s.panics.Add(1)
	source := "login"
	if c != nil {
		source = event.LoginSource(c.peer.Service)
		c.close()
	}
	s.Events.Emit(event.Notice{Level: event.Error, Source: source, Text: "Panic: the connection was closed: " + event.Clean(string(debug.Stack()), 2048)})
}

// serve is the story of a client.
func (s *Server) serve(c *Client) {
	if err := c.open(); err != nil {
		c.end(err)
		return
	}
	for {
		cred, err := c.front.Credentials()
		if err != nil {
			c.end(err)
			return
		}
		reply, refusal, err := c.authenticate(cred)
		if err != nil {
			c.end(err)
			return
		}
		if refusal == nil {
			var up *backend.Session
			if up, refusal, err = s.connect(c, reply); err == nil && refusal == nil {
				s.handOver(c, up)
				return
			}
		}
		if err == nil {
			err = c.front.Refuse(*refusal)
		}
		if err != nil {
			c.end(err)
			return
		}
	}
}

// handOver gives both connections to the relay. The client's goroutine ends with it; the session's
// end is reported by the relay's callback.
func (s *Server) handOver(c *Client, up *backend.Session) {
	if err := c.front.Welcome(up.Welcome); err != nil {
		_ = up.Conn.Close()
		c.end(err)
		return
	}
	if err := c.nc.SetDeadline(time.Time{}); err != nil {
		_ = up.Conn.Close()
		c.end(err)
		return
	}
	e := c.event()
	target := up.Target.Event()
	s.Events.Emit(event.Started{Client: e, Target: target, Took: time.Since(c.loginBegan), Reconnects: up.Reconnects})
	sent, written := up.Conn.Sent, c.written
	entry, registry, events := c.entry, s.Registry, s.Events
	relayed := &relayed{}
	registry.LoggedIn(entry, relayed)
	c.handedOver()
	pair := relay.Pair{Client: c.nc, Backend: up.Conn.Conn, ToBackend: c.R.Take(), ToClient: up.Conn.R.Take()}
	relayed.start(s.Relay, pair, func(st relay.Stats) {
		registry.Remove(entry)
		events.Emit(ended(e, target, st, sent, written, relayed.reason()))
	})
}

// relayed is a session in the relay, as the registry sees it. It holds no more than it must: there
// may be a hundred thousand.
type relayed struct {
	mu     sync.Mutex
	s      *relay.Session
	why    session.Reason
	ending bool
}

func (r *relayed) start(e *relay.Engine, p relay.Pair, onEnd func(relay.Stats)) {
	s := e.Start(p, onEnd)
	r.mu.Lock()
	r.s = s
	ending := r.ending
	r.mu.Unlock()
	if ending {
		s.Close()
	}
}

// End implements session.Session.
func (r *relayed) End(why session.Reason) {
	r.mu.Lock()
	r.why, r.ending = why, true
	s := r.s
	r.mu.Unlock()
	if s != nil {
		s.Close()
	}
}

func (r *relayed) reason() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !r.ending:
		return ""
	case r.why == session.Kicked:
		return "Kicked by admin"
	}
	return "Process shutting down"
}

func ended(c event.Client, t event.Target, st relay.Stats, sent, written uint64, reason string) event.Ended {
	e := event.Ended{Client: c, Target: t, Idle: st.Idle, In: st.In + sent, Out: st.Out + written}
	switch st.Side {
	case relay.ByClient:
		e.Side = "client"
	case relay.ByServer:
		e.Side = "server"
	default:
		e.Side, e.Reason = "proxy", reason
	}
	if st.Err != nil && e.Reason == "" {
		e.Reason = st.Err.Error()
	}
	return e
}

// Snapshot is one configuration with everything derived from it. It never changes; a connection
// keeps the one it began with.
type Snapshot struct {
	Config   *conf.Config
	auth     authenticator
	authErr  error
	hostname string
	events   event.Sink
	resolver route.Resolver

	mu       sync.Mutex
	profiles map[profileKey]*profile
	refs     atomic.Int64
	ctx      context.Context
}

type profileKey struct {
	settings *conf.Settings
	protocol string
}
