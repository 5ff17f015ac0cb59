package managesieve_test

import (
	"strings"
	"testing"

	"go.uber.org/goleak"

	handshake "dproxy/backend/managesieve"
	"dproxy/login"
	"dproxy/login/managesieve"
	"dproxy/passdb"
	"dproxy/route"
	"dproxy/test/loginrig"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func protocol() login.Protocol {
	return login.Protocol{Name: "sieve", Ports: route.Ports{Plain: 4190, TLS: 4190}, ALPN: []string{"sieve"}, Handshake: handshake.Handshake{}, NewFront: managesieve.New}
}

const (
	settings = "managesieve_implementation_string = a \"b\\c\nmanagesieve_sieve_capability = fileinto\nmanagesieve_notify_capability = mailto\n"
	list     = "S: \"IMPLEMENTATION\" \"a \\\"b\\\\c\"\nS: \"SIEVE\" \"fileinto\"\nS: \"NOTIFY\" \"mailto\"\n"
	greeting = list + "S: \"SASL\" \"PLAIN\"\nS: \"VERSION\" \"1.0\"\nS: OK \"Proxy ready.\"\n"
	plain    = "C: AUTHENTICATE \"PLAIN\" \"AHUAcA==\"\n" // u, p
	bad      = "S: NO \"Error in MANAGESIEVE command received by server.\"\n"
	tooMany  = "S: BYE \"Too many invalid MANAGESIEVE commands.\"\nEOF"
	noop     = "C: NOOP\nS: OK \"NOOP Completed\"\n"
)

// backend accepts every login and shows what it was told.
func backend(p *loginrig.Peer) {
	p.Send("\"SASL\" \"PLAIN\"\r\n\"XCLIENT\"\r\nOK\r\n")
	said, _, _ := strings.Cut(p.Line(), " SESSION=")
	p.Send("OK\r\n")
	p.Line()
	p.Send("OK \"" + said + "\"\r\n")
	loginrig.Echo(p)
}

func users() map[string]loginrig.User {
	fields := func(f ...string) []passdb.Field {
		out := []passdb.Field{{Name: "nologin"}}
		for i := 0; i < len(f); i += 2 {
			out = append(out, passdb.Field{Name: f[i], Value: f[i+1]})
		}
		return out
	}
	return map[string]loginrig.User{
		"u":      {Password: "p"},
		"off":    {Password: "p", Fields: fields()},
		"ref":    {Password: "p", Fields: fields("host", "h.example", "port", "4191", "destuser", "a@b")},
		"odd":    {Password: "p", Fields: fields("host", "h.example", "destuser", "a)b", "reason", "Go \"there\"")},
		"gone":   {Err: loginrig.ErrPassdb},
		"nohost": {Password: "p", Fields: []passdb.Field{{Name: "proxy"}}},
	}
}

func start(t *testing.T, conf string) *loginrig.Rig {
	t.Helper()
	return loginrig.Start(t, loginrig.Options{Protocol: protocol(), Conf: settings + conf, Users: users(), Backend: backend})
}

// Every answer here was seen from a Pigeonhole 0.5.19, but for the cases that say otherwise.
func TestCommands(t *testing.T) {
	no := func(text string) string { return "S: NO \"" + text + "\"\n" }
	for name, script := range map[string]string{
		"CAPABILITY":                    "C: capability\n" + list + "S: \"SASL\" \"PLAIN\"\nS: \"VERSION\" \"1.0\"\nS: OK \"Capability completed.\"",
		"NOOP":                          noop + "C: NOOP  \"x\"  \nS: OK (TAG \"x\") \"Done\"\nC: NOOP x\n" + no("Invalid echo tag.") + "C: NOOP \"x\" \"y\"\n" + bad,
		"NOOP with a literal":           "Q: \"NOOP {3+}\\r\\nabc\\r\\nNOOP {3}\\r\\nabc\\r\\n\"\nS: OK (TAG \"abc\") \"Done\"\nS: OK (TAG \"abc\") \"Done\"",
		"a tag that needs a literal":    "Q: \"NOOP {4+}\\r\\na\\r\\nb\\r\\n\"\nS: OK (TAG {4}\nS: a\nS: b) \"Done\"",
		"a tag that needs escapes":      "C: NOOP \"a\\\"b\\\\\"\nS: OK (TAG \"a\\\"b\\\\\") \"Done\"",
		"LOGOUT":                        "C: LOGOUT\nS: OK \"Logout completed.\"\nEOF",
		"three bad commands in all":     "C: LOGOUT x\n" + bad + noop + "C: CAPABILITY x\n" + bad + "C: FOO\n" + tooMany,
		"a literal of no command":       "C: Y {5+}\n" + bad + "C: hello\n" + bad + "C:\n" + tooMany,
		"STARTTLS without TLS":          "C: STARTTLS\n" + no("TLS support isn't enabled."),
		"XCLIENT of a stranger":         "C: XCLIENT ADDR=192.0.2.1\n" + no("You are not from trusted IP"),
		"syntax errors are not counted": strings.Repeat("C: NOOP (\n"+no("Invalid characters in atom"), 4) + noop,
		"bad atoms":                     "C: NOOP a)b\n" + no("Invalid characters in atom") + "C: NOOP a\"b\n" + no("Invalid characters in atom") + "Q: \"NOOP \\xe4\\r\\n\"\n" + no("8bit data in atom"),
		"bad strings":                   "C: NOOP \"a\\n\"\n" + no("Escaped quoted-string character is not a QUOTED-SPECIAL.") + "Q: \"NOOP \\\"\\xff\\\"\\r\\n\"\n" + no("Invalid UTF-8 character in quoted-string.") + "C: NOOP \"a\n" + no("String contains invalid character.") + "Q: \"NOOP \\\"\\x00\\\"\\r\\n\"\n" + no("NULs not allowed in strings"),
		"bad literals":                  "C: NOOP {a}\n" + no("Invalid literal size") + "C: NOOP {}\n" + no("Invalid literal size") + "C: NOOP {+}\n" + no("Invalid literal size") + "C: NOOP {3+\n" + no("Expecting '}' after '+'") + "C: NOOP {3+}x\n" + no("Missing LF after literal size") + "Q: \"NOOP {1+}\\r\\n\\xff\\r\\n\"\n" + no("Invalid UTF-8 character in literal string."),
		"a literal that is too large":   "C: NOOP {99999}\nS: BYE \"Literal size too large\"\nEOF",
		"a literal that overflows":      "C: NOOP {99999999999999999999}\n" + no("Literal size too large") + noop,
		"a bare CR":                     "Q: \"NOOP\\rX\\nNOOP\\n\"\n" + no("CR sent without LF") + "S: OK \"NOOP Completed\"",
		"the largest string":            "C: NOOP \"" + strings.Repeat("x", 1024) + "\"\nS: OK (TAG <*>) \"Done\"",
		"a larger one":                  "C: NOOP \"" + strings.Repeat("x", 1025) + "\"\nS: BYE \"Input buffer full, aborting\"\nEOF",
		"the longest line and a longer": "C: NOOP" + strings.Repeat(" a=b", 2040) + "\n" + bad + "C: NOOP" + strings.Repeat(" a=b", 2100) + "\n" + no("MANAGESIEVE command line too large") + noop,
		"a browser":                     "Q: \"GET / HTTP/1.1\\r\\nNOOP\\r\\n\"\nEOF",
		"a word like a browser's":       "C: GET x\n" + bad + noop,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start(t, "").Dial("").Play(greeting + script)
		})
	}
}

