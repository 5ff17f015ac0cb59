package submission

import (
	"net/netip"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"dproxy/backend"
	"dproxy/backend/backendtest"
	"dproxy/conf"
	"dproxy/passdb"
	"dproxy/route"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func lines(l ...string) string { return strings.Join(l, "\n") }

func TestLogin(t *testing.T) {
	set := func(f func(*route.Target)) func(*backend.Login, *conf.Settings) {
		return func(l *backend.Login, _ *conf.Settings) { f(&l.Target) }
	}
	starttls := set(func(t *route.Target) { t.TLS = route.StartTLS })
	const (
		greet = "S: 220 fake ESMTP"
		ehlo  = `C: EHLO proxy\.example\.org`
		auth  = "C: AUTH PLAIN dTEAdTEAc2VjcmV0"
		plain = greet + "\n" + ehlo + "\nS: 250-fake\nS: 250-AUTH PLAIN LOGIN\nS: 250 ENHANCEDSTATUSCODES"
		long  = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	)
	for _, tc := range []struct {
		name, script string
		change       func(*backend.Login, *conf.Settings)
		want         string
	}{
		{"AUTH PLAIN with its response", lines(plain, auth, "S: 235 2.7.0 Logged in fake.", "EOF"), nil, "235 2.7.0 Logged in fake."},
		{"a reply of several lines goes on as it is", lines(plain, auth, "S: 235-2.7.0 Logged", "S: 235 2.7.0 in.", "EOF"), nil, "235-2.7.0 Logged\r\n235 2.7.0 in."},
		{"a success with the extensions", lines(greet, ehlo, `R: "250-fake\r\n250 AUTH PLAIN\r\n235 in\r\n"`, "EOF"), nil, "protocol: Reply to a command that was not sent"},
		{"a greeting of several lines", lines("S: 220-fake", "S: 220 ESMTP", ehlo, "S: 250-fake", "S: 250 AUTH PLAIN", auth, "S: 235 ok", "EOF"), nil, "235 ok"},
		{
			"XCLIENT and EHLO in one go, only what is listed", lines(greet, ehlo, "S: 250-fake", "S: 250-XCLIENT ADDR PORT HELO PROTO TTL SESSION FORWARD LOGIN TIMEOUT", "S: 250 AUTH PLAIN",
				`C: XCLIENT HELO=client\.example\.com PROTO=ESMTP TTL=4 PORT=4711 ADDR=192\.0\.2\.7 SESSION=SID FORWARD=Zm9vPWJhcg\+3D\+3D`, ehlo, "S: 220 fake ready", "S: 250-fake", "S: 250 AUTH PLAIN", auth, "S: 235 ok", "EOF"),
			set(func(t *route.Target) { t.Forward = []passdb.Field{{Name: "foo", Value: "bar"}} }), "235 ok",
		},
		{
			"a client without EHLO, and IPv6", lines(greet, ehlo, "S: 250-fake", "S: 250-XCLIENT HELO PROTO ADDR", "S: 250 AUTH PLAIN", `C: XCLIENT HELO=\[UNAVAILABLE\] PROTO=SMTP ADDR=IPV6:2001:db8::7`, ehlo, "S: 220", "R: \"20 x\\r\\n\"", "EOF"),
			func(l *backend.Login, _ *conf.Settings) {
				l.Identity.Helo, l.Identity.Proto, l.Identity.Remote = "", "SMTP", netip.MustParseAddrPort("[2001:db8::7]:1")
			}, "remote: XCLIENT failed: 220",
		},
		{
			"XCLIENT is split at 512 bytes", lines(greet, ehlo, "S: 250-fake", "S: 250-XCLIENT HELO TTL SESSION", "S: 250 AUTH PLAIN", `C: XCLIENT HELO=x+ TTL=4`, `C: XCLIENT SESSION=x+`, ehlo, "S: 220 one", "S: 220 two", "S: 250-fake", "S: 250 AUTH PLAIN", auth, "S: 235 ok", "EOF"),
			func(l *backend.Login, _ *conf.Settings) {
				l.Identity.Helo, l.Identity.Session = strings.Repeat(long, 6), strings.Repeat(long, 4)
			}, "235 ok",
		},
		{"proxy_not_trusted", lines(greet, ehlo, "S: 250-fake", "S: 250-XCLIENT ADDR", "S: 250 AUTH PLAIN", auth, "S: 235 ok", "EOF"), set(func(t *route.Target) { t.NotTrusted = true }), "235 ok"},
		{"what the EHLO before XCLIENT said is forgotten", lines(greet, ehlo, "S: 250-fake", "S: 250-AUTH PLAIN", "S: 250 XCLIENT ADDR", "C: XCLIENT .*", ehlo, "S: 220 x", "S: 250 fake", "EOF"), nil, "remote_config: Authentication support not advertised (TLS required?)"},
		{
			"STARTTLS, then EHLO again", lines(greet, ehlo, "S: 250-fake", "S: 250 STARTTLS", "C: STARTTLS", "S: 220 go", "TLS good", ehlo, "S: 250-fake", "S: 250 AUTH PLAIN", auth, "S: 235 ok", "EOF"),
			starttls, "235 ok",
		},
		{"no STARTTLS where it is asked", lines(greet, ehlo, "S: 250-fake", "S: 250 AUTH PLAIN", "EOF"), starttls, "remote_config: STARTTLS not supported"},
		{"STARTTLS refused", lines(greet, ehlo, "S: 250-fake", "S: 250 STARTTLS", "C: STARTTLS", "S: 454 not now", "EOF"), starttls, "remote: STARTTLS failed: 454 not now"},
		{"clear text behind the consent to TLS", lines(greet, ehlo, "S: 250-fake", "S: 250 STARTTLS", "C: STARTTLS", `R: "220 go\r\n250 AUTH PLAIN\r\n"`, "EOF"), starttls, "protocol: Plaintext data after the STARTTLS reply"},
		{"proxy_noauth logs in without AUTH and names the user", lines(greet, ehlo, "S: 250-fake", "S: 250 XCLIENT LOGIN ADDR", `C: XCLIENT LOGIN=u1 ADDR=192\.0\.2\.7`, ehlo, "S: 220 x", "S: 250 fake", "EOF"), set(func(t *route.Target) { t.NoAuth, t.User = true, "box" }), "235 2.7.0 Logged in."},
		{
			"a master", lines(plain, "C: AUTH PLAIN dTFAYmFja2VuZABwcm94eWFkbWluAGFkbWlucHc=", "S: 235 ok", "EOF"),
			set(func(t *route.Target) {
				t.User, t.Master, t.Mech, t.Password = "u1@backend", "proxyadmin", "PLAIN", "adminpw"
			}), "235 ok",
		},
		{"AUTH LOGIN", lines(plain, "C: AUTH LOGIN =", "S: 334 VXNlcm5hbWU6", "C: dTE=", "S: 334 UGFzc3dvcmQ6", "C: c2VjcmV0", "S: 235 ok", "EOF"), set(func(t *route.Target) { t.Mech = "LOGIN" }), "235 ok"},
		{
			"a long response is asked for", lines(plain, "C: AUTH PLAIN", "S: 334 ", "C: dTEAdTEA.{520,}", "S: 235 ok", "EOF"),
			set(func(t *route.Target) { t.Password = passdb.Secret(strings.Repeat("x", 400)) }), "235 ok",
		},
		{
			"a challenge where none belongs", lines(plain, "C: AUTH PLAIN", "S: 334 eA==", "EOF"),
			set(func(t *route.Target) { t.Password = passdb.Secret(strings.Repeat("x", 400)) }), "protocol: Server sent unexpected server-first challenge: 334 eA==",
		},
		{"a challenge of two lines", lines(plain, auth, "S: 334-a", "S: 334 b", "EOF"), nil, "protocol: Server returned multi-line challenge: 334 a"},
		{"a challenge that is no base64", lines(plain, auth, "S: 334 !!", "EOF"), nil, "protocol: Invalid base64 data in AUTH response"},
		{"a challenge too many", lines(plain, auth, "S: 334 eA==", "EOF"), nil, "protocol: Invalid authentication data: Server didn't finish authentication"},
		{"no AUTH, and nothing was sent", lines(greet, ehlo, "S: 250 fake", "EOF"), nil, "remote_config: Authentication support not advertised (TLS required?)"},
		{"AUTH without mechanisms is none", lines(greet, ehlo, "S: 250-fake", "S: 250 AUTH ", "EOF"), nil, "remote_config: Authentication support not advertised (TLS required?)"},
		{"refused", lines(plain, auth, "S: 535 5.7.8 backend bad creds", "EOF"), nil, "auth: backend bad creds | 535 5.7.8 backend bad creds"},
		{"refused in several lines", lines(plain, auth, "S: 535-5.7.8 no", "S: 535 5.7.8 never", "EOF"), nil, "auth: never | 535-5.7.8 no\r\n535 5.7.8 never"},
		{"refused for now", lines(plain, auth, "S: 454 4.7.0 backend temp", "EOF"), nil, "auth_tempfail: backend temp | 454 4.7.0 backend temp"},
		{"control and 8-bit bytes are not passed on", lines(plain, auth, `R: "535 b\xe4d \x1b[1m\x00\r\n"`, "EOF"), nil, "auth: b\xe4d \x1b[1m\x00 | 535 b?d ?[1m?"},
		{"a bad greeting", lines("S: 554 no service", "EOF"), nil, "protocol: Invalid banner: 554 no service"},
		{"a greeting that is too short", lines("S: 220", "EOF"), nil, "protocol: Invalid banner: 220"},
		{"an empty greeting", lines(`R: "\r\n"`, "EOF"), nil, "protocol: Invalid banner: "},
		{"mixed codes", lines("S: 220-x", "S: 221 y", "EOF"), nil, "protocol: Inconsistent SMTP reply: 221 y (status != 220)"},
		{"EHLO refused", lines(greet, ehlo, "S: 502 what", "EOF"), nil, "protocol: Invalid EHLO line: 502 what"},
		{"garbage for AUTH is no refusal", lines(plain, auth, "S: what", "EOF"), nil, "protocol: Invalid AUTH reply: what"},
		{"a short reply to AUTH", lines(plain, auth, "S: 23", "EOF"), nil, "protocol: Invalid AUTH reply: 23"},
		{"a 354 for AUTH", lines(plain, auth, "S: 354 go on", "EOF"), nil, "protocol: Invalid AUTH reply: 354 go on"},
		{"closed at the greeting", "CLOSE", nil, "connect: Disconnected by server: Connection closed (state=banner, duration=0s)"},
		{"closed after EHLO", lines(greet, ehlo, "CLOSE"), nil, "connect: Disconnected by server: Connection closed (state=ehlo, duration=0s)"},
		{"closed after AUTH", lines(plain, auth, "CLOSE"), nil, "connect: Disconnected by server: Connection closed (state=authenticate, duration=0s)"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			res := backendtest.Run(t, backendtest.Case{Handshake: Handshake{}, Service: "submission", Script: tc.script, Change: tc.change})
			got := ""
			if res.Err != nil {
				got = res.Failure()
			} else {
				got = res.Session.Welcome.Line
			}
			if got != tc.want {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
		})
	}
}

// FuzzReplies lets a backend say anything.
func FuzzReplies(f *testing.F) {
	for _, s := range []string{
		"220 x\r\n250-x\r\n250 AUTH PLAIN\r\n235 ok\r\n", "220 x\r\n250-x\r\n250-XCLIENT ADDR\r\n250 AUTH PLAIN\r\n220 y\r\n250 AUTH X\r\n535-a\r\n535 b\r\n",
		"220-\r\n221 \r\n", "22\r\n", "220 x\r\n250 AUTH PLAIN\r\n334 eA==\r\n", "220 x\r\n250 AUTH PLAIN\r\n454\r\n",
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, in []byte, noauth bool) {
		backendtest.Feed(t, in, Handshake{}, func(l *backend.Login) { l.Target.NoAuth = noauth })
	})
}
