// Package relay owns both sockets of a session after hand-over and moves bytes both ways until
// either side ends. It imports none of our rooms; login imports it.
//
// On Linux a session is a few hundred bytes in one of the event loops (loop.go): no goroutine, no
// buffer and no timer belongs to it while nothing moves. Elsewhere, and for connections that an
// event loop cannot drive, it is a pair of goroutines (pair.go) that borrow a buffer when there is
// something to read.
package relay

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"
)

// Pair is a session handed over. Either side is a *net.TCPConn or a *tls.Conn over one. A *tls.Conn
// has finished its handshake; for the event loops to drive it, it must have been made over a
// Transport.
type Pair struct {
	Client, Backend net.Conn
	// ToClient and ToBackend were read before the hand-over and are delivered first.
	ToClient, ToBackend []byte
	// Hold, when it is set, is asked once when the backend ends the session first: how long the client is
	// to stay connected all the same. It must not block.
	Hold func() time.Duration
}

// Transport is the connection under a *tls.Conn when it can be exchanged: after the hand-over the
// TLS layer reads from and writes to the event loop.
type Transport interface {
	net.Conn
	// NetConn returns the connection in use.
	NetConn() net.Conn
	// Exchange makes c the connection in use. It must not run beside another method.
	Exchange(c net.Conn)
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
	// Side is whose connection ended first.
	Side Side
	// Err is nil for a clean end of stream and for Close. Errors of the system read as in Dovecot's
	// log ("read(size=65536) failed: Connection reset by peer").
	Err error
	// Idle is the time since the last byte in either direction.
	Idle time.Duration
	// In and Out are the bytes moved to the backend and to the client, early bytes included. With
	// TLS they count what was sealed, without the record layer's own bytes.
	In, Out uint64
}

// ErrIdle ends sessions that reach Options.IdleLimit.
var ErrIdle = errors.New("no data for too long")

// Options configure an Engine. The zero value is what a mail proxy wants.
type Options struct {
	// IdleLimit ends a session after so long without a byte in either direction; it is kept within
	// a few seconds. Zero is no limit: Dovecot leaves it to the backend.
	IdleLimit time.Duration
	// KeepAlive is set on both sockets, within a minute from hand-over. The zero value means probes after 5 minutes,
	// every 30 seconds, 5 of them; Enable false with Idle -1 leaves the sockets as they are.
	KeepAlive net.KeepAliveConfig
	// Loops is the number of event loops. Zero is one per CPU that Go uses. When all of them are
	// busy, Go's scheduler has nothing left to look at other sockets with, and does so every 10 ms
	// only: a program that has such sockets asks for as many loops as it has CPUs and then raises
	// GOMAXPROCS by one.
	Loops int
	// QuickEnds says that no onEnd blocks: each is run where its session ends, on the event loop, instead
	// of on a goroutine that has to be woken.
	QuickEnds bool
	// Goroutines runs every session on a pair of goroutines, as on systems without event loops.
	Goroutines bool

	// plainTLS leaves the insides of crypto/tls alone, as when their layout is not the known one.
	plainTLS bool
	// drain, farewell and sweep replace the constants of the same names, for tests.
	drain, farewell, sweep time.Duration
}

const (
	// chunk is the most that is read at once from one side, and so the most that a session holds of
	// what a stalled reader has not taken.
	chunk = 64 << 10

	// When one side has ended, the other is still served: a client may send its LOGOUT, half-close
	// and wait for the answer. drain is how long such a session may stay without moving a byte;
	// farewell is the same once the server has ended and the client has been sent everything.
	drain    = 60 * time.Second
	farewell = 5 * time.Second

	// sweep is after how long a session's sockets get keepalive: most sessions are over by then.
	sweep = time.Minute

	keepIdle     = 5 * time.Minute
	keepInterval = 30 * time.Second
	keepCount    = 5
)

// withDefaults fills in what a zero value stands for.
func (o Options) withDefaults() Options {
	if o.KeepAlive == (net.KeepAliveConfig{}) {
		o.KeepAlive = net.KeepAliveConfig{Enable: true, Idle: keepIdle, Interval: keepInterval, Count: keepCount}
	}
	if o.drain == 0 {
		o.drain = drain
	}
	if o.sweep == 0 {
		o.sweep = sweep
	}
	if o.farewell == 0 {
		o.farewell = farewell
	}
	return o
}

// Counters are an engine's totals.
type Counters struct {
	Active  int    // sessions whose onEnd has not returned
	Started uint64 // sessions ever taken over
	In, Out uint64 // bytes moved to backends and to clients by all sessions, running ones included
	Wakeups uint64 // times an event loop had something to do
	Panics  uint64 // sessions that a fault in the program ended
}

// Session is a running relay.
type Session struct {
	runner  runner
	engine  *Engine
	onEnd   func(Stats)
	last    atomic.Int64 // when a byte last moved, since engine.epoch
	in, out atomic.Uint64
	delay   func() time.Duration
}

// held asks how long the client of a session that side has ended stays connected.
func (s *Session) held(side Side) time.Duration {
	if side != ByServer || s.delay == nil {
		return 0
	}
	return max(0, s.delay())
}

// runner moves the bytes of a session.
type runner interface {
	// kick ends the session from the proxy's side, soon. It may be called at any time, more than once.
	kick()
}

// Close ends the session from the proxy's side; onEnd still runs.
func (s *Session) Close() { s.runner.kick() }

// Idle returns the time since the last byte moved in either direction.
func (s *Session) Idle() time.Duration {
	return max(0, s.engine.now()-time.Duration(s.last.Load()))
}

// Moved returns the bytes moved so far to the backend and to the client.
func (s *Session) Moved() (in, out uint64) { return s.in.Load(), s.out.Load() }

// tally sums what sessions move. Each event loop has its own, so that CPUs do not share one.
type tally struct {
	in, out atomic.Uint64
	_       [48]byte // a cache line of its own
}

// moved counts n bytes towards the backend or the client; n is negative for bytes that a closed
// connection left behind.
func (s *Session) moved(t *tally, to, n int) {
	if to == backend {
		s.in.Add(uint64(n))
		t.in.Add(uint64(n))
		return
	}
	s.out.Add(uint64(n))
	t.out.Add(uint64(n))
}

// The two ends of a session, as indexes.
const (
	client  = int(ByClient)
	backend = int(ByServer)
)

// Start takes both connections over and returns at once; the caller's goroutine may end. onEnd is
// called exactly once, after both connections are closed, and never from within Start. Unless
// Options.QuickEnds says otherwise it may block: sessions that run are not delayed by it, other sessions'
// onEnd are.
func (e *Engine) Start(p Pair, onEnd func(Stats)) *Session {
	e.started.Add(1)
	e.ending.begin()
	if !e.options.Goroutines {
		if s := e.startLoop(p, onEnd); s != nil {
			return s
		}
	}
	return e.startPair(p, onEnd)
}

// Counters returns the engine's totals.
func (e *Engine) Counters() Counters {
	c := Counters{
		Active:  e.ending.live(),
		Started: e.started.Load(),
		In:      e.tally.in.Load(),
		Out:     e.tally.out.Load(),
	}
	e.addLoops(&c)
	return c
}

// Drain closes every session once nothing has moved in it for quiet, and returns when no session is
// left, or with ctx's error. Sessions started meanwhile are drained too.
func (e *Engine) Drain(ctx context.Context, quiet time.Duration) error {
	const look = 100 * time.Millisecond
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		for _, s := range e.sessions() {
			if s.Idle() >= quiet {
				s.Close()
			}
		}
		if e.ending.live() == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
