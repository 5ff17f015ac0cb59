package relay

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	batch = 128 // events taken at once

	// budget is about what one turn may move: the sessions that are ready share it, so that a bulk
	// transfer does not keep small answers waiting. Bytes that are copied, or opened and sealed, take
	// longer than those that are spliced and count for more.
	budget     = 1 << 20
	copyWeight = 4

	// yieldAfter is for how many turns without a wait a loop lets other goroutines in once.
	yieldAfter = 8

	wakeup = -1 // the event of the loop's own eventfd
)

// loop owns sessions that wait for their sockets in one epoll instance. The instance itself is
// known to Go's poller, so a loop without events is a parked goroutine, not a thread.
type loop struct {
	engine *Engine
	number int
	feed   *feed
	ep     *os.File
	raw    syscall.RawConn
	epfd   int
	wakefd int32
	tally  tally
	turns  atomic.Uint64
	count  atomic.Int64
	panics atomic.Uint64
	logins atomic.Int64 // coroutines at work
	done   chan struct{}

	mu       sync.Mutex
	slots    []slot // by number; an event carries the number
	free     []int32
	late     []int32      // freed since the events of this turn were taken
	queue    []*looped    // to begin or to kick
	resumed  []*coroutine // their connection's deadline has changed or is over
	timing   []*Conn      // for the wheel
	pending  []*call      // likewise
	handed   []handed     // accepted by another loop
	spare    []*coroutine
	asked    []func() // to run between two turns; tests look at a session so
	woken    bool     // the eventfd has been written to
	stopping bool
	over     bool
	fresh    int // sessions whose sockets have no keepalive yet

	// What follows belongs to the loop's goroutine.
	now     time.Duration
	events  [batch]unix.EpollEvent
	got     int
	again   bool // some input was left for the next turn
	turnNo  int
	burst   int // how many connections to accept at once
	share   int // what one direction may move in this turn
	ready   [batch]ready
	wheel   wheel[*looped]
	conns   wheel[*Conn]
	calls   wheel[*call]
	sweepAt time.Duration // when keepalive is set, 0 for never
	alarm   *time.Timer
	alarmAt time.Duration // when it rings, 0 for never
	room    []byte        // what one read brings
	opened  []byte        // the same without TLS
	lent    lender
	pipe    pipe
	guts    layout
}

// slot is whose descriptor an event is about.
type slot struct {
	s   *looped
	end int
	c   *Conn
	a   *acceptor
}

// ready is what a turn has to do: an event of a session's end, a coroutine to go on, or a connection to accept.
type ready struct {
	s      *looped
	f      *coroutine
	a      *acceptor
	end    int
	events uint32
}

func newLoop(e *Engine, guts layout) (*loop, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	_ = unix.SetNonblock(epfd, true) // what makes os.NewFile hand it to the poller
	l := &loop{engine: e, ep: os.NewFile(uintptr(epfd), "epoll"), epfd: epfd, guts: guts, done: make(chan struct{}), burst: 1}
	if l.raw, err = l.ep.SyscallConn(); err == nil {
		err = l.ep.SetDeadline(time.Time{}) // fails for what cannot be waited for
	}
	var wake int
	if err == nil {
		wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	}
	if err != nil {
		_ = l.ep.Close()
		return nil, err
	}
	l.wakefd = int32(wake)
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: wakeup}
	if e := rawControl(epfd, unix.EPOLL_CTL_ADD, l.wakefd, &ev); e != 0 {
		_ = l.ep.Close()
		closeFD(l.wakefd)
		return nil, os.NewSyscallError("epoll_ctl", e)
	}
	l.feed = &feed{}
	l.room = make([]byte, chunk+spare)
	l.wheel.tick, l.conns.tick, l.calls.tick = e.options.tick(), connTick, connTick
	l.alarm = time.AfterFunc(time.Hour, l.wake)
	l.alarm.Stop()
	return l, nil
}

