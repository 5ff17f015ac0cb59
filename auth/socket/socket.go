// Package socket answers on the sockets of service auth: Dovecot's authentication client protocol, with
// which Postfix and Exim ask who may send mail, and the lookup part of its master protocol. It imports auth,
// passdb, wire and event; cmd/dproxy imports it.
package socket

import (
	"context"
	"fmt"
	"net"
	"path"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"dproxy/auth"
	"dproxy/event"
	"dproxy/passdb"
)

// Kind is the protocol of a socket.
type Kind int

// The kinds. Dovecot takes them from the end of the socket's name.
const (
	None   Kind = iota // a socket between Dovecot's own processes; dproxy has no use for it
	Client             // authentication: auth-client, auth, private/auth, ...
	Master             // lookups and cache flushes: auth-master
	Userdb             // lookups: auth-userdb
)

// KindOf tells a socket's kind from its path; a TCP listener, which has none, is for clients.
func KindOf(name string) Kind {
	name = path.Base(name)
	switch name[strings.LastIndexByte(name, '-')+1:] {
	case "login", "token", "tokenlogin", "worker":
		return None
	case "master":
		return Master
	case "userdb":
		return Userdb
	}
	return Client
}

// Authenticator is what the sockets ask. An *auth.Authenticator is one.
type Authenticator interface {
	Mechanisms() []auth.Mechanism
	Debug() bool
	Start(ctx context.Context, r auth.Request) (*auth.Exchange, []byte, *auth.Reply)
	Lookup(ctx context.Context, p passdb.Peer, user string) auth.Reply
	FlushCache(users ...string) int
}

// Options are what New needs.
type Options struct {
	Events event.Sink
	// Borrow returns the authenticator in use and what gives it back; nil when there is none.
	Borrow func() (Authenticator, func())
}

// Server serves the connections of all sockets.
type Server struct {
	Options
	lastID atomic.Uint64
	limit  atomic.Int64
	said   atomic.Int64 // when a full server was last reported, in Unix seconds

	mu     sync.Mutex
	conns  map[*conn]bool
	closed bool
	age    uint64 // changes with the configuration
	wg     sync.WaitGroup
}

// New returns a Server without connections.
func New(o Options) *Server {
	s := &Server{Options: o, conns: map[*conn]bool{}}
	s.limit.Store(defaultLimit)
	return s
}

const (
	defaultLimit = 1000
	writeLimit   = 10 * time.Second // for a client that does not read
	answerLimit  = 150 * time.Second
	reportEvery  = 10 // seconds between lines about a full server
)

// Source is one socket as Serve needs to know it.
type Source struct {
	Kind Kind
	// Restricted: everybody can connect. Only root, the server's user and Owner may look users up.
	Restricted bool
	Owner      int // user id
}

// conn is one connection of any kind.
type conn struct {
	s      *Server
	nc     net.Conn
	auth   Authenticator
	id     uint64
	ctx    context.Context
	cancel context.CancelFunc

	out     sync.Mutex
	queue   []byte // lines to be written
	spare   []byte // the buffer that was written last
	writing bool
	last    bool // the connection ends once the queue is empty
	flushed sync.WaitGroup

	mu      sync.Mutex
	busy    int  // requests without an answer
	retired bool // ends when it is not busy
}

// Serve runs a connection to its end.
func (s *Server) Serve(nc net.Conn, from Source) {
	s.mu.Lock()
	age := s.age
	s.mu.Unlock()
	a, release := s.Borrow()
	if a == nil {
		_ = nc.Close() // as from a Dovecot whose auth process does not start
		return
	}
	defer release()
	c := &conn{s: s, nc: nc, auth: a, id: s.lastID.Add(1)}
	c.ctx, c.cancel = context.WithCancel(context.Background()) // lives as long as the connection
	defer c.cancel()
	if !s.admit(c, age) {
		_ = nc.Close()
		return
	}
	defer s.dismiss(c)
	defer c.recovered()
	switch from.Kind {
	case Client:
		(&client{conn: c}).run()
	case Master, Userdb:
		(&master{conn: c, kind: from.Kind, allowed: !from.Restricted || trusted(nc, from.Owner)}).run()
	}
}

