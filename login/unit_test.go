package login

import (
	"errors"
	"io"
	"net/netip"
	"strings"
	"syscall"
	"testing"
)

func TestNetworks(t *testing.T) {
	var reported []string
	n := parseNetworks("login_trusted_networks", "192.0.2.0/24, 2001:db8::/32 [::1] 10.1.2.3/8,198.51.100.7 nonsense 203.0.113.1", func(text string) { reported = append(reported, text) })
	for addr, want := range map[string]bool{
		"192.0.2.200": true, "192.0.3.1": false, "2001:db8:1::5": true, "2001:db9::1": false, "::1": true, "10.200.0.1": true,
		"198.51.100.7": true, "198.51.100.8": false, "::ffff:192.0.2.1": true,
		"203.0.113.1": false, // behind the one that cannot be read
	} {
		if got := n.contain(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %v, want %v", addr, got, want)
		}
	}
	if len(reported) != 1 || reported[0] != "login_trusted_networks: Invalid network 'nonsense'" {
		t.Errorf("reported %q", reported)
	}
	if parseNetworks("x", "", nil).contain(netip.MustParseAddr("127.0.0.1")) {
		t.Error("an empty list trusts somebody")
	}
}

func TestReferralURL(t *testing.T) {
	for want, r := range map[string]Referral{
		"imap://u;AUTH=PLAIN@h.example":                     {User: "u", Mech: "PLAIN", Host: "h.example"},
		"imap://a%40b;AUTH=SCRAM-SHA-256@2001%3adb8%3a%3a1": {User: "a@b", Mech: "SCRAM-SHA-256", Host: "2001:db8::1", Port: "143"},
		"imap://%5d%20%0d;AUTH=X@h:99":                      {User: "] \r", Mech: "X", Host: "h", Port: "99"},
		"imap://u;AUTH=X@h":                                 {User: "u", Mech: "X", Host: "h", Port: "nonsense"},
	} {
		if got := r.URL("imap", "143"); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestDecodeResponse(t *testing.T) {
	for in, want := range map[string]string{
		"AHUAcA==": "\x00u\x00p", "AHUA cA==": "\x00u\x00p", "\tAHUAcA== ": "\x00u\x00p", "": "", "dTF=": "u1",
		"A": "!", "AAA": "!", "=": "!", "AHUAcA==xx": "!", "!!": "!", "*": "!", "AHUA\x00": "!",
	} {
		got, err := DecodeResponse([]byte(in))
		switch {
		case want == "!" && !errors.Is(err, ErrBadBase64):
			t.Errorf("%q: %q, %v; want an error", in, got, err)
		case want != "!" && (err != nil || string(got) != want):
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestEndsAsHTTP(t *testing.T) {
	for line, want := range map[string]bool{
		"GET / HTTP/1.1\r": true, "/ HTTP/1.0": true, "x HTTP/1.": true, "GET / HTTP/1.1 x": false, "NOOP": false, "HTTP/1.1": true, "GET / HTTP/2": false, "": false,
	} {
		if got := EndsAsHTTP([]byte(line)); got != want {
			t.Errorf("%q: %v", line, got)
		}
	}
}

func TestForward(t *testing.T) {
	c := &Client{ttl: firstTTL}
	for _, x := range []struct {
		name, value string
		ok          bool
	}{
		{"ADDR", "192.0.2.1", true},
		{"ADDR", "::ffff:192.0.2.7", true},
		{"ADDR", "fe80::1%lo", false},
		{"ADDR", "", false},
		{"port", "65535", true},
		{"PORT", "65536", false},
		{"PORT", "+5", false},
		{"DESTADDR", "2001:db8::1", true},
		{"DESTPORT", "1", true},
		{"SESSION", "a b", true},
		{"SESSION", `a"b`, true},
		{"SESSION", "good", true},
		{"SESSION", strings.Repeat("x", 65), true},
		{"TTL", "0", true},
		{"TTL", "-1", false},
		{"TTL", "99999999999", false},
		{"FORWARD", "YT0xCWI9AXR4CWIgYz0yCWQ9", true}, // a=1, b=<TAB>x, "b c"=2, d=
		{"FORWARD", "!", false},
		{"HELO", "x", true},
	} {
		if ok := c.Forward(x.name, x.value); ok != x.ok {
			t.Errorf("%s=%q: %v", x.name, x.value, ok)
		}
	}
	if got := c.peer.Remote.String() + " " + c.peer.Local.String() + " " + c.peer.Session; got != "192.0.2.7:65535 [2001:db8::1]:1 good" {
		t.Error(got)
	}
	if c.ttl != 0 {
		t.Errorf("ttl %d", c.ttl)
	}
	// A value with a control byte and a name that is no word are dropped.
	if f := c.peer.Forward; len(f) != 2 || f[0].Name != "a" || f[0].Value != "1" || f[1].Name != "d" {
		t.Errorf("%+v", f)
	}
	for range 2 * maxForward {
		c.ForwardField(strings.Repeat("n", len(c.peer.Forward)+1), "v")
	}
	if len(c.peer.Forward) != maxForward {
		t.Errorf("%d forwarded fields are kept", len(c.peer.Forward))
	}
}

func TestShown(t *testing.T) {
	for in, want := range map[string]string{
		"u": "u", "a\tb\x7f": "a?b?", strings.Repeat("x", 80): strings.Repeat("x", 80), strings.Repeat("x", 81): strings.Repeat("x", 77) + "...",
		"\u202eu": "?u", "\xff": "?", "jürgen": "jürgen",
	} {
		if got := Shown(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestEndingsHaveWords(t *testing.T) {
	c := &Client{snap: newSnapshot(SnapshotOptions{})}
	defer c.snap.Close()
	for want, err := range map[string]error{
		"Connection closed": io.EOF,
		"Connection closed: read(size=1026) failed: Connection reset by peer": syscall.ECONNRESET,
		"Connection closed: what?!": errors.New("what\r!"),
		"Input buffer full":         InputFull(),
	} {
		if got := c.ending(err); got.Log != want {
			t.Errorf("%v: %q, want %q", err, got.Log, want)
		}
	}
}
