package relay

import (
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// looped is a session in an event loop.
type looped struct {
	Session
	loop  *loop
	early *[2][]byte
	ends  [2]end

	// queued and kicked are guarded by loop.mu, and begun until it is true; live and kept too.
	queued, kicked, begun bool
	live, kept            bool // it has slots; its sockets have keepalive

	modified bool // a mask was changed, see loop.lookAgain
	over     bool // both sockets are closed
	ended    bool // one side has ended; side and err say which and why
	side     Side
	err      error
	until    time.Duration // when the client may hear that the backend has ended; 0: at once
	timed    timed[*looped]
}

// end is one socket of a session.
type end struct {
	fd       int32
	slot     int32
	watching bool  // epoll knows fd
	eof      bool  // nothing more will be read from it
	shut     bool  // nothing more will be written to it
	notified bool  // close_notify has been sealed
	bulk     bool  // its last read filled the buffer, or brought as much
	tight    bool  // its socket once took less than was certain
	off      int32 // of held: what comes before is sent
	mask     uint32
	held     []byte // output that the socket did not take yet, in a borrowed buffer
	tls      *secured
}

// pending returns the output that the socket did not take yet.
func (e *end) pending() int { return len(e.held) - int(e.off) }

// readable is what a socket is watched for that is to be read. Its end of stream is told apart from input,
// so that nobody has to read once more to find it.
const readable = unix.EPOLLIN | unix.EPOLLRDHUP

// controlSlack is what an end may hold besides a chunk: alerts and answers to key updates. A peer
// that has us hold more is not read from until it reads.
const controlSlack = 4 << 10

// watchBoth makes epoll watch both sockets for input. It is called before the loop knows s.
func (s *looped) watchBoth() bool {
	for i := range s.ends {
		if e := &s.ends[i]; e.watching && e.mask == readable {
			continue
		}
		if !s.watch(i, readable) {
			if i > 0 { // the loop will try again and end the session
				s.unwatch(0)
			}
			return false
		}
	}
	return true
}

func (s *looped) watch(i int, mask uint32) bool {
	e := &s.ends[i]
	ev := unix.EpollEvent{Events: mask, Fd: e.slot}
	op := unix.EPOLL_CTL_MOD
	if !e.watching {
		op = unix.EPOLL_CTL_ADD
	}
	if errno := rawControl(s.loop.epfd, op, e.fd, &ev); errno != 0 {
		s.note(ByProxy, &Error{Op: "epoll_ctl()", Errno: errno})
		return false
	}
	e.watching, e.mask = true, mask
	if op == unix.EPOLL_CTL_MOD {
		s.modified = true
	}
	return true
}

// unwatch is for a socket that would report its end for ever while nobody can act on it.
func (s *looped) unwatch(i int) {
	e := &s.ends[i]
	if e.watching {
		rawControl(s.loop.epfd, unix.EPOLL_CTL_DEL, e.fd, &unix.EpollEvent{})
		e.watching, e.mask = false, 0
	}
}

// buffered reports whether crypto/tls has, or may have, input that no event will announce. What it
// keeps without need is released.
func (s *looped) buffered() (some bool) {
	guts := &s.loop.guts
	for i := range s.ends {
		t := s.ends[i].tls
		switch {
		case t == nil:
		case !guts.known || guts.buffered(t.conn):
			some = true
		default:
			guts.release(t.conn)
		}
	}
	return some
}

// kick implements runner.
func (s *looped) kick() {
	l := s.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.live && !s.kicked {
		s.kicked = true
		l.push(s)
	}
}

// dequeue does what s was queued for: to begin, to be kicked, or both.
func (s *looped) dequeue() {
	s.loop.mu.Lock()
	kicked, begun := s.kicked, s.begun
	s.begun = true
	s.loop.mu.Unlock()
	switch {
	case kicked:
		s.note(ByProxy, nil)
		s.finish()
	case !begun:
		s.begin()
	}
}

// begin delivers what was read before the hand-over and starts watching.
func (s *looped) begin() {
	if s.ended { // epoll refused one of the sockets
		s.finish()
		return
	}
	if limit := s.engine.options.IdleLimit; limit > 0 {
		s.loop.wheel.add(s, s.loop.now, s.loop.now+limit)
	}
	if s.early != nil {
		early := *s.early
		s.early = nil
		for to, b := range early {
			if len(b) > 0 {
				s.deliver(to, b)
			}
		}
	}
	for i := range s.ends {
		if e := &s.ends[i]; e.tls != nil && !e.eof {
			s.openBuffered(i)
		}
	}
	s.settle()
}

// guarded handles an event, or without one what s was queued for. A fault in the program ends the
// one session it hits.
func (s *looped) guarded(r ready) {
	defer func() {
		if v := recover(); v != nil {
			s.loop.panics.Add(1)
			s.note(ByProxy, fmt.Errorf("panic: %v", v))
			s.finish()
		}
	}()
	switch {
	case s.over:
	case r.s == nil:
		s.dequeue()
	default:
		s.event(r.end, r.events)
	}
}

// event handles what epoll says of one end.
func (s *looped) event(i int, events uint32) {
	e := &s.ends[i]
	const broken = unix.EPOLLHUP | unix.EPOLLERR
	idle := true
	if e.pending() > 0 && events&(unix.EPOLLOUT|broken) != 0 {
		idle = false
		s.flush(i)
	}
	if events&(unix.EPOLLIN|broken) != 0 && s.reads(i) {
		idle = false
		s.read(i)
	}
	if idle && events&broken != 0 {
		s.broken(i)
	}
	// A short read has left nothing but an end of stream, and only what comes anew wakes the loop.
	if e.bulk || events&^(unix.EPOLLIN|unix.EPOLLOUT) != 0 {
		s.loop.again = true
	}
	s.settle()
}

// broken handles an end that epoll reports although neither input nor output is wanted of it: it
// has been reset, or both its directions are shut. Not to be woken for it without end, it is no
// longer watched; what it has said is read once the other end has taken what came before.
func (s *looped) broken(i int) {
	e := &s.ends[i]
	s.unwatch(i)
	var err error
	if errno, _ := unix.GetsockoptInt(int(e.fd), unix.SOL_SOCKET, unix.SO_ERROR); errno != 0 {
		err = &Error{Op: readOp, Errno: syscall.Errno(errno)}
	}
	if e.eof && !e.shut {
		s.dead(i, err)
		return
	}
	s.note(Side(i), err)
}

// reads reports whether input of end i is wanted: the other end has taken what it was given, and
// this one does not leave our answers to its key updates lying.
func (s *looped) reads(i int) bool {
	e := &s.ends[i]
	return !e.eof && s.ends[1-i].pending() == 0 && e.pending() <= chunk+controlSlack
}

// settle passes an end of stream on, ends the session when both have passed, and otherwise watches
// for what the session waits for now.
func (s *looped) settle() {
	if s.over {
		return
	}
	a, b := &s.ends[client], &s.ends[backend]
	if a.eof && b.eof && (a.shut && b.shut || s.until == 0 && a.pending() == 0 && b.pending() == 0) {
		s.finish() // closing tells both
		return
	}
	for i := range s.ends {
		if s.ends[1-i].eof && !s.ends[i].shut && s.ends[i].pending() == 0 && (i == backend || s.until == 0) {
			s.shutdown(i)
		}
	}
	for i := range s.ends {
		e := &s.ends[i]
		var mask uint32
		if s.reads(i) {
			mask |= readable
		}
		if e.pending() > 0 {
			mask |= unix.EPOLLOUT
		}
		if mask == e.mask && (e.watching || mask == 0) {
			continue
		}
		if !s.watch(i, mask) {
			s.finish()
			return
		}
	}
	if s.modified {
		s.modified, s.loop.again = false, true
	}
}

// shutdown tells end i that nothing more will come.
func (s *looped) shutdown(i int) {
	e := &s.ends[i]
	if e.tls != nil && !e.notified {
		s.sealNotify(i)
		if e.shut || e.pending() > 0 {
			return
		}
	}
	rawShutdown(e.fd) // a socket that is gone will say so
	e.shut = true
}

// read moves what end i has, within its share of the turn.
func (s *looped) read(i int) {
	e, to := &s.ends[i], &s.ends[1-i]
	for rest := s.loop.share; rest > 0 && s.reads(i); {
		var n int
		var more bool
		if e.bulk && e.tls == nil && to.tls == nil && s.loop.pipe.ready() {
			n, more = s.splice(i, min(rest, chunk+s.ahead(1-i), pipeSize))
		} else {
			n, more = s.copy(i)
			n *= copyWeight
		}
		if !more {
			return
		}
		rest -= n
	}
}

// ahead returns how much more than a chunk may be read for end i, because its socket takes that
// much at once whatever its reader does. The kernel counts its own overhead too; half of what is
// free is certain.
func (s *looped) ahead(i int) int {
	if s.ends[i].tight {
		return 0
	}
	return freeOutput(s.ends[i].fd) / 2
}

// copy moves up to a chunk through the loop's buffer. It reports whether there may be more: after a
// short read there is not, and another read would only be told so.
func (s *looped) copy(i int) (n int, more bool) {
	l, e := s.loop, &s.ends[i]
	had := 0
	if e.tls != nil {
		had = copy(l.room, e.tls.part)
	}
	n, errno := rawReceive(e.fd, l.room[had:chunk])
	if errno != 0 || n == 0 {
		s.readEnd(i, errno)
		return 0, false
	}
	e.bulk = had+n == chunk
	if e.tls == nil {
		s.deliver(1-i, l.room[:n])
	} else {
		l.lent.giveBack(e.tls.part)
		e.tls.part = nil
		s.open(i, l.room[:had+n])
	}
	return n, e.bulk
}

// readEnd handles a read that brought nothing.
func (s *looped) readEnd(i int, errno syscall.Errno) {
	e := &s.ends[i]
	switch {
	case errno == unix.EAGAIN:
		return
	case errno != 0:
		s.dead(i, &Error{Op: readOp, Errno: errno})
	case e.tls != nil:
		s.eof(i, s.cut(i))
	default:
		s.eof(i, nil)
	}
}

// deliver gives p to end i. What the socket does not take is held, at most a chunk because nobody
// reads more at once; the other end is not read until it has gone.
func (s *looped) deliver(i int, p []byte) {
	l, e := s.loop, &s.ends[i]
	s.last.Store(int64(l.now))
	if e.shut {
		return
	}
	s.moved(&l.tally, i, len(p))
	if e.tls == nil {
		s.send(i, p)
		return
	}
	s.seal(i, p)
}

// send writes b as it is, behind what is held.
func (s *looped) send(i int, b []byte) {
	e := &s.ends[i]
	if e.pending() == 0 {
		n, errno := rawSend(e.fd, b)
		switch {
		case errno == 0:
			b = b[n:]
		case errno != unix.EAGAIN:
			s.lost(i, len(b))
			s.unwritable(i, errno)
			return
		}
	}
	if len(b) > 0 {
		s.hold(i, b)
	}
}

// hold keeps b until the socket takes it.
func (s *looped) hold(i int, b []byte) {
	e := &s.ends[i]
	old := e.held[e.off:]
	fresh := s.loop.lent.borrow(len(old) + len(b))
	fresh = append(append(fresh, old...), b...)
	s.loop.lent.giveBack(e.held)
	e.held, e.off = fresh, 0
}

// drop forgets what is held.
func (s *looped) drop(i int) {
	e := &s.ends[i]
	s.lost(i, e.pending())
	s.loop.lent.giveBack(e.held)
	e.held, e.off = nil, 0
}

// lost takes n bytes that were counted and did not leave back. What TLS has sealed stays counted.
func (s *looped) lost(i, n int) {
	if n > 0 && s.ends[i].tls == nil {
		s.moved(&s.loop.tally, i, -n)
	}
}

// flush writes what is held.
func (s *looped) flush(i int) {
	e := &s.ends[i]
	n, errno := rawSend(e.fd, e.held[e.off:])
	switch {
	case errno == unix.EAGAIN:
	case errno != 0:
		s.unwritable(i, errno)
	default:
		s.last.Store(int64(s.loop.now))
		if e.off += int32(n); e.pending() == 0 {
			s.loop.lent.giveBack(e.held)
			e.held, e.off = nil, 0
			if s.ended {
				s.limit() // it may be shorter now
			}
		}
	}
}

// eof notes that end i has said everything.
func (s *looped) eof(i int, err error) {
	s.ends[i].eof = true
	s.note(Side(i), err)
}

// unwritable notes that end i takes nothing any more. The other end is not read any more; what i
// itself has said is still delivered, and a dead socket comes to its end of stream at once.
func (s *looped) unwritable(i int, errno syscall.Errno) {
	s.drop(i)
	s.ends[i].shut = true
	s.ends[1-i].eof = true
	s.note(Side(i), &Error{Op: writeOp, Errno: errno})
}

// dead notes that end i neither says nor takes anything any more.
func (s *looped) dead(i int, err error) {
	s.drop(i)
	s.ends[i].eof, s.ends[i].shut = true, true
	s.ends[1-i].eof = true
	s.note(Side(i), err)
}

// note remembers the first end of a side, and sees to it that the rest does not take for ever.
func (s *looped) note(side Side, err error) {
	if s.ended {
		return
	}
	s.ended, s.side, s.err = true, side, err
	if d := s.held(side); d > 0 {
		s.until = s.loop.now + d
	}
	if s.begun {
		s.limit()
	}
}

// limit puts a time limit on a session that is ending.
func (s *looped) limit() {
	due := s.until
	if due == 0 {
		due = s.loop.now + s.allowed()
	}
	s.loop.wheel.add(s, s.loop.now, due)
}

// allowed is how long the session may stay without moving a byte.
func (s *looped) allowed() time.Duration {
	switch o := &s.engine.options; {
	case !s.ended:
		return o.IdleLimit
	case s.side == ByServer && s.ends[client].pending() == 0:
		return o.farewell
	default:
		return o.drain
	}
}

// expire handles the session's time limit.
func (s *looped) expire() {
	switch {
	case s.until > s.loop.now:
		s.loop.wheel.add(s, s.loop.now, s.until)
		return
	case s.until > 0: // the client has been held for long enough
		s.until = 0
		s.last.Store(int64(s.loop.now))
		s.limit()
		s.settle()
		return
	}
	due := time.Duration(s.last.Load()) + s.allowed()
	if due > s.loop.now {
		s.loop.wheel.add(s, s.loop.now, due)
		return
	}
	s.note(ByProxy, ErrIdle)
	s.finish()
}

// finish closes both sockets and reports the session.
func (s *looped) finish() {
	if s.over {
		return
	}
	l := s.loop
	for i := range s.ends {
		if e := &s.ends[i]; e.tls != nil && !e.shut && !e.notified && e.pending() == 0 {
			s.sealNotify(i) // best effort: the socket takes it at once or not at all
		}
		s.drop(i)
	}
	s.release()
	s.over = true
	l.wheel.remove(s)
	l.mu.Lock()
	s.live = false
	for i := range s.ends {
		l.slots[s.ends[i].slot] = slot{}
		l.late = append(l.late, s.ends[i].slot)
	}
	l.mu.Unlock()
	l.count.Add(-1)
	l.engine.end(&s.Session, Stats{Side: s.side, Err: s.err})
}

// release closes the sockets.
func (s *looped) release() {
	for i := range s.ends {
		if t := s.ends[i].tls; t != nil {
			s.loop.lent.giveBack(t.part)
			s.ends[i].tls = nil
		}
		closeFD(s.ends[i].fd)
	}
}
