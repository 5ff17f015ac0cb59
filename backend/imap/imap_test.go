package imap

import (
	"net/netip"
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

const (
	caps  = "S: * OK [CAPABILITY IMAP4rev1 SASL-IR ID STARTTLS AUTH=PLAIN] ready"
	id    = `C: I ID \("x-session-id" "SID" "x-originating-ip" "192\.0\.2\.7" "x-originating-port" "4711" "x-connected-ip" "198\.51\.100\.1" "x-connected-port" "143" "x-proxy-ttl" "4"\)`
	login = `C: L LOGIN "u1" "secret"`
)

func lines(l ...string) string { return strings.Join(l, "\n") }

func TestLogin(t *testing.T) {
	set := func(f func(*route.Target)) func(*backend.Login, *conf.Settings) {
		return func(l *backend.Login, _ *conf.Settings) { f(&l.Target) }
	}
	for _, tc := range []struct {
		name, script string
		change       func(*backend.Login, *conf.Settings)
		want         string // "LINE" or "LINE caps=LIST"; a failure as kind: text | reply
		untagged     []string
		log          []string // other lines than the failure's
	}{
		{
			// The script answers nothing before the login is there: ID and LOGIN are pipelined.
			"ID and LOGIN without waiting", lines(caps, id, login, "S: * ID (\"name\" \"fake\")", "S: I OK ID done", "S: * PREDATA hello", "S: L OK [CAPABILITY IMAP4rev1 XPOST IDLE] Logged in to fake", "EOF"),
			nil, "OK [CAPABILITY IMAP4rev1 XPOST IDLE] Logged in to fake caps=IMAP4rev1 SASL-IR ID STARTTLS AUTH=PLAIN",
			[]string{"* PREDATA hello"},
			nil,
		},
		{
			"the client's CAPABILITY is repeated", lines(caps, id, "C: C CAPABILITY", login, "S: I OK", "S: * capability IMAP4rev1 ID XFAKE", "S: C OK cap done", "S: L OK done", "EOF"),
			func(l *backend.Login, _ *conf.Settings) { l.AskCapability = true }, "OK done caps=IMAP4rev1 ID XFAKE", nil, nil,
		},
		{
			"a banner without list gets CAPABILITY and no ID", lines("S: * OK plain banner", "C: C CAPABILITY", login, "S: * CAPABILITY IMAP4rev1 ID XFAKE", "S: C OK", "S: L OK Logged in", "EOF"),
			nil, "OK Logged in caps=IMAP4rev1 ID XFAKE", nil, nil,
		},
		{
			"a backend without ID is told nothing", lines("S: * OK [CAPABILITY IMAP4rev1] x", login, "S: L OK x", "EOF"),
			nil, "OK x caps=IMAP4rev1", nil, nil,
		},
		{
			"proxy_not_trusted tells nothing", lines(caps, login, "S: L OK x", "EOF"),
			set(func(t *route.Target) { t.NotTrusted = true }), "OK x caps=IMAP4rev1 SASL-IR ID STARTTLS AUTH=PLAIN", nil, nil,
		},
		{
			"proxy_nopipelining waits for each reply", lines(caps, id, "S: * ID NIL", "S: I OK", "C: C CAPABILITY", "S: * CAPABILITY IMAP4rev1 X", "S: C OK", login, "S: L OK x", "EOF"),
			func(l *backend.Login, _ *conf.Settings) { l.Target.NoPipelining, l.AskCapability = true, true }, "OK x caps=IMAP4rev1 X", nil, nil,
		},
		{
			"proxy_nopipelining goes on after a refused CAPABILITY", lines("S: * OK hello", "C: C CAPABILITY", "S: C BAD what", login, "S: L OK x", "EOF"),
			set(func(t *route.Target) { t.NoPipelining = true }), "OK x", nil, nil,
		},
		{
			"special characters are quoted, never an atom", lines("S: * OK [CAPABILITY IMAP4rev1] x", `C: L LOGIN "bob@backend" "sec\\"ret\\\\x"`, "S: L OK x", "EOF"),
			set(func(t *route.Target) { t.User, t.Password = "bob@backend", `sec"ret\x` }), "OK x caps=IMAP4rev1", nil, nil,
		},
		{
			"8-bit text is a literal that is not waited for", lines("S: * OK [CAPABILITY IMAP4rev1] x", `C: L LOGIN "u1" \{3\}`, "C: p\xc3\xa4", "S: + OK", "S: L OK x", "EOF"),
			set(func(t *route.Target) { t.Password = "p\xc3\xa4" }), "OK x caps=IMAP4rev1", nil, nil,
		},
		{
			"a master logs in by SASL", lines("S: * OK [CAPABILITY IMAP4rev1 SASL-IR] x", "C: L AUTHENTICATE PLAIN dTEAYWRtAG1wdw==", "S: L OK x", "EOF"),
			set(func(t *route.Target) { t.Master, t.Mech, t.Password = "adm", "PLAIN", "mpw" }), "OK x caps=IMAP4rev1 SASL-IR", nil, nil,
		},
		{
			"without SASL-IR the response is asked for", lines("S: * OK [CAPABILITY IMAP4rev1] x", "C: L AUTHENTICATE PLAIN", "S: + ", "C: dTEAdTEAc2VjcmV0", "S: L OK x", "EOF"),
			set(func(t *route.Target) { t.Mech = "PLAIN" }), "OK x caps=IMAP4rev1", nil, nil,
		},
		{
			"LOGIN has an empty initial response", lines("S: * OK [CAPABILITY IMAP4rev1 SASL-IR] x", "C: L AUTHENTICATE LOGIN =", "S: + VXNlcm5hbWU6", "C: YWRt", "S: + UGFzc3dvcmQ6", "C: c2VjcmV0", "S: L OK x", "EOF"),
			set(func(t *route.Target) { t.Master, t.Mech = "adm", "LOGIN" }), "OK x caps=IMAP4rev1 SASL-IR", nil, nil,
		},
		{
			"LOGINDISABLED does not concern AUTHENTICATE", lines("S: * OK [CAPABILITY IMAP4rev1 SASL-IR LOGINDISABLED] x", "C: L AUTHENTICATE PLAIN .*", "S: L OK x", "EOF"),
			set(func(t *route.Target) { t.Mech = "PLAIN" }), "OK x caps=IMAP4rev1 SASL-IR LOGINDISABLED", nil, nil,
		},
		{
			"STARTTLS: ID goes in clear, LOGINDISABLED is overcome", lines("S: * OK [CAPABILITY IMAP4rev1 ID STARTTLS LOGINDISABLED] x", "C: I ID .*", "C: S STARTTLS", "S: * 1 EXISTS", "S: * CAPABILITY FORGED", "S: I OK ID done", "S: S OK begin", "TLS good", login, "S: * hello", "S: L OK x", "EOF"),
			set(func(t *route.Target) { t.TLS = route.StartTLS }), "OK x caps=IMAP4rev1 ID STARTTLS LOGINDISABLED",
			[]string{"* hello"},
			nil,
		},
		{
			"STARTTLS with proxy_nopipelining waits for ID", lines("S: * OK [CAPABILITY IMAP4rev1 ID STARTTLS] x", "C: I ID .*", "S: I OK", "C: S STARTTLS", "S: S OK begin", "TLS good", login, "S: L OK x", "EOF"),
			set(func(t *route.Target) { t.TLS, t.NoPipelining = route.StartTLS, true }), "OK x caps=IMAP4rev1 ID STARTTLS", nil, nil,
		},
		{
			"STARTTLS to a banner without list asks CAPABILITY inside TLS", lines("S: * OK x", "C: S STARTTLS", "S: S OK begin", "TLS good", "C: C CAPABILITY", login, "S: * CAPABILITY IMAP4rev1", "S: C OK", "S: L OK x", "EOF"),
			set(func(t *route.Target) { t.TLS = route.StartTLS }), "OK x caps=IMAP4rev1", nil, nil,
		},
		{
			"a line that belongs nowhere is reported", lines("S: * OK [CAPABILITY IMAP4rev1] x", login, "S: X OK strange", "S: L OK x", "EOF"),
			nil, "OK x caps=IMAP4rev1", nil,
			[]string{"Error: Unexpected input, ignoring: X OK strange"},
		},
		{
			"BYE is not passed on", lines("S: * OK [CAPABILITY IMAP4rev1] x", login, "S: * BYE shutting down", "CLOSE"),
			nil, "connect: Disconnected by server: Connection closed (state=login/banner, duration=0s)", nil, nil,
		},
		{
			"the state tells what is unanswered", lines(caps, id, login, "S: I OK", "CLOSE"),
			nil, "connect: Disconnected by server: Connection closed (state=login/id, duration=0s)", nil, nil,
		},
		{
			"the state within a refused TLS handshake", lines("S: * OK [CAPABILITY IMAP4rev1 STARTTLS] x", "C: S STARTTLS", "S: S OK x", "N: 5", "RESET"),
			set(func(t *route.Target) { t.TLS = route.StartTLS }), "connect: Disconnected by server: Connection closed: read(size=0) failed: Connection reset by peer (state=login/starttls, duration=0s)", nil, nil,
		},
		{"a POP3 greeting", lines("S: +OK B1 ready.", "EOF"), nil, "protocol: Invalid banner: +OK B1 ready.", nil, nil},
		{"PREAUTH is no login", lines("S: * PREAUTH hello", "EOF"), nil, "protocol: Invalid banner: * PREAUTH hello", nil, nil},
		{"BYE at once", lines("S: * BYE full", "EOF"), nil, "protocol: Invalid banner: * BYE full", nil, nil},
		{"a long banner is cut", lines("S: "+strings.Repeat("x", 300), "EOF"), nil, "protocol: Invalid banner: " + strings.Repeat("x", 157) + "...", nil, nil},
		{
			"LOGINDISABLED without TLS, and nothing was sent", lines("S: * OK [CAPABILITY IMAP4rev1 ID LOGINDISABLED STARTTLS] x", "EOF"),
			nil, "remote_config: LOGINDISABLED advertised, but SSL/TLS not enabled", nil, nil,
		},
		{
			"no STARTTLS where it is asked, and nothing was sent", lines("S: * OK [CAPABILITY IMAP4rev1 ID] x", "EOF"),
			set(func(t *route.Target) { t.TLS = route.StartTLS }), "remote_config: STARTTLS not supported", nil, nil,
		},
		{
			"STARTTLS refused", lines(caps, id, "C: S STARTTLS", "S: S BAD not supported", "EOF"),
			set(func(t *route.Target) { t.TLS = route.StartTLS }), "remote: STARTTLS failed:  not supported", nil, nil,
		},
		{
			"a result that came with the banner", `R: "* OK [CAPABILITY IMAP4rev1] x\r\nL OK early\r\n"` + "\nEOF",
			nil, "protocol: Tagged reply to a login that was not sent", nil, nil,
		},
		{
			"a result before TLS", lines(caps, id, "C: S STARTTLS", "S: L OK forged", "EOF"),
			set(func(t *route.Target) { t.TLS = route.StartTLS }), "protocol: Tagged reply to a login that was not sent", nil, nil,
		},
		{
			"clear text behind the consent to TLS", lines(caps, id, "C: S STARTTLS", `R: "S OK x\r\nL OK forged\r\n"`, "EOF"),
			set(func(t *route.Target) { t.TLS = route.StartTLS }), "protocol: Tagged reply to a login that was not sent", nil, nil,
		},
		{
			"other clear text behind the consent to TLS", lines(caps, id, "C: S STARTTLS", `R: "S OK x\r\n* forged\r\n"`, "EOF"),
			set(func(t *route.Target) { t.TLS = route.StartTLS }), "protocol: Plaintext data after the STARTTLS reply", nil, nil,
		},
		{
			"a challenge that is no base64", lines("S: * OK [CAPABILITY IMAP4rev1] x", "C: L AUTHENTICATE PLAIN", "S: + !!", "EOF"),
			set(func(t *route.Target) { t.Mech = "PLAIN" }), "protocol: Invalid base64 data in AUTHENTICATE response", nil, nil,
		},
		{
			"a challenge without blank", lines("S: * OK [CAPABILITY IMAP4rev1] x", "C: L AUTHENTICATE PLAIN", "S: +", "EOF"),
			set(func(t *route.Target) { t.Mech = "PLAIN" }), "protocol: Invalid base64 data in AUTHENTICATE response", nil, nil,
		},
		{
			"a challenge too many", lines("S: * OK [CAPABILITY IMAP4rev1 SASL-IR] x", "C: L AUTHENTICATE PLAIN .*", "S: + Zm9v", "EOF"),
			set(func(t *route.Target) { t.Mech = "PLAIN" }), "protocol: Invalid authentication data: Server didn't finish authentication", nil, nil,
		},
		{"refused with AUTHENTICATIONFAILED", lines("S: * OK [CAPABILITY IMAP4rev1] x", login, "S: L NO [AUTHENTICATIONFAILED] backend says wrong", "EOF"), nil, "auth: [AUTHENTICATIONFAILED] backend says wrong", nil, nil},
		{"refused without code", lines("S: * OK [CAPABILITY IMAP4rev1] x", login, "S: L NO no such user", "EOF"), nil, "auth: no such user", nil, nil},
		{"BAD", lines("S: * OK [CAPABILITY IMAP4rev1] x", login, "S: L BAD [ALERT] go away", "EOF"), nil, "auth: BAD [ALERT] go away", nil, nil},
		{"another code is passed on", lines("S: * OK [CAPABILITY IMAP4rev1] x", login, "S: L NO [LIMIT] too many conns", "EOF"), nil, "auth: [LIMIT] too many conns | NO [LIMIT] too many conns", nil, nil},
		{"UNAVAILABLE", lines("S: * OK [CAPABILITY IMAP4rev1] x", login, "S: L NO [UNAVAILABLE] come back later", "EOF"), nil, "auth_tempfail: [UNAVAILABLE] come back later | NO [UNAVAILABLE] come back later", nil, nil},
		{"control and 8-bit bytes of a refusal are not passed on", lines("S: * OK [CAPABILITY IMAP4rev1] x", login, `R: "L NO [ALERT] b\xe4d \x1b[1m\x00\r\n"`, "EOF"), nil, "auth: [ALERT] b\xe4d \x1b[1m\x00 | NO [ALERT] b?d ?[1m?", nil, nil},
		{"a word that only begins like OK", lines("S: * OK [CAPABILITY IMAP4rev1] x", login, "S: L OKAY", "EOF"), nil, "auth: OKAY", nil, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			res := backendtest.Run(t, backendtest.Case{Handshake: Handshake{}, Service: "imap", Script: tc.script, Change: tc.change})
			got := ""
			if res.Err != nil {
				got = sizes(res.Failure())
				res.Lines = res.Lines[:max(len(res.Lines)-1, 0)]
			} else {
				got = res.Session.Welcome.Line
				if c := res.Session.Welcome.Capability; c != "" {
					got += " caps=" + c
				}
			}
			if got != sizes(tc.want) {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
			if !slices.Equal(res.Untagged, tc.untagged) {
				t.Errorf("untagged %q, want %q", res.Untagged, tc.untagged)
			}
			if !slices.Equal(res.Lines, tc.log) {
				t.Errorf("log %q, want %q", res.Lines, tc.log)
			}
		})
	}
}

// sizes blanks the buffer size in Dovecot's read errors.
func sizes(s string) string {
	before, rest, ok := strings.Cut(s, "read(size=")
	if !ok {
		return s
	}
	_, rest, _ = strings.Cut(rest, ")")
	return before + "read(size=)" + rest
}

func TestIDList(t *testing.T) {
	l := backendtest.NewLogin(netip.MustParseAddrPort("127.0.0.1:143"))
	l.Identity.ClientID = `"name" "MUA" "version" NIL`
	l.Target.Forward = []passdb.Field{{Name: "foo", Value: "bar"}, {Name: "empty"}, {Name: "x", Value: `a"b\`}, {Name: "y", Value: "\xc3\xa4"}}
	l.Identity.Remote = netip.MustParseAddrPort("[2001:db8::7]:1234")
	want := `"name" "MUA" "version" NIL "x-session-id" "SID" "x-originating-ip" "2001:db8::7" "x-originating-port" "1234" "x-connected-ip" "198.51.100.1" "x-connected-port" "143" "x-proxy-ttl" "4"` +
		` "x-forward-foo" "bar" "x-forward-empty" NIL "x-forward-x" "a\"b\\" "x-forward-y" {2}` + "\r\n\xc3\xa4"
	if got := idList(l); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	l.Target.Forward = nil
	for _, bad := range []string{`"a" "b") x`, "\"a\r\nL LOGOUT\r\n\"", `"a`, "a b", "{3}\r\na\r\n", "{4}\r\nabc", "{x}\r\n", `"a""b"`, `"a\`} {
		l.Identity.ClientID = bad
		if got := idList(l); !strings.HasPrefix(got, `"x-session-id"`) {
			t.Errorf("%q was sent: %q", bad, got)
		}
	}
}

func FuzzClientID(f *testing.F) {
	f.Add(`"name" "a\"b" NIL`)
	f.Add("{3}\r\nabc \"x\"")
	f.Add("\"\\\x00\"")
	f.Add("\"\\\n\"")
	f.Fuzz(func(t *testing.T, s string) {
		if !validPairs(s) {
			return
		}
		// What is left when literals are taken out is one line without an end.
		for {
			head, body, ok := strings.Cut(s, "}\r\n")
			if !ok {
				break
			}
			_, n, _ := strings.Cut(head[strings.LastIndexByte(head, '{'):], "{")
			count := 0
			for _, c := range strings.TrimSuffix(n, "+") {
				count = count*10 + int(c-'0')
			}
			if count > len(body) {
				t.Fatalf("literal %q of %d bytes", n, len(body))
			}
			s = head + body[count:]
		}
		if strings.ContainsAny(s, "\r\n\x00") {
			t.Fatalf("%q has a line end", s)
		}
	})
}

// FuzzReplies lets a backend say anything.
func FuzzReplies(f *testing.F) {
	for _, s := range []string{
		"* OK [CAPABILITY IMAP4rev1 SASL-IR ID] x\r\nI OK\r\nL OK y\r\n", "* OK x\r\n* CAPABILITY A\r\nC OK\r\nL NO [UNAVAILABLE] z\r\n",
		"* OK [CAPABILITY\r\n+ \r\n", "* OK [CAPABILITY X STARTTLS] x\r\nS OK x\r\n", "\x00\r\n", "* OK {5}\r\n",
	} {
		f.Add([]byte(s), true, true)
	}
	f.Fuzz(func(t *testing.T, in []byte, mech, wait bool) {
		backendtest.Feed(t, in, Handshake{}, func(l *backend.Login) {
			l.Target.NoPipelining = wait
			if mech {
				l.Target.Mech = "PLAIN"
			}
			l.Untagged = func(line string) {
				if strings.ContainsRune(line, '\n') {
					t.Fatalf("a line end in %q", line)
				}
			}
		})
	})
}
