package login

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// spreads remember for login_proxy_max_disconnect_delay how many sessions each backend has, and has lost.
type spreads struct {
	mu sync.Mutex
	m  map[netip.AddrPort]*spread
}

// spread is what is known of one backend.
type spread struct {
	sessions int       // that are there
	lost     int       // since somebody last logged in there
	first    time.Time // when the first of them was lost
	delayed  int       // of the lost ones, those that still wait
	ending   int       // all that end will be called for
}

// begin counts a session.
func (s *spreads) begin(a netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m == nil {
		s.m = map[netip.AddrPort]*spread{}
	}
	x := s.m[a]
	if x == nil {
		x = &spread{}
		s.m[a] = x
	}
	x.sessions++
	x.ending++
	x.lost = 0
}

// end forgets a session. lost tells that delay was asked for it, and waited that it said something else than 0.
func (s *spreads) end(a netip.AddrPort, lost, waited bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.m[a]
	if waited {
		x.delayed--
	}
	if !lost {
		x.sessions--
	}
	x.ending--
	if x.ending == 0 {
		delete(s.m, a)
	}
}

// delay is how long the client of a session that its backend ends just now stays connected, 0 to most. The
// clients of a backend that loses many are let go evenly over that time (Dovecot 2.3): up to the number for a
// second at once.
func (s *spreads) delay(a netip.AddrPort, most time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	x, now := s.m[a], time.Now()
	if x.lost++; x.lost == 1 {
		x.first = now
	}
	x.sessions--
	all := x.sessions + x.lost
	seconds := int(most / time.Second)
	if x.delayed == 0 && x.lost <= (all+seconds-1)/seconds {
		return 0
	}
	at := x.first.Add(time.Duration(rand.IntN(100)) * time.Millisecond).Add(100 * time.Millisecond * time.Duration(seconds*x.lost*10/all))
	if d := at.Sub(now); d > 0 {
		x.delayed++
		return min(d, most)
	}
	return 0
}
