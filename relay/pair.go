package relay

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// pair is a session on two goroutines, one per direction. Waiting for input holds no buffer where
// the system tells that there is some.
type pair struct {
	Session
	conns [2]net.Conn
	tcp   [2]net.Conn  // what is under TLS, or the same
	left  atomic.Int32 // directions that run

	writing atomic.Int32 // directions that have bytes in hand

	mu    sync.Mutex
	first *Stats        // who ended, and why; set once
	free  chan struct{} // closed when the client may hear that the backend has ended; nil: at once
	timer *time.Timer
	over  bool
}

// buffers lends what a direction needs while it has something to move.
var buffers = sync.Pool{New: func() any { return new([chunk]byte) }}

// startPair runs a session on goroutines.
func (e *Engine) startPair(p Pair, onEnd func(Stats)) *Session {
	s := &pair{conns: [2]net.Conn{p.Client, p.Backend}}
	s.runner, s.engine, s.onEnd, s.delay = s, e, onEnd, p.Hold
	s.last.Store(int64(e.now()))
	for i, c := range s.conns {
		s.tcp[i] = under(c)
		if t, ok := s.tcp[i].(*net.TCPConn); ok {
			keepAlive(t, e.options.KeepAlive)
		}
		_ = s.conns[i].SetDeadline(time.Time{})
	}
	e.mu.Lock()
	e.pairs[s] = struct{}{}
	closed := e.closed
	e.mu.Unlock()
	if e.options.IdleLimit > 0 {
		s.mu.Lock()
		s.timer = time.AfterFunc(e.options.IdleLimit, s.expire)
		s.mu.Unlock()
	}
	s.left.Store(2)
	go s.move(client, p.ToBackend)
	go s.move(backend, p.ToClient)
	if closed {
		s.kick()
	}
	return &s.Session
}

// under returns the innermost connection.
func under(c net.Conn) net.Conn {
	for {
		x, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return c
		}
		c = x.NetConn()
	}
}

func keepAlive(c *net.TCPConn, k net.KeepAliveConfig) {
	if k.Idle >= 0 || k.Enable {
		_ = c.SetKeepAliveConfig(k) // a socket without it still works
	}
}

// move takes bytes from one end to the other until the stream ends.
func (s *pair) move(from int, early []byte) {
	to := 1 - from
	if len(early) == 0 || s.write(to, early) {
		s.copy(from, to)
	}
	if from == client {
		s.letGo() // who has left is not held
	}
	if s.left.Add(-1) == 0 {
		s.finish()
	}
}

// copy moves bytes until from ends, then ends to.
func (s *pair) copy(from, to int) {
	src := newSource(s.conns[from], s.tcp[from])
	for {
		buf, n, err := src.next()
		ok := n == 0 || s.write(to, buf[:n])
		if buf != nil {
			buffers.Put(buf)
		}
		if !ok {
			return
		}
		if err == nil {
			continue
		}
		s.ended(from, readError(err))
		if err != io.EOF {
			// A connection with an error takes nothing any more: the other direction has no aim.
			s.closeWrite(to)
			s.shut()
			return
		}
		s.closeWrite(to)
		return
	}
}

// write delivers p and counts it; it reports false when to takes nothing any more. What to still
// has to say is then read by the other direction.
func (s *pair) write(to int, p []byte) bool {
	s.writing.Add(1)
	n, err := s.conns[to].Write(p)
	s.writing.Add(-1)
	s.moved(&s.engine.tally, to, n)
	s.last.Store(int64(s.engine.now()))
	if err != nil {
		s.ended(to, writeError(err))
		return false
	}
	return true
}

// letGo ends the time for which a client was held.
func (s *pair) letGo() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.free == nil {
		return
	}
	close(s.free)
	s.free = nil
	if !s.over {
		s.last.Store(int64(s.engine.now()))
		s.timer = time.AfterFunc(s.allowed(), s.expire)
	}
}

// awaitFree waits for as long as the client is held.
func (s *pair) awaitFree() {
	s.mu.Lock()
	free := s.free
	s.mu.Unlock()
	if free != nil {
		<-free
	}
}

// closeWrite tells an end that nothing more will come.
func (s *pair) closeWrite(to int) {
	if to == client {
		s.awaitFree()
	}
	if s.conns[to] != s.tcp[to] {
		if c, ok := s.conns[to].(interface{ CloseWrite() error }); ok {
			_ = c.CloseWrite() // close_notify; crypto/tls bounds it to 5 seconds
		}
	}
	if c, ok := s.tcp[to].(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
		return
	}
	// Nothing but a close tells it.
	_ = s.tcp[to].Close()
}

// ended notes who ended the session, if it is the first, and sees to it that the rest ends too.
func (s *pair) ended(side int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first != nil {
		return
	}
	s.first = &Stats{Side: Side(side), Err: err}
	if d := s.held(Side(side)); d > 0 && !s.over {
		s.free = make(chan struct{})
		s.timer = time.AfterFunc(d, s.letGo)
		return
	}
	if !s.over {
		if s.timer != nil {
			s.timer.Stop()
		}
		s.timer = time.AfterFunc(s.allowed(), s.expire)
	}
}

// allowed is how long the session may stay without moving a byte. s.mu is held.
func (s *pair) allowed() time.Duration {
	switch o := &s.engine.options; {
	case s.first == nil:
		return o.IdleLimit
	case s.first.Side == ByServer && s.writing.Load() == 0:
		return o.farewell
	default:
		return o.drain
	}
}

// expire closes a session in which nothing has moved for the time allowed.
func (s *pair) expire() {
	s.mu.Lock()
	if s.over {
		s.mu.Unlock()
		return
	}
	if rest := s.allowed() - s.Idle(); rest > 0 {
		s.timer.Reset(rest)
		s.mu.Unlock()
		return
	}
	if s.first == nil {
		s.first = &Stats{Side: ByProxy, Err: ErrIdle}
	}
	s.mu.Unlock()
	s.shut()
}

// kick implements runner.
func (s *pair) kick() {
	s.mu.Lock()
	if s.first == nil {
		s.first = &Stats{Side: ByProxy}
	}
	s.mu.Unlock()
	s.shut()
}

// shut closes both connections, which ends both goroutines.
func (s *pair) shut() {
	s.mu.Lock()
	if s.free != nil {
		close(s.free)
		s.free = nil
	}
	s.mu.Unlock()
	for _, c := range s.tcp {
		_ = c.Close()
	}
}

// finish runs on the goroutine that ends last.
func (s *pair) finish() {
	s.shut()
	s.mu.Lock()
	s.over = true
	if s.timer != nil {
		s.timer.Stop()
	}
	first := *s.first
	s.mu.Unlock()
	s.engine.mu.Lock()
	delete(s.engine.pairs, s)
	s.engine.mu.Unlock()
	s.engine.end(&s.Session, first)
}

// readError gives what ended reading Dovecot's words; a clean end is nil.
func readError(err error) error {
	if err == io.EOF || errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return &Error{Op: readOp, Errno: errno}
	}
	return err
}

func writeError(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return &Error{Op: writeOp, Errno: errno}
	}
	return err
}
