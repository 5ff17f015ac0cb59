package auth

import (
	"context"
	"net/netip"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"dproxy/conf"
	"dproxy/passdb"
)

func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// timed logs in and returns how long the verdict took.
func (r rig) timed(t *testing.T, from, user, password string) time.Duration {
	t.Helper()
	q := Request{Mech: "PLAIN", Initial: []byte("\x00" + user + "\x00" + password), HasInitial: true}
	if from != "" {
		q.Remote = addrPort(from)
	}
	began := time.Now()
	r.authenticate(t, q)
	return time.Since(began)
}

func TestFailureDelay(t *testing.T) {
	future := func() string { return strconv.FormatInt(time.Now().Unix()+7, 10) }
	for _, c := range []struct {
		name, user, password string
		want                 time.Duration
	}{
		{"a wrong password waits", "u", "bad", 2 * time.Second},
		{"an unknown user waits as long", "zz", "bad", 2 * time.Second},
		{"a slow database does not make it longer", "slow", "bad", 2 * time.Second},
		{"a success does not wait", "u", "p", 0},
		{"nodelay does not wait", "quick", "bad", 0},
		{"delay_until holds a success back", "later", "p", 7 * time.Second},
		{"a fault waits for half the time", "broken", "p", time.Second},
		{"a bad name waits", "a b", "p", 2 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fakeConfig{services: noPenalty}
				f.settings.AuthFailureDelay = 2 * time.Second
				f.settings.AuthUsernameChars = "abcdefghijklmnopqrstuvwxyz"
				db := memory{"u": user("p"), "quick": user("p", "nodelay", "y"), "later": user("p", "delay_until", future()), "broken": {Status: passdb.InternalFailure}}
				r := newRig(t, f, sluggish{db})
				if got := r.timed(t, "", c.user, c.password); got != c.want {
					t.Fatalf("%v, want %v", got, c.want)
				}
			})
		})
	}
}

// sluggish takes a second for the user slow.
type sluggish struct{ memory }

func (s sluggish) Lookup(ctx context.Context, r *passdb.Request) (passdb.Result, error) {
	if r.User == "slow" {
		time.Sleep(time.Second)
	}
	return s.memory.Lookup(ctx, r)
}

func TestTheClientsEndEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeConfig{}
		f.settings.AuthFailureDelay = time.Hour
		r := newRig(t, f, memory{"u": user("p")})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		_, _, reply := r.Start(ctx, Request{Mech: "PLAIN", Initial: []byte("\x00u\x00bad"), HasInitial: true})
		if reply == nil || reply.OK || time.Since(began) != time.Second {
			t.Fatalf("%+v after %v", reply, time.Since(began))
		}
	})
}

var noPenalty = []conf.Service{{Name: "anvil", Unix: []conf.UnixListener{{Path: "anvil-auth-penalty"}}}}

// TestPenalty has the steps that a real Dovecot 2.3.19.1 was seen to take.
func TestPenalty(t *testing.T) {
	const here = "192.0.2.9:1"
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &fakeConfig{}, memory{"a": user("x"), "b": {Status: passdb.InternalFailure}})
		check := func(from, password string, want time.Duration) {
			t.Helper()
			if got := r.timed(t, from, "a", password); got != want {
				t.Fatalf("%s with %s: %v, want %v", from, password, got, want)
			}
		}
		check(here, "bad", 0)
		check(here, "bad", 4*time.Second) // the same again: it does not get worse
		check(here, "bad", 4*time.Second)
		check(here, "bad", 4*time.Second)
		time.Sleep(4 * time.Second)
		check(here, "bad", 0) // 15 s after the last raise all is forgotten
		check(here, "bad2", 0)
		check(here, "bad3", 4*time.Second)
		check("198.51.100.1:1", "x", 0) // others are not slowed down
		check(here, "x", 8*time.Second) // good logins from there are
		check(here, "bad4", 0)
		check(here, "bad5", 4*time.Second)
		check(here, "bad6", 8*time.Second)
		check(here, "bad7", 15*time.Second)
		check("[2001:db8:1:2::1]:1", "bad", 0)
		check("[2001:db8:1:ffff::9]:1", "bad0", 4*time.Second)
		check("[2001:db8:2::1]:1", "bad", 0)
		check("[::ffff:203.0.113.5]:1", "bad", 0)
		check("203.0.113.5:1", "bad0", 4*time.Second)
		if n := len(r.Penalties()); n != 4 {
			t.Errorf("%d penalties: %+v", n, r.Penalties())
		}
	})
}

func TestFaultsAreNoGuesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &fakeConfig{}, memory{"b": {Status: passdb.InternalFailure}, "q": user("p", "nodelay", "")})
		for _, password := range []string{"1", "2", "3"} {
			for _, user := range []string{"b", "q"} {
				if got := r.timed(t, "192.0.2.9:1", user, password); got != 0 {
					t.Fatalf("%s waited %v", user, got)
				}
			}
		}
	})
}

func TestPenaltiesCanBeSwitchedOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &fakeConfig{services: noPenalty}, memory{})
		for _, password := range []string{"1", "2", "3"} {
			if got := r.timed(t, "192.0.2.9:1", "u", password); got != 0 {
				t.Fatalf("waited %v", got)
			}
		}
	})
}
