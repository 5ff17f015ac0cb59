package relay

import (
	"crypto/tls"
	"net"
	"runtime"
	"sync"
)

// loops are the event loops of an engine, started by its first session.
type loops struct {
	start sync.Once
	all   []*loop
	err   error // why there are none
}

// taken is one end that an event loop can drive.
type taken struct {
	tcp       *net.TCPConn
	tls       *tls.Conn
	transport Transport
}

// takeable looks at what lies under a connection.
func takeable(c net.Conn) (t taken, ok bool) {
	switch c := c.(type) {
	case *net.TCPConn:
		t.tcp = c
		return t, true
	case *tls.Conn:
		t.tls = c
		if t.transport, ok = c.NetConn().(Transport); !ok {
			return t, false
		}
		t.tcp, ok = t.transport.NetConn().(*net.TCPConn)
		return t, ok
	}
	return t, false
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
	l := e.pick()
	if l == nil {
		return nil
	}
	s := &looped{loop: l, early: earlyBytes(p)}
	s.runner, s.engine, s.onEnd, s.delay = s, e, onEnd, p.Hold
	s.last.Store(int64(e.now()))
	for i := range ends {
		fd, err := take(ends[i].tcp, e.options.KeepAlive)
		if err != nil {
			if i > 0 {
				closeFD(s.ends[0].fd)
			}
			return nil
		}
		s.ends[i].fd = fd
	}
	for i, t := range ends {
		if t.tls != nil {
			t.transport.Exchange(l.feed)
			s.ends[i].tls = &secured{conn: t.tls}
		}
		_ = t.tcp.Close()
	}
	if !l.add(s) { // the engine has been closed meanwhile
		s.release()
		e.end(&s.Session, Stats{Side: ByProxy})
	}
	return &s.Session
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
	e.loops.start.Do(e.startLoops)
	var best *loop
	for _, l := range e.loops.all {
		if best == nil || l.count.Load() < best.count.Load() {
			best = l
		}
	}
	return best
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