func TestAuthenticate(t *testing.T) {
	const (
		in     = "S: OK \"XCLIENT ADDR=127.0.0.1 PORT=<*>\"\n"
		ask    = "C: AUTHENTICATE \"PLAIN\"\nS: \"\"\n"
		failed = "S: NO \"Authentication failed.\"\n"
	)
	for name, script := range map[string]string{
		"an initial response":         plain + in + "C: LISTSCRIPTS\nS: got: LISTSCRIPTS",
		"literals":                    "Q: \"AUTHENTICATE {5+}\\r\\nPLAIN {8+}\\r\\nAHUAcA==\\r\\n\"\n" + in,
		"a challenge":                 ask + "C: \"AHUAcA==\" junk\n" + in,
		"a literal for an answer":     ask + "Q: \"{8+}\\r\\nAHUAcA==\\r\\n\"\n" + in,
		"LOGIN":                       "C: AUTHENTICATE \"LOGIN\"\nS: \"VXNlcm5hbWU6\"\nC: \"dQ==\"\nS: \"UGFzc3dvcmQ6\"\nC: \"cA==\"\n" + in,
		"a challenge after a failure": "C: AUTHENTICATE \"PLAIN\" \"AHUAeA==\"\n" + failed + ask + "C: \"AHUAcA==\"\n" + in, // Pigeonhole forgets to ask
		"bytes behind it":             "Q: \"AUTHENTICATE \\\"PLAIN\\\" \\\"AHUAeA==\\\"\\r\\nNOOP\\r\\nAUTHENTICATE \\\"PLAIN\\\" \\\"AHUAcA==\\\"\\r\\nLOGOUT\\r\\n\"\n" + failed + "S: OK \"NOOP Completed\"\n" + in + "S: got: LOGOUT",
		"given up":                    ask + "C: \"*\"\nS: NO \"Authentication aborted by client.\"\n" + noop,
		"answers that are none":       ask + "C: *\nS: NO \"Invalid AUTHENTICATE client response.\"\n" + ask + "C:\nS: NO \"Received empty AUTHENTICATE client response line.\"\n" + ask + "C: {x}\nS: NO \"Invalid literal size\"\n" + ask + "C: \"a\\x\"\nS: NO \"Error in AUTHENTICATE response string: Escaped quoted-string character is not a QUOTED-SPECIAL\"\n" + ask + "C: \"a\nS: NO \"Error in AUTHENTICATE response string: Quoted string contains an invalid character\"\n" + noop,
		"no base64":                   "C: AUTHENTICATE \"PLAIN\" \"!!\"\nS: NO \"Invalid base64 data in initial response\"\n" + ask + "C: \"!!\"\nS: NO \"Invalid base64 in response\"\n" + ask + "C: \"\"\n" + failed,
		"an atom for a response":      "C: AUTHENTICATE \"PLAIN\" abc\nS: NO \"Invalid AUTHENTICATE initial response.\"\n" + noop,
		"no mechanism":                "C: AUTHENTICATE\n" + bad + "C: AUTHENTICATE PLAIN \"x\"\n" + bad + noop,
		"no such mechanism":           "C: AUTHENTICATE \"FOO\"\nS: NO \"Unsupported authentication mechanism.\"",
		"the longest response":        "C: AUTHENTICATE \"PLAIN\" \"" + strings.Repeat("A", 8192) + "\"\n" + failed,
		"a longer one":                "C: AUTHENTICATE \"PLAIN\" \"" + strings.Repeat("A", 8196) + "\"\nEOF",
		"a longer literal":            "C: AUTHENTICATE \"PLAIN\" {8193+}\nEOF",
		"nologin":                     "C: AUTHENTICATE \"PLAIN\" \"AG9mZgBw\"\nS: NO \"Login disabled for this user\"",
		"elsewhere":                   "C: AUTHENTICATE \"PLAIN\" \"AHJlZgBw\"\nS: NO (REFERRAL sieve://a@b;AUTH=PLAIN@h.example:4191) \"Try this server instead.\"",
		"elsewhere, an odd name":      "C: AUTHENTICATE \"PLAIN\" \"AG9kZABw\"\nS: NO (REFERRAL sieve://a%29b;AUTH=PLAIN@h.example) \"Go \\\"there\\\"\"",
		"passdb gone":                 "C: AUTHENTICATE \"PLAIN\" \"AGdvbmUAcA==\"\nS: NO (TRYLATER) \"Temporary authentication failure. [host:<*>]\"",
		"no host":                     "C: AUTHENTICATE \"PLAIN\" \"AG5vaG9zdABw\"\nS: NO (TRYLATER) \"Account is temporarily unavailable.\"\n" + noop,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start(t, "auth_mechanisms = plain login").Dial("").Play(strings.Replace(greeting, `"PLAIN"`, `"PLAIN LOGIN"`, 1) + script)
		})
	}
}

