package imap_test

import (
	"strings"
	"testing"

	"go.uber.org/goleak"

	handshake "dproxy/backend/imap"
	"dproxy/event"
	"dproxy/login"
	"dproxy/login/imap"
	"dproxy/passdb"
	"dproxy/route"
	"dproxy/test/loginrig"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	capabilities = "IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE LITERAL+ AUTH=PLAIN"
	greeting     = "* OK [CAPABILITY " + capabilities + "] Proxy ready."
	welcome      = "OK [CAPABILITY IMAP4rev1 XDONE] Logged in"
)

func protocol() login.Protocol {
	return login.Protocol{Name: "imap", Ports: route.Ports{Plain: 143, TLS: 993}, ALPN: []string{"imap"}, Handshake: handshake.Handshake{}, NewFront: imap.New}
}

func start(t *testing.T, conf string) *loginrig.Rig {
	t.Helper()
	return loginrig.Start(t, loginrig.Options{Protocol: protocol(), Conf: conf, Users: users(), Backend: loginrig.IMAP})
}

func users() map[string]loginrig.User {
	field := func(pairs ...string) []passdb.Field {
		f := []passdb.Field{}
		for i := 0; i < len(pairs); i += 2 {
			f = append(f, passdb.Field{Name: pairs[i], Value: pairs[i+1]})
		}
		return f
	}
	return map[string]loginrig.User{
		"u":        {Password: "p"},
		"local":    {Password: "p", Fields: field()},
		"off":      {Password: "p", Fields: field("nologin", "")},
		"moved":    {Password: "p", Fields: field("nologin", "", "reason", "[GONE] away")},
		"ref":      {Password: "p", Fields: field("nologin", "", "host", "2001:db8::1", "destuser", "a@b", "port", "1143")},
		"ref143":   {Password: "p", Fields: field("nologin", "", "host", "h.example", "port", "143", "reason", "There")},
		"gone":     {Err: loginrig.ErrPassdb},
		"nohost":   {Password: "p", Fields: field("proxy", "")},
		"disabled": {Status: passdb.Disabled},
		"expired":  {Status: passdb.Expired, Fields: field("reason", "Password expired")},
		"reason":   {Status: passdb.Disabled, Fields: field("reason", "pay first")},
		"code":     {Status: passdb.Disabled, Fields: field("reason", "[LIMIT] too many")},
		"evil":     {Status: passdb.Disabled, Fields: field("reason", "a\r\n* BYE now")},
	}
}

