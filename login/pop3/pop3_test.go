package pop3_test

import (
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"

	handshake "dproxy/backend/pop3"
	"dproxy/login"
	"dproxy/login/pop3"
	"dproxy/passdb"
	"dproxy/route"
	"dproxy/test/loginrig"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func protocol() login.Protocol {
	return login.Protocol{Name: "pop3", Ports: route.Ports{Plain: 110, TLS: 995}, ALPN: []string{"pop3"}, Handshake: handshake.Handshake{}, NewFront: pop3.New}
}

func start(t *testing.T, conf string) *loginrig.Rig {
	t.Helper()
	return loginrig.Start(t, loginrig.Options{Protocol: protocol(), Conf: conf, Users: users(), Backend: loginrig.POP3})
}

func users() map[string]loginrig.User {
	return map[string]loginrig.User{
		"u":     {Password: "p"},
		"space": {Password: " p "},
		"local": {Password: "p", Fields: []passdb.Field{}},
		"off":   {Password: "p", Fields: []passdb.Field{{Name: "nologin"}}},
		"moved": {Password: "p", Fields: []passdb.Field{{Name: "nologin"}, {Name: "reason", Value: "[GONE] away"}}},
		"ref":   {Password: "p", Fields: []passdb.Field{{Name: "nologin"}, {Name: "host", Value: "h.example"}}},
		"gone":  {Err: loginrig.ErrPassdb},
	}
}

const (
	unknown = "-ERR Unknown command."
	welcome = "+OK Logged in."
)

// Every answer here was seen from a Dovecot 2.3.19.1, but for the cases that say otherwise.
func TestCommands(t *testing.T) {
	capa := "S: +OK\nS: CAPA\nS: TOP\nS: UIDL\nS: RESP-CODES\nS: PIPELINING\nS: AUTH-RESP-CODE\nS: USER\nS: SASL PLAIN\nS: .\n"
	for name, script := range map[string]string{
		"capa in any case, with arguments": "C: cApa x\n" + capa,
		"a CR in a command is nothing":     "Q: \"CA\\rPA\\r\\r\\n\"\n" + capa,
		"a bare LF ends a line":            "Q: \"CAPA\\nQUIT\\n\"\n" + capa + "S: +OK Logging out\nEOF",
		"quit":                             "C: QUIT now\nS: +OK Logging out\nEOF",
		"commands that need a login":       "C: STAT\nS: " + unknown + "\nC: NOOP\nS: " + unknown,
		"three bad commands in a row":      "C: x\nS: " + unknown + "\nC: y\nS: " + unknown + "\nC: z\nS: " + unknown + "\nS: -ERR Too many invalid bad commands.\nEOF",
		"a good one starts again":          "C: x\nS: " + unknown + "\nC: y\nS: " + unknown + "\nC: CAPA\n" + capa + "C: x\nS: " + unknown + "\nC: y\nS: " + unknown,
		"AUTH is no good one":              "C: x\nS: " + unknown + "\nC: y\nS: " + unknown + "\nC: AUTH FOO\nS: <*>\nC: z\nS: " + unknown + "\nS: <*>\nEOF",
		"an empty line":                    "C:\nS: " + unknown,
		"NUL in a command":                 "Q: \"C\\x00APA\\r\\n\"\nS: " + unknown,
		"a longer word":                    "C: CAPABILITY\nS: " + unknown,
		"the longest argument":             "C: USER " + strings.Repeat("x", 1024) + "\nS: +OK",
		"a longer argument":                "C: USER " + strings.Repeat("x", 1025) + "\nS: -ERR Input buffer full, aborting\nEOF",
		"the longest command":              "C: " + strings.Repeat("x", 1032) + "\nS: " + unknown,
		"a longer command":                 "C: " + strings.Repeat("x", 1033) + "\nS: -ERR Input buffer full, aborting\nEOF",
		"a line without end":               "Q: \"" + strings.Repeat("x", 9000) + "\"\nS: -ERR Input buffer full, aborting\nEOF",
		"stls without TLS":                 "C: STLS\nS: -ERR TLS support isn't enabled.",
		"apop without the mechanism":       "C: APOP u 0123456789abcdef0123456789abcdef\nS: -ERR APOP not enabled.",
		"a browser":                        "Q: \"POST / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\nUSER u\\r\\nPASS p\\r\\n\"\nEOF",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start(t, "").Dial("").Play("S: +OK Proxy ready.\n" + script)
		})
	}
}