// add takes a session. Nearly always its sockets can be watched from here at once; bytes read early
// are delivered by the loop. A socket that the loop watches already stays registered as it is.
// It returns false, having done nothing, when the loop is over.
func (l *loop) add(s *looped, from [2]*Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isDone() {
		return false
	}
	l.count.Add(1)
	l.fresh++
	for i := range s.ends {
		e := &s.ends[i]
		e.slot = -1
		if c := from[i]; c != nil {
			e.slot, e.watching, e.mask = c.slot, c.watching, c.mask
			if !c.dry {
				e.mask = 0 // what is unread has been told of; changing the mask has it told again
			}
			e.fd = c.shed()
		}
		if e.slot < 0 {
			e.slot = l.slotFor()
		}
		l.slots[e.slot] = slot{s: s, end: i}
	}
	s.live = true
	s.begun = s.early == nil && !l.stopping && !s.buffered() && l.engine.options.IdleLimit == 0 && s.watchBoth()
	if !s.begun {
		s.ends[client].mask, s.ends[backend].mask = 0, 0 // what comes meanwhile is told again when it begins
		s.kicked = l.stopping
		l.push(s)
	} else if l.fresh == 1 || s.modified {
		l.wakeLocked() // for the sweep's sake
	}
	s.modified = false
	return true
}

// slotFor takes a free slot. l.mu is held.
func (l *loop) slotFor() (n int32) {
	if k := len(l.free); k > 0 {
		n, l.free = l.free[k-1], l.free[:k-1]
		return n
	}
	l.slots = append(l.slots, slot{})
	return int32(len(l.slots) - 1)
}

// push queues s for the loop's goroutine. l.mu is held.
func (l *loop) push(s *looped) {
	if s.queued {
		return
	}
	s.queued = true
	l.queue = append(l.queue, s)
	l.wakeLocked()
}

func (l *loop) wakeLocked() {
	if l.woken {
		return
	}
	l.woken = true
	_, _ = unix.Write(int(l.wakefd), []byte{1, 0, 0, 0, 0, 0, 0, 1}) // not zero in either byte order
}

func (l *loop) wake() {
	l.mu.Lock()
	if !l.isDone() {
		l.wakeLocked()
	}
	l.mu.Unlock()
}

// isDone tells that the loop takes nothing any more. l.mu is held.
func (l *loop) isDone() bool { return l.over }

// stop ends every session from the proxy's side, and then the loop.
func (l *loop) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isDone() {
		return
	}
	l.stopping = true
	for i := range l.slots {
		switch x := &l.slots[i]; {
		case x.s != nil && !x.s.kicked:
			x.s.kicked = true
			l.push(x.s)
		case x.c != nil:
			l.expel(x.c)
		}
	}
	l.wakeLocked()
}

func (l *loop) appendSessions(all []*Session) []*Session {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, x := range l.slots {
		if x.s != nil && x.end == client {
			all = append(all, &x.s.Session)
		}
	}
	return all
}

// run is the loop's goroutine. All turns are taken within one read of the epoll instance: Go's poller
// remembers what comes during a turn, so a loop that has done everything may rest without looking again.
func (l *loop) run() {
	err := l.raw.Read(func(uintptr) bool {
		for l.again = true; l.again; {
			l.again = false
			n, e := rawPoll(l.epfd, l.events[:])
			if l.got = n; e != 0 {
				panic(os.NewSyscallError("epoll_wait", e)) // a closed or foreign descriptor
			}
			if n == 0 {
				return false
			}
			l.again = n == len(l.events)
			l.turns.Add(1)
			l.now = l.engine.now()
			if !l.turn() {
				return true
			}
			if l.turnNo++; l.turnNo%yieldAfter == 0 {
				runtime.Gosched()
			}
		}
		return false
	})
	if err != nil {
		panic(errors.Join(errors.New("relay: waiting for events failed"), err))
	}
	_ = l.ep.Close()
	close(l.done)
}

