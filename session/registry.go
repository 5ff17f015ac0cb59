package session

import (
	"encoding/binary"
	"net/netip"
	"sync"
)

// Entry is a registered session. It is kept small: there may be a hundred thousand.
type Entry struct {
	session    Session
	prev, next *Entry
	source     source
	state      state
	kicked     bool // while it logged in
}

type state uint8

const (
	gone    state = iota // removed
	waiting              // not logged in
	ended                // told to make room; it leaves soon
	relayed
)

// source is what PerSource counts by: an IPv4 address or an IPv6 /64. The zero value is nobody and
// is not counted.
type source struct {
	bits uint64
	kind uint8
}

// list is a list of entries, oldest first.
type list struct{ first, last *Entry }

func (l *list) push(e *Entry) {
	e.prev, e.next = l.last, nil
	if l.last != nil {
		l.last.next = e
	} else {
		l.first = e
	}
	l.last = e
}

func (l *list) remove(e *Entry) {
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		l.first = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	} else {
		l.last = e.prev
	}
	e.prev, e.next = nil, nil
}

// Registry lists the sessions. Every operation on one session takes constant time.
type Registry struct {
	mu       sync.Mutex
	limits   Limits
	sources  map[source]int // sessions that have not logged in
	waiting  list
	relayed  list
	nWaiting int // in the list waiting
	nRelayed int
	nEnded   int
	empty    chan struct{} // closed and renewed whenever the last session leaves
	stopping bool
	stopAll  bool
}

// NewRegistry returns an empty registry.
func NewRegistry() *Registry {
	return &Registry{sources: map[source]int{}, empty: make(chan struct{})}
}

// SetLimits changes the bounds; sessions that exist stay.
func (r *Registry) SetLimits(l Limits) {
	r.mu.Lock()
	r.limits = l
	r.mu.Unlock()
}

// Add registers a session that has not logged in. When the bound is reached, the oldest one that
// has not logged in is ended to make room (as Dovecot's login processes do). ok is false when the
// registry is stopping or the source holds too many: the caller closes the new connection. An
// invalid address belongs to no source; Source names it later.
func (r *Registry) Add(s Session, client netip.Addr) (e *Entry, ok bool) {
	src := sourceOf(client)
	r.mu.Lock()
	if r.stopping || r.full(src) {
		r.mu.Unlock()
		return nil, false
	}
	var victim *Entry
	if r.limits.PreLogin > 0 && r.nWaiting >= r.limits.PreLogin && r.waiting.first != nil {
		victim = r.waiting.first
		r.leaveWaiting(victim)
		victim.state = ended
		r.nEnded++
	}
	e = &Entry{session: s, source: src, state: waiting}
	r.waiting.push(e)
	r.nWaiting++
	r.count(src, 1)
	r.mu.Unlock()
	if victim != nil {
		victim.session.End(QueueFull)
	}
	return e, true
}

// Source tells whose connection it is once a PROXY header has said so. ok is false when that
// source holds too many; the session stays registered until Remove.
func (r *Registry) Source(e *Entry, client netip.Addr) (ok bool) {
	src := sourceOf(client)
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.state != waiting {
		return true
	}
	r.count(e.source, -1)
	e.source = source{}
	if r.full(src) {
		return false
	}
	e.source = src
	r.count(src, 1)
	return true
}

// LoggedIn marks a session as handed over to s: it no longer counts against the bounds, and ending
// it ends s.
func (r *Registry) LoggedIn(e *Entry, s Session) {
	r.mu.Lock()
	switch e.state {
	case waiting:
		r.leaveWaiting(e)
	case ended:
		r.nEnded--
	default:
		r.mu.Unlock()
		return
	}
	e.session, e.state = s, relayed
	r.relayed.push(e)
	r.nRelayed++
	stop, kicked := r.stopAll, e.kicked
	r.mu.Unlock()
	switch {
	case kicked:
		s.End(Kicked)
	case stop:
		s.End(Shutdown)
	}
}

// Remove forgets a session.
func (r *Registry) Remove(e *Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch e.state {
	case gone:
		return
	case waiting:
		r.leaveWaiting(e)
	case ended:
		r.nEnded--
	case relayed:
		r.relayed.remove(e)
		r.nRelayed--
	}
	e.state, e.session = gone, nil
	if r.nWaiting+r.nEnded+r.nRelayed == 0 {
		close(r.empty)
		r.empty = make(chan struct{})
	}
}

// Counts returns how many sessions have not logged in and how many are relayed.
func (r *Registry) Counts() (preLogin, relayed int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.nWaiting + r.nEnded, r.nRelayed
}

// Stop refuses new sessions, ends those that have not logged in and, when relayed is true, the
// others too.
func (r *Registry) Stop(relayed bool) {
	r.mu.Lock()
	r.stopping = true
	r.stopAll = r.stopAll || relayed
	var end []Session
	for e := r.waiting.first; e != nil; e = e.next {
		end = append(end, e.session)
	}
	if relayed {
		for e := r.relayed.first; e != nil; e = e.next {
			end = append(end, e.session)
		}
	}
	r.mu.Unlock()
	for _, s := range end {
		s.End(Shutdown)
	}
}

// Wait returns a channel that is closed when no session is left, now or later.
func (r *Registry) Wait() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.nWaiting+r.nEnded+r.nRelayed == 0 {
		c := make(chan struct{})
		close(c)
		return c
	}
	return r.empty
}

// leaveWaiting takes an entry off the list of those that have not logged in.
func (r *Registry) leaveWaiting(e *Entry) {
	r.waiting.remove(e)
	r.nWaiting--
	r.count(e.source, -1)
}

func (r *Registry) full(s source) bool {
	return s.kind != 0 && r.limits.PerSource > 0 && r.sources[s] >= r.limits.PerSource
}

func (r *Registry) count(s source, by int) {
	if s.kind == 0 {
		return
	}
	if n := r.sources[s] + by; n > 0 {
		r.sources[s] = n
	} else {
		delete(r.sources, s)
	}
}

func sourceOf(a netip.Addr) source {
	a = a.Unmap()
	switch {
	case a.Is4():
		b := a.As4()
		return source{uint64(binary.BigEndian.Uint32(b[:])), 4}
	case a.Is6():
		b := a.As16()
		return source{binary.BigEndian.Uint64(b[:]), 6}
	}
	return source{}
}