// Every answer here was seen from a Dovecot 2.3.19.1, but for the cases that say otherwise.
func TestCommands(t *testing.T) {
	for name, script := range map[string]string{
		"capability":                         "C: a CAPABILITY x\nS: * CAPABILITY " + capabilities + "\nS: a OK Pre-login capabilities listed, post-login capabilities have more.",
		"noop in any case, with arguments":   "C: a nOOp x (y) \"z\"\nS: a OK NOOP completed.",
		"a bare LF ends a line":              "Q: \"a NOOP\\nb NOOP\\n\"\nS: a OK NOOP completed.\nS: b OK NOOP completed.",
		"a bare CR does not":                 "Q: \"a NOOP x\\ry\\r\\n\"\nS: a BAD CR sent without LF\nC: b NOOP\nS: b OK NOOP completed.",
		"enable":                             "C: a ENABLE CONDSTORE\nS: * ENABLED\nS: a OK ENABLE ignored in non-authenticated state.",
		"logout":                             "C: a LOGOUT\nS: * BYE Logging out\nS: a OK Logout completed.\nEOF",
		"starttls without TLS":               "C: a STARTTLS\nS: a BAD TLS support isn't enabled.",
		"three bad commands in all":          "C: a FOO\nS: a BAD Error in IMAP command received by server.\nC: b NOOP\nS: b OK NOOP completed.\nC: c SELECT x\nS: c BAD Error in IMAP command received by server.\nC: d\nS: * BYE Too many invalid IMAP commands.\nEOF",
		"bad tags are not sent back":         "C: * NOOP\nS: * BAD Error in IMAP command received by server.\nQ: \"a\\x00 NOOP\\r\\n\"\nS: * BAD Error in IMAP command received by server.",
		"an empty line":                      "C:\nS: * BAD Error in IMAP command received by server.",
		"a blank in front":                   "C:  NOOP\nS: * BAD Error in IMAP command received by server.",
		"two blanks":                         "C: a  NOOP\nS: a BAD Error in IMAP command received by server.",
		"the longest tag":                    "C: " + strings.Repeat("x", 126) + " NOOP\nS: " + strings.Repeat("x", 126) + " OK NOOP completed.",
		"a longer tag":                       "C: " + strings.Repeat("x", 127) + " NOOP\nS: * BAD Error in IMAP command received by server.",
		"a forgotten tag is not counted":     strings.Repeat("C: LOGIN u p\nS: LOGIN BAD First parameter in line is IMAP's command tag, not the command name. Add that before the command, like: a login user pass\n", 4),
		"LOGIN may be a tag":                 "C: login NOOP\nS: login OK NOOP completed.",
		"a list within a list":               "C: a NOOP ((x))\nS: a BAD Too many '('",
		"an open list":                       "C: a NOOP (x\nS: a BAD Missing ')'",
		"a stray parenthesis":                "C: a NOOP x)\nS: a BAD Unexpected ')'",
		"an open quote":                      "C: a NOOP \"x\nS: a BAD Missing '\"'",
		"NUL in an atom":                     "Q: \"a NOOP x\\x00\\r\\n\"\nS: a BAD Invalid characters in atom",
		"8 bits in an atom":                  "Q: \"a NOOP x\\xe4\\r\\n\"\nS: a BAD 8bit data in atom",
		"NUL in a string":                    "Q: \"a NOOP \\\"x\\x00\\\"\\r\\n\"\nS: a BAD NULs not allowed in strings",
		"literal8":                           "C: a NOOP ~{1+}\nS: a BAD literal8 not allowed here",
		"a literal without a number":         "C: a NOOP {x}\nS: a BAD Invalid literal size",
		"a literal without digits, stricter": "C: a NOOP {}\nS: a BAD Invalid literal size\nC: b NOOP {+}\nS: b BAD Invalid literal size",
		"a negative literal":                 "C: a NOOP {-1}\nS: a BAD Invalid literal size",
		"a literal that overflows":           "C: a NOOP {99999999999999999999}\nS: * BYE Literal size too large\nEOF",
		"the largest literal":                "C: a LOGIN {8178}\nS: + OK",
		"a larger literal":                   "C: a LOGIN {8179}\nS: * BYE Literal size too large\nEOF",
		"junk behind a literal, stricter":    "Q: \"a NOOP {1+}\\r\\nxy\\r\\n\"\nS: a BAD Missing SP after literal\nC: b NOOP\nS: b OK NOOP completed.",
		"junk behind the size":               "C: a NOOP {3}x\nS: + OK\nS: a BAD Missing LF after literal size",
		"syntax errors are not counted":      strings.Repeat("C: a NOOP (\nS: a BAD Missing ')'\n", 5) + "C: b NOOP\nS: b OK NOOP completed.",
		"a literal in an unknown command":    "C: a FOO {3}\nS: + OK\nC: abc\nS: a BAD Error in IMAP command received by server.",
		"a line of many arguments":           "C: a NOOP" + strings.Repeat(" "+strings.Repeat("x", 500), 15) + "\nS: a OK NOOP completed.",
		"a line of too many":                 "C: a NOOP" + strings.Repeat(" "+strings.Repeat("x", 500), 17) + "\nS: a BAD IMAP command line too large",
		"the largest argument":               "C: a NOOP " + strings.Repeat("x", 1025) + "\nS: a OK NOOP completed.",
		"a larger argument":                  "C: a NOOP " + strings.Repeat("x", 1026) + "\nS: * BYE Input buffer full, aborting\nEOF",
		"a line without end":                 "Q: \"a NOOP " + strings.Repeat("x", 9000) + "\"\nS: * BYE Input buffer full, aborting\nEOF",
		"a browser":                          "Q: \"POST / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\na LOGIN u p\\r\\n\"\nEOF",
		"GET is a tag otherwise":             "C: GET NOOP\nS: GET OK NOOP completed.",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start(t, "").Dial("").Play("S: " + greeting + "\n" + script)
		})
	}
}

