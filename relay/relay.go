// Package relay owns both sockets of a session after hand-over and moves bytes both ways until
// either side ends. It imports none of our rooms; login imports it.
package relay

import (
	"net"
	"time"
)

// Pair is a session handed over. Either side is a *net.TCPConn or a *tls.Conn over one.
type Pair struct {
	Client, Backend net.Conn
	// ToClient and ToBackend were read before the hand-over and are delivered first.
	ToClient, ToBackend []byte
}

// Side names who ended a session.
type Side int

// The sides.
const (
	ByClient Side = iota
	ByServer
	ByProxy
)

// Stats is how a session ended.
type Stats struct {
	Side    Side
	Err     error         // nil for a clean end of stream
	Idle    time.Duration // since the last byte in either direction
	In, Out uint64        // bytes moved to the backend and to the client, early bytes included
}

// Session is a running relay.
type Session struct{}

// Start takes both connections over and returns at once; the caller's goroutine may end. onEnd is
// called exactly once, after both connections are closed.
func (e *Engine) Start(p Pair, onEnd func(Stats)) *Session { return nil }

// Close ends the session from the proxy's side; onEnd still runs.
func (s *Session) Close() {}

// Engine runs sessions.
type Engine struct{}

// New returns an engine.
func New() *Engine { return &Engine{} }
