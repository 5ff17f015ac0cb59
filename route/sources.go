package route

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"

	"dproxy/event"
)

// Sources are the addresses of login_source_ips, taken in turn. Addresses of the other family than
// the destination are passed over, where Dovecot 2.3 would warn and use none.
type Sources struct {
	v4, v6 []netip.Addr
	next   atomic.Uint32
}

// NewSources reads a login_source_ips value: addresses and host names, separated by blanks or commas;
// a host name stands for all its addresses. With a ? in front of the whole value the addresses that
// this host does not have are left out. What cannot be resolved is reported and skipped.
func NewSources(ctx context.Context, value string, res Resolver, events event.Sink) *Sources {
	value, test := strings.CutPrefix(value, "?")
	s := &Sources{}
	for _, word := range strings.FieldsFunc(value, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' }) {
		addrs := []netip.Addr{}
		if ip, err := netip.ParseAddr(strings.Trim(word, "[]")); err == nil {
			addrs = append(addrs, ip)
		} else if addrs, err = res.LookupNetIP(ctx, "ip", word); err != nil {
			events.Emit(event.Notice{Level: event.Error, Source: "login", Text: "login_source_ips: net_gethostbyname(" + event.Clean(word, 255) + ") failed: " + dnsText(err)})
			continue
		}
		for _, a := range addrs {
			a = a.Unmap()
			if test && !usable(a) {
				continue
			}
			if a.Is4() {
				s.v4 = append(s.v4, a)
			} else {
				s.v6 = append(s.v6, a)
			}
		}
	}
	return s
}

// Next returns the address for the next login to a destination, or an invalid one for the system's
// choice.
func (s *Sources) Next(to netip.Addr) netip.Addr {
	if s == nil {
		return netip.Addr{}
	}
	list := s.v4
	if to.Is6() {
		list = s.v6
	}
	if len(list) == 0 {
		return netip.Addr{}
	}
	return list[int(s.next.Add(1)-1)%len(list)]
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
