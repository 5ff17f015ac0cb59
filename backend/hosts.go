package backend

import (
	"net/netip"
	"sync"
	"time"
)

// Hosts remembers which backends cannot be connected to. Dovecot 2.3 has such a memory in each login
// process and loses it with service_count = 1; this one serves all sessions.
type Hosts struct {
	mu sync.Mutex
	m  map[netip.AddrPort]*host
}

// host is what is known of one backend.
type host struct {
	success, failure time.Time // the last ones
	waiting          int       // connects that are pending
	gaveUp           time.Time // when a login last ended without a connection
}

const (
	// refusingFor is how long after a login gave up on a backend that refuses connections others try it
	// once instead of waiting for it. Every one of those renews it, a connection ends it.
	refusingFor = 10 * time.Second
	maxHosts    = 8192
	forgetAfter = 10 * time.Minute
)

// NewHosts returns a memory without memories.
func NewHosts() *Hosts { return &Hosts{m: map[netip.AddrPort]*host{}} }

// start notes that a connect begins. It reports that the host is down when all of Dovecot's conditions
// hold: the host has not answered for longer than limit, and another connect waits for it already, so
// that one always probes. done must be called when it returned false.
func (h *Hosts) start(a netip.AddrPort, limit time.Duration) (down bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	x := h.m[a]
	now := time.Now()
	if x == nil {
		h.prune(now)
		x = &host{success: now.Add(-time.Second)}
		h.m[a] = x
	}
	if limit > 0 && x.failure.After(x.success) && x.waiting > 0 &&
		time.Duration(x.failure.Unix()-x.success.Unix())*time.Second > limit {
		return true
	}
	x.waiting++
	return false
}

// outcome of a connect.
type outcome int

const (
	connected outcome = iota
	unreachable
	undecided // given up by us, or a fault of our own
)

// done notes how a connect ended that began at a time.
func (h *Hosts) done(a netip.AddrPort, began time.Time, o outcome) {
	h.mu.Lock()
	defer h.mu.Unlock()
	x := h.m[a]
	if x == nil {
		return
	}
	x.waiting--
	switch {
	case o == connected:
		x.success, x.gaveUp = time.Now(), time.Time{}
	case o == unreachable && !x.success.After(began):
		// A success since then would make this a failure of one connect only.
		x.failure = time.Now()
	}
}

// giveUp notes that a login ended because the host could not be reached.
func (h *Hosts) giveUp(a netip.AddrPort) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if x := h.m[a]; x != nil {
		x.gaveUp = time.Now()
	}
}

// refusing tells whether another login has given up on the host a moment ago and nobody has reached it
// since.
func (h *Hosts) refusing(a netip.AddrPort) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	x := h.m[a]
	return x != nil && !x.gaveUp.IsZero() && time.Since(x.gaveUp) < refusingFor
}

// prune makes room once there are many hosts: those go that nobody asked for lately, and if that is not
// half of them, others that nobody waits for.
func (h *Hosts) prune(now time.Time) {
	if len(h.m) < maxHosts {
		return
	}
	for _, every := range []bool{false, true} {
		for a, x := range h.m {
			if len(h.m) <= maxHosts/2 {
				return
			}
			if x.waiting == 0 && (every || now.Sub(x.success) > forgetAfter && now.Sub(x.failure) > forgetAfter) {
				delete(h.m, a)
			}
		}
	}
}