func TestUserAndPass(t *testing.T) {
	for name, script := range map[string]string{
		"a login":                        "C: USER u\nS: +OK\nC: PASS p\nS: " + welcome + "\nC: STAT\nS: got: STAT\nC: bye\nS: got: bye\nEOF",
		"blanks belong to the password":  "C: USER space\nS: +OK\nC: pass  p \nS: " + welcome,
		"and to the name":                "C: USER u \nS: +OK\nC: PASS p\nS: -ERR [AUTH] Authentication failed.",
		"all in one packet":              "Q: \"USER u\\r\\nPASS p\\r\\nSTAT\\r\\n\"\nS: +OK\nS: " + welcome + "\nS: got: STAT",
		"PASS without USER":              "C: PASS p\nS: -ERR No username given.",
		"the last USER counts":           "C: USER x\nS: +OK\nC: USER u\nS: +OK\nC: PASS p\nS: " + welcome,
		"USER is needed again":           "C: USER u\nS: +OK\nC: PASS x\nS: -ERR [AUTH] Authentication failed.\nC: PASS p\nS: -ERR No username given.\nC: USER u\nS: +OK\nC: PASS p\nS: " + welcome,
		"no password":                    "C: USER u\nS: +OK\nC: PASS\nS: -ERR [AUTH] Authentication failed.",
		"passdb gone":                    "C: USER gone\nS: +OK\nC: PASS p\nS: -ERR [SYS/TEMP] Temporary authentication failure. [host:<*>]",
		"nologin":                        "C: USER off\nS: +OK\nC: PASS p\nS: -ERR [AUTH] Login disabled for this user",
		"nologin with a reason":          "C: USER moved\nS: +OK\nC: PASS p\nS: -ERR [GONE] away",
		"referral":                       "C: USER ref\nS: +OK\nC: PASS p\nS: -ERR Try this server instead.",
		"no proxy, and no mail here":     "C: USER local\nS: +OK\nC: PASS p\nS: -ERR [SYS/TEMP] Account is temporarily unavailable.\nC: QUIT\nS: +OK Logging out\nEOF",
		"control bytes in the password":  "Q: \"USER u\\r\\nPASS p\\x00\\r\\n\"\nS: +OK\nS: -ERR [AUTH] Authentication failed.",
		"commands behind a failed login": "Q: \"USER u\\r\\nPASS x\\r\\nQUIT\\r\\n\"\nS: +OK\nS: -ERR [AUTH] Authentication failed.\nS: +OK Logging out\nEOF",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start(t, "").Dial("").Play("S: +OK Proxy ready.\n" + script)
		})
	}
}