func TestLogin(t *testing.T) {
	for name, script := range map[string]string{
		"atoms":                             "C: a LOGIN u p\nS: a " + welcome + "\nC: b x\nS: got: b x",
		"quoted strings":                    "C: a login \"\\u\" \"p\"\nS: a " + welcome,
		"literals":                          "C: a LOGIN {1}\nS: + OK\nC: u {1}\nS: + OK\nC: p\nS: a " + welcome,
		"literals without waiting":          "Q: \"a LOGIN {1+}\\r\\nu {1+}\\r\\np\\r\\nb x\\r\\n\"\nS: a " + welcome + "\nS: got: b x",
		"NIL is a name":                     "C: a LOGIN NIL NIL\nS: a NO [AUTHENTICATIONFAILED] Authentication failed.",
		"one argument":                      "C: a LOGIN u\nS: a BAD Error in IMAP command received by server.",
		"three arguments":                   "C: a LOGIN u p x\nS: a BAD Error in IMAP command received by server.",
		"a list":                            "C: a LOGIN (u) p\nS: a BAD Error in IMAP command received by server.",
		"wrong password, then the right":    "C: a LOGIN u x\nS: a NO [AUTHENTICATIONFAILED] Authentication failed.\nC: b LOGIN u p\nS: b " + welcome,
		"unknown user":                      "C: a LOGIN nobody x\nS: a NO [AUTHENTICATIONFAILED] Authentication failed.",
		"passdb gone":                       "C: a LOGIN gone p\nS: a NO [UNAVAILABLE] Temporary authentication failure. [host:<*>]",
		"user disabled":                     "C: a LOGIN disabled p\nS: a NO [AUTHENTICATIONFAILED] Authentication failed.",
		"password expired":                  "C: a LOGIN expired p\nS: a NO [EXPIRED] Password expired",
		"a reason":                          "C: a LOGIN reason p\nS: a NO [ALERT] pay first",
		"a reason with a code":              "C: a LOGIN code p\nS: a NO [LIMIT] too many",
		"a reason with line ends":           "C: a LOGIN evil p\nS: a NO [ALERT] a??* BYE now",
		"nologin":                           "C: a LOGIN off p\nS: a NO [CONTACTADMIN] Login disabled for this user",
		"nologin with a reason":             "C: a LOGIN moved p\nS: a NO [CONTACTADMIN] [GONE] away",
		"referral":                          "C: a LOGIN ref p\nS: a NO [REFERRAL imap://a%40b;AUTH=PLAIN@2001%3adb8%3a%3a1:1143/] Try this server instead.",
		"referral to the usual port":        "C: a LOGIN ref143 p\nS: a NO [REFERRAL imap://ref143;AUTH=PLAIN@h.example/] There",
		"no proxy, and no mail here":        "C: a LOGIN local p\nS: a NO [UNAVAILABLE] Account is temporarily unavailable.\nC: b NOOP\nS: b OK NOOP completed.",
		"no host":                           "C: a LOGIN nohost p\nS: a NO [UNAVAILABLE] Account is temporarily unavailable.",
		"a master login that may not be":    "C: a AUTHENTICATE PLAIN b3RoZXIAdQBw\nS: a NO <*>",
		"commands behind a failed login":    "Q: \"a LOGIN u x\\r\\nb NOOP\\r\\nc LOGIN u p\\r\\nd y\\r\\n\"\nS: a NO <*>\nS: b OK NOOP completed.\nS: c " + welcome + "\nS: got: d y",
		"no second login in the pipe":       "Q: \"a LOGIN u p\\r\\nb LOGIN u p\\r\\n\"\nS: a " + welcome + "\nS: got: b LOGIN u p",
		"capabilities are told when asked":  "C: a CAPABILITY\nS: * CAPABILITY <*>\nS: a OK <*>\nC: b LOGIN u p\nS: * CAPABILITY IMAP4rev1 XDONE\nS: b " + welcome,
		"control bytes in a password":       "Q: \"a LOGIN u \\\"p\\x01\\\"\\r\\n\"\nS: a NO [AUTHENTICATIONFAILED] Authentication failed.",
		"line ends in a password's literal": "Q: \"a LOGIN u {3+}\\r\\np\\r\\n\\r\\n\"\nS: a NO [AUTHENTICATIONFAILED] Authentication failed.",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start(t, "").Dial("").Play("S: " + greeting + "\n" + script)
		})
	}
}

