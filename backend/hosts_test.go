package backend

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// TestHostIsDown: the conditions of Dovecot 2.3's immediate failure, one by one.
func TestHostIsDown(t *testing.T) {
	a := netip.MustParseAddrPort("192.0.2.10:143")
	const limit = 30 * time.Second
	for _, tc := range []struct {
		name      string
		down      time.Duration // how long it has failed
		limit     time.Duration
		waits     bool // another connect is pending
		recovered bool
		want      bool
	}{
		{name: "down for longer than the limit while another waits", down: 35 * time.Second, limit: limit, waits: true, want: true},
		{name: "one is always let through to probe", down: 35 * time.Second, limit: limit, want: false},
		{name: "not yet down for so long", down: 25 * time.Second, limit: limit, waits: true, want: false},
		{name: "a limit of 0 switches it off", down: time.Hour, limit: 0, waits: true, want: false},
		{name: "it was reached since", down: time.Hour, limit: limit, waits: true, recovered: true, want: false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := NewHosts()
				fail := func(o outcome) {
					began := time.Now()
					if h.start(a, tc.limit) {
						t.Fatal("down too early")
					}
					time.Sleep(time.Millisecond)
					h.done(a, began, o)
				}
				fail(connected)
				time.Sleep(tc.down)
				fail(unreachable)
				if tc.recovered {
					time.Sleep(time.Second)
					fail(connected)
				}
				if tc.waits && h.start(a, 0) {
					t.Fatal("the prober was refused")
				}
				if got := h.start(a, tc.limit); got != tc.want {
					t.Errorf("down: %t, want %t", got, tc.want)
				}
			})
		})
	}
}

func TestFailureBesideASuccessIsForgiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := netip.MustParseAddrPort("192.0.2.10:143")
		h := NewHosts()
		began := time.Now()
		h.start(a, time.Second)
		time.Sleep(time.Minute)
		other := time.Now()
		h.start(a, 0)
		h.done(a, other, connected)
		time.Sleep(time.Millisecond)
		h.done(a, began, unreachable) // it began before the success
		h.start(a, 0)
		if h.start(a, time.Second) {
			t.Error("one failed connect counts against a host that others reach")
		}
	})
}

func TestRefusingHostIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := netip.MustParseAddrPort("192.0.2.10:143")
		h := NewHosts()
		h.start(a, 0)
		h.done(a, time.Now(), unreachable)
		if h.refusing(a) {
			t.Error("known before anybody gave up")
		}
		h.giveUp(a)
		time.Sleep(refusingFor - time.Second)
		if !h.refusing(a) {
			t.Error("forgotten too early")
		}
		h.start(a, 0)
		h.done(a, time.Now(), connected)
		if h.refusing(a) {
			t.Error("a connection does not clear it")
		}
		h.giveUp(a)
		time.Sleep(refusingFor)
		if h.refusing(a) {
			t.Error("never forgotten")
		}
	})
}

func TestHostsAreBounded(t *testing.T) {
	h := NewHosts()
	for i := range 3 * maxHosts {
		a := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 143)
		h.start(a, 0)
		h.done(a, time.Now(), unreachable)
	}
	if len(h.m) > maxHosts {
		t.Errorf("%d hosts kept", len(h.m))
	}
}
