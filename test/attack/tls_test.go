package attack

import (
	"crypto/tls"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"dproxy/test/daemon"
	"dproxy/test/dialog"
)

// smuggled is what an attacker writes before the handshake, by protocol: it logs a user in or names one.
var smuggled = map[string]string{
	"imap":       "x LOGIN any@example.org x\r\nx NOOP\r\n",
	"pop3":       "USER any@example.org\r\nPASS x\r\n",
	"submission": "EHLO evil.example\r\nAUTH PLAIN " + plain("", "any@example.org", "x") + "\r\nMAIL FROM:<evil@example.net>\r\n",
	"sieve":      "AUTHENTICATE \"PLAIN\" \"" + plain("", "any@example.org", "x") + "\"\r\nNOOP\r\n",
	"lmtp":       "LHLO evil.example\r\nMAIL FROM:<evil@example.net>\r\nRCPT TO:<any@example.org>\r\n",
}

// testStartTLS: what comes before the handshake is never run.
func testStartTLS(t *testing.T, g *gate) {
	for _, pr := range protocols {
		start, answer, smuggled := pr.starttls[0], pr.starttls[1], smuggled[pr.name]
		t.Run(pr.name+": commands in the segment of STARTTLS end the connection", func(t *testing.T) {
			p := g.meet(t, pr.name, stranger)
			p.send(start + smuggled)
			if l := p.line(t); !strings.HasPrefix(l, answer) {
				t.Errorf("answer %q", l)
			}
			if rest := p.rest(t); rest != "" {
				t.Errorf("something more was answered: %q", rest)
			}
			g.awaitLog(t, "Plaintext data before TLS handshake")
		})
		t.Run(pr.name+": commands in place of the ClientHello are no commands", func(t *testing.T) {
			p := g.meet(t, pr.name, stranger)
			p.send(start)
			p.line(t)
			p.send(smuggled)
			if rest := p.rest(t); strings.Contains(rest, "OK") || strings.Contains(rest, "250") || strings.Contains(rest, "235") {
				t.Errorf("it was answered: %q", rest)
			}
		})
		t.Run(pr.name+": commands behind the ClientHello in its segment end the handshake", func(t *testing.T) {
			p := g.meet(t, pr.name, stranger)
			p.send(start)
			p.line(t)
			p.Conn = &tailed{Conn: p.Conn, tail: smuggled}
			if err := p.startTLS(g.tls()); err == nil {
				if l, err := p.next(); err == nil {
					t.Errorf("answer %q", l)
				}
			}
		})
		t.Run(pr.name+": a second STARTTLS is refused and TLS goes on", func(t *testing.T) {
			p := g.secured(t, pr, stranger)
			p.send(start)
			if l, err := p.answer(pr); err != nil || strings.HasPrefix(l, answer) {
				t.Errorf("answer %q, %v", l, err)
			}
			if err := p.talk(pr, [][2]string{pr.noop}); err != nil {
				t.Error(err)
			}
		})
		if text := g.good[pr.name].text(); strings.Contains(text, "any@example.org") || strings.Contains(text, plain("", "any@example.org", "x")) || strings.Contains(text, "evil") {
			t.Errorf("the %s backend heard %q", pr.name, text)
		}
	}
	testForgotten(t, g)
	t.Run("STARTTLS as a SASL response is no command", func(t *testing.T) {
		p := g.meet(t, "imap", stranger)
		p.send("a AUTHENTICATE PLAIN\r\n")
		p.until(t, "+")
		p.send("s STARTTLS\r\n")
		if l := p.line(t); !strings.HasPrefix(l, "a NO") && !strings.HasPrefix(l, "a BAD") {
			t.Errorf("answer %q", l)
		}
		if err := p.ask("n NOOP\r\n", "n OK"); err != nil {
			t.Error(err)
		}
	})
}

// secured is meet with STARTTLS.
func (g *gate) secured(t *testing.T, pr protocol, from string) *peer {
	t.Helper()
	p := g.meet(t, pr.name, from)
	if err := p.talk(pr, [][2]string{pr.starttls}); err != nil {
		t.Fatal(err)
	}
	p.handshake(t, g, pr)
	return p
}

// handshake does TLS and reads what ManageSieve says after it.
func (p *peer) handshake(t *testing.T, g *gate, pr protocol) {
	t.Helper()
	if err := p.startTLS(g.tls()); err != nil {
		t.Fatal(err)
	}
	if pr.name == "sieve" {
		if _, err := p.answer(pr); err != nil {
			t.Fatal(err)
		}
	}
}