func TestAuth(t *testing.T) {
	const plain = "AHUAcA=="
	for name, script := range map[string]string{
		"a list":                        "C: AUTH\nS: +OK\nS: PLAIN\nS: LOGIN\nS: .\nC: AUTH \nS: +OK\nS: PLAIN\nS: LOGIN\nS: .\nC: AUTH  PLAIN\nS: +OK\nS: PLAIN\nS: LOGIN\nS: .",
		"with an initial response":      "C: auth plain " + plain + "\nS: " + welcome,
		"without":                       "C: AUTH PLAIN\nS: + \nC: " + plain + "\nS: " + welcome,
		"an empty initial response":     "C: AUTH PLAIN =\nS: -ERR [AUTH] Authentication failed.",
		"LOGIN":                         "C: AUTH LOGIN dQ==\nS: + UGFzc3dvcmQ6\nC: cA==\nS: " + welcome,
		"unknown mechanism":             "C: AUTH FOO x\nS: -ERR [AUTH] Unsupported authentication mechanism.",
		"abort":                         "C: AUTH PLAIN \nS: + \nC: *\nS: -ERR Authentication aborted by client.",
		"bad initial response":          "C: AUTH PLAIN !!!\nS: -ERR [AUTH] Invalid base64 data in initial response",
		"bad response":                  "C: AUTH PLAIN\nS: + \nC: AAA\nS: -ERR [AUTH] Invalid base64 data in continued response",
		"no base64 at all":              "C: AUTH PLAIN\nS: + \nC: !!!\nS: -ERR [AUTH] Invalid base64 in response",
		"a larger initial response":     "C: AUTH PLAIN " + strings.Repeat("A", 8192) + "\nEOF",
		"a mechanism beyond the buffer": "C: AUTH " + strings.Repeat("A", 1027) + "\nS: -ERR Input buffer full, aborting\nEOF",
		"APOP is no mechanism here":     "C: AUTH APOP\nS: -ERR [AUTH] Unsupported authentication mechanism.",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start(t, "auth_mechanisms = plain login").Dial("").Play("S: <*>\n" + script)
		})
	}
}

func TestAPOP(t *testing.T) {
	r := start(t, "auth_mechanisms = plain apop\nauth_verbose = yes")
	c := r.Dial("")
	greeting := c.Line()
	if !regexp.MustCompile(`^\+OK Proxy ready\. <[0-9a-f]+\.[0-9a-f]+\.[0-9a-f]+\.[A-Za-z0-9+/=]{24}@proxy\.example\.org>$`).MatchString(greeting) {
		t.Fatalf("greeting %q", greeting)
	}
	_, challenge, _ := strings.Cut(greeting, " <")
	digest := apopDigest("<"+challenge, "p")
	c.Play("C: APOP\nS: -ERR Invalid parameters.\nC: APOP u\nS: -ERR Invalid parameters.\nC: APOP u xyz\nS: -ERR Invalid parameters.\n" +
		"C: APOP u 0123456789abcdeg0123456789abcdef\nS: -ERR Invalid characters in MD5 response.\n" +
		"C: APOP u 0123456789abcdef0123456789abcdef\nS: -ERR [AUTH] Authentication failed.\nC: CAPA\nS: +OK\nS: CAPA\nS: TOP\nS: UIDL\nS: RESP-CODES\nS: PIPELINING\nS: AUTH-RESP-CODE\nS: USER\nS: SASL PLAIN\nS: .\n" +
		// Without a password of its own the login cannot go on, but the user has been recognised.
		"C: APOP u " + digest + "\nS: -ERR [SYS/TEMP] Account is temporarily unavailable.")
	r.Log.Wait("pop3-login: Info: APOP failed: Invalid parameters: user=<>, rip=")
	r.Log.Wait("proxy(u): password not given: user=<u>, method=APOP")
}

func TestUnsecured(t *testing.T) {
	const refused = "S: -ERR [AUTH] Plaintext authentication disallowed on non-secure (SSL/TLS) connections.\n"
	cert := loginrig.NewCert(t, "proxy.example.org")
	for name, c := range map[string]struct{ conf, script, line string }{
		"passwords": {
			"auth_mechanisms = plain cram-md5",
			"C: USER u\n" + refused + "C: PASS p\n" + refused + "C: AUTH PLAIN\nS: -ERR [AUTH] Plaintext authentication disabled.\nC: AUTH\nS: +OK\nS: CRAM-MD5\nS: .\n" +
				"C: CAPA\nS: +OK\nS: CAPA\nS: TOP\nS: UIDL\nS: RESP-CODES\nS: PIPELINING\nS: AUTH-RESP-CODE\nS: SASL CRAM-MD5\nS: .\nC: QUIT\nS: <*>\nEOF",
			"Aborted login by logging out (tried to use disallowed plaintext auth): user=<u>, method=PLAIN",
		},
		"passwords, with the last word": {"", "C: USER u\n" + refused + "C: QUIT\nS: <*>\nEOF", "Aborted login by logging out (auth failed, 1 attempts in 0 secs): user=<u>, rip="},
		"ssl = required": {
			"ssl = required\n" + cert.Conf,
			"C: CAPA\nS: +OK\nS: CAPA\nS: TOP\nS: UIDL\nS: RESP-CODES\nS: PIPELINING\nS: AUTH-RESP-CODE\nS: STLS\nS: SASL\nS: .\nC: AUTH FOO\nS: -ERR [AUTH] Authentication not allowed until SSL/TLS is enabled.", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t, c.conf)
			r.Dial("127.0.0.2").Play("S: <*>\n" + c.script)
			if c.line != "" {
				r.Log.Wait(c.line)
			}
		})
	}
}