func TestAuthenticate(t *testing.T) {
	const plain = "AHUAcA==" // NUL u NUL p
	for name, script := range map[string]string{
		"with an initial response":      "C: a authenticate plain " + plain + "\nS: a " + welcome,
		"without":                       "C: a AUTHENTICATE PLAIN\nS: + \nC: " + plain + "\nS: a " + welcome,
		"blanks in the base64":          "C: a AUTHENTICATE PLAIN  AHUA cA==\nS: a " + welcome,
		"LOGIN":                         "C: a AUTHENTICATE LOGIN\nS: + VXNlcm5hbWU6\nC: dQ==\nS: + UGFzc3dvcmQ6\nC: cA==\nS: a " + welcome,
		"LOGIN with the name":           "C: a AUTHENTICATE LOGIN dQ==\nS: + UGFzc3dvcmQ6\nC: cA==\nS: a " + welcome,
		"LOGIN with an empty name":      "C: a AUTHENTICATE LOGIN =\nS: <*>\nC: *\nS: a BAD Authentication aborted by client.",
		"no mechanism":                  "C: a AUTHENTICATE\nS: a BAD Error in IMAP command received by server.\nC: b AUTHENTICATE \nS: b BAD Error in IMAP command received by server.",
		"unknown mechanism":             "C: a AUTHENTICATE FOO bar baz\nS: a NO [ALERT] Unsupported authentication mechanism.\nC: b NOOP\nS: b OK NOOP completed.",
		"abort":                         "C: a AUTHENTICATE PLAIN\nS: + \nC: *\nS: a BAD Authentication aborted by client.\nC: b NOOP\nS: b OK NOOP completed.",
		"bad initial response":          "C: a AUTHENTICATE PLAIN AAA\nS: a BAD Invalid base64 data in initial response",
		"bad response":                  "C: a AUTHENTICATE PLAIN\nS: + \nC: AAA\nS: a BAD Invalid base64 data in continued response",
		"no base64 at all":              "C: a AUTHENTICATE PLAIN\nS: + \nC: !!\nS: a NO [ALERT] Invalid base64 in response",
		"STARTTLS as a response":        "C: a AUTHENTICATE PLAIN\nS: + \nC: b STARTTLS\nS: a NO [ALERT] Invalid base64 in response",
		"an empty response":             "C: a AUTHENTICATE PLAIN\nS: + \nC:\nS: a NO [AUTHENTICATIONFAILED] Authentication failed.",
		"an empty initial response":     "C: a AUTHENTICATE PLAIN =\nS: a NO [AUTHENTICATIONFAILED] Authentication failed.",
		"the largest initial response":  "C: a AUTHENTICATE PLAIN " + strings.Repeat("A", 8191) + "\nS: a BAD Invalid base64 data in initial response",
		"a larger initial response":     "C: a AUTHENTICATE PLAIN " + strings.Repeat("A", 8192) + "\nEOF",
		"a larger response":             "C: a AUTHENTICATE PLAIN\nS: + \nC: " + strings.Repeat("A", 8192) + "\nEOF",
		"a mechanism beyond the buffer": "C: a AUTHENTICATE " + strings.Repeat("A", 1027) + "\nS: * BYE Input buffer full, aborting\nEOF",
		"all in one packet":             "Q: \"a AUTHENTICATE PLAIN\\r\\n" + plain + "\\r\\nb z\\r\\n\"\nS: + \nS: a " + welcome + "\nS: got: b z",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t, "auth_mechanisms = plain login")
			c := r.Dial("")
			c.Line()
			c.Play(script)
		})
	}
}