// tailed writes something behind the first write.
type tailed struct {
	net.Conn
	tail string
}

// Write implements io.Writer.
func (c *tailed) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(slices.Concat(b, []byte(c.tail)))
	c.tail = ""
	return min(n, len(b)), err
}

// testForgotten: what was said before the handshake, perhaps by somebody between, is forgotten.
func testForgotten(t *testing.T, g *gate) {
	t.Run("submission: the name of EHLO is forgotten", func(t *testing.T) {
		pr := protocolOf("submission")
		p := g.meet(t, "submission", stranger)
		if err := p.talk(pr, [][2]string{{"EHLO before.example.org\r\n", "250 "}, pr.starttls}); err != nil {
			t.Fatal(err)
		}
		p.handshake(t, g, pr)
		p.send("AUTH PLAIN " + plain("", "any@example.org", "x") + "\r\n")
		if _, err := p.answer(pr); err != nil {
			t.Error(err)
		}
		if text := g.good["submission"].text(); strings.Contains(text, "before.example.org") {
			t.Errorf("the backend heard %q", text)
		}
	})
	t.Run("lmtp: a transaction is forgotten", func(t *testing.T) {
		pr := protocolOf("lmtp")
		p := g.meet(t, "lmtp", stranger)
		if err := p.talk(pr, [][2]string{
			{"LHLO before.example.org\r\n", "250 "},
			{"MAIL FROM:<before@example.net>\r\n", "250 "},
			{"RCPT TO:<any@example.org>\r\n", "250 "},
			pr.starttls,
		}); err != nil {
			t.Fatal(err)
		}
		p.handshake(t, g, pr)
		if err := p.talk(pr, [][2]string{{"DATA\r\n", "503 "}, {"RCPT TO:<any@example.org>\r\n", "503 "}}); err != nil {
			t.Error(err)
		}
	})
}

// testTLS: handshakes that no mail client makes.
func testTLS(t *testing.T, g *gate) {
	for _, tt := range []struct {
		name string
		set  func(*tls.Config)
		ok   bool
	}{
		{"TLS 1.0", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS10 }, false},
		{"TLS 1.1", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }, false},
		{"RC4", only(tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA), false},
		{"3DES", only(tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA), false},
		{"static RSA", only(tls.TLS_RSA_WITH_AES_128_GCM_SHA256), false},
		{"ALPN of HTTP", func(c *tls.Config) { c.NextProtos = []string{"h2", "http/1.1"} }, false},
		{"ALPN of FTP", func(c *tls.Config) { c.NextProtos = []string{"ftp"} }, false},
		{"the protocol's own ALPN", func(c *tls.Config) { c.NextProtos = []string{"imap", "pop3", "smtp", "managesieve"} }, true},
		{"no ALPN", func(*tls.Config) {}, true},
	} {
		for _, l := range secure() {
			t.Run(fmt.Sprintf("%s is served by %s: %v", tt.name, l, tt.ok), func(t *testing.T) {
				conf := g.tls()
				tt.set(conf)
				p, err := dial(g.addr(l), "", conf)
				if err == nil {
					_, err = p.next()
					p.Close()
				}
				if (err == nil) != tt.ok {
					t.Errorf("error %v", err)
				}
			})
		}
	}
	for _, l := range secure() {
		t.Run("plaintext gets no plaintext answer from "+l, func(t *testing.T) {
			p, err := dial(g.addr(l), stranger, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			p.send("a LOGIN any@example.org x\r\nUSER any@example.org\r\n")
			if rest := p.rest(t); strings.Contains(rest, "OK") || strings.Contains(rest, "ready") || strings.Contains(rest, "BAD") || strings.HasPrefix(rest, "2") {
				t.Errorf("answer %q", rest)
			}
		})
	}
	t.Run("renegotiation is not done", func(t *testing.T) { testRenegotiation(t, g) })
}

// secure are the listeners that speak TLS from the start.
func secure() (all []string) {
	for _, p := range protocols {
		all = append(all, p.name+"s")
	}
	return all
}

func only(suite uint16) func(*tls.Config) {
	return func(c *tls.Config) { c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{suite} }
}

