package relay

import (
	"iter"
	"runtime"
	"sync"
)

// idleFibers is how many coroutines a loop keeps for connections to come: their stacks have grown.
const idleFibers = 32

// parking is what a fiber says when it gives way.
type parking int

const (
	parked parking = iota // it waits for conn
	moving                // it wants a goroutine of its own
	idle                  // its work is done
)

// fiber runs the login of a connection as a coroutine: the loop resumes it when its connection is
// ready and it runs on until it waits again. No goroutine is woken for it, so on a loop with many
// connections a login costs its system calls and little else. It implements fiber.Runner.
//
// A fiber is resumed by one goroutine at a time: by its loop, or while it is detached by another.
// Whoever resumed it registers what it waits for once it has given way (loop.arm), so that nobody
// can resume it before.
type coroutine struct {
	loop  *loop
	next  func() (parking, bool)
	stop  func()
	yield func(parking) bool
	work  func(*coroutine)

	inline bool // it runs on the loop's goroutine
	heavy  bool

	conn *Conn // what it waits for, and in which direction
	dir  int
}

// newCoroutine returns a fiber without work.
func newCoroutine(l *loop) *coroutine {
	f := &coroutine{loop: l}
	f.next, f.stop = iter.Pull(func(yield func(parking) bool) {
		f.yield = yield
		for {
			f.run()
			if !yield(idle) {
				return
			}
		}
	})
	return f
}

// run does the work. A fault in it costs one connection; the work closes it.
func (f *coroutine) run() {
	defer func() {
		if v := recover(); v != nil {
			f.loop.panics.Add(1)
		}
	}()
	f.work(f)
}

// wait gives way until conn is ready in a direction, or its deadline is over.
func (f *coroutine) wait(c *Conn, dir int) {
	f.conn, f.dir = c, dir
	f.yield(parked)
	f.conn = nil
}

// Detach implements fiber.Runner.
func (f *coroutine) Detach() {
	if f.inline {
		f.yield(moving)
	}
}

// Heavy implements fiber.Runner.
func (f *coroutine) Heavy(on bool) { f.heavy = on }

// begin runs work on a fiber, from the loop's goroutine.
func (l *loop) begin(work func(*coroutine)) {
	var f *coroutine
	l.mu.Lock()
	if n := len(l.spare); n > 0 {
		f = l.spare[n-1]
		l.spare = l.spare[:n-1]
	}
	l.mu.Unlock()
	if f == nil {
		f = newCoroutine(l)
	}
	f.work = work
	l.drive(f, true)
}

// drive resumes a fiber until it waits. inline tells that the caller is the loop's goroutine.
func (l *loop) drive(f *coroutine, inline bool) {
	for {
		f.inline = inline
		switch p, _ := f.next(); {
		case p == idle:
			l.retire(f)
			return
		case p == moving:
			l.dispatch(f)
			return
		case l.arm(f, inline):
			return
		}
	}
}

// wakeFiber resumes a fiber whose connection is ready, from the loop's goroutine.
func (l *loop) wakeFiber(f *coroutine) {
	if f.heavy {
		l.engine.heavy.add(f)
		return
	}
	l.drive(f, true)
}

// dispatch gives a fiber a goroutine. One that waits for a lookup may hold it for long, one with much
// to compute takes its turn.
func (l *loop) dispatch(f *coroutine) {
	if f.heavy {
		l.engine.heavy.add(f)
		return
	}
	go l.drive(f, false)
}

// retire keeps a fiber for other work.
func (l *loop) retire(f *coroutine) {
	f.work, f.heavy = nil, false
	l.logins.Add(-1)
	l.mu.Lock()
	keep := len(l.spare) < idleFibers && !l.isDone()
	if keep {
		l.spare = append(l.spare, f)
	}
	l.mu.Unlock()
	if !keep {
		f.stop()
	}
}

// crowd runs heavy fibers on no more goroutines than there are CPUs: when many clients connect at once
// their handshakes queue, and relayed sessions go on.
type crowd struct {
	mu      sync.Mutex
	queue   []*coroutine
	running int
}

func (w *crowd) add(f *coroutine) {
	w.mu.Lock()
	if w.running >= runtime.NumCPU() {
		w.queue = append(w.queue, f)
		w.mu.Unlock()
		return
	}
	w.running++
	w.mu.Unlock()
	go w.run(f)
}

func (w *crowd) run(f *coroutine) {
	for f != nil {
		f.loop.drive(f, false)
		w.mu.Lock()
		if len(w.queue) > 0 {
			f = w.queue[0]
			w.queue[0] = nil
			w.queue = w.queue[1:]
		} else {
			f = nil
			w.running--
		}
		w.mu.Unlock()
	}
}
