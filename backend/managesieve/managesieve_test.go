package managesieve

import (
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
		caps    = "S: \"IMPLEMENTATION\" \"fake\"\nS: \"SIEVE\" \"fileinto\"\nS: \"SASL\" \"PLAIN\"\nS: \"STARTTLS\"\nS: OK \"ready\""
		auth    = `C: AUTHENTICATE "PLAIN" "dTEAdTEAc2VjcmV0"`
		xclient = `C: XCLIENT ADDR=192\.0\.2\.7 PORT=4711 SESSION=SID TTL=4`
	)
	for _, tc := range []struct {
		name, script string
		change       func(*backend.Login, *conf.Settings)
		want         string
	}{
		{"AUTHENTICATE", lines(caps, auth, `S: OK "Logged in fake"`, "EOF"), nil, `OK "Logged in fake"`},
		{"a bare OK", lines(caps, auth, "S: ok", "EOF"), nil, "ok"},
		{"OK with a literal goes on as it is", lines(caps, auth, `R: "OK {5}\r\na\r\nbc\r\n"`, "EOF"), nil, "OK {5}\r\na\r\nbc"},
		{"capabilities as literals", lines(`R: "{4}\r\nSASL {5}\r\nPLAIN\r\nOK\r\n"`, auth, "S: OK", "EOF"), nil, "OK"},
		{
			"XCLIENT waits for its OK", lines(`S: "SASL" "PLAIN"`, `S: "XCLIENT"`, "S: OK", xclient+" FORWARD=Zm9vPWJhcg==", `S: OK "Updated"`, auth, "S: OK", "EOF"),
			set(func(t *route.Target) { t.Forward = []passdb.Field{{Name: "foo", Value: "bar"}} }), "OK",
		},
		{"proxy_not_trusted is obeyed, unlike in Pigeonhole", lines(`S: "SASL" "PLAIN"`, `S: "XCLIENT"`, "S: OK", auth, "S: OK", "EOF"), set(func(t *route.Target) { t.NotTrusted = true }), "OK"},
		{
			"STARTTLS brings a new list", lines(`S: "SASL" ""`, `S: "XCLIENT"`, `S: "STARTTLS"`, "S: OK", "C: STARTTLS", "S: OK", "TLS good", `S: "SASL" "PLAIN"`, "S: OK", auth, "S: OK", "EOF"),
			starttls, "OK",
		},
		{"a master", lines(caps, `C: AUTHENTICATE "PLAIN" "dTEAYWRtAG1wdw=="`, "S: OK", "EOF"), set(func(t *route.Target) { t.Master, t.Mech, t.Password = "adm", "PLAIN", "mpw" }), "OK"},
		{
			"LOGIN has no initial response", lines(caps, `C: AUTHENTICATE "LOGIN"`, `S: "VXNlcm5hbWU6"`, `C: "dTE="`, `R: "{12}\r\nUGFzc3dvcmQ6\r\n"`, `C: "c2VjcmV0"`, "S: OK", "EOF"),
			set(func(t *route.Target) { t.Mech = "LOGIN" }), "OK",
		},
		{"a long response is a literal", lines(caps, `C: AUTHENTICATE "PLAIN" \{1076\+\}`, "C: [A-Za-z0-9+/=]+", "S: OK", "EOF"), set(func(t *route.Target) { t.Password = passdb.Secret(strings.Repeat("x", 800)) }), "OK"},
		{"no STARTTLS where it is asked", lines(`S: "SASL" "PLAIN"`, "S: OK", "EOF"), starttls, "remote_config: Remote doesn't support STARTTLS"},
		{"STARTTLS refused", lines(caps, "C: STARTTLS", `S: NO "not now"`, "EOF"), starttls, "remote: Remote refused STARTTLS command"},
		{"clear text behind the consent to TLS", lines(caps, "C: STARTTLS", `R: "OK\r\n\"SASL\" \"PLAIN\"\r\n"`, "EOF"), starttls, "protocol: Plaintext data after the STARTTLS reply"},
		{"a bad list after TLS", lines(caps, "C: STARTTLS", "S: OK", "TLS good", `S: BYE "x"`, "EOF"), starttls, `remote: Remote STARTTLS failed: BYE "x"`},
		{"XCLIENT refused", lines(`S: "SASL" "PLAIN"`, `S: "XCLIENT"`, "S: OK", "C: XCLIENT .*", `S: NO "not you"`, "EOF"), nil, `remote: Remote XCLIENT failed: NO "not you"`},
		{"no SASL, and nothing was sent", lines(`S: "SASL" ""`, "S: OK", "EOF"), nil, "remote_config: Server has disabled authentication (TLS required?)"},
		{"BYE instead of a greeting", lines(`S: BYE "full"`, "EOF"), nil, "protocol: Remote sent unexpected NO/BYE instead of capability response"},
		{"an IMAP greeting", lines("S: * OK x", "EOF"), nil, "protocol: Remote sent invalid response: * OK x"},
		{"an unfinished string", lines(`S: "SASL`, "EOF"), nil, `protocol: Remote returned with invalid capability/greeting line: "SASL`},
		{"SASL without list", lines(`S: "SASL"`, "EOF"), nil, "protocol: Server returned erroneous SASL capability"},
		{"an endless literal", lines(`S: "SASL" {99999999}`, "EOF"), nil, "protocol: Too long input line"},
		{"refused", lines(caps, auth, `S: NO (AUTH-TOO-WEAK) "backend no"`, "EOF"), nil, "auth: backend no"},
		{"refused with BYE", lines(caps, auth, `S: BYE "gone"`, "EOF"), nil, `remote: Remote ended the session: BYE "gone"`},
		{"a consent with the banner", lines("R: \"\\\"SASL\\\" \\\"PLAIN\\\"\\r\\nOK\\r\\nOK \\\"in\\\"\\r\\n\"", "EOF"), nil, "protocol: Reply to a command that was not sent"},
		{"refused for now", lines(caps, auth, `S: NO (TRYLATER) "backend later"`, "EOF"), nil, `auth_tempfail: backend later | NO (TRYLATER) "backend later"`},
		{"refused for now, in a literal", lines(caps, auth, `R: "no (trylater) {4}\r\na\x1b\r\n\r\n"`, "EOF"), nil, "auth_tempfail: a\x1b\r\n | NO (TRYLATER) \"a???\""},
		{"garbage is no refusal", lines(caps, auth, "S: what", "EOF"), nil, "protocol: Remote sent invalid response: what"},
		{"a challenge that is no base64", lines(caps, auth, `S: "!!"`, "EOF"), nil, "protocol: Server sent invalid base64 data in AUTHENTICATE response"},
		{"a challenge too many", lines(caps, auth, `S: "eA=="`, "EOF"), nil, "protocol: Invalid authentication data: Server didn't finish authentication"},
		{"closed at the greeting", "CLOSE", nil, "connect: Disconnected by server: Connection closed (state=none, duration=0s)"},
		{"closed after AUTHENTICATE", lines(caps, auth, "CLOSE"), nil, "connect: Disconnected by server: Connection closed (state=auth, duration=0s)"},
		{"closed after STARTTLS", lines(caps, "C: STARTTLS", "CLOSE"), starttls, "connect: Disconnected by server: Connection closed (state=tls-start, duration=0s)"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			res := backendtest.Run(t, backendtest.Case{Handshake: Handshake{}, Service: "sieve", Script: tc.script, Change: tc.change})
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
		"\"SASL\" \"PLAIN\"\r\n\"XCLIENT\"\r\nOK\r\nOK\r\nOK \"x\"\r\n", "\"SASL\" {5}\r\nPLAIN\r\nOK\r\nNO (TRYLATER) \"x\"\r\n", "BYE\r\n", "\"SASL\" \"X\"\r\nOK\r\n\"eA==\"\r\n", "{1}\r\n",
	} {
		f.Add([]byte(s), "PLAIN")
		f.Add([]byte(s), "LOGIN")
	}
	f.Fuzz(func(t *testing.T, in []byte, mech string) {
		if mech != "LOGIN" {
			mech = ""
		}
		backendtest.Feed(t, in, Handshake{}, func(l *backend.Login) { l.Target.Mech = mech })
	})
}
