package lmtp

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"dproxy/backend/backendtest"
	"dproxy/login"
	"dproxy/session"
)

func TestCommands(t *testing.T) {
	b := newFake(t)
	r := newRig(t, "", "u@x "+at(b, ""))
	for _, tt := range []struct {
		name, from string
		steps      []string
	}{
		{"LHLO needs a name", "", []string{"C: LHLO", "S: 501 Missing hostname"}},
		{"SMTP's greetings are unknown", "", []string{"C: EHLO a", "S: 500 5.5.1 Unknown command", "C: HELO a", "S: 500 5.5.1 Unknown command"}},
		{"AUTH is known and not supported", "", []string{"C: AUTH PLAIN", "S: 502 5.5.1 Unsupported command"}},
		{"XCLIENT and XRCPTFORWARD are listed for trusted clients only", "127.0.0.5", []string{
			"C: LHLO a", "S: 250-proxy.example.org", "S: 250-8BITMIME", "S: 250-CHUNKING", "S: 250-ENHANCEDSTATUSCODES", "S: 250-PIPELINING",
			"S: 250-XCLIENT ADDR PORT PROTO HELO LOGIN SESSION TTL TIMEOUT", "S: 250 XRCPTFORWARD",
		}},
		{"MAIL works without LHLO", "", []string{"C: MAIL FROM:<>", "S: 250 2.1.0 OK"}},
		{"MAIL needs FROM", "", []string{"C: MAIL", "S: 501 5.5.4 Invalid parameters"}},
		{"parameters of MAIL that are not offered are refused", "", []string{
			"C: MAIL FROM:<a@x> SIZE=1", "S: 555 5.5.4 Unsupported parameters",
			"C: MAIL FROM:<a@x> BODY=BINARYMIME", "S: 555 5.5.4 Unsupported mail BODY type",
			"C: MAIL FROM:<a@x> body=8bitmime", "S: 250 2.1.0 OK",
		}},
		{"a second MAIL is refused", "", []string{"C: MAIL FROM:<a@x>", "S: 250 .*", "C: MAIL FROM:<a@x>", "S: 503 5.5.0 MAIL already given"}},
		{"RSET, LHLO and a delivery end the transaction", "", []string{
			"C: MAIL FROM:<a@x>", "S: 250 .*", "C: RSET", "S: 250 2.0.0 OK", "C: RCPT TO:<u@x>", "S: 503 5.5.0 MAIL needed first",
			"C: MAIL FROM:<a@x>", "S: 250 .*", "LHLO", "C: DATA", "S: 503 5.5.0 MAIL needed first",
		}},
		{"DATA needs a recipient", "", []string{"C: MAIL FROM:<a@x>", "S: 250 .*", "C: DATA", "S: 503 5.5.0 No valid recipients"}},
		{"parameters of RCPT that are not offered are refused", "", []string{
			"C: MAIL FROM:<a@x>", "S: 250 .*", "C: RCPT TO:<u@x> NOTIFY=NEVER", "S: 555 5.5.4 Unsupported parameters",
		}},
		{"ORCPT is always taken and checked", "", []string{
			"C: MAIL FROM:<a@x>", "S: 250 .*", "C: RCPT TO:<u@x> ORCPT=foo", "S: 501 5.5.4 Invalid addr-type for ORCPT= parameter",
			"C: RCPT TO:<u@x> ORCPT", "S: 501 5.5.4 Missing ORCPT= parameter value",
			"C: RCPT TO:<u@x> ORCPT=rfc822;a+zzb", "S: 501 5.5.4 Invalid address value for ORCPT= parameter",
			"C: RCPT TO:<u@x> ORCPT=rfc822;a@b", "S: 250 2.1.5 OK",
		}},
		{"commands without arguments refuse them", "", []string{"C: RSET x", "S: 501 5.5.4 Invalid parameters", "C: QUIT x", "S: 501 5.5.4 Invalid parameters"}},
		{"control bytes and 8-bit commands are no commands", "", []string{
			`Q: "NO\x00OP\r\n"`, "S: 500 5.5.2 Invalid command syntax", `Q: "N\xffOP\r\n"`, "S: 500 5.5.2 Invalid command syntax",
			`Q: "RSET\rNOOP\r\n"`, "S: 500 5.5.2 Invalid command syntax",
		}},
		{"more than ten bad commands in a row end the connection", "", slices.Concat(
			slices.Repeat([]string{"C: X", "S: 500 5.5.1 Unknown command"}, 10), []string{"C: NOOP", "S: 250 2.0.0 OK"},
			slices.Repeat([]string{"C: X", "S: 500 5.5.1 Unknown command"}, 10),
			[]string{"C: X", "S: 421 4.7.0 proxy.example.org Too many invalid commands.", "EOF"})},
		{"a command of 4096 bytes ends the connection", "", []string{
			"C: NOOP " + strings.Repeat("x", 4000), "S: 250 2.0.0 OK",
			"C: NOOP " + strings.Repeat("x", 4096), "S: 500 5.5.2 Line too long", "EOF",
		}},
		{"a browser is not listened to", "", []string{`Q: "GET / HTTP/1.1\r\nMAIL FROM:<a@x>\r\n"`, "EOF"}},
		{"pipelined commands are answered in order", "", []string{
			`Q: "MAIL FROM:<a@x>\r\nRCPT TO:<u@x>\r\nRCPT TO:<nobody@x>\r\nRSET\r\nQUIT\r\n"`,
			"S: 250 2.1.0 OK", "S: 250 2.1.5 OK", "S: 550 5.1.1 <nobody@x> User doesn't exist: nobody@x", "S: 250 2.0.0 OK", "S: 221 2.0.0 Bye", "EOF",
		}},
		{"STARTTLS is not there without a certificate", "", []string{"C: STARTTLS", "S: 502 5.5.1 TLS support is not enabled."}},
		{"VRFY says nothing of users", "", []string{"C: VRFY u", "S: 252 2.3.3 Try RCPT instead", "C: VRFY u@x", "S: 501 5.5.4 Invalid string parameter: Invalid character in string"}},
	} {
		t.Run(tt.name, func(t *testing.T) { r.connect(t, tt.from).play(append([]string{hello}, tt.steps...)...) })
	}
}

