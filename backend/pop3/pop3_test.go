package pop3

import (
	"slices"
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
	const xclient = `C: XCLIENT ADDR=192\.0\.2\.7 PORT=4711 SESSION=SID TTL=4`
	for _, tc := range []struct {
		name, script string
		change       func(*backend.Login, *conf.Settings)
		want         string
	}{
		{"USER and PASS", lines("S: +OK ready", "C: USER u1", "S: +OK", "C: PASS secret", "S: +OK Logged in.", "EOF"), nil, "+OK Logged in."},
		{"XCLIENT with USER in one go", lines("S: +OK [XCLIENT] ready", xclient, "C: USER u1", "S: +OK Updated", "S: +OK", "C: PASS secret", "S: +OK Logged in.", "EOF"), nil, "+OK Logged in."},
		{
			"forward fields", lines("S: +OK [XCLIENT] ready", xclient+` FORWARD=Zm9vPWJhcg==`, "C: USER u1", "S: +OK", "S: +OK", "C: PASS secret", "S: +OK", "EOF"),
			set(func(t *route.Target) { t.Forward = []passdb.Field{{Name: "foo", Value: "bar"}} }), "+OK",
		},
		{"XCLIENT only where the text begins with it", lines("S: +OK ready [XCLIENT]", "C: USER u1", "S: +OK", "C: PASS secret", "S: +OK", "EOF"), nil, "+OK"},
		{"proxy_not_trusted", lines("S: +OK [XCLIENT] ready", "C: USER u1", "S: +OK", "C: PASS secret", "S: +OK", "EOF"), set(func(t *route.Target) { t.NotTrusted = true }), "+OK"},
		{"PASS takes blanks and 8-bit bytes as they are", lines("S: +OK", "C: USER u1", "S: +OK", "C: PASS  a \xc3\xa4 ", "S: +OK", "EOF"), set(func(t *route.Target) { t.Password = " a \xc3\xa4 " }), "+OK"},
		{
			"a master logs in by AUTH with its initial response", lines("S: +OK [XCLIENT] x", xclient, "C: AUTH PLAIN dTEAYWRtAG1wdw==", "S: +OK", "S: +OK Logged in.", "EOF"),
			set(func(t *route.Target) { t.Master, t.Mech, t.Password = "adm", "PLAIN", "mpw" }), "+OK Logged in.",
		},
		{
			"AUTH LOGIN", lines("S: +OK", "C: AUTH LOGIN =", "S: + VXNlcm5hbWU6", "C: dTE=", "S: + UGFzc3dvcmQ6", "C: c2VjcmV0", "S: +OK done", "EOF"),
			set(func(t *route.Target) { t.Mech = "LOGIN" }), "+OK done",
		},
		{"STLS; what the clear banner said counts", lines("S: +OK [XCLIENT] x", "C: STLS", "S: +OK Begin", "TLS good", xclient, "C: USER u1", "S: +OK", "S: +OK", "C: PASS secret", "S: +OK", "EOF"), starttls, "+OK"},
		{"STLS refused", lines("S: +OK", "C: STLS", "S: -ERR not supported", "EOF"), starttls, "remote: STLS failed: -ERR not supported"},
		{"clear text behind the consent to TLS", lines("S: +OK", "C: STLS", `R: "+OK\r\n+OK\r\n+OK\r\n"`, "EOF"), starttls, "protocol: Plaintext data after the STARTTLS reply"},
		{"a login before there was a command", `R: "+OK\r\n+OK\r\n+OK in\r\n"` + "\nEOF", nil, "protocol: Reply to a command that was not sent"},
		{"a login before there was a password", lines("S: +OK", "C: USER u1", `R: "+OK\r\n+OK in\r\n"`, "EOF"), nil, "protocol: Reply to a command that was not sent"},
		{"XCLIENT refused", lines("S: +OK [XCLIENT] x", "C: XCLIENT .*", "C: USER u1", "S: -ERR not for you", "EOF"), nil, "remote: XCLIENT failed: -ERR not for you"},
		{"a bad greeting", lines("S: -ERR go away", "EOF"), nil, "protocol: Invalid banner: -ERR go away"},
		{"an IMAP greeting", lines("S: * OK x", "EOF"), nil, "protocol: Invalid banner: * OK x"},
		{"closed at the greeting", "CLOSE", nil, "connect: Disconnected by server: Connection closed (state=banner, duration=0s)"},
		{"closed after USER", lines("S: +OK", "C: USER u1", "CLOSE"), nil, "connect: Disconnected by server: Connection closed (state=login1, duration=0s)"},
		{"closed after PASS", lines("S: +OK", "C: USER u1", "S: +OK", "C: PASS secret", "CLOSE"), nil, "connect: Disconnected by server: Connection closed (state=login2, duration=0s)"},
		{"closed after XCLIENT", lines("S: +OK [XCLIENT]", "C: XCLIENT .*", "C: USER u1", "CLOSE"), nil, "connect: Disconnected by server: Connection closed (state=xclient, duration=0s)"},
		{"closed after STLS", lines("S: +OK", "C: STLS", "CLOSE"), starttls, "connect: Disconnected by server: Connection closed (state=starttls, duration=0s)"},
		{"USER refused, in the backend's words", lines("S: +OK", "C: USER u1", "S: -ERR no such user", "EOF"), nil, "auth: no such user | -ERR no such user"},
		{"PASS refused", lines("S: +OK", "C: USER u1", "S: +OK", "C: PASS secret", "S: -ERR [AUTH] wrong", "EOF"), nil, "auth: [AUTH] wrong | -ERR [AUTH] wrong"},
		{"a bare refusal", lines("S: +OK", "C: USER u1", "S: +OK", "C: PASS secret", "S: -ERR", "EOF"), nil, "auth: -ERR | -ERR Authentication failed."},
		{"garbage is a refusal", lines("S: +OK", "C: USER u1", "S: +OK", "C: PASS secret", "S: what", "EOF"), nil, "auth: what | -ERR Authentication failed."},
		{"refused for now", lines("S: +OK", "C: USER u1", "S: +OK", "C: PASS secret", "S: -ERR [SYS/TEMP] later", "EOF"), nil, "auth_tempfail: [SYS/TEMP] later | -ERR [SYS/TEMP] later"},
		{"control and 8-bit bytes are not passed on", lines("S: +OK", "C: USER u1", `R: "-ERR b\xe4d \x1b[1m\r\n"`, "EOF"), nil, "auth: b\xe4d \x1b[1m | -ERR b?d ?[1m"},
		{"a challenge that is no base64", lines("S: +OK", "C: AUTH PLAIN .*", "S: + !!", "EOF"), set(func(t *route.Target) { t.Mech = "PLAIN" }), "protocol: Invalid base64 data in AUTH response"},
		{"a challenge too many", lines("S: +OK", "C: AUTH PLAIN .*", "S: + eA==", "EOF"), set(func(t *route.Target) { t.Mech = "PLAIN" }), "protocol: Invalid authentication data: Server didn't finish authentication"},
		{"a challenge to USER is a refusal", lines("S: +OK", "C: USER u1", "S: + eA==", "EOF"), nil, "auth: + eA== | -ERR Authentication failed."},
	} {
		t.Run(tc.name, func(t *testing.T) {
			res := backendtest.Run(t, backendtest.Case{Handshake: Handshake{}, Service: "pop3", Script: tc.script, Change: tc.change})
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

func TestLogLines(t *testing.T) {
	for _, tc := range []struct{ name, script, want string }{
		{"protocol", "S: -ERR go away\nEOF", "Error: Remote server sent invalid input: Invalid banner: -ERR go away"},
		{"remote", "S: +OK [XCLIENT]\nC: XCLIENT .*\nC: USER u1\nS: -ERR not for you\nEOF", "Error: Aborting due to remote server: XCLIENT failed: -ERR not for you"},
		{"refused", "S: +OK\nC: USER u1\nS: -ERR [AUTH] no\nEOF", "Info: Login failed: [AUTH] no"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			res := backendtest.Run(t, backendtest.Case{Handshake: Handshake{}, Service: "pop3", Script: tc.script})
			if !slices.Equal(res.Lines, []string{tc.want}) {
				t.Errorf("got %q", res.Lines)
			}
		})
	}
}

// FuzzReplies lets a backend say anything.
func FuzzReplies(f *testing.F) {
	for _, s := range []string{"+OK [XCLIENT] x\r\n+OK\r\n+OK\r\n+OK\r\n", "+OK\r\n-ERR [SYS/TEMP] x\r\n", "+OK\r\n+ eA==\r\n", "+OK\r\n+OK\r\n-ERR\r\n", "\x00\n"} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, in []byte, mech bool) {
		backendtest.Feed(t, in, Handshake{}, func(l *backend.Login) {
			if mech {
				l.Target.Mech = "LOGIN"
			}
		})
	})
}