// turn handles one batch of events. It returns false when the loop is over.
func (l *loop) turn() bool {
	n, todo := l.collect()
	for _, s := range todo.queue {
		s.guarded(ready{})
	}
	for _, c := range todo.timing {
		l.conns.add(c, l.now, c.look)
	}
	for _, c := range todo.pending {
		l.calls.add(c, l.now, c.at)
	}
	for _, f := range todo.resumed {
		l.wakeFiber(f)
	}
	for _, h := range todo.handed {
		l.start(h.c, h.a)
	}
	l.share = budget / max(n, 1)
	for i := range l.ready[:n] {
		r := l.ready[i]
		l.ready[i] = ready{}
		switch {
		case r.f != nil:
			l.wakeFiber(r.f)
		case r.a != nil:
			r.a.accept(l)
		default:
			r.s.guarded(r)
		}
	}
	l.keepTime(todo.fresh)
	if todo.stopping {
		return l.goOn()
	}
	return true
}

// keepTime looks at what is due, and sees to it that the loop wakes for the next time limit.
func (l *loop) keepTime(fresh int) {
	if fresh > 0 && l.sweepAt == 0 {
		l.sweepAt = l.now + l.engine.sweep()
	}
	if l.wheel.n == 0 && l.conns.n == 0 && l.calls.n == 0 && l.sweepAt == 0 {
		return
	}
	l.wheel.advance(l.now)
	l.conns.advance(l.now)
	l.calls.advance(l.now)
	if l.sweepAt != 0 && l.sweepAt <= l.now {
		l.sweepAt = 0
		l.keepAlive()
	}
	at := l.sweepAt
	for _, next := range [...]time.Duration{l.wheel.next(), l.conns.next(), l.calls.next()} {
		if next != 0 && (at == 0 || next < at) {
			at = next
		}
	}
	// An alarm that turns out to be early does no harm, and is cheaper than one that is moved all the time.
	if at != 0 && (l.alarmAt == 0 || l.alarmAt <= l.now || at < l.alarmAt) {
		l.alarmAt = at
		l.alarm.Reset(max(0, at-l.now))
	}
}

// todo is what was queued for a turn.
type todo struct {
	queue    []*looped
	resumed  []*coroutine
	timing   []*Conn
	pending  []*call
	handed   []handed
	fresh    int
	stopping bool
}

// collect finds out whom the events are about and takes what is queued.
func (l *loop) collect() (n int, t todo) {
	woken := false
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.events[:l.got] {
		ev := &l.events[i]
		if ev.Fd == wakeup {
			woken = true
			continue
		}
		switch x := &l.slots[ev.Fd]; {
		case x.s != nil:
			if x.s.begun {
				l.ready[n] = ready{s: x.s, end: x.end, events: ev.Events}
				n++
			}
		case x.c != nil:
			if f := l.fire(x.c, ev.Events); f != nil {
				l.ready[n] = ready{f: f}
				n++
			}
		case x.a != nil:
			l.ready[n] = ready{a: x.a}
			n++
		}
	}
	// What was freed before these events were taken cannot be meant by later ones.
	l.free = append(l.free, l.late...)
	l.late = l.late[:0]
	if woken {
		var count [8]byte
		_, _ = rawRead(l.wakefd, count[:])
		l.woken = false
		for _, f := range l.asked {
			f()
		}
		l.asked = nil
		t.queue, l.queue = l.queue, nil
		t.resumed, l.resumed = l.resumed, nil
		t.timing, l.timing = l.timing, nil
		t.pending, l.pending = l.pending, nil
		t.handed, l.handed = l.handed, nil
		for _, s := range t.queue {
			s.queued = false
		}
	}
	t.fresh, t.stopping = l.fresh, l.stopping
	return n, t
}

// goOn ends a loop that is told to stop when its last session has ended.
func (l *loop) goOn() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.count.Load() > 0 || len(l.queue) > 0 || len(l.resumed) > 0 {
		return true
	}
	l.over = true
	for _, f := range l.spare {
		f.stop()
	}
	l.spare = nil
	l.alarm.Stop()
	l.pipe.close()
	closeFD(l.wakefd)
	return false
}

// keepAlive sets keepalive on the sockets of sessions that have lived for a while: most end sooner.
func (l *loop) keepAlive() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fresh = 0
	for _, x := range l.slots {
		if x.s != nil && !x.s.kept {
			setKeepAlive(int(x.s.ends[client].fd), l.engine.options.KeepAlive)
			setKeepAlive(int(x.s.ends[backend].fd), l.engine.options.KeepAlive)
			x.s.kept = true
		}
	}
}
