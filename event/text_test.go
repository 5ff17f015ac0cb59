package event

import (
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestClean(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		limit    int
		want     string
	}{
		{"plain text stays", "user@example.org", 80, "user@example.org"},
		{"letters of any script stay", "jürgen Ω 用户", 80, "jürgen Ω 用户"},
		{"control bytes", "a\r\nb\x00\x1b[1m\x7f", 80, "a??b??[1m?"},
		{"C1 controls", "a\u0085b", 80, "a?b"},
		{"broken UTF-8", "a\xe4b\xff", 80, "a?b?"},
		{"text that turns the direction", "a\u202eb\u2066c", 80, "a?b?c"},
		{"text that hides", "a\u200bb\ufeffc\u00ad", 80, "a?b?c?"},
		{"line separators", "a\u2028b", 80, "a?b"},
		{"the cut", "abcdef", 3, "abc"},
		{"the cut never splits a letter", "abü", 3, "ab"},
		{"the cut of a long one", "ab用", 4, "ab"},
		{"the cut behind a letter", "abü", 4, "abü"},
		{"the cut within bytes that are no letter", "\x80\x80\x80\x80\x80\x80", 5, "?????"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := Clean(tc.in, tc.limit); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func FuzzClean(f *testing.F) {
	f.Add("a\x1b[1m\xe4ü\u202e", 5)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		if limit < 0 || limit > 1<<12 {
			return
		}
		got := Clean(s, limit)
		if !utf8.ValidString(got) || strings.ContainsFunc(got, func(c rune) bool { return c < 0x20 || c >= 0x7f && c < 0xa0 }) {
			t.Fatalf("%q became %q", s, got)
		}
		if utf8.RuneCountInString(got) > limit {
			t.Fatalf("%q is longer than %d", got, limit)
		}
	})
}

// with joins a message with elements as login_log_format does.
func with(message string) string { return message + ": user=<u1>" }

func TestLines(t *testing.T) {
	c := Client{Service: "imap", User: "u1", Session: "S", Line: with}
	to := Target{Host: "127.0.0.11", Addr: netip.MustParseAddrPort("127.0.0.11:143"), DestUser: "u1"}
	v6 := Target{Host: "::1", Addr: netip.MustParseAddrPort("[::1]:143")}
	named := to
	named.Host, named.Source, named.DestUser, named.Master = "b.example", netip.MustParseAddr("127.0.0.9"), "box", "adm"
	for _, tc := range []struct {
		name string
		e    Event
		want string // "" for no line
	}{
		{"started", Started{c, to, 2 * time.Millisecond, 0}, "imap-login: Info: proxy(u1,127.0.0.11:143): Started proxying to <127.0.0.11> (0.002 secs): user=<u1>"},
		{"started with everything", Started{c, named, 3004 * time.Millisecond, 3}, "imap-login: Info: proxy(u1,127.0.0.11:143): Started proxying to <127.0.0.11> (<b.example>) from 127.0.0.9 as user box (master adm) (3.004 secs, 3 reconnects): user=<u1>"},
		{"IPv6 has no brackets", Started{c, v6, time.Millisecond, 0}, "imap-login: Info: proxy(u1,::1:143): Started proxying to <::1> (0.001 secs): user=<u1>"},
		{"ended by the client", Ended{Client: c, Target: to, Side: "client", Idle: 1900 * time.Millisecond, In: 211, Out: 246}, "imap-login: Info: proxy(u1,127.0.0.11:143): Disconnected by client (1s idle, in=211, out=246): user=<u1>"},
		{"ended by the server with an error", Ended{Client: c, Target: to, Side: "server", Reason: "read(size=4025) failed: Connection reset by peer", In: 28, Out: 217}, "imap-login: Info: proxy(u1,127.0.0.11:143): Disconnected by server: read(size=4025) failed: Connection reset by peer (0s idle, in=28, out=217): user=<u1>"},
		{"ended by us", Ended{Client: c, Target: to, Side: "proxy", Reason: "Kicked by admin", In: 28, Out: 217}, "imap-login: Info: proxy(u1,127.0.0.11:143): Disconnected by proxy: Kicked by admin: user=<u1>"},
		{"a failure", BackendFailed{Client: c, Target: to, Level: Error, Text: "connect(127.0.0.11, 143) failed: Connection refused (after 0 secs)"}, "imap-login: Error: proxy(u1,127.0.0.11:143): connect(127.0.0.11, 143) failed: Connection refused (after 0 secs): user=<u1>"},
		{"a failure before there is an address", BackendFailed{Client: c, Level: Error, Text: "host not given"}, "imap-login: Error: proxy(u1): host not given: user=<u1>"},
		{"an attempt that is repeated", BackendFailed{Client: c, Target: to}, ""},
		{"a line about a login", ProxyLine{c, to, Error, "Unexpected input, ignoring: X"}, "imap-login: Error: proxy(u1,127.0.0.11:143): Unexpected input, ignoring: X: user=<u1>"},
		{"exhausted ports", SourceExhausted{c, to, netip.MustParseAddr("127.0.0.9")}, "imap-login: Warning: no port left on 127.0.0.9 for connections to 127.0.0.11; add addresses to login_source_ips"},
		{"disconnected", Disconnected{Client: c, Text: "Disconnected: Connection closed"}, "imap-login: Info: Disconnected: Connection closed: user=<u1>"},
		{"a front's line", ClientLine{c, Error, "Auth service returned invalid port number: abc"}, "imap-login: Error: Auth service returned invalid port number: abc: user=<u1>"},
		{"sieve's process name", ClientLine{Client{Service: "sieve"}, Info, "x"}, "managesieve-login: Info: x"},
		{"lmtp's process name", ClientLine{Client{Service: "lmtp"}, Info, "x"}, "lmtp: Info: x"},
		{"a user name is cleaned and cut", BackendFailed{Client: Client{Service: "imap", User: "a\r\n" + strings.Repeat("x", 100)}, Level: Error, Text: "y"}, "imap-login: Error: proxy(a??" + strings.Repeat("x", 77) + "): y"},
		{"auth", AuthLine{Session: "S", DB: "auth", User: "u1", Remote: netip.MustParseAddr("::ffff:192.0.2.7"), Level: Info, Text: "x"}, "auth: Info: auth(u1,192.0.2.7,<S>): x"},
		{"auth without user, of a master", AuthLine{DB: "sql", Master: true, Level: Error, Text: "x"}, "auth: Error: sql(?,master): x"},
		{"a notice", Notice{Warning, "master", "x"}, "master: Warning: x"},
		{"a stage of a login", Dialed{Client: c}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l, ok := LineOf(tc.e)
			got := l.Source + ": " + l.Level.String() + ": " + l.Text
			if !ok {
				got = ""
			}
			if got != tc.want {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
		})
	}
}

func TestStrftime(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for format, want := range map[string]string{
		"%b %d %H:%M:%S ": "Jan 02 03:04:05 ", "%Y-%m-%dT%T%z": "2026-01-02T03:04:05+0000", "%e|%j|%s": " 2|002|1767323045",
		"%%%": "%%", "%Q": "%Q", "": "", "%F %R": "2026-01-02 03:04",
	} {
		if got := strftime(format, at); got != want {
			t.Errorf("%q: got %q, want %q", format, got, want)
		}
	}
	c := clock{format: "%S "}
	for _, tc := range []struct {
		at   time.Time
		want string
	}{{at, "05 "}, {at.Add(900 * time.Millisecond), "05 "}, {at.Add(time.Second), "06 "}, {at, "05 "}} {
		if got := c.stamp(tc.at); got != tc.want {
			t.Errorf("stamp %v = %q", tc.at, got)
		}
	}
}
