// Package session knows who is connected: session ids, the bounds on connections that have not
// logged in, and the list that shutdown and kick walk. It imports event only; login and admin
// import it.
package session

import (
	"encoding/base64"
	"net/netip"
	"sync"
	"time"
)

// ID makes a session id in Dovecot's format: base64 without padding of the low 48 bits of the
// microsecond clock (little endian), the client's port (little endian) and its address.
func ID(now time.Time, client netip.AddrPort) string {
	us := uint64(now.UnixMicro())
	b := make([]byte, 0, 24)
	for i := range 6 {
		b = append(b, byte(us>>(8*i)))
	}
	p := client.Port()
	b = append(b, byte(p), byte(p>>8))
	b = append(b, client.Addr().Unmap().AsSlice()...)
	return base64.RawStdEncoding.EncodeToString(b)
}

// Session is a connection that can be told to end.
type Session interface {
	// End asks the session to end soon, with a reason for the client and the log.
	End(reason Reason)
}

// Reason is why a session is ended from our side.
type Reason int

// The reasons.
const (
	Shutdown  Reason = iota // the program stops
	QueueFull               // a newer connection needs the place
	Kicked                  // by an admin
)

// Limits bound the connections that have not logged in. 0 is no limit.
type Limits struct {
	PreLogin  int // in all
	PerSource int // from one IPv4 address or one IPv6 /64
}

// Entry is a registered session.
type Entry struct {
	session Session
	source  netip.Prefix
	relayed bool
	prev    *Entry // pre-login sessions, oldest first
	next    *Entry
}

// Registry lists the sessions.
type Registry struct {
	mu       sync.Mutex
	limits   Limits
	all      map[*Entry]struct{}
	sources  map[netip.Prefix]int
	oldest   *Entry
	newest   *Entry
	preLogin int
	empty    chan struct{} // closed and renewed whenever the last session leaves
	stopping bool
}

// NewRegistry returns an empty registry.
func NewRegistry() *Registry {
	return &Registry{all: map[*Entry]struct{}{}, sources: map[netip.Prefix]int{}, empty: make(chan struct{})}
}

// SetLimits changes the bounds; sessions that exist stay.
func (r *Registry) SetLimits(l Limits) {
	r.mu.Lock()
	r.limits = l
	r.mu.Unlock()
}

// Add registers a session that has not logged in. When the bound is reached, the oldest one that
// has not logged in is ended to make room (as Dovecot's login processes do); when one source holds
// too many, ok is false and the caller closes the new connection.
func (r *Registry) Add(s Session, client netip.Addr) (e *Entry, ok bool) {
	source := sourceOf(client)
	r.mu.Lock()
	if r.stopping || r.limits.PerSource > 0 && r.sources[source] >= r.limits.PerSource {
		r.mu.Unlock()
		return nil, false
	}
	var victim *Entry
	if r.limits.PreLogin > 0 && r.preLogin >= r.limits.PreLogin && r.oldest != nil {
		victim = r.oldest
		r.unlink(victim)
	}
	e = &Entry{session: s, source: source, prev: r.newest}
	if r.newest != nil {
		r.newest.next = e
	} else {
		r.oldest = e
	}
	r.newest = e
	r.preLogin++
	r.sources[source]++
	r.all[e] = struct{}{}
	r.mu.Unlock()
	if victim != nil {
		victim.session.End(QueueFull)
	}
	return e, true
}

// LoggedIn marks a session as handed over: it no longer counts against the bounds.
func (r *Registry) LoggedIn(e *Entry) {
	r.mu.Lock()
	r.unlink(e)
	e.relayed = true
	r.mu.Unlock()
}

// Remove forgets a session.
func (r *Registry) Remove(e *Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.all[e]; !ok {
		return
	}
	r.unlink(e)
	delete(r.all, e)
	if len(r.all) == 0 {
		close(r.empty)
		r.empty = make(chan struct{})
	}
}

// unlink takes an entry off the pre-login list and its source's count, once.
func (r *Registry) unlink(e *Entry) {
	linked := e.prev != nil || e.next != nil || r.oldest == e
	if !linked {
		return
	}
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		r.oldest = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	} else {
		r.newest = e.prev
	}
	e.prev, e.next = nil, nil
	r.preLogin--
	if r.sources[e.source]--; r.sources[e.source] <= 0 {
		delete(r.sources, e.source)
	}
}

// Counts returns how many sessions have not logged in and how many are relayed.
func (r *Registry) Counts() (preLogin, relayed int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for e := range r.all {
		if e.relayed {
			relayed++
		}
	}
	return len(r.all) - relayed, relayed
}

// Stop refuses new sessions, ends those that have not logged in and, when relayed is true, the
// others too.
func (r *Registry) Stop(relayed bool) {
	r.mu.Lock()
	r.stopping = true
	var end []Session
	for e := range r.all {
		if relayed || !e.relayed {
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
	if len(r.all) == 0 {
		c := make(chan struct{})
		close(c)
		return c
	}
	return r.empty
}

func sourceOf(a netip.Addr) netip.Prefix {
	a = a.Unmap()
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.WithZone("").Prefix(bits)
	return p
}