func TestUnsecured(t *testing.T) {
	const (
		exposed = "S: * BAD [ALERT] Plaintext authentication not allowed without SSL/TLS, but your client did it anyway. If anyone was listening, the password was exposed.\n"
		private = "NO [PRIVACYREQUIRED] "
	)
	cert := loginrig.NewCert(t, "proxy.example.org")
	for name, c := range map[string]struct {
		conf, from, script string
		line               string // of the log, at the end
	}{
		"a password in LOGIN": {
			"", "127.0.0.2",
			"S: * OK [CAPABILITY IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE LITERAL+ LOGINDISABLED] Proxy ready.\nC: a LOGIN u p\n" + exposed +
				"S: a " + private + "Plaintext authentication disallowed on non-secure (SSL/TLS) connections.\nC: b LOGOUT\nS: <*>\nS: <*>\nEOF",
			"Disconnected: Aborted login by logging out (auth failed, 1 attempts in 0 secs): user=<u>, rip=127.0.0.2, lip=127.0.0.1, session=<",
		},
		"bad arguments come first": {"", "127.0.0.2", "S: <*>\nC: a LOGIN u\nS: a BAD Error in IMAP command received by server.", ""},
		"AUTHENTICATE PLAIN": {
			"auth_verbose = yes", "127.0.0.2", "S: <*>\nC: a AUTHENTICATE PLAIN AHUAcA==\nS: a " + private + "Plaintext authentication disabled.\nC: b LOGOUT\nS: <*>\nS: <*>\nEOF",
			"Disconnected: Aborted login by logging out (tried to use disallowed plaintext auth): user=<>, method=PLAIN",
		},
		"passwords are allowed": {"disable_plaintext_auth = no", "127.0.0.2", "S: " + greeting + "\nC: a LOGIN u p\nS: a " + welcome, ""},
		"a trusted network":     {"login_trusted_networks = 127.0.0.3 127.0.0.2/32", "127.0.0.2", "S: " + greeting + "\nC: a LOGIN u p\nS: a " + welcome, "secured, session"},
		"ssl = required": {
			"ssl = required\ndisable_plaintext_auth = no\n" + cert.Conf, "127.0.0.2",
			"S: * OK [CAPABILITY IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE LITERAL+ STARTTLS LOGINDISABLED] Proxy ready.\nC: a AUTHENTICATE PLAIN AHUAcA==\n" +
				"S: a " + private + "Authentication not allowed until SSL/TLS is enabled.\nC: b LOGIN u p\n" + exposed +
				"S: b " + private + "Plaintext authentication disallowed on non-secure (SSL/TLS) connections.", "",
		},
		"ssl = required, from this host": {"ssl = required\n" + cert.Conf, "", "S: * OK [CAPABILITY <*> STARTTLS AUTH=PLAIN] Proxy ready.\nC: a LOGIN u p\nS: a " + welcome, ""},
		"ssl = required, in a trusted network": {
			"ssl = required\nlogin_trusted_networks = 127.0.0.2\n" + cert.Conf, "127.0.0.2", "S: <*>\nC: a LOGIN u p\nS: a " + welcome, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t, c.conf)
			r.Dial(c.from).Play(c.script)
			if c.line != "" {
				r.Log.Wait(c.line)
			}
		})
	}
}

func TestSettings(t *testing.T) {
	for name, c := range map[string]struct{ conf, script string }{
		"imap_capability replaces": {"imap_capability = IMAP4rev1 X", "S: * OK [CAPABILITY IMAP4rev1 X AUTH=PLAIN] Proxy ready."},
		"imap_capability adds":     {"imap_capability = +XFOO", "S: * OK [CAPABILITY IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE XFOO LITERAL+ AUTH=PLAIN] Proxy ready."},
		"imap_literal_minus":       {"imap_literal_minus = yes", "S: * OK [CAPABILITY <*> LITERAL- AUTH=PLAIN] Proxy ready."},
		"the greeting's variables": {"login_greeting = hi %r %l %s <%{local_name}>", "S: * OK [<*>] hi 127.0.0.1 127.0.0.1 imap <>"},
		"an empty ID":              {"imap_id_send =", "S: <*>\nC: a ID NIL\nS: * ID NIL\nS: a OK ID completed."},
		"ID values":                {"imap_id_send = name * x y os * date *", "S: <*>\nC: a ID NIL\nS: * ID (\"name\" \"Dovecot\" \"x\" \"y\" \"os\" \"<*>\" \"date\" NIL)\nS: a OK ID completed."},
		"settings by client": {
			"remote 127.0.0.1 {\n  login_greeting = Hello one\n}", "S: * OK [<*>] Hello one",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start(t, c.conf).Dial("").Play(c.script)
		})
	}
}

