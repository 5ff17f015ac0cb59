package submission_test

import (
	"strings"
	"testing"

	"go.uber.org/goleak"

	handshake "dproxy/backend/submission"
	"dproxy/login"
	"dproxy/login/submission"
	"dproxy/passdb"
	"dproxy/route"
	"dproxy/test/loginrig"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func protocol() login.Protocol {
	return login.Protocol{Name: "submission", Ports: route.Ports{Plain: 587, TLS: 587}, ALPN: []string{"smtp"}, Handshake: handshake.Handshake{}, NewFront: submission.New}
}

const (
	greeting = "S: 220 proxy.example.org Proxy ready.\n"
	plain    = "C: AUTH PLAIN AHUAcA==\n" // u, p
	unknown  = "C: X\nS: 500 5.5.1 Unknown command\n"
	tooMany  = "S: 421 4.7.0 proxy.example.org Too many invalid commands.\nEOF"
)

// backend accepts every login and shows what it was told.
func backend(p *loginrig.Peer) {
	p.Send("220 backend\r\n")
	for said := ""; ; {
		line := p.Line()
		word, _, _ := strings.Cut(line, " ")
		switch {
		case strings.HasSuffix(line, "<EOF>"), strings.HasSuffix(line, "<nothing>"):
			return
		case word == "EHLO":
			p.Send("250-backend\r\n250-AUTH PLAIN\r\n250-ENHANCEDSTATUSCODES\r\n250 XCLIENT ADDR PORT PROTO HELO TTL FORWARD\r\n")
		case word == "XCLIENT":
			said = line
			p.Send("220 backend\r\n")
		case word == "AUTH":
			p.Send("235-2.7.0 Logged in\r\n235 2.7.0 " + said + "\r\n")
			loginrig.Echo(p)
			return
		}
	}
}

func users() map[string]loginrig.User {
	off := passdb.Field{Name: "nologin"}
	return map[string]loginrig.User{
		"u":       {Password: "p"},
		"off":     {Password: "p", Fields: []passdb.Field{off}},
		"ref":     {Password: "p", Fields: []passdb.Field{off, {Name: "host", Value: "h.example"}}},
		"gone":    {Err: loginrig.ErrPassdb},
		"expired": {Status: passdb.Expired},
		"nohost":  {Password: "p", Fields: []passdb.Field{{Name: "proxy"}}},
		"evil":    {Status: passdb.Disabled, Fields: []passdb.Field{{Name: "reason", Value: "a\r\n250 b"}}},
	}
}

func start(t *testing.T, conf string) *loginrig.Rig {
	t.Helper()
	return loginrig.Start(t, loginrig.Options{Protocol: protocol(), Conf: conf, Users: users(), Backend: backend})
}

// Every answer here was seen from a Dovecot 2.3.19.1, but for the cases that say otherwise.
func TestCommands(t *testing.T) {
	long := func(n int) string { return "C: NOOP " + strings.Repeat("x", n) + "\n" }
	const ok, syntax, login = "S: 250 2.0.0 OK\n", "S: 500 5.5.2 Invalid command syntax\n", "S: 530 5.7.0 Authentication required.\n"
	for name, script := range map[string]string{
		"EHLO":                         "C: ehlo x y\nS: 250-proxy.example.org\nS: 250-8BITMIME\nS: 250-AUTH PLAIN\nS: 250-BURL imap\nS: 250-CHUNKING\nS: 250-ENHANCEDSTATUSCODES\nS: 250-SIZE\nS: 250 PIPELINING",
		"HELO":                         "C: HELO x\nS: 250 proxy.example.org",
		"no name":                      "C: EHLO\nS: 501 Missing hostname\nC: HELO \nS: 501 Missing hostname",
		"NOOP":                         "C: nOOp\n" + ok + "C: NOOP \"a b\" \t\n" + ok + "C: NOOP a b\nS: 501 5.5.4 Invalid string parameter: Invalid character in string",
		"RSET":                         "C: RSET\n" + ok + "C: RSET x\nS: 501 5.5.4 Invalid parameters",
		"QUIT":                         "C: QUIT x\nS: 501 5.5.4 Invalid parameters\nC: QUIT \nS: 221 2.0.0 Bye\nEOF",
		"no relay":                     "C: EHLO x\nS: 250-<*>\n" + strings.Repeat("S: 250<*>\n", 7) + "C: MAIL FROM:<a@b>\n" + login + "C: RCPT TO:<a@b>\n" + login + "C: DATA\n" + login + "C: BDAT 5 LAST\n" + login + "C: VRFY a\n" + login,
		"a relay workaround, stricter": "C: BURL imap://x LAST\nS: 500 5.5.1 Unknown command",
		"HELP":                         "C: HELP\nS: 500 5.5.1 Unknown command",
		"an empty line":                "C:\nS: 500 5.5.1 Unknown command",
		"two blanks":                   "C: NOOP  x\n" + syntax,
		"bad names":                    "C: N0OP\n" + syntax + "C: NOOP\t\n" + syntax + "C: " + strings.Repeat("X", 33) + "\n" + syntax,
		"bad bytes":                    "Q: \"NOOP x\\x00\\r\\n\"\n" + syntax + "Q: \"NOOP \\xff\\r\\n\"\n" + syntax + "Q: \"NOOP x\\ry\\r\\n\"\n" + syntax + "Q: \"NOOP \\x7f\\r\\n\"\n" + syntax,
		"a bare LF ends a line":        "Q: \"NOOP\\nRSET\\n\"\n" + ok + ok,
		"the longest arguments":        long(1025) + ok,
		"longer ones":                  long(1026) + "S: 500 5.5.2 Line too long\n" + long(5000) + "S: 500 5.5.2 Line too long\nC: NOOP\n" + ok,
		"eleven bad commands":          strings.Repeat(unknown, 10) + "C: HELO\n" + tooMany,
		"a good one between":           strings.Repeat(unknown, 10) + "C: MAIL\n" + login + strings.Repeat(unknown, 10) + "C: X\n" + tooMany,
		"STARTTLS without TLS":         "C: STARTTLS\nS: 502 5.5.1 TLS support is not enabled.",
		"XCLIENT of a stranger":        "C: XCLIENT ADDR=192.0.2.1\nS: 550 5.7.14 You are not from trusted IP",
		"a browser":                    "Q: \"POST / HTTP/1.1\\r\\nNOOP\\r\\n\"\nEOF",
		"endless input":                "Q: \"NOOP " + strings.Repeat("x", 70000) + "\"\nEOF",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start(t, "").Dial("").Play(greeting + script)
		})
	}
}