func TestClientWorkarounds(t *testing.T) {
	r := newRig(t, "lmtp_client_workarounds = whitespace-before-path mailbox-for-path\n", "u@x "+at(newFake(t), ""))
	r.connect(t, "").play(hello, "C: MAIL FROM:  <a@x>", "S: 250 2.1.0 OK", "C: RCPT TO:u@x", "S: 250 2.1.5 OK", "C: RCPT TO: u@x", "S: 250 2.1.5 OK")
}

func TestStartTLS(t *testing.T) {
	cert, key := backendtest.NewCerts(t).Files(t, "good")
	b := newFake(t)
	r := newRig(t, fmt.Sprintf("ssl = yes\nssl_cert = <%s\nssl_key = <%s\n", cert, key), "u@x "+at(b, ""))
	t.Run("it is listed, starts anew, and is named in the message", func(t *testing.T) {
		c := r.connect(t, "")
		c.play(hello, "C: LHLO a", "S: 250-.*", "S: 250-.*", "S: 250-.*", "S: 250-.*", "S: 250-.*", "S: 250 STARTTLS", "C: MAIL FROM:<a@x>", "S: 250 .*",
			"C: STARTTLS", "S: 220 2.0.0 Begin TLS negotiation now.", "TLS", "C: RCPT TO:<u@x>", "S: 503 5.5.0 MAIL needed first",
			"C: STARTTLS", "S: 502 5.5.1 TLS is already active.", "LHLO", "C: MAIL FROM:<a@x>", "S: 250 .*", "C: RCPT TO:<u@x>", "S: 250 .*",
			"C: DATA", "S: 354 OK", `Q: "hi\r\n.\r\n"`, "S: 250 .*", "C: QUIT", "S: 221 .*", "EOF")
		if got := b.message(t, 0); !strings.Contains(got, "\n\t(using TLSv1.3 with cipher TLS_") || !strings.Contains(got, "\n\tby proxy.example.org with LMTPS\n") {
			t.Errorf("the backend got %q", got)
		}
	})
	t.Run("commands sent behind it in clear text are never run", func(t *testing.T) {
		c := r.connect(t, "")
		c.play(hello, `Q: "STARTTLS\r\nMAIL FROM:<evil@x>\r\n"`, "S: 220 2.0.0 Begin TLS negotiation now.", "EOF")
		r.waitFor(t, `Disconnect from 127\.0\.0\.1: Plaintext data before TLS handshake`)
	})
}