// backendXCLIENT runs a login behind some commands and returns the XCLIENT that the backend got.
func backendXCLIENT(t *testing.T, conf, from, script string) string {
	t.Helper()
	got := make(chan string, 1)
	r := loginrig.Start(t, loginrig.Options{Protocol: protocol(), Conf: conf, Users: users(), Backend: func(p *loginrig.Peer) {
		p.Send("+OK [XCLIENT] b\r\n")
		got <- p.Line()
		p.Line()
		p.Send("+OK\r\n+OK\r\n")
		p.Line()
		p.Send("+OK in\r\n")
		loginrig.Echo(p)
	}})
	r.Dial(from).Play("S: <*>\n" + script + "\nC: USER u\nS: +OK\nC: PASS p\nS: +OK in\nC: bye\nS: got: bye\nEOF")
	return <-got
}

func TestXCLIENT(t *testing.T) {
	const (
		trusted = "login_trusted_networks = 127.0.0.2"
		ignored = "S: +OK You are not from trusted IP - ignoring"
		updated = "S: +OK Updated"
		invalid = "S: -ERR Invalid parameters"
	)
	for name, c := range map[string]struct {
		conf, from, script string
		want, not          []string
	}{
		"the client as it is": {"", "", "", []string{"ADDR=127.0.0.1 ", "TTL=4"}, nil},
		"a trusted peer": {
			trusted, "127.0.0.2", "C: xclient  ADDR=192.0.2.7 PORT=1234 SESSION=sess TTL=3 FORWARD=YT1iCWM9ZA== FOO=bar x\n" + updated,
			[]string{"ADDR=192.0.2.7 PORT=1234 SESSION=sess TTL=2 FORWARD=YT1iCWM9ZA=="},
			nil,
		},
		"an IPv6 address":        {trusted, "127.0.0.2", "C: XCLIENT ADDR=2001:db8::1\n" + updated, []string{"ADDR=2001:db8::1 "}, nil},
		"more than once":         {trusted, "127.0.0.2", "C: XCLIENT ADDR=192.0.2.7\n" + updated + "\nC: XOIP 192.0.2.8\n" + updated, []string{"ADDR=192.0.2.8 "}, nil},
		"nothing at all":         {trusted, "127.0.0.2", "C: XCLIENT\n" + updated, []string{"ADDR=127.0.0.2 "}, nil},
		"good ones beside bad":   {trusted, "127.0.0.2", "C: XCLIENT ADDR=[UNAVAILABLE] PORT=12 TTL=3\n" + invalid, []string{"ADDR=127.0.0.2 PORT=12 ", "TTL=2"}, nil},
		"a port that is none":    {trusted, "127.0.0.2", "C: XCLIENT PORT=70000\n" + invalid, nil, []string{"70000"}},
		"a ttl that is none":     {trusted, "127.0.0.2", "C: XCLIENT TTL=-1\n" + invalid, []string{"TTL=4"}, nil},
		"a list that is none":    {trusted, "127.0.0.2", "C: XCLIENT FORWARD=!!\n" + invalid, nil, []string{"FORWARD"}},
		"a session id too long":  {trusted, "127.0.0.2", "C: XCLIENT SESSION=" + strings.Repeat("s", 65) + "\n" + updated, nil, []string{"sss"}},
		"XOIP without an addres": {trusted, "127.0.0.2", "C: XOIP\n" + invalid, []string{"ADDR=127.0.0.2 "}, nil},
		"another peer": {
			"disable_plaintext_auth = no", "127.0.0.2", "C: XCLIENT ADDR=192.0.2.7\n" + ignored + "\nC: XOIP 192.0.2.7\n" + ignored, []string{"ADDR=127.0.0.2 "}, []string{"192.0.2.7"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := backendXCLIENT(t, c.conf, c.from, c.script)
			for _, w := range c.want {
				if !strings.Contains(got, w) {
					t.Errorf("%s\nlacks %s", got, w)
				}
			}
			for _, n := range c.not {
				if strings.Contains(got, n) {
					t.Errorf("%s\nhas %s", got, n)
				}
			}
		})
	}
	start(t, trusted).Dial("127.0.0.2").Play("S: +OK [XCLIENT] Proxy ready.")
}