func TestAuth(t *testing.T) {
	const ask, in = "C: AUTH PLAIN\nS: 334 \n", "S: 235-2.7.0 Logged in\nS: 235 2.7.0 XCLIENT <*>\n"
	for name, script := range map[string]string{
		"an initial response":            plain + in + "C: MAIL FROM:<a@b>\nS: got: MAIL FROM:<a@b>",
		"a challenge":                    ask + "C: AHUAcA== \n" + in,
		"AUTH LOGIN":                     "C: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: dQ==\nS: 334 UGFzc3dvcmQ6\nC: cA==\n" + in,
		"without EHLO":                   plain + "S: 235-<*>\nS: 235 2.7.0 XCLIENT HELO=[UNAVAILABLE] PROTO=ESMTP TTL=4 PORT=<*> ADDR=127.0.0.1",
		"behind HELO":                    "C: HELO c.example\nS: 250 proxy.example.org\n" + plain + "S: 235-<*>\nS: 235 2.7.0 XCLIENT HELO=c.example PROTO=SMTP TTL=4 <*>",
		"a name that is none":            "C: HELO !!\nS: 250 proxy.example.org\n" + plain + "S: 235-<*>\nS: 235 2.7.0 XCLIENT HELO=[UNAVAILABLE] <*>",
		"bytes behind it":                "Q: \"AUTH PLAIN AHUAeA==\\r\\nNOOP\\r\\nAUTH PLAIN AHUAcA==\\r\\nAUTH PLAIN AHUAcA==\\r\\n\"\nS: 535 5.7.8 Authentication failed.\nS: 250 2.0.0 OK\n" + in + "S: got: AUTH PLAIN AHUAcA==",
		"given up":                       ask + "C: *\nS: 501 5.5.2 Authentication aborted by client.\nC: NOOP\nS: 250 2.0.0 OK",
		"no base64":                      "C: AUTH PLAIN !!\nS: 501 5.5.2 Invalid base64 data in initial response\n" + ask + "C: !!\nS: 535 5.7.8 Invalid base64 in response\n" + ask + "C: AAA\nS: 501 5.5.2 Invalid base64 data in continued response",
		"no text":                        ask + "Q: \"\\x00\\r\\n\"\nS: 500 5.5.2 Invalid AUTH response syntax\n" + plain + in,
		"a response too long, no crash":  ask + "C: " + strings.Repeat("A", 8196) + "\nS: 500 5.5.2 Line too long\n" + plain + in,
		"the longest response":           ask + "C: " + strings.Repeat("A", 8192) + "\nS: 535 5.7.8 Authentication failed.",
		"STARTTLS for an answer":         ask + "C: STARTTLS\nS: 535 5.7.8 Authentication failed.\nC: NOOP\nS: 250 2.0.0 OK",
		"parameters":                     "C: AUTH\nS: 501 5.5.4 Missing SASL mechanism parameter\nC: AUTH PLAIN a b\nS: 501 5.5.4 Invalid parameters\nC: AUTH PLAIN  a\nS: 501 5.5.4 Invalid parameters",
		"no such mechanism":              "C: AUTH FOO\nS: 504 5.5.4 Unsupported authentication mechanism.",
		"nologin":                        "C: AUTH PLAIN AG9mZgBw\nS: 525 5.7.13 Login disabled for this user",
		"elsewhere":                      "C: AUTH PLAIN AHJlZgBw\nS: 535 5.7.8 Try this server instead.",
		"passdb gone":                    "C: AUTH PLAIN AGdvbmUAcA==\nS: 454 4.7.0 Temporary authentication failure. [host:<*>]",
		"password expired":               "C: AUTH PLAIN AGV4cGlyZWQAcA==\nS: 535 5.7.8 Password expired",
		"no host, and the session stays": "C: AUTH PLAIN AG5vaG9zdABw\nS: 454 4.7.0 Account is temporarily unavailable.\nC: NOOP\nS: 250 2.0.0 OK",
		"line ends in a reason":          "C: AUTH PLAIN AGV2aWwAcA==\nS: 535 5.7.8 a??250 b",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start(t, "auth_mechanisms = plain login").Dial("").Play(greeting + script)
		})
	}
}