func TestBackendRefusals(t *testing.T) {
	for name, c := range map[string]struct{ reply, want string }{
		"a wrong password there":     {"L NO [AUTHENTICATIONFAILED] no", "a NO [AUTHENTICATIONFAILED] Authentication failed."},
		"a refusal without a code":   {"L NO whatever", "a NO [AUTHENTICATIONFAILED] Authentication failed."},
		"BAD":                        {"L BAD whatever", "a NO [AUTHENTICATIONFAILED] Authentication failed."},
		"a code is passed on":        {"L NO [LIMIT] too many", "a NO [LIMIT] too many"},
		"for now":                    {"L NO [UNAVAILABLE] later", "a NO [UNAVAILABLE] later"},
		"no raw bytes to the client": {"L NO [LIMIT] a\x1b[1m\xe4\x00", "a NO [LIMIT] a?[1m??"},
		"nonsense":                   {"+OK pop", "a NO [UNAVAILABLE] Account is temporarily unavailable."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := loginrig.Start(t, loginrig.Options{Protocol: protocol(), Users: users(), Backend: func(p *loginrig.Peer) {
				if !strings.HasPrefix(c.reply, "L ") {
					p.Send(c.reply + "\r\n")
					return
				}
				p.Send("* OK [CAPABILITY IMAP4rev1] b\r\n")
				p.Line()
				p.Send(c.reply + "\r\n")
			}})
			r.Dial("").Play("S: " + greeting + "\nC: a LOGIN u p\nS: " + c.want + "\nC: b NOOP\nS: b OK NOOP completed.\nC: c LOGOUT\nS: <*>\nS: <*>\nEOF")
		})
	}
}

func TestWelcome(t *testing.T) {
	for name, c := range map[string]struct{ ask, replies, want string }{
		"the list of the greeting is told":      {"", "L OK hello", "S: a OK [CAPABILITY IMAP4rev1 SASL-IR] hello"},
		"another code makes room, cleanly":      {"", "L OK [READ-ONLY] hello", "S: a OK [CAPABILITY IMAP4rev1 SASL-IR] hello"},
		"the reply's own list stays":            {"", "L OK [CAPABILITY X] hello", "S: a OK [CAPABILITY X] hello"},
		"in any case":                           {"", "L OK [capability X] hello", "S: a OK [capability X] hello"},
		"who asked hears it untagged":           {"C: x CAPABILITY\nS: <*>\nS: <*>\n", "C OK|L OK [READ-ONLY] hello", "S: * CAPABILITY IMAP4rev1 SASL-IR\nS: a OK [READ-ONLY] hello"},
		"untagged lines come first, as lines":   {"", "* ALERT \x07x|L OK [CAPABILITY X] y", "S: * ALERT ?x\nS: a OK [CAPABILITY X] y"},
		"bytes behind the reply are not lost":   {"", "L OK [CAPABILITY X] y|* 1 EXISTS|* 2 RECENT", "S: a OK [CAPABILITY X] y\nS: * 1 EXISTS\nS: * 2 RECENT"},
		"the backend's own ID and BYE stay put": {"", "* ID NIL|* BYE no|L OK [CAPABILITY X] y", "S: a OK [CAPABILITY X] y"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := loginrig.Start(t, loginrig.Options{Protocol: protocol(), Users: users(), Backend: func(p *loginrig.Peer) {
				p.Send("* OK [CAPABILITY IMAP4rev1 SASL-IR] b\r\n")
				for {
					if line := p.Line(); strings.HasPrefix(line, "L ") || strings.HasSuffix(line, "<EOF>") {
						break
					}
				}
				p.Send(strings.ReplaceAll(c.replies, "|", "\r\n") + "\r\n")
				loginrig.Echo(p)
			}})
			r.Dial("").Play("S: <*>\n" + c.ask + "C: a LOGIN u p\n" + c.want + "\nC: b\nS: got: b")
		})
	}
}