// admit takes a connection in, unless the server is full or the configuration that it has just borrowed is
// not in use any more.
func (s *Server) admit(c *conn, age uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	limit := s.limit.Load()
	if s.age != age {
		return false
	}
	if s.closed || int64(len(s.conns)) >= limit {
		if now := time.Now().Unix(); !s.closed && now-s.said.Load() >= reportEvery {
			s.said.Store(now)
			s.report(event.Warning, fmt.Sprintf("service(auth): client_limit (%d) reached, client connections are being dropped", limit))
		}
		return false
	}
	s.conns[c] = true
	s.wg.Add(1)
	return true
}

func (s *Server) dismiss(c *conn) {
	c.flushed.Wait() // the last words, for no longer than writeLimit
	_ = c.nc.Close()
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	s.wg.Done()
}

// recovered ends the one connection that hit a fault in the program. What was panicked with is not shown:
// it may hold what the client sent.
func (c *conn) recovered() {
	if fault := recover(); fault != nil {
		_ = c.nc.Close()
		c.s.report(event.Error, "Panic: the connection was closed: "+event.Clean(string(debug.Stack()), 2048))
	}
}

// Renew ends the connections of the old configuration, busy ones after their last answer: clients connect
// again and learn the new mechanisms. limit bounds the connections from now on; 0 is the default.
func (s *Server) Renew(limit int) {
	if limit <= 0 {
		limit = defaultLimit
	}
	s.limit.Store(int64(limit))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.age++
	s.retire()
}

// Retire ends the connections as Renew does and serves no new ones.
func (s *Server) Retire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.retire()
}

func (s *Server) retire() {
	for c := range s.conns {
		c.mu.Lock()
		c.retired = true
		if c.busy == 0 {
			c.hangUp()
		}
		c.mu.Unlock()
	}
}

// Close cuts every connection and returns when all have ended. No new ones are served.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		c.cancel()
		_ = c.nc.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// Count returns the number of connections.
func (s *Server) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

func (s *Server) report(level event.Level, text string) {
	s.Events.Emit(event.Notice{Level: level, Source: "auth", Text: text})
}

// begin counts a request, done its answer.
func (c *conn) begin() {
	c.mu.Lock()
	c.busy++
	c.mu.Unlock()
}

func (c *conn) done() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy--; c.busy == 0 && c.retired {
		c.hangUp()
	}
}

// hangUp closes the connection once what was said is written.
func (c *conn) hangUp() {
	c.out.Lock()
	defer c.out.Unlock()
	c.last = true
	if !c.writing {
		_ = c.nc.Close()
	}
}

// maxQueue bounds what waits for a client that does not read.
const maxQueue = 1 << 20

// send writes one line, together with those that others have ready at the same moment. A client that does
// not read is cut.
func (c *conn) send(line string) {
	c.out.Lock()
	defer c.out.Unlock()
	if len(c.queue)+len(line) > maxQueue {
		_ = c.nc.Close()
		return
	}
	c.queue = append(c.queue, line...)
	if !c.writing {
		c.writing = true
		c.flushed.Add(1)
		go c.flush()
	}
}

// flush writes until nothing is left to be written.
func (c *conn) flush() {
	defer c.flushed.Done()
	runtime.Gosched() // answers that are about to be ready go out in the same write
	c.out.Lock()
	defer c.out.Unlock()
	for len(c.queue) > 0 {
		b := c.queue
		c.queue, c.spare = c.spare[:0], nil
		c.out.Unlock()
		_ = c.nc.SetWriteDeadline(time.Now().Add(writeLimit))
		_, err := c.nc.Write(b)
		c.out.Lock()
		c.spare = b
		if err != nil {
			c.queue = nil
			_ = c.nc.Close()
		}
	}
	c.writing = false
	if c.last {
		_ = c.nc.Close()
	}
}

func (c *conn) debug(text string) {
	if c.auth.Debug() {
		c.s.report(event.Debug, event.Clean(text, 1024))
	}
}