func TestTheBackendsRefusal(t *testing.T) {
	for name, c := range map[string]struct{ reply, want string }{
		"for good":           {"535 5.7.8 no", "S: 535 5.7.8 no"},
		"in several lines":   {"535-5.7.8 no\r\n535 5.7.8 never", "S: 535-5.7.8 no\nS: 535 5.7.8 never"},
		"with bad bytes":     {"550 \x1b[2J\xff", "S: 550 ?[2J?"},
		"for now":            {"454 4.7.0 later", "S: 454 4.7.0 later"},
		"no reply of a kind": {"garbage", "S: 454 4.7.0 Account is temporarily unavailable."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := loginrig.Start(t, loginrig.Options{Protocol: protocol(), Conf: "login_proxy_max_reconnects = 0", Users: users(), Backend: func(p *loginrig.Peer) {
				p.Send("220 b\r\n")
				p.Line()
				p.Send("250-b\r\n250 AUTH PLAIN\r\n")
				p.Line()
				p.Send(c.reply + "\r\n")
			}})
			r.Dial("").Play(greeting + plain + c.want + "\nC: NOOP\nS: 250 2.0.0 OK")
		})
	}
}

func TestStartTLS(t *testing.T) {
	cert := loginrig.NewCert(t, "proxy.example.org")
	on := "ssl = yes\n" + cert.Conf
	t.Run("forgets the name", func(t *testing.T) {
		c := start(t, on).Dial("")
		c.Play(greeting + "C: HELO before.example\nS: 250 proxy.example.org\nC: STARTTLS x\nS: 501 5.5.4 Invalid parameters\nC: STARTTLS\nS: 220 2.0.0 Begin TLS negotiation now.")
		c.StartTLS(loginrig.Client())
		c.Play("C: STARTTLS\nS: 502 5.5.1 TLS is already active.\n" + plain + "S: 235-<*>\nS: 235 2.7.0 XCLIENT HELO=[UNAVAILABLE] PROTO=ESMTP <*>")
	})
	t.Run("ends with clear text behind it", func(t *testing.T) {
		r := start(t, on)
		r.Dial("").Play(greeting + "Q: \"STARTTLS\\r\\nNOOP\\r\\n\"\nS: 220 2.0.0 Begin TLS negotiation now.\nEOF")
		r.Log.Wait("Disconnected: Plaintext data before TLS handshake")
	})
	t.Run("is asked for under ssl = required", func(t *testing.T) {
		c := start(t, "ssl = required\n"+cert.Conf).Dial("127.0.0.2")
		const needs = "S: 530 5.7.0 TLS required.\n"
		c.Play(greeting + plain + needs + "C: MAIL\n" + needs + "C: HELO x\n" + needs + "C: RSET\n" + needs + "C: NOOP\nS: 250 2.0.0 OK\nC: X\nS: 500 5.5.1 Unknown command\nC: EHLO x\nS: 250-proxy.example.org\nS: 250-8BITMIME\nS: 250-BURL imap")
	})
	t.Run("is missing for a password", func(t *testing.T) {
		start(t, on).Dial("127.0.0.2").Play(greeting + plain + "S: 523 5.7.10 Plaintext authentication disabled.")
	})
}

