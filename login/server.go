// Package login serves one client from accept to the relay: PROXY header, TLS, greeting, the
// front's commands, authentication, the backend's login, hand-over. It knows no protocol: a front
// speaks to the client and a handshake to the backend. Imported by its fronts and by cmd/dproxy;
// imports auth, passdb, route, backend, relay, session, capability, wire, listen, tlsconf, conf and
// event.
package login

import (
	"runtime/debug"
	"sync"
	"sync/atomic"

	"dproxy/backend"
	"dproxy/event"
	"dproxy/listen"
	"dproxy/relay"
	"dproxy/route"
	"dproxy/session"
)

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
	times    times
	panics   atomic.Uint64
	userIPs  userIPs
	spreads  spreads
	// notifiers are those of each path that login_proxy_notify_path has had.
	notifiers sync.Map
	clients   sync.WaitGroup // goroutines in the login phase
}

// NewServer returns a server without a snapshot; Use must come before the first connection.
func NewServer(o Options) *Server {
	return &Server{Options: o, router: route.New(o.Resolver, o.Events), times: dovecotTimes()}
}

// Use makes snap the snapshot of new connections and takes it over. The old one is closed when its
// last connection has let go. Nil serves no new connections.
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
func (s *Server) Serve(nc listen.Conn, spec listen.Spec) {
	s.clients.Add(1)
	defer s.clients.Done()
	var c *Client
	defer func() {
		if fault := recover(); fault != nil {
			s.recovered(c, nc, spec)
		}
	}()
	if c = s.accept(nc, spec); c != nil {
		s.serve(c)
	}
}

// recovered ends the one client that hit a fault in the program; all others go on. What was panicked
// with is not shown: it may hold what the client sent.
func (s *Server) recovered(c *Client, nc listen.Conn, spec listen.Spec) {
	s.panics.Add(1)
	if c != nil {
		c.close()
	}
	_ = nc.Close()
	s.Events.Emit(event.Notice{
		Level: event.Error, Source: event.LoginSource(spec.Protocol),
		Text: "Panic: the connection was closed: " + event.Clean(string(debug.Stack()), 2048),
	})
}

// serve is the story of a client.
func (s *Server) serve(c *Client) {
	if err := c.open(); err != nil {
		c.end(err)
		return
	}
	if f, ok := c.front.(Standalone); ok {
		c.end(f.Serve())
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