func TestHopsUsedUp(t *testing.T) {
	start(t, "login_trusted_networks = 127.0.0.2").Dial("127.0.0.2").Play("S: <*>\nC: XCLIENT TTL=1\nS: <*>\nC: USER u\nS: +OK\nC: PASS p\nS: -ERR Account is temporarily unavailable.")
}

func TestBackendRefusals(t *testing.T) {
	for name, c := range map[string]struct{ reply, want string }{
		"with a code":              {"-ERR [IN-USE] locked", "-ERR [IN-USE] locked"},
		"without":                  {"-ERR no", "-ERR no"},
		"bare":                     {"-ERR", "-ERR Authentication failed."},
		"for now":                  {"-ERR [SYS/TEMP] later", "-ERR [SYS/TEMP] later"},
		"raw bytes are not passed": {"-ERR a\x1b\xe4", "-ERR a??"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := loginrig.Start(t, loginrig.Options{Protocol: protocol(), Users: users(), Backend: func(p *loginrig.Peer) {
				p.Send("+OK b\r\n")
				p.Line()
				p.Send("+OK\r\n")
				p.Line()
				p.Send(c.reply + "\r\n")
			}})
			r.Dial("").Play("S: <*>\nC: USER u\nS: +OK\nC: PASS p\nS: " + c.want + "\nC: QUIT\nS: +OK Logging out\nEOF")
			r.Log.Wait("Aborted login by logging out (proxy dest auth failed): user=<u>, method=PLAIN")
		})
	}
}

func TestSTLS(t *testing.T) {
	cert := loginrig.NewCert(t, "proxy.example.org")
	r := start(t, "ssl = yes\ndisable_plaintext_auth = no\n"+cert.Conf)
	c := r.Dial("127.0.0.2")
	c.Play("S: <*>\nC: USER u\nS: +OK\nC: STLS\nS: +OK Begin TLS negotiation now.")
	c.StartTLS(loginrig.Client())
	c.Play("C: STLS\nS: -ERR TLS is already active.\n# A name from before TLS is forgotten.\nC: PASS p\nS: -ERR No username given.\nC: USER u\nS: +OK\nC: PASS p\nS: " + welcome)
	c = r.Dial("127.0.0.2")
	c.Play("S: <*>\nQ: \"STLS\\r\\nUSER u\\r\\nPASS p\\r\\n\"\nS: +OK Begin TLS negotiation now.\nEOF")
	r.Log.Wait("pop3-login: Info: Disconnected: Plaintext data before TLS handshake (no auth attempts in 0 secs)")
}

func TestEndLine(t *testing.T) {
	r := start(t, "")
	r.Dial("").Play("S: <*>\nC: x\nS: <*>\nC: x\nS: <*>\nC: x\nS: <*>\nS: <*>\nEOF")
	r.Log.Wait("pop3-login: Info: Disconnected: Disconnected: Too many bad commands (no auth attempts in 0 secs): user=<>, rip=127.0.0.1")
}