func TestXClient(t *testing.T) {
	const bad = "S: 501 5.5.4 Invalid "
	for name, script := range map[string]string{
		"takes effect, and the session begins anew": "C: XCLIENT ADDR=192.0.2.7 PORT=1234 TTL=4 HELO=remote.example PROTO=SMTP FORWARD=YT1i\n" + greeting + "C: HELO own.example\nS: 250 proxy.example.org\n" + plain + "S: 235-<*>\nS: 235 2.7.0 XCLIENT HELO=remote.example PROTO=SMTP TTL=3 PORT=1234 ADDR=192.0.2.7 FORWARD=YT1i",
		"forgets the peer's own name":               "C: HELO own.example\nS: 250 proxy.example.org\nC: xclient addr=IPV6:2001:db8::7\n" + greeting + plain + "S: 235-<*>\nS: 235 2.7.0 XCLIENT HELO=[UNAVAILABLE] PROTO=ESMTP TTL=4 PORT=<*> ADDR=IPV6:2001:db8::7",
		"values that are none":                      "C: XCLIENT ADDR=x\n" + bad + "ADDR parameter\nC: XCLIENT ADDR=IPV6:192.0.2.1\n" + bad + "ADDR parameter\nC: XCLIENT PORT=0\n" + bad + "PORT parameter\nC: XCLIENT PORT=65536\n" + bad + "PORT parameter\nC: XCLIENT TTL=-1\n" + bad + "TTL parameter\nC: XCLIENT PROTO=HTTP\n" + bad + "PROTO parameter",
		"bad forms":                                 "C: XCLIENT HELO=a=b\n" + bad + "parameter: Unexpected character in parameter value\nC: XCLIENT A=b  C=d\n" + bad + "parameter: Parameter is empty\nC: XCLIENT A_B=x\n" + bad + "parameter: Unexpected character in parameter keyword\nC: XCLIENT HELO=a+2b\n" + bad + "HELO parameter: Invalid hexchar after '+' in xtext",
		"with one bad field nothing is taken":       "C: XCLIENT ADDR=192.0.2.7 TTL=x\n" + bad + "TTL parameter\n" + plain + "S: 235-<*>\nS: 235 2.7.0 XCLIENT HELO=[UNAVAILABLE] PROTO=ESMTP TTL=4 PORT=<*> ADDR=127.0.0.1",
		"what does no harm":                         "C: XCLIENT\n" + greeting + "C: XCLIENT FOO=bar HELO=a+20b FORWARD=!! SESSION=a+0Ab ADDR=[UNAVAILABLE]\n" + greeting + plain + "S: 235-<*>\nS: 235 2.7.0 XCLIENT HELO=a PROTO=ESMTP TTL=4 PORT=<*> ADDR=127.0.0.1",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start(t, "login_trusted_networks = 127.0.0.1").Dial("").Play(greeting + script)
		})
	}
}

func TestCapabilities(t *testing.T) {
	for name, c := range map[string]struct{ conf, want string }{
		"of the backend":         {"submission_backend_capabilities = DSN BINARYMIME, VRFY NONE\nsubmission_max_mail_size = 1k", "250-proxy.example.org|250-AUTH PLAIN|250-BINARYMIME|250-BURL imap|250-CHUNKING|250-DSN|250-ENHANCEDSTATUSCODES|250-SIZE 1024|250-PIPELINING|250 VRFY"},
		"of an exotic backend":   {"submission_client_workarounds = exotic-backend", "250-proxy.example.org|250-8BITMIME|250 AUTH PLAIN"},
		"of one that tells more": {"submission_client_workarounds = exotic-backend\nsubmission_backend_capabilities = SIZE PIPELINING", "250-proxy.example.org|250-AUTH PLAIN|250-SIZE|250 PIPELINING"},
		"for a trusted peer":     {"login_trusted_networks = 127.0.0.1\nsubmission_client_workarounds = exotic-backend", "250-proxy.example.org|250-8BITMIME|250-AUTH PLAIN|250 XCLIENT ADDR PORT PROTO HELO LOGIN SESSION TTL TIMEOUT FORWARD"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t, c.conf)
			r.Dial("").Play(greeting + "C: EHLO x\nS: " + strings.ReplaceAll(c.want, "|", "\nS: "))
			if strings.Contains(c.conf, "NONE") {
				r.Log.Wait("Warning: Unknown SMTP capability in submission_backend_capabilities: NONE")
			}
		})
	}
}