// testRenegotiation asks with OpenSSL, as Go has none: a line R makes s_client renegotiate.
func testRenegotiation(t *testing.T, g *gate) {
	cmd := exec.CommandContext(t.Context(), daemon.Program(t, "openssl"), "s_client", "-tls1_2", "-connect", g.addr("imaps"))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	feeder := &feeder{in: in}
	cmd.Stdout, cmd.Stderr = feeder, feeder
	_ = cmd.Run() // it ends with an error: the handshake is refused
	out := feeder.text()
	if !strings.Contains(out, "RENEGOTIATING") || strings.Contains(out, "n OK") {
		t.Errorf("s_client said %q", out[max(0, len(out)-1500):])
	}
}

// testPlaintext: ssl=required and disable_plaintext_auth hold back every password, and say so first.
func testPlaintext(t *testing.T, certs *dialog.Certs) {
	const victim = "victim@example.org"
	for _, setting := range []string{"ssl = required\n", "disable_plaintext_auth = yes\n"} {
		g := newGate(t, certs)
		g.start(t, setting, 0)
		p := g.meet(t, "imap", stranger)
		p.send("c CAPABILITY\r\n")
		if l := p.until(t, "* CAPABILITY"); !strings.Contains(l, "LOGINDISABLED") || strings.Contains(l, "AUTH=PLAIN") {
			t.Errorf("%s: %q", setting, l)
		}
		auth := plain("", victim, password)
		for _, tt := range []struct{ listener, send, want string }{
			{"imap", "a LOGIN " + victim + " " + password, "a NO [PRIVACYREQUIRED]"},
			{"imap", "a AUTHENTICATE PLAIN " + auth, "a NO [PRIVACYREQUIRED]"},
			{"imap", "a AUTHENTICATE PLAIN", "a NO [PRIVACYREQUIRED]"},
			{"pop3", "USER " + victim, "-ERR"},
			{"pop3", "PASS " + password, "-ERR"},
			{"pop3", "AUTH PLAIN " + auth, "-ERR"},
			{"submission", "AUTH PLAIN " + auth, "5"},
			{"submission", "AUTH PLAIN", "5"},
			{"sieve", "AUTHENTICATE \"PLAIN\" \"" + auth + "\"", "NO"},
			{"sieve", "AUTHENTICATE \"PLAIN\"", "NO"},
		} {
			p := g.meet(t, tt.listener, stranger)
			pr := protocolOf(tt.listener)
			if tt.listener == "submission" {
				if err := p.talk(pr, [][2]string{{"EHLO x\r\n", "250 "}}); err != nil {
					t.Error(err)
				}
			}
			if err := p.talk(pr, [][2]string{{tt.send + "\r\n", tt.want}}); err != nil {
				t.Errorf("%s: %s: %v", setting, tt.listener, err)
			}
		}
		for _, pr := range protocols {
			if n := g.good[pr.name].count(); n != 0 {
				t.Errorf("%s: %d connections to the %s backend", setting, n, pr.name)
			}
		}
	}
}

// testClientCertificates: a name from a certificate counts only when the certificate does.
func testClientCertificates(t *testing.T, certs *dialog.Certs) {
	g := newGate(t, certs)
	g.start(t, "ssl_ca = <@CERTS@/ca.crt\nssl_require_crl = no\nssl_verify_client_cert = yes\nauth_ssl_require_client_cert = yes\n"+
		"auth_ssl_username_from_cert = yes\n", 0)
	for name, conf := range map[string]func(*tls.Config){
		"no certificate":          func(*tls.Config) {},
		"a self-signed one":       func(c *tls.Config) { c.Certificates = certs.Server("rogue").Certificates },
		"one that is for servers": func(c *tls.Config) { c.Certificates = certs.Server("backend").Certificates },
	} {
		t.Run(name+" logs nobody in", func(t *testing.T) {
			c := g.tls()
			conf(c)
			p, err := dial(g.addr("imaps"), "", c)
			if err != nil {
				return // refused in the handshake
			}
			defer p.Close()
			if _, err := p.next(); err != nil {
				return
			}
			p.send("a LOGIN victim@example.org " + password + "\r\n")
			if l, err := p.next(); err == nil && !strings.HasPrefix(l, "a NO") && !strings.HasPrefix(l, "* BYE") {
				t.Errorf("answer %q", l)
			}
		})
	}
	if n := g.good["imap"].count(); n != 0 {
		t.Errorf("%d connections to the backend", n)
	}
}
