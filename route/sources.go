package route

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"dproxy/event"
)

// Sources are the addresses of login_source_ips, taken in turn from a random start. Addresses of the
// other family than the destination are passed over, where Dovecot 2.3 would warn and use none.
type Sources struct {
	v4, v6 rotation

	mu        sync.Mutex
	exhausted map[route]time.Time
}

type rotation struct {
	list []netip.Addr
	next atomic.Uint32
}

type route struct{ from, to netip.Addr }

const (
	// restTime is how long a source address is passed over for a destination to which it had no port
	// left. A port comes free again when a connection's TIME_WAIT is over.
	restTime     = time.Second
	maxExhausted = 1024
)

// NewSources reads a login_source_ips value: addresses and host names, separated by blanks or commas;
// a host name stands for all its addresses. With a ? in front of the whole value the addresses that
// this host does not have are left out. What cannot be resolved is reported and skipped.
func NewSources(ctx context.Context, value string, res Resolver, events event.Sink) *Sources {
	value, test := strings.CutPrefix(value, "?")
	s := &Sources{exhausted: map[route]time.Time{}}
	for word := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' }) {
		var addrs []netip.Addr
		if ip, ok := parseIP(word); ok {
			addrs = append(addrs, ip)
		} else {
			ctx, cancel := context.WithTimeout(ctx, dnsTimeout)
			var err error
			addrs, err = res.LookupNetIP(ctx, "ip", word)
			cancel()
			if err != nil {
				events.Emit(event.Notice{Level: event.Error, Source: "login", Text: "login_source_ips: net_gethostbyname(" + event.Clean(word, 255) + ") failed: " + dnsText(err)})
				continue
			}
		}
		for _, a := range addrs {
			a = a.Unmap()
			if test && !usable(a) {
				continue
			}
			list := &s.v4
			if a.Is6() {
				list = &s.v6
			}
			list.list = append(list.list, a)
		}
	}
	for _, r := range []*rotation{&s.v4, &s.v6} {
		if n := len(r.list); n > 0 {
			r.next.Store(uint32(rand.IntN(n)))
		}
	}
	return s
}

func (s *Sources) family(to netip.Addr) *rotation {
	if to.Is6() {
		return &s.v6
	}
	return &s.v4
}

// Len is the number of addresses that fit a destination.
func (s *Sources) Len(to netip.Addr) int {
	if s == nil {
		return 0
	}
	return len(s.family(to).list)
}

// Next returns the address for the next login to a destination, or an invalid one for the system's
// choice. Addresses that had no port left for the destination a moment ago are passed over as long as
// there is another.
func (s *Sources) Next(to netip.Addr) netip.Addr {
	if s.Len(to) == 0 {
		return netip.Addr{}
	}
	r := s.family(to)
	var a netip.Addr
	for range r.list {
		a = r.list[int((r.next.Add(1)-1)%uint32(len(r.list)))]
		if !s.resting(route{a, to}) {
			break
		}
	}
	return a
}

func (s *Sources) resting(r route) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	since, ok := s.exhausted[r]
	if ok && time.Since(since) >= restTime {
		delete(s.exhausted, r)
		return false
	}
	return ok
}

// Exhausted reports that an address had no port left for a destination.
func (s *Sources) Exhausted(from, to netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.exhausted) >= maxExhausted {
		clear(s.exhausted)
	}
	s.exhausted[route{from, to}] = time.Now()
}

// usable tells whether a socket can be bound to the address.
func usable(a netip.Addr) bool {
	l, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 0)))
	if err != nil {
		return false
	}
	_ = l.Close()
	return true
}
