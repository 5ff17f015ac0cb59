package backend_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"dproxy/backend"
	"dproxy/backend/backendtest"
	"dproxy/passdb"
	"dproxy/route"
)

func TestForwardList(t *testing.T) {
	for _, tc := range []struct {
		name   string
		fields []passdb.Field
		want   string
	}{
		{"none", nil, ""},
		{"one", []passdb.Field{{Name: "quota", Value: "10M"}}, "quota=10M"},
		{"a tab cannot make two of one", []passdb.Field{{Name: "a", Value: "x\ty=z"}, {Name: "b"}}, "a=x\x01ty=z\tb="},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := backend.ForwardList(tc.fields); got != tc.want {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestXClient(t *testing.T) {
	l := backendtest.NewLogin(netip.MustParseAddrPort("127.0.0.1:110"))
	if got, want := l.XClient(), "XCLIENT ADDR=192.0.2.7 PORT=4711 SESSION=SID TTL=4\r\n"; got != want {
		t.Errorf("got %q", got)
	}
	l.Identity.Remote = netip.MustParseAddrPort("[2001:db8::7]:4711")
	l.Target.Forward = []passdb.Field{{Name: "foo", Value: "bar"}}
	if got, want := l.XClient(), "XCLIENT ADDR=2001:db8::7 PORT=4711 SESSION=SID TTL=4 FORWARD=Zm9vPWJhcg==\r\n"; got != want {
		t.Errorf("got %q", got)
	}
	l.Identity.Session = "x TTL=99"
	if got := l.XClient(); strings.Contains(got, "99") {
		t.Errorf("a session id made an argument: %q", got)
	}
}

func TestSMTPXClient(t *testing.T) {
	long := strings.Repeat("x", 300)
	for _, tc := range []struct {
		name   string
		fields []backend.XClientField
		listed string
		want   []string
	}{
		{"only what is listed, in any case", []backend.XClientField{{Name: "HELO", Value: "a"}, {Name: "PROTO", Value: "ESMTP"}, {Name: "ADDR", Value: "192.0.2.7"}}, "ADDR helo", []string{"XCLIENT HELO=a ADDR=192.0.2.7"}},
		{"xtext", []backend.XClientField{{Name: "SESSION", Value: "a+b=c"}}, "SESSION", []string{"XCLIENT SESSION=a+2Bb+3Dc"}},
		{"a field cannot make two of one", []backend.XClientField{{Name: "HELO", Value: "a ADDR=1.2.3.4\r\nRSET"}}, "HELO", []string{"XCLIENT HELO=a+20ADDR+3D1.2.3.4+0D+0ARSET"}},
		{"nothing listed", []backend.XClientField{{Name: "HELO", Value: "a"}}, "", nil},
		{"split at 512 bytes", []backend.XClientField{{Name: "HELO", Value: long}, {Name: "SESSION", Value: long}, {Name: "TTL", Value: "4"}}, "HELO SESSION TTL", []string{"XCLIENT HELO=" + long, "XCLIENT SESSION=" + long + " TTL=4"}},
		{"a field longer than that stands alone", []backend.XClientField{{Name: "FORWARD", Value: long + long}, {Name: "TTL", Value: "4"}}, "FORWARD TTL", []string{"XCLIENT FORWARD=" + long + long, "XCLIENT TTL=4"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := backend.SMTPXClient(tc.fields, strings.Fields(tc.listed)); !slices.Equal(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestSASL(t *testing.T) {
	for _, tc := range []struct {
		name       string
		target     route.Target
		initial    string
		challenges []string
		answers    []string // "error: TEXT" ends them
	}{
		{"PLAIN carries both names", route.Target{User: "u", Password: "p"}, "u\x00u\x00p", []string{"x"}, []string{"error: Server didn't finish authentication"}},
		{"PLAIN of a master", route.Target{User: "u", Master: "m", Password: "p", Mech: "PLAIN"}, "u\x00m\x00p", nil, nil},
		{"LOGIN has no initial response and knows no other name", route.Target{User: "u", Master: "m", Password: "p", Mech: "LOGIN"}, "", []string{"Username:", "Password:", "x"}, []string{"m", "p", "error: Server didn't finish authentication"}},
		{"EXTERNAL", route.Target{User: "u", Mech: "EXTERNAL"}, "u", nil, nil},
		{"XOAUTH2 answers a refusal with nothing", route.Target{User: "u", Password: "t", Mech: "XOAUTH2"}, "user=u\x01auth=Bearer t\x01\x01", []string{`{"status":"401"}`, "x"}, []string{"", "error: Server didn't finish authentication"}},
		{"OAUTHBEARER of a master answers a refusal with 0x01", route.Target{User: "u", Master: "m", Password: "t", Mech: "OAUTHBEARER"}, "n,a=m,\x01auth=Bearer t\x01\x01", []string{"{}"}, []string{"\x01"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := backend.NewSASL(tc.target)
			if got := string(s.Initial()); got != tc.initial {
				t.Errorf("initial %q", got)
			}
			for i, c := range tc.challenges {
				out, err := s.Next([]byte(c))
				got := string(out)
				if err != nil {
					got = "error: " + err.Error()
				}
				if got != tc.answers[i] {
					t.Errorf("answer %d is %q, want %q", i, got, tc.answers[i])
				}
			}
		})
	}
	t.Run("without initial response the first challenge is empty", func(t *testing.T) {
		s := backend.NewSASL(route.Target{User: "u", Password: "p"})
		if _, err := s.Next([]byte("x")); err == nil || err.Error() != "Server sent non-empty initial response" {
			t.Errorf("got %v", err)
		}
		if out, err := s.Next(nil); err != nil || string(out) != "u\x00u\x00p" {
			t.Errorf("got %q, %v", out, err)
		}
	})
}
