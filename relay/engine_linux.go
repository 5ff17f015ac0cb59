package relay

import (
	"crypto/tls"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// loops are the event loops of an engine, started by its first session.
type loops struct {
	start sync.Once
	all   []*loop
	err   error // why there are none
	heavy crowd

	acceptors atomic.Uint32
}

// taken is one end that an event loop can drive.
type taken struct {
	tcp       *net.TCPConn
	conn      *Conn // instead of tcp: it is in a loop already
	tls       *tls.Conn
	transport Transport
}

// takeable looks at what lies under a connection.
func takeable(c net.Conn) (t taken, ok bool) {
	switch c := c.(type) {
	case *net.TCPConn, *Conn:
		return t, t.under(c)
	case *tls.Conn:
		t.tls = c
		if t.transport, ok = c.NetConn().(Transport); !ok {
			return t, false
		}
		return t, t.under(t.transport.NetConn())
	}
	return t, false
}

// under takes the connection that has the socket.
func (t *taken) under(c net.Conn) (ok bool) {
	switch c := c.(type) {
	case *net.TCPConn:
		t.tcp = c
	case *Conn:
		t.conn = c
	default:
		return false
	}
	return true
}

// startLoop gives a session to an event loop. It returns nil, having changed nothing, for
// connections that only goroutines can drive and when descriptors have run out.
func (e *Engine) startLoop(p Pair, onEnd func(Stats)) *Session {
	var ends [2]taken
	for i, c := range []net.Conn{p.Client, p.Backend} {
		var ok bool
		if ends[i], ok = takeable(c); !ok {
			return nil
		}
	}
	var l *loop
	if c := ends[client].conn; c != nil {
		l = c.loop
	} else if l = e.pick(); l == nil {
		return nil
	}
	s := &looped{loop: l, early: earlyBytes(p)}
	s.runner, s.engine, s.onEnd, s.delay = s, e, onEnd, p.Hold
	s.last.Store(int64(e.now()))
	var from [2]*Conn
	for i := range ends {
		var ok bool
		if c := ends[i].conn; c != nil && c.loop == l {
			from[i] = c
		} else if s.ends[i].fd, ok = takeOut(ends[i]); !ok {
			if i > 0 && from[0] == nil {
				closeFD(s.ends[0].fd)
			}
			return nil
		}
	}
	for i, t := range ends {
		if t.tls != nil {
			t.transport.Exchange(l.feed)
			s.ends[i].tls = &secured{conn: t.tls}
		}
		if t.tcp != nil {
			_ = t.tcp.Close()
		}
	}
	if !l.add(s, from) { // the engine has been closed meanwhile
		for i, c := range from {
			if c != nil {
				s.ends[i].fd, _ = c.leave()
			}
		}
		s.release()
		e.end(&s.Session, Stats{Side: ByProxy})
	}
	return &s.Session
}

// takeOut makes a socket that no loop knows, or another one, ours.
func takeOut(t taken) (int32, bool) {
	if t.conn != nil {
		return t.conn.leave()
	}
	fd, err := take(t.tcp)
	return fd, err == nil
}

// earlyBytes are delivered by the loop before anything else; nearly every session has none.
func earlyBytes(p Pair) *[2][]byte {
	if len(p.ToClient) == 0 && len(p.ToBackend) == 0 {
		return nil
	}
	return &[2][]byte{client: p.ToClient, backend: p.ToBackend}
}

// pick returns the loop with the fewest sessions.
func (e *Engine) pick() *loop {
	var best *loop
	for _, l := range e.makeLoops() {
		if best == nil || l.count.Load() < best.count.Load() {
			best = l
		}
	}
	return best
}

// makeLoops returns the loops, started if need be.
func (e *Engine) makeLoops() []*loop {
	e.loops.start.Do(e.startLoops)
	return e.loops.all
}

// sweep is how old a session becomes before its sockets get keepalive.
func (e *Engine) sweep() time.Duration {
	most := e.options.sweep
	if k := e.options.KeepAlive; k.Enable && k.Idle > 0 {
		return min(k.Idle/4, most)
	}
	return most
}

// startLoops makes the event loops; without them sessions run on goroutines.
func (e *Engine) startLoops() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return
	}
	n := e.options.Loops
	if n <= 0 {
		n = runtime.GOMAXPROCS(0)
	}
	guts := layout{}
	if !e.options.plainTLS {
		guts = findLayout()
	}
	for range n {
		l, err := newLoop(e, guts)
		if err != nil {
			e.loops.err = err
			return
		}
		l.number = len(e.loops.all)
		e.loops.all = append(e.loops.all, l)
		go l.run()
	}
}

// startedLoops lists the loops that exist now.
func (e *Engine) startedLoops() []*loop {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.loops.all
}

// closeLoops ends the loops when their last session has ended.
func (e *Engine) closeLoops() {
	all := e.startedLoops()
	for _, l := range all {
		l.stop()
	}
	for _, l := range all {
		<-l.done
	}
}

func (e *Engine) loopSessions() []*Session {
	var all []*Session
	for _, l := range e.startedLoops() {
		all = l.appendSessions(all)
	}
	return all
}

func (e *Engine) addLoops(c *Counters) {
	for _, l := range e.startedLoops() {
		c.In += l.tally.in.Load()
		c.Out += l.tally.out.Load()
		c.Wakeups += l.turns.Load()
		c.Panics += l.panics.Load()
	}
}
