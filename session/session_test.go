package session

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

type fake struct{ reasons []Reason }

func (f *fake) End(r Reason) { f.reasons = append(f.reasons, r) }

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func TestIDIsDovecots(t *testing.T) {
	// Taken from a Dovecot 2.3.19.1 log line: client 127.0.0.1:40893.
	id := ID(time.UnixMicro(0x61_01_5d_82_f6_d1), netip.MustParseAddrPort("127.0.0.1:40893"))
	if want := "0faCXQFhvZ9/AAAB"; id != want {
		t.Errorf("ID = %q, want %q", id, want)
	}
	if id := ID(time.Now(), netip.MustParseAddrPort("[2001:db8::1]:1")); len(id) != 32 {
		t.Errorf("an IPv6 client's id has %d characters, want 32", len(id))
	}
	if a, b := ID(time.UnixMicro(5), netip.MustParseAddrPort("[::ffff:192.0.2.1]:7")), ID(time.UnixMicro(5), netip.MustParseAddrPort("192.0.2.1:7")); a != b {
		t.Errorf("a mapped address gives %q, the IPv4 one %q", a, b)
	}
}

func TestRegistryEndsTheOldestNotLoggedIn(t *testing.T) {
	r := NewRegistry()
	r.SetLimits(Limits{PreLogin: 2})
	var s [4]fake
	e0, _ := r.Add(&s[0], addr("192.0.2.1"))
	r.LoggedIn(e0, &s[0])
	e1, _ := r.Add(&s[1], addr("192.0.2.1"))
	if _, ok := r.Add(&s[2], addr("192.0.2.1")); !ok {
		t.Fatal("the second session that has not logged in was refused")
	}
	if _, ok := r.Add(&s[3], addr("192.0.2.1")); !ok {
		t.Fatal("a new connection was refused instead of an old one ended")
	}
	for i, want := range [][]Reason{nil, {QueueFull}, nil, nil} {
		if !slices.Equal(s[i].reasons, want) {
			t.Errorf("session %d was ended with %v, want %v", i, s[i].reasons, want)
		}
	}
	if pre, rel := r.Counts(); pre != 3 || rel != 1 {
		t.Errorf("Counts = %d, %d; want 3 (one of them leaving) and 1", pre, rel)
	}
	r.Remove(e1)
	r.Remove(e1)
	if pre, _ := r.Counts(); pre != 2 {
		t.Errorf("%d sessions after the removal of one, want 2", pre)
	}
}

func TestRegistryBoundsOneSource(t *testing.T) {
	cases := map[string]struct {
		first, second string
		want          bool
	}{
		"same IPv4 address":        {"192.0.2.1", "192.0.2.1", false},
		"other IPv4 address":       {"192.0.2.1", "192.0.2.2", true},
		"mapped IPv4 is the same":  {"192.0.2.1", "::ffff:192.0.2.1", false},
		"same IPv6 /64":            {"2001:db8::1", "2001:db8::ffff:1", false},
		"other IPv6 /64":           {"2001:db8::1", "2001:db8:0:1::1", true},
		"zones are not told apart": {"fe80::1%eth0", "fe80::1%eth1", false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := NewRegistry()
			r.SetLimits(Limits{PerSource: 1})
			e, _ := r.Add(&fake{}, addr(c.first))
			if _, ok := r.Add(&fake{}, addr(c.second)); ok != c.want {
				t.Errorf("the second was let in: %v, want %v", ok, c.want)
			}
			r.LoggedIn(e, &fake{})
			if _, ok := r.Add(&fake{}, addr(c.first)); !ok {
				t.Error("a session that has logged in still counts against its source")
			}
		})
	}
}

