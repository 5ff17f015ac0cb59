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
	feed   *feed
	ep     *os.File
	raw    syscall.RawConn
	epfd   int
	wakefd int32
	tally  tally
	turns  atomic.Uint64
	count  atomic.Int64
	panics atomic.Uint64
	done   chan struct{}

	mu       sync.Mutex
	slots    []*looped // by number; an event carries the number
	free     []int32
	queue    []*looped // to begin or to kick
	asked    []func()  // to run between two turns; tests look at a session so
	woken    bool      // the eventfd has been written to
	stopping bool

	// What follows belongs to the loop's goroutine.
	now     time.Duration
	events  [batch]unix.EpollEvent
	got     int
	share   int // what one direction may move in this turn
	ready   [batch]ready
	freed   []int32 // slots that may be used again after this turn
	wheel   wheel
	alarm   *time.Timer
	alarmAt time.Duration // when it rings, 0 for never
	room    []byte        // what one read brings
	opened  []byte        // the same without TLS
	lent    lender
	pipe    pipe
	guts    layout
}

type ready struct {
	s      *looped
	end    int
	events uint32
}

func newLoop(e *Engine, guts layout) (*loop, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	_ = unix.SetNonblock(epfd, true) // what makes os.NewFile hand it to the poller
	l := &loop{engine: e, ep: os.NewFile(uintptr(epfd), "epoll"), epfd: epfd, guts: guts, done: make(chan struct{})}
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
	l.wheel.init(e.options.tick())
	l.alarm = time.AfterFunc(time.Hour, l.wake)
	l.alarm.Stop()
	return l, nil
}

// add takes a session. Nearly always its sockets can be watched from here at once; bytes read early
// are delivered by the loop.
// It returns false, having done nothing, when the loop is over.
func (l *loop) add(s *looped) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isDone() {
		s.slot = -1
		return false
	}
	l.count.Add(1)
	if n := len(l.free); n > 0 {
		s.slot, l.free = l.free[n-1], l.free[:n-1]
		l.slots[s.slot] = s
	} else {
		s.slot = int32(len(l.slots))
		l.slots = append(l.slots, s)
	}
	s.begun = s.early == nil && !l.stopping && !s.buffered() && l.engine.options.IdleLimit == 0 && s.watchBoth()
	if !s.begun {
		s.kicked = l.stopping
		l.push(s)
	}
	return true
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

func (l *loop) isDone() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// stop ends every session from the proxy's side, and then the loop.
func (l *loop) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isDone() {
		return
	}
	l.stopping = true
	for _, s := range l.slots {
		if s != nil && !s.kicked {
			s.kicked = true
			l.push(s)
		}
	}
	l.wakeLocked()
}

func (l *loop) appendSessions(all []*Session) []*Session {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.slots {
		if s != nil {
			all = append(all, &s.Session)
		}
	}
	return all
}

// run is the loop's goroutine.
func (l *loop) run() {
	poll := func(uintptr) bool {
		n, e := rawPoll(l.epfd, l.events[:])
		l.got = n
		return n > 0 || e != 0
	}
	for turn := 1; ; turn++ {
		if err := l.raw.Read(poll); err != nil || l.got < 0 {
			panic(errors.Join(errors.New("relay: waiting for events failed"), err)) // a closed or foreign descriptor
		}
		l.turns.Add(1)
		l.now = l.engine.now()
		if !l.turn() {
			return
		}
		if turn%yieldAfter == 0 {
			runtime.Gosched()
		}
	}
}

// turn handles one batch of events. It returns false when the loop is over.
func (l *loop) turn() bool {
	n, queue, stopping := l.collect()
	for _, s := range queue {
		s.guarded(ready{})
	}
	l.share = budget / max(n, 1)
	for i := range l.ready[:n] {
		r := l.ready[i]
		l.ready[i] = ready{}
		r.s.guarded(r)
	}
	if l.wheel.n > 0 || l.alarmAt != 0 {
		l.wheel.advance(l.now)
		l.setAlarm()
	}
	if len(l.freed) > 0 || stopping {
		return l.recycle(stopping)
	}
	return true
}

// collect finds the sessions of the events and takes the queue.
func (l *loop) collect() (n int, queue []*looped, stopping bool) {
	woken := false
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.events[:l.got] {
		ev := &l.events[i]
		if ev.Fd == wakeup {
			woken = true
			continue
		}
		if s := l.slots[ev.Fd>>1]; s != nil && s.begun {
			l.ready[n] = ready{s, int(ev.Fd & 1), ev.Events}
			n++
		}
	}
	if woken {
		var count [8]byte
		_, _ = rawRead(l.wakefd, count[:])
		l.woken = false
		for _, f := range l.asked {
			f()
		}
		l.asked = nil
		queue, l.queue = l.queue, nil
		for _, s := range queue {
			s.queued = false
		}
	}
	return n, queue, l.stopping
}

// recycle makes the slots of ended sessions usable again: within one batch an event may still name
// the old owner.
func (l *loop) recycle(stopping bool) (goOn bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.free = append(l.free, l.freed...)
	l.freed = l.freed[:0]
	if !stopping || len(l.free) < len(l.slots) || len(l.queue) > 0 {
		return true
	}
	l.alarm.Stop()
	l.pipe.close()
	closeFD(l.wakefd)
	_ = l.ep.Close()
	close(l.done)
	return false
}

// setAlarm sees to it that the loop wakes for the next time limit.
func (l *loop) setAlarm() {
	at := l.wheel.next()
	if at == l.alarmAt {
		return
	}
	l.alarmAt = at
	if at == 0 {
		l.alarm.Stop()
		return
	}
	l.alarm.Reset(max(0, at-l.now))
}
