package attack

import (
	"fmt"
	"strings"
	"testing"
)

// testMailControls: no control byte in any field of Submission, ManageSieve and LMTP becomes part of a backend's command.
func testMailControls(t *testing.T, g *gate) {
	const user = "any@example.org"
	for b := range 0x80 {
		if b >= 0x20 && b != 0x7f {
			continue
		}
		c := string([]byte{byte(b)})
		mark := fmt.Sprintf("mark%02x", b)
		evil := mark + c + "evil"
		ehlo, lhlo := "EHLO x\r\n", "LHLO x\r\nMAIL FROM:<s@example.net>\r\n"
		literal := func(s string) string { return fmt.Sprintf("{%d+}\r\n%s", len(s), s) }
		for _, tt := range []struct {
			name, listener, from, send string
			ok                         string // what only a success answers
		}{
			{"user", "submission", stranger, ehlo + "AUTH PLAIN " + plain("", "any"+c+mark+"@example.org", "x") + "\r\n", "235 "},
			{"authzid", "submission", stranger, ehlo + "AUTH PLAIN " + plain("any"+c+mark, user, "x") + "\r\n", "235 "},
			{"password", "submission", stranger, ehlo + "AUTH PLAIN " + plain("", user, evil) + "\r\n", "235 "},
			{"name of EHLO", "submission", stranger, "EHLO " + evil + "\r\nAUTH PLAIN " + plain("", user, "x") + "\r\n", ""},
			{"mechanism", "submission", stranger, ehlo + "AUTH PLAIN" + c + evil + "\r\n", "235 "},
			{"HELO of XCLIENT", "submission", frontend, ehlo + fmt.Sprintf("XCLIENT HELO=a+%02Xevil SESSION=b+%02Xevil LOGIN=c+%02Xevil\r\n", b, b, b) + ehlo + "AUTH PLAIN " + plain("", user, "x") + "\r\n", ""},
			{"user", "sieve", stranger, "AUTHENTICATE \"PLAIN\" \"" + plain("", "any"+c+mark+"@example.org", "x") + "\"\r\n", "OK"},
			{"password", "sieve", stranger, "AUTHENTICATE \"PLAIN\" \"" + plain("", user, evil) + "\"\r\n", "OK"},
			{"mechanism in a literal", "sieve", stranger, "AUTHENTICATE " + literal("PLAIN"+c+evil) + "\r\n", "OK"},
			{"XCLIENT", "sieve", frontend, "XCLIENT SESSION=a" + c + "evil FORWARD=b" + c + "evil\r\nAUTHENTICATE \"PLAIN\" \"" + plain("", user, "x") + "\"\r\n", ""},
			{"name of LHLO", "lmtp", stranger, "LHLO " + evil + "\r\nMAIL FROM:<s@example.net>\r\nRCPT TO:<" + user + ">\r\n", ""},
			{"sender", "lmtp", stranger, "LHLO x\r\nMAIL FROM:<a" + c + "evil@example.net>\r\nRCPT TO:<" + user + ">\r\n", ""},
			{"quoted sender", "lmtp", stranger, "LHLO x\r\nMAIL FROM:<\"a" + c + "evil\"@example.net>\r\nRCPT TO:<" + user + ">\r\n", ""},
			{"recipient", "lmtp", stranger, lhlo + "RCPT TO:<any" + c + "evil@example.org>\r\n", "250 2.1.5"},
			{"quoted recipient", "lmtp", stranger, lhlo + "RCPT TO:<\"any\\" + c + "evil\"@example.org>\r\n", "250 2.1.5"},
			{"ORCPT", "lmtp", stranger, lhlo + "RCPT TO:<" + user + "> ORCPT=rfc822;a" + fmt.Sprintf("+%02X", b) + "evil\r\n", ""},
			{"HELO of XCLIENT", "lmtp", frontend, fmt.Sprintf("XCLIENT HELO=a+%02Xevil SESSION=b+%02Xevil LOGIN=c+%02Xevil\r\n", b, b, b) + lhlo + "RCPT TO:<" + user + ">\r\n", ""},
		} {
			t.Run(fmt.Sprintf("%s: 0x%02x in the %s", tt.listener, b, tt.name), func(t *testing.T) {
				p := g.meet(t, tt.listener, tt.from)
				if tt.listener == "sieve" {
					tt.send += "LOGOUT\r\n"
				} else {
					tt.send += "QUIT\r\n"
				}
				p.send(tt.send)
				if err := p.raw.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
					t.Fatal(err)
				}
				answers := p.rest(t)
				for l := range strings.Lines(answers) {
					must := tt.ok != "" && (tt.name != "password" || b <= 1 || b == '\t' || b == '\r' || b == '\n')
					if must && strings.HasPrefix(l, tt.ok) && !strings.Contains(l, "Bye") && !strings.HasPrefix(l, "OK \"Logout") {
						t.Errorf("answer %q", l)
					}
					if strings.ContainsFunc(strings.TrimRight(l, "\r\n"), unprintable) {
						t.Errorf("the client's byte came back: %q", l)
					}
				}
			})
		}
	}
	for _, name := range []string{"submission", "sieve", "lmtp"} {
		for l := range strings.Lines(g.good[name].text()) {
			l, crlf := strings.CutSuffix(l, "\r\n")
			if name == "lmtp" {
				l = strings.TrimPrefix(l, "\t") // of a folded header
			}
			if !crlf || strings.HasPrefix(l, "evil") || strings.ContainsFunc(l, unprintable) {
				t.Errorf("the %s backend heard the line %q", name, l)
			}
		}
	}
}