func TestStartTLS(t *testing.T) {
	cert := loginrig.NewCert(t, "proxy.example.org")
	on := "ssl = yes\n" + cert.Conf
	t.Run("then a login", func(t *testing.T) {
		r := start(t, on)
		c := r.Dial("127.0.0.2")
		c.Play("S: * OK [CAPABILITY <*> STARTTLS LOGINDISABLED] Proxy ready.\nC: a STARTTLS\nS: a OK Begin TLS negotiation now.")
		c.StartTLS(loginrig.Client())
		c.Play("C: b CAPABILITY\nS: * CAPABILITY " + capabilities + "\nS: b OK <*>\nC: c STARTTLS\nS: c BAD TLS is already active.\nC: d LOGIN u p\n" +
			// A CAPABILITY command after STARTTLS does not ask for the list after login.
			"S: d " + welcome + "\nC: e\nS: got: e\nC: bye\nS: got: bye\nEOF")
		r.Log.Wait("Started proxying to <127.0.0.1> (0.")
		r.Log.Wait("lip=127.0.0.1, TLS, session=<")
	})
	t.Run("nothing before the handshake is run", func(t *testing.T) {
		r := start(t, on)
		c := r.Dial("127.0.0.2")
		c.Play("S: <*>\nQ: \"a STARTTLS\\r\\nb NOOP\\r\\nc LOGIN u p\\r\\n\"\nS: a OK Begin TLS negotiation now.\nEOF")
		r.Log.Wait("Disconnected: Plaintext data before TLS handshake (no auth attempts in 0 secs)")
	})
	t.Run("clear text for a handshake ends the connection", func(t *testing.T) {
		r := start(t, on)
		c := r.Dial("127.0.0.2")
		c.Play("S: <*>\nC: a STARTTLS\nS: a OK Begin TLS negotiation now.\nC: b NOOP")
		if rest := c.Rest(); strings.Contains(rest, "OK") {
			t.Errorf("a command was run before the handshake: %q", rest)
		}
		r.Log.Wait("TLS handshaking: SSL_accept() failed: first record does not look like a TLS handshake")
	})
	t.Run("what was retained in clear text is forgotten", func(t *testing.T) {
		got := make(chan string, 1)
		r := loginrig.Start(t, loginrig.Options{Protocol: protocol(), Conf: on + "imap_id_retain = yes", Users: users(), Backend: func(p *loginrig.Peer) {
			p.Send("* OK [CAPABILITY IMAP4rev1 ID] b\r\n")
			got <- p.Line()
		}})
		c := r.Dial("127.0.0.2")
		c.Play("S: <*>\nC: x ID (\"name\" \"mitm\")\nS: <*>\nS: <*>\nC: a STARTTLS\nS: <*>")
		c.StartTLS(loginrig.Client())
		c.Play("C: b LOGIN u p\nS: b NO <*>")
		if id := <-got; strings.Contains(id, "mitm") {
			t.Errorf("the backend was told %s", id)
		}
	})
}