func TestEnds(t *testing.T) {
	b := newFake(t)
	r := newRig(t, "", "u@x "+at(b, ""))
	for _, tt := range []struct {
		name  string
		steps []string
		want  string
	}{
		{"QUIT", []string{"LHLO", "C: QUIT", "S: 221 .*", "EOF"}, `Logged out \(state=READY\)`},
		{"a client that leaves at once", nil, `Connection closed \(state=GREETING\)`},
		{"a client that leaves with a recipient", []string{"C: MAIL FROM:<a@x>", "S: 250 .*", "C: RCPT TO:<u@x>", "S: 250 .*"}, `Connection closed \(state=RCPT TO\)`},
		{"a client that leaves within its message", []string{
			"C: MAIL FROM:<a@x>", "S: 250 .*", "C: RCPT TO:<u@x>", "S: 250 .*", "C: DATA", "S: 354 OK", "C: half",
		}, `Connection closed \(state=DATA\)`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := r.connect(t, "")
			c.play(append([]string{hello}, tt.steps...)...)
			_ = c.nc.Close()
			r.waitFor(t, `^Info: Disconnect from 127\.0\.0\.1: `+tt.want+`$`)
		})
	}
	if n := b.count(); n != 0 {
		t.Errorf("the backend got %d messages of which none was whole", n)
	}
	t.Run("a stop of the server is said", func(t *testing.T) {
		c := r.opened(t, "")
		r.registry.Stop(true)
		c.play("S: 421 4.3.2 proxy.example.org Shutting down", "EOF")
	})
}

func TestIdleClient(t *testing.T) {
	r := newRigWith(t, func(r *rig) {
		r.front = func(c *login.Client) login.Front {
			f := New(c).(*front)
			f.idle = 10 * time.Millisecond
			return f
		}
	}, "")
	r.connect(t, "").play(hello, "S: 421 4.4.2 proxy.example.org Disconnected for inactivity", "EOF")
	r.waitFor(t, `Disconnect from 127\.0\.0\.1: Disconnected for inactivity \(state=GREETING\)`)
}

func TestBehindABalancer(t *testing.T) {
	b := newFake(t)
	b.caps = append(b.caps, "XCLIENT ADDR PORT")
	r := newRigWith(t, func(r *rig) { r.spec.HAProxy = true }, "haproxy_trusted_networks = 127.0.0.0/8\n", "u@x "+at(b, ""))
	c := r.connect(t, "")
	c.play(`Q: "PROXY TCP4 192.0.2.7 198.51.100.1 4711 24\r\n"`, hello, "LHLO", "C: MAIL FROM:<a@x>", "S: 250 .*", "C: RCPT TO:<u@x>", "S: 250 .*")
	if got := strings.Join(b.heard(), "\n"); !strings.Contains(got, "XCLIENT PORT=4711 ADDR=192.0.2.7\n") {
		t.Errorf("the backend heard %s", got)
	}
	r.waitFor(t, `^Info: Connect from 192\.0\.2\.7$`)
}

func TestClientsWithARecipientMakeNoRoomForNewOnes(t *testing.T) {
	r := newRig(t, "", "u@x "+at(newFake(t), ""))
	r.registry.SetLimits(session.Limits{PreLogin: 1})
	kept := r.opened(t, "")
	kept.play("C: RCPT TO:<u@x>", "S: 250 .*")
	idle := r.connect(t, "")
	idle.play(hello)
	r.connect(t, "").play(hello)
	idle.play("S: 421 4.3.0 proxy.example.org Connection queue full", "EOF")
	kept.play("C: NOOP", "S: 250 2.0.0 OK")
}