// testMailPipelining: bytes behind a login go to the backend once; bytes behind a refusal are commands to the proxy.
func testMailPipelining(t *testing.T, g *gate) {
	const any = "any@example.org"
	for _, tt := range []struct {
		listener, before, good, bad string
		behind, answer              string // to be heard by the backend, and its answer
	}{
		{"submission", "EHLO x\r\n", "AUTH PLAIN " + plain("", any, "x"), "AUTH PLAIN " + plain("", "victim@example.org", "wrong"), "MAIL FROM:<piped@example.net>", "250 2.0.0 MAIL"},
		{"sieve", "", "AUTHENTICATE \"PLAIN\" \"" + plain("", any, "x") + "\"", "AUTHENTICATE \"PLAIN\" \"" + plain("", "victim@example.org", "wrong") + "\"", "LISTSCRIPTS", "OK \"LISTSCRIPTS\""},
	} {
		t.Run(tt.listener+": much behind a login arrives untouched", func(t *testing.T) {
			const n = 2000
			p := g.meet(t, tt.listener, stranger)
			go p.send(tt.before + tt.good + "\r\n" + strings.Repeat(tt.behind+"\r\n", n))
			for range n {
				p.until(t, tt.answer)
			}
			p.Close()
			// Others talk to the backend at the same time, so that a few commands may be heard in two pieces.
			if got := strings.Count(g.good[tt.listener].text(), tt.behind+"\r\n"); got > n || got < n-20 {
				t.Errorf("the backend heard %d of %d commands", got, n)
			}
		})
		t.Run(tt.listener+": a second login in the pipe is the backend's business", func(t *testing.T) {
			p := g.meet(t, tt.listener, stranger)
			p.send(tt.before + tt.good + "\r\n" + tt.bad + "\r\n" + tt.behind + "\r\n")
			p.until(t, tt.answer)
			if !strings.Contains(g.good[tt.listener].text(), tt.bad+"\r\n"+tt.behind+"\r\n") {
				t.Error("the backend did not hear it")
			}
		})
		t.Run(tt.listener+": bytes behind a refusal are commands to the proxy", func(t *testing.T) {
			p := g.meet(t, tt.listener, stranger)
			p.send(tt.before + tt.bad + "\r\nXSECRET\r\n" + tt.good + "\r\n" + tt.behind + "\r\n")
			p.until(t, tt.answer)
			if strings.Contains(g.good[tt.listener].text(), "XSECRET") {
				t.Error("the backend heard what came before the login")
			}
		})
	}
}
