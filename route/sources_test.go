package route

import (
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"dproxy/event"
)

func TestSources(t *testing.T) {
	res := hosts{"src.example": {"127.0.0.41", "::1"}}
	for _, tc := range []struct {
		name, value string
		v4, v6      []string
		lines       []string
	}{
		{"blanks and commas separate", "127.0.0.40, 127.0.0.41\t127.0.0.42", []string{"127.0.0.40", "127.0.0.41", "127.0.0.42"}, nil, nil},
		{"IPv6 with and without brackets", "[::1] ::2", nil, []string{"::1", "::2"}, nil},
		{"a name stands for all its addresses", "src.example 127.0.0.50", []string{"127.0.0.41", "127.0.0.50"}, []string{"::1"}, nil},
		{
			"what does not resolve is skipped and reported", "nowhere.example 127.0.0.50",
			[]string{"127.0.0.50"},
			nil,
			[]string{"Error: login_source_ips: net_gethostbyname(nowhere.example) failed: server misbehaving"},
		},
		{"? drops what this host does not have", "?192.0.2.201 127.0.0.79", []string{"127.0.0.79"}, nil, nil},
		{"without ? nothing is tested", "192.0.2.201", []string{"192.0.2.201"}, nil, nil},
		{"nothing", "", nil, nil, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rec := &recorder{}
			s := NewSources(t.Context(), tc.value, res, rec)
			if !slices.Equal(s.v4.list, addrs(tc.v4...)) || !slices.Equal(s.v6.list, addrs(tc.v6...)) {
				t.Errorf("got %v and %v", s.v4.list, s.v6.list)
			}
			if !slices.Equal(rec.lines, tc.lines) {
				t.Errorf("lines %q", rec.lines)
			}
		})
	}
}

func TestSourcesTakeTurns(t *testing.T) {
	s := NewSources(t.Context(), "127.0.0.40 127.0.0.41 127.0.0.42 ::1", hosts{}, event.Discard{})
	to := netip.MustParseAddr("192.0.2.10")
	seen := map[netip.Addr]int{}
	var last netip.Addr
	for range 9 {
		a := s.Next(to)
		if a == last {
			t.Errorf("%v twice in a row", a)
		}
		last = a
		seen[a]++
	}
	for _, a := range addrs("127.0.0.40", "127.0.0.41", "127.0.0.42") {
		if seen[a] != 3 {
			t.Errorf("%v was used %d times of 9", a, seen[a])
		}
	}
	if got := s.Next(netip.MustParseAddr("2001:db8::1")); got != netip.MustParseAddr("::1") {
		t.Errorf("for IPv6: %v", got)
	}
	if got := NewSources(t.Context(), "127.0.0.40", hosts{}, event.Discard{}).Next(netip.MustParseAddr("::2")); got.IsValid() {
		t.Errorf("no IPv6 source: %v", got)
	}
	if got := (*Sources)(nil).Next(to); got.IsValid() {
		t.Errorf("no sources: %v", got)
	}
}

func TestExhaustedSourceRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSources(t.Context(), "127.0.0.40 127.0.0.41", hosts{}, event.Discard{})
		to, other := netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("192.0.2.11")
		full := netip.MustParseAddr("127.0.0.40")
		s.Exhausted(full, to)
		for range 4 {
			if got := s.Next(to); got == full {
				t.Error("the exhausted address was chosen")
			}
		}
		if a, b := s.Next(other), s.Next(other); a != full && b != full {
			t.Error("the address rests for another destination too")
		}
		s.Exhausted(netip.MustParseAddr("127.0.0.41"), to)
		if !s.Next(to).IsValid() {
			t.Error("with all exhausted none is chosen")
		}
		time.Sleep(restTime)
		if a, b := s.Next(to), s.Next(to); a != full && b != full {
			t.Error("the address still rests")
		}
	})
}

func TestSourceFieldSwitchesTheListOff(t *testing.T) {
	list := NewSources(t.Context(), "127.0.0.40", hosts{}, event.Discard{})
	for _, tc := range []struct {
		name, fields string
		want         string
		spread       bool
	}{
		{"without the field the list serves", "proxy host=192.0.2.10", "127.0.0.40", true},
		{"an empty field counts as none", "proxy host=192.0.2.10 source_ip=", "127.0.0.40", true},
		{"the field wins", "proxy host=192.0.2.10 source_ip=127.0.0.9", "127.0.0.9", false},
		{"even an unusable one", "proxy host=192.0.2.10 source_ip=zzz", "invalid IP", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			q := query(tc.fields)
			q.Sources = list
			targets, err := New(hosts{}, event.Discard{}).Targets(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			if got := targets[0]; got.Source.String() != tc.want || (got.Sources != nil) != tc.spread {
				t.Errorf("source %v, spread %t", got.Source, got.Sources != nil)
			}
		})
	}
}
