package backend_test

import (
	"net/netip"
	"strings"
	"testing"

	"dproxy/backend"
	"dproxy/backend/backendtest"
	"dproxy/backend/imap"
	"dproxy/conf"
	"dproxy/wire"
)

func TestRedirect(t *testing.T) {
	from := netip.MustParseAddrPort("192.0.2.1:993")
	for in, want := range map[string]string{
		"imap://u;AUTH=PLAIN@192.0.2.2:1143/": "192.0.2.2:1143",
		"imap://u@192.0.2.2/":                 "192.0.2.2:993",
		"u@example.org@192.0.2.2:110":         "192.0.2.2:110",
		"192.0.2.2":                           "192.0.2.2:993",
		"u@[2001:db8::1]:24":                  "[2001:db8::1]:24",
		"u@[2001:db8::1]":                     "[2001:db8::1]:993",
		"sieve://u@192.0.2.2:4190":            "192.0.2.2:4190",
		"imap://u@other.example.org/":         "",
		"":                                    "",
		"u@192.0.2.2:0":                       "",
		"u@192.0.2.2:99999":                   "",
		"u@fe80::1%lo":                        "",
		"imap://u@192.0.2.2:25\r\nX/":         "",
	} {
		got, err := backend.Redirect(in, from)
		if (err != nil) != (want == "") || want != "" && got.String() != want {
			t.Errorf("%q: got %s, %v, want %q", in, got, err, want)
		}
	}
	for in, want := range map[string]string{
		"550 5.2.900 <u@192.0.2.2:24>": "u@192.0.2.2:24", "550 5.2.901 <u@x>": "", "451 5.2.900 <u@x>": "", "550 no": "",
	} {
		var r wire.Reply
		if _, err := r.Add(in); err != nil {
			t.Fatal(err)
		}
		if got := backend.SMTPRedirect(r); got != want {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}
}

const (
	imapGreeting = "S: * OK [CAPABILITY IMAP4rev1] x\nC: L LOGIN .*\n"
	imapWelcome  = imapGreeting + "S: L OK in\nEOF"
)

func refers(addr netip.AddrPort) string {
	return imapGreeting + "S: L NO [REFERRAL imap://u1@" + addr.String() + "/] there\nEOF"
}

func TestReferralsAreFollowed(t *testing.T) {
	last := backendtest.Start(t, "127.0.0.1", imapWelcome)
	middle := backendtest.Start(t, "127.0.0.1", refers(last.Addr))
	first := backendtest.Start(t, "127.0.0.1", refers(middle.Addr)+"\n--\n"+refers(middle.Addr))
	d, _ := dialer(&conf.Settings{LoginProxyFollowReferrals: true})
	s, err := d.Connect(t.Context(), imap.Handshake{}, backendtest.NewLogin(first.Addr), client)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Conn.Close()
	if s.Target.Addr != last.Addr || s.Target.User != "u1" || s.Reconnects != 0 {
		t.Errorf("got %s after %d reconnects as %s, want %s", s.Target.Addr, s.Reconnects, s.Target.User, last.Addr)
	}
	d, _ = dialer(&conf.Settings{}) // Dovecot 2.3
	_, err = d.Connect(t.Context(), imap.Handshake{}, backendtest.NewLogin(first.Addr), client)
	if e, ok := err.(*backend.Error); !ok || e.Kind != backend.Auth || !strings.HasPrefix(e.Reply, "NO [REFERRAL ") {
		t.Errorf("switched off: got %v", err)
	}
}

func TestReferralsThatLeadNowhere(t *testing.T) {
	two := closedPort(t, "127.0.0.1")
	one := backendtest.Start(t, "127.0.0.1", imapGreeting+"S: L NO [REFERRAL imap://u1@other.example.org/] there\nEOF\n--\n"+refers(two))
	d, rec := dialer(&conf.Settings{LoginProxyFollowReferrals: true})
	for _, want := range []string{`the host has to be an address`, "connect("} {
		_, err := d.Connect(t.Context(), imap.Handshake{}, backendtest.NewLogin(one.Addr), client)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if lines := strings.Join(rec.Lines(), "\n"); !strings.Contains(lines, "other.example.org") {
		t.Errorf("the log has %s", lines)
	}
}

func TestReferralsInACircle(t *testing.T) {
	self := backendtest.Start(t, "127.0.0.1", imapGreeting+"S: L NO [REFERRAL imap://u1@127.0.0.1/] here\nEOF")
	d, _ := dialer(&conf.Settings{LoginProxyFollowReferrals: true})
	_, err := d.Connect(t.Context(), imap.Handshake{}, backendtest.NewLogin(self.Addr), client)
	if e, ok := err.(*backend.Error); !ok || e.Kind != backend.InternalConfig {
		t.Errorf("got %v", err)
	}
}

// TestMemoryOfHostsIsShared: what one set of settings learned is known to another, as after a reload.
func TestMemoryOfHostsIsShared(t *testing.T) {
	shared := backend.NewShared()
	refusing := closedPort(t, "127.0.0.1")
	for i, want := range []string{", 2 reconnects", "(after 0 secs, local="} {
		d := backend.NewDialer(&conf.Settings{LoginProxyMaxReconnects: 2}, &backendtest.Recorder{}, shared)
		d.SetPause(1)
		_, err := d.Connect(t.Context(), hello{}, backendtest.NewLogin(refusing), client)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("settings %d: got %v, want %s", i+1, err, want)
		}
	}
}
