package relay

import "time"

// wheel holds the time limits of a loop's sessions, coarsely: a session is in the bucket of the
// tick at which it is to be looked at. There is one timer for all, and none when the wheel is empty.
type wheel struct {
	tick    time.Duration
	at      int64 // ticks up to this one are done
	n       int
	buckets [64]*looped
}

// timed is a session's place in the wheel.
type timed struct {
	prev, next *looped
	bucket     int8 // plus one; 0 is none
}

func (o *Options) tick() time.Duration { return min(time.Second, o.drain/4, o.farewell/4) }

func (w *wheel) init(tick time.Duration) { w.tick = tick }

// add has s looked at not before due, or earlier when due is further away than the wheel is wide.
// A session that is in the wheel is moved.
func (w *wheel) add(s *looped, due time.Duration) {
	w.remove(s)
	if w.n == 0 {
		w.at = int64(s.loop.now / w.tick)
	}
	at := int64((due + w.tick - 1) / w.tick)
	at = max(w.at+1, min(at, w.at+int64(len(w.buckets))-1))
	b := at % int64(len(w.buckets))
	head := w.buckets[b]
	s.timed = timed{next: head, bucket: int8(b) + 1}
	if head != nil {
		head.timed.prev = s
	}
	w.buckets[b] = s
	w.n++
}

func (w *wheel) remove(s *looped) {
	t := &s.timed
	if t.bucket == 0 {
		return
	}
	if t.prev != nil {
		t.prev.timed.next = t.next
	} else {
		w.buckets[t.bucket-1] = t.next
	}
	if t.next != nil {
		t.next.timed.prev = t.prev
	}
	*t = timed{}
	w.n--
}

// advance looks at the sessions that are due.
func (w *wheel) advance(now time.Duration) {
	for to := int64(now / w.tick); w.at < to && w.n > 0; {
		w.at++
		b := w.at % int64(len(w.buckets))
		list := w.buckets[b]
		w.buckets[b] = nil
		for s := list; s != nil; {
			next := s.timed.next
			s.timed = timed{}
			w.n--
			s.expire()
			s = next
		}
	}
}

// next returns when advance has something to look at; 0 is never.
func (w *wheel) next() time.Duration {
	if w.n == 0 {
		return 0
	}
	at := w.at + 1
	for w.buckets[at%int64(len(w.buckets))] == nil {
		at++
	}
	return time.Duration(at) * w.tick
}