func TestRegistrySourceIsNamedLater(t *testing.T) {
	r := NewRegistry()
	r.SetLimits(Limits{PerSource: 1})
	first, ok1 := r.Add(&fake{}, netip.Addr{})
	second, ok2 := r.Add(&fake{}, netip.Addr{})
	if !ok1 || !ok2 {
		t.Fatal("connections of no source were bounded")
	}
	if !r.Source(first, addr("192.0.2.1")) {
		t.Error("the first of its source was refused")
	}
	if r.Source(second, addr("192.0.2.1")) {
		t.Error("the second of its source was let in")
	}
	r.Remove(first)
	r.Remove(second)
	if len(r.sources) != 0 {
		t.Errorf("sources left: %v", r.sources)
	}
}

func TestStopEndsWhatItIsAskedTo(t *testing.T) {
	r := NewRegistry()
	var pre, rel, late fake
	a, _ := r.Add(&pre, addr("192.0.2.1"))
	b, _ := r.Add(&rel, addr("192.0.2.1"))
	r.LoggedIn(b, &rel)
	r.Stop(false)
	if !slices.Equal(pre.reasons, []Reason{Shutdown}) || rel.reasons != nil {
		t.Errorf("before login: %v, relayed: %v; want only the first to be ended", pre.reasons, rel.reasons)
	}
	if _, ok := r.Add(&fake{}, addr("192.0.2.1")); ok {
		t.Error("a stopping registry took a new session")
	}
	r.Stop(true)
	if !slices.Equal(rel.reasons, []Reason{Shutdown}) {
		t.Errorf("the relayed session was ended with %v", rel.reasons)
	}
	// A login that was finishing while the program stopped must not be forgotten.
	r.LoggedIn(a, &late)
	if !slices.Equal(late.reasons, []Reason{Shutdown}) {
		t.Errorf("a session handed over during the stop was ended with %v", late.reasons)
	}
	done := r.Wait()
	select {
	case <-done:
		t.Fatal("Wait is over with two sessions left")
	default:
	}
	r.Remove(a)
	r.Remove(b)
	<-done
	<-r.Wait()
}

// told is a session that describes itself.
type told struct {
	fake
	info Info
}

func (t *told) Describe() (Info, bool) { return t.info, t.info.User != "" }

func TestKickEndsWhatMatches(t *testing.T) {
	r := NewRegistry()
	a, b, nobody := &told{info: Info{User: "a"}}, &told{info: Info{User: "b"}}, &told{}
	for _, s := range []*told{a, b, nobody} {
		if _, ok := r.Add(s, addr("192.0.2.1")); !ok {
			t.Fatal("a session was refused")
		}
	}
	var seen []string
	r.Each(func(i Info) bool { seen = append(seen, i.User); return true })
	if !slices.Equal(seen, []string{"a", "b"}) {
		t.Errorf("Each told of %q, want a and b: the third belongs to no user", seen)
	}
	out := r.Kick(func(i *Info) bool { return i.User == "a" })
	if len(out) != 1 || out[0].User != "a" || !slices.Equal(a.reasons, []Reason{Kicked}) || b.reasons != nil || nobody.reasons != nil {
		t.Errorf("kicked %v; a was ended with %v, b with %v, nobody with %v", out, a.reasons, b.reasons, nobody.reasons)
	}
}

func TestKickReachesALoginThatBecomesASession(t *testing.T) {
	r := NewRegistry()
	login, relayed := &told{info: Info{User: "a"}}, &told{info: Info{User: "a"}}
	e, _ := r.Add(login, addr("192.0.2.1"))
	r.Kick(func(*Info) bool { return true })
	r.LoggedIn(e, relayed) // the login had left before it was told
	if !slices.Equal(relayed.reasons, []Reason{Kicked}) {
		t.Errorf("the session was ended with %v, want it kicked", relayed.reasons)
	}
}

func TestNamesOfASession(t *testing.T) {
	i := Info{User: "u", Names: []Name{{"user_alt", "x"}}}
	for _, c := range []struct {
		field, want string
		ok          bool
	}{{"", "u", true}, {"user_alt", "x", true}, {"user_none", "", false}} {
		if got, ok := i.As(c.field); got != c.want || ok != c.ok {
			t.Errorf("As(%q) = %q, %v", c.field, got, ok)
		}
	}
}