func TestLines(t *testing.T) {
	for name, c := range map[string]struct{ script, want string }{
		"no attempts":        {"C: a LOGOUT", "Aborted login by logging out (no auth attempts in 0 secs): user=<>, rip=127.0.0.1, lip=127.0.0.1, secured, session=<"},
		"the client closes":  {"", "Connection closed (no auth attempts in 0 secs): user=<>, rip="},
		"bad commands":       {"C: a x\nC: b x\nC: c x", "Too many invalid commands (no auth attempts in 0 secs): user=<>, rip="},
		"wrong password":     {"C: a LOGIN u x\nS: <*>\nC: b LOGIN u y\nS: <*>", "Connection closed (auth failed, 2 attempts in 0 secs): user=<u>, method=PLAIN, rip="},
		"passdb gone":        {"C: a LOGIN gone x\nS: <*>", "Connection closed (auth service reported temporary failure): user=<gone>, method=PLAIN, rip="},
		"user disabled":      {"C: a LOGIN disabled x\nS: <*>", "Connection closed (user disabled): user=<disabled>, method=PLAIN, rip="},
		"password expired":   {"C: a LOGIN expired x\nS: <*>", "Connection closed (password expired): user=<expired>, method=PLAIN, rip="},
		"nologin":            {"C: a LOGIN off p\nS: <*>", "Connection closed (internal failure, 1 successful auths): user=<off>, method=PLAIN, rip="},
		"bad base64":         {"C: a AUTHENTICATE PLAIN A\nS: <*>", "Connection closed (sent invalid base64 in response): user=<>, method=PLAIN, rip="},
		"unknown mechanism":  {"C: a AUTHENTICATE f\too\nS: <*>", "Connection closed (tried to use unsupported auth mechanism): user=<>, method=F?OO, rip="},
		"an open exchange":   {"C: a AUTHENTICATE PLAIN\nS: + ", "Connection closed (client didn't finish SASL auth, waited 0 secs): user=<>, method=PLAIN, rip="},
		"an aborted one":     {"C: a AUTHENTICATE PLAIN\nS: + \nC: *\nS: <*>", "Connection closed (client didn't finish SASL auth, waited 0 secs): user=<>, method=PLAIN, rip="},
		"input full":         {"C: " + strings.Repeat("x", 1100), "Input buffer full (no auth attempts in 0 secs): user=<>, rip="},
		"a literal too big":  {"C: a x {9000}", "Literal size too large (no auth attempts in 0 secs): user=<>, rip="},
		"a browser":          {"C: GET / HTTP/1.1", "HTTP request on mail port (no auth attempts in 0 secs): user=<>, rip="},
		"a long user name":   {"C: a LOGIN " + strings.Repeat("u", 100) + " p\nS: <*>", "user=<" + strings.Repeat("u", 77) + "...>, method=PLAIN, rip="},
		"bidi controls":      {"Q: \"a LOGIN \\\"\\u202eu\\\" p\\r\\n\"\nS: <*>", "user=<?u>, method=PLAIN, rip="},
		"a line within":      {"", "imap-login: Info: Disconnected: "},
		"too long responses": {"C: a AUTHENTICATE PLAIN\nS: + \nC: " + strings.Repeat("A", 9000), "Authentication response too large (client didn't finish SASL auth, waited 0 secs): user=<>, method=PLAIN"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t, "auth_username_chars =")
			p := r.Dial("")
			p.Play("S: <*>\n" + c.script)
			_ = p.TCP.CloseWrite()
			r.Log.Wait(c.want)
		})
	}
}

func TestVerboseLines(t *testing.T) {
	r := start(t, "auth_verbose = yes")
	r.Dial("127.0.0.2").Play("S: <*>\nC: a LOGIN u p\nS: <*>\nS: <*>\nC: b AUTHENTICATE PLAIN\nS: <*>\nC: c AUTHENTICATE FOO\nS: <*>")
	r.Log.Wait("imap-login: Info: Login failed: Plaintext authentication disabled: user=<>, rip=127.0.0.2")
	r.Log.Wait("imap-login: Info: Authenticate PLAIN failed: Plaintext authentication disabled.: user=<u>, method=PLAIN, rip=127.0.0.2")
	r.Log.Wait("imap-login: Info: Authenticate FOO failed: Unsupported authentication mechanism.: user=<u>, method=FOO, rip=127.0.0.2")
}

func TestLocalUsersAreExplained(t *testing.T) {
	r := start(t, "")
	r.Dial("").Play("S: <*>\nC: a LOGIN local p\nS: <*>\nC: b LOGIN nohost p\nS: <*>")
	r.Log.Wait("imap-login: Error: proxy(local): the passdb answered without proxy, and dproxy keeps no mail itself; add proxy and host to its answer: user=<local>, method=PLAIN")
	r.Log.Wait("imap-login: Error: proxy(nohost): host not given: user=<nohost>, method=PLAIN")
	if e, ok := loginrig.Find(r.Log, func(e event.BackendFailed) bool { return e.Kind == "internal" }); !ok || !e.Final {
		t.Errorf("the missing host was reported as %+v", e)
	}
}