func TestTheBackendsRefusal(t *testing.T) {
	for name, c := range map[string]struct{ reply, want string }{
		"is not told":           {`NO (AUTH-TOO-WEAK) "b"`, `S: NO "Authentication failed."`},
		"for now":               {`NO (TRYLATER) "later"`, `S: NO (TRYLATER) "later"`},
		"garbage is no refusal": {"x", `S: NO (TRYLATER) "Account is temporarily unavailable."`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := loginrig.Start(t, loginrig.Options{Protocol: protocol(), Conf: settings + "login_proxy_max_reconnects = 0", Users: users(), Backend: func(p *loginrig.Peer) {
				p.Send("\"SASL\" \"PLAIN\"\r\nOK\r\n")
				p.Line()
				p.Send(c.reply + "\r\n")
			}})
			r.Dial("").Play(greeting + plain + c.want + "\n" + noop)
		})
	}
}

func TestStartTLS(t *testing.T) {
	cert := loginrig.NewCert(t, "proxy.example.org")
	on := "ssl = yes\n" + cert.Conf
	const offer = "S: \"STARTTLS\"\nS: \"VERSION\" \"1.0\"\nS: OK \"Proxy ready.\"\n"
	t.Run("is followed by the list", func(t *testing.T) {
		c := start(t, on).Dial("127.0.0.2")
		c.Play(list + "S: \"SASL\" \"\"\n" + offer + plain + "S: NO \"Plaintext authentication disabled.\"\nC: STARTTLS\nS: OK \"Begin TLS negotiation now.\"")
		c.StartTLS(loginrig.Client())
		c.Play(list + "S: \"SASL\" \"PLAIN\"\nS: \"VERSION\" \"1.0\"\nS: OK \"TLS negotiation successful.\"\nC: STARTTLS\nS: NO \"TLS is already active.\"\n" + plain + "S: OK <*>")
	})
	t.Run("ends with clear text behind it", func(t *testing.T) {
		r := start(t, on)
		r.Dial("").Play(list + "S: \"SASL\" \"PLAIN\"\n" + offer + "Q: \"STARTTLS\\r\\nNOOP\\r\\n\"\nS: OK \"Begin TLS negotiation now.\"\nEOF")
		r.Log.Wait("Disconnected: Plaintext data before TLS handshake")
	})
	t.Run("is asked for under ssl = required", func(t *testing.T) {
		start(t, "ssl = required\n"+cert.Conf).Dial("127.0.0.2").Play(list + "S: \"SASL\" \"\"\n" + offer + plain + "S: NO (ENCRYPT-NEEDED) \"Authentication not allowed until SSL/TLS is enabled.\"")
	})
}

func TestXClient(t *testing.T) {
	trusted := strings.Replace(greeting, "S: OK", "S: \"XCLIENT\"\nS: OK", 1)
	for name, script := range map[string]string{
		"takes effect":         "C: XCLIENT ADDR=192.0.2.7 PORT=12 TTL=3 foo FOO=bar\nS: OK \"Updated\"\n" + plain + "S: OK \"XCLIENT ADDR=192.0.2.7 PORT=12\"",
		"no value":             "C: XCLIENT ADDR=x\n" + bad + "C: XCLIENT \"ADDR=1\"\n" + bad + "C: XCLIENT FORWARD=!!\n" + tooMany,
		"nothing but a string": "C: XCLIENT\nS: OK \"Updated\"\n" + plain + "S: OK \"XCLIENT ADDR=127.0.0.1 <*>\"",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start(t, "login_trusted_networks = 127.0.0.1").Dial("").Play(trusted + script)
		})
	}
}
