package login

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

func TestSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s spreads
		a, b := netip.MustParseAddrPort("192.0.2.1:143"), netip.MustParseAddrPort("192.0.2.2:143")
		for range 100 {
			s.begin(a)
		}
		s.begin(b)
		const most = 10 * time.Second
		at, late := 0, time.Duration(0)
		perSecond := map[int]int{}
		for range 100 {
			d := s.delay(a, most)
			if d == 0 {
				at++
			} else {
				perSecond[int(d/time.Second)]++
			}
			late = max(late, d)
		}
		if at != 10 || late > most || late < most-time.Second {
			t.Errorf("%d at once, the last after %s", at, late)
		}
		for second, n := range perSecond {
			if n > 20 {
				t.Errorf("%d in second %d", n, second)
			}
		}
		if d := s.delay(b, most); d != 0 {
			t.Errorf("the only client of another backend waits %s", d)
		}
		s.end(b, true, false)
		for range 10 {
			s.end(a, true, false)
		}
		for range 90 {
			s.end(a, true, true)
		}
		if len(s.m) != 0 {
			t.Errorf("left: %+v", s.m[a])
		}
	})
}
