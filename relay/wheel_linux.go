package relay

import (
	"time"

	"dproxy/fiber"
)

// wheel holds the time limits of a loop's sessions or connections, coarsely: one is in the bucket of
// the tick at which it is to be looked at. There is one timer for all, and none when the wheels are empty.
type wheel[T expirer[T]] struct {
	tick    time.Duration
	at      int64 // ticks up to this one are done
	n       int
	buckets [64]T
}

// expirer is what a wheel holds.
type expirer[T any] interface {
	comparable
	place() *timed[T]
	expire() // its time has come
}

// timed is the place of one in the wheel.
type timed[T any] struct {
	prev, next T
	bucket     int8 // plus one; 0 is none
}

func (s *looped) place() *timed[*looped] { return &s.timed }
func (c *Conn) place() *timed[*Conn]     { return &c.timed }

// call is what a wheel runs at its time; it implements fiber.Timer.
type call struct {
	loop  *loop
	fiber *coroutine
	timed timed[*call]

	// What follows is guarded by loop.mu.
	at  time.Duration
	run func() time.Duration // nil: stopped
}

func (c *call) place() *timed[*call] { return &c.timed }

// expire implements expirer.
func (c *call) expire() {
	l := c.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case c.run == nil:
	case c.at > l.now:
		l.calls.add(c, l.now, c.at)
	default:
		go c.do(c.run)
	}
}

func (c *call) do(run func() time.Duration) {
	d := run()
	l := c.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	if d > 0 && c.run != nil && !l.over {
		c.at = l.engine.now() + d
		l.pending = append(l.pending, c)
		l.wakeLocked()
	}
}

// Stop implements fiber.Timer.
func (c *call) Stop() {
	c.loop.mu.Lock()
	c.run = nil
	c.loop.mu.Unlock()
	if c.fiber.inline {
		c.loop.calls.remove(c)
	}
}

// After implements fiber.Runner.
func (f *coroutine) After(d time.Duration, run func() time.Duration) fiber.Timer {
	l := f.loop
	c := &call{loop: l, fiber: f, at: l.engine.now() + d, run: run}
	if f.inline {
		l.calls.add(c, l.now, c.at)
		return c
	}
	l.mu.Lock()
	l.pending = append(l.pending, c)
	l.wakeLocked()
	l.mu.Unlock()
	return c
}

// connTick is the wheel's step for connections that are logging in.
const connTick = 100 * time.Millisecond

func (o *Options) tick() time.Duration { return min(time.Second, o.drain/4, o.farewell/4) }

// add has s looked at not before due, or earlier when due is further away than the wheel is wide.
// What is in the wheel is moved.
func (w *wheel[T]) add(s T, now, due time.Duration) {
	w.remove(s)
	if w.n == 0 {
		w.at = int64(now / w.tick)
	}
	at := int64((due + w.tick - 1) / w.tick)
	at = max(w.at+1, min(at, w.at+int64(len(w.buckets))-1))
	b := at % int64(len(w.buckets))
	head := w.buckets[b]
	*s.place() = timed[T]{next: head, bucket: int8(b) + 1}
	var none T
	if head != none {
		head.place().prev = s
	}
	w.buckets[b] = s
	w.n++
}

func (w *wheel[T]) remove(s T) {
	t := s.place()
	if t.bucket == 0 {
		return
	}
	var none T
	if t.prev != none {
		t.prev.place().next = t.next
	} else {
		w.buckets[t.bucket-1] = t.next
	}
	if t.next != none {
		t.next.place().prev = t.prev
	}
	*t = timed[T]{}
	w.n--
}

// advance looks at what is due.
func (w *wheel[T]) advance(now time.Duration) {
	var none T
	for to := int64(now / w.tick); w.at < to && w.n > 0; {
		w.at++
		b := w.at % int64(len(w.buckets))
		list := w.buckets[b]
		w.buckets[b] = none
		for s := list; s != none; {
			t := s.place()
			next := t.next
			*t = timed[T]{}
			w.n--
			s.expire()
			s = next
		}
	}
}

// next returns when advance has something to look at; 0 is never.
func (w *wheel[T]) next() time.Duration {
	if w.n == 0 {
		return 0
	}
	var none T
	at := w.at + 1
	for w.buckets[at%int64(len(w.buckets))] == none {
		at++
	}
	return time.Duration(at) * w.tick
}
