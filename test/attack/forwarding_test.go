package attack

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// xclients are the protocols with XCLIENT as a command of its own line, and how a stranger's is refused.
var xclients = map[string]string{"submission": "550 ", "sieve": "NO", "lmtp": "550 "}

// testForwarding: XCLIENT in the protocols that testHops has not.
func testForwarding(t *testing.T, g *gate) {
	for name, refusal := range xclients {
		pr := protocolOf(name)
		hello := map[string]string{"submission": "EHLO x\r\n", "lmtp": "LHLO x\r\n", "sieve": "NOOP\r\n"}[name]
		t.Run(name+": a stranger's XCLIENT is refused", func(t *testing.T) {
			p := g.meet(t, name, stranger)
			if err := p.talk(pr, [][2]string{{hello, okOf(name)}, {"XCLIENT ADDR=203.0.113.66 PORT=7 SESSION=spoofed TTL=3 HELO=evil LOGIN=victim\r\n", refusal}}); err != nil {
				t.Fatal(err)
			}
			for _, s := range pr.login("any@example.org", "x") {
				p.send(s[0])
				if _, err := p.answer(pr); err != nil {
					t.Fatal(err)
				}
			}
			if text := g.good[name].text(); strings.Contains(text, "203.0.113.66") || strings.Contains(text, "spoofed") || strings.Contains(text, "HELO=evil") {
				t.Errorf("the backend heard %q", last(text, 1000))
			}
		})
		t.Run(name+": a frontend is believed", func(t *testing.T) {
			p := g.meet(t, name, frontend)
			p.send(hello)
			p.answers(t, pr)
			p.send("XCLIENT ADDR=203.0.113.67 PORT=4242 TTL=3\r\n")
			if l := p.answers(t, pr); !strings.HasPrefix(l, "2") && !strings.HasPrefix(l, "OK") {
				t.Fatalf("answer %q", l)
			}
			for _, s := range pr.login("any@example.org", "x") {
				p.send(s[0])
				p.answers(t, pr)
			}
			if !strings.Contains(g.good[name].text(), "ADDR=203.0.113.67") {
				t.Error("the backend did not hear of the address")
			}
		})
		for _, fields := range []string{
			"ADDR=999.1.1.1", "ADDR=", "ADDR=localhost", "ADDR=fe80::1%lo", "ADDR=IPV6:1.2.3.4.5", "ADDR=127.1", "ADDR=010.1.1.1", "PORT=65536", "PORT=-1", "PORT=0x10", "TTL=-1",
			"TTL=99999999999999999999", "TTL=1.5", "SESSION=" + strings.Repeat("s", 500), "SESSION=a+0D+0AX", "SESSION=a+00", "HELO=a+0D+0AQUIT", "HELO=a+20b", "HELO=+1B[31m", "LOGIN=a+0D+0Ab",
			"PROTO=HTTP", "PROTO=+0D+0A", "FORWARD=!!!", "FORWARD=YT0BYg0KWA==", "ADDR", "=", "ADDR=1.2.3.4=5", "ADDR=+ZZ", "ADDR=+", "ADDR=1.2.3.4+00", strings.Repeat("A=B ", 900), "TIMEOUT=99999999999999999999", "\x1b[31m", "ADDR=1.1.1.1\tPORT=1\x01",
		} {
			t.Run(fmt.Sprintf("%s: a frontend's %.20q is not handed on as it is", name, fields), func(t *testing.T) {
				p := g.meet(t, name, frontend)
				before := len(g.good[name].text())
				p.send(hello)
				p.answers(t, pr)
				p.send("XCLIENT " + fields + "\r\n")
				if _, err := p.answer(pr); err != nil {
					return // the connection ended: nothing went on
				}
				for _, s := range pr.login("any@example.org", "x") {
					p.send(s[0])
					if _, err := p.answer(pr); err != nil {
						break
					}
				}
				checkXCLIENT(t, name == "sieve", g.good[name].text()[before:])
			})
		}
		t.Run(name+": a hop count that is used up ends the way", func(t *testing.T) {
			p := g.meet(t, name, frontend)
			p.send(hello)
			p.answers(t, pr)
			p.send("XCLIENT TTL=0\r\n")
			p.answers(t, pr)
			l := ""
			for _, s := range pr.login("any@example.org", "x")[:min(3, len(pr.login("", "")))] {
				p.send(s[0])
				l = p.answers(t, pr)
			}
			if !strings.HasPrefix(l, "4") && !strings.HasPrefix(l, "554 5.4.6 ") && !strings.HasPrefix(l, "NO") {
				t.Errorf("answer %q", l)
			}
		})
	}
}

func okOf(name string) string {
	if name == "sieve" {
		return "OK"
	}
	return "250 "
}

// answers is answer where an error fails the test.
func (p *peer) answers(t *testing.T, pr protocol) string {
	t.Helper()
	l, err := p.answer(pr)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func last(s string, n int) string { return s[max(0, len(s)-n):] }

var xclientField = regexp.MustCompile(` ([A-Z]+)=(\S*)`)

// checkXCLIENT wants every XCLIENT that a backend heard to be well formed and true.
func checkXCLIENT(t *testing.T, raw bool, heard string) {
	t.Helper()
	for l := range strings.Lines(heard) {
		l, crlf := strings.CutSuffix(l, "\r\n")
		if !crlf || strings.ContainsFunc(strings.ReplaceAll(l, "\t", " "), unprintable) {
			t.Errorf("the backend heard the line %q", l)
		}
		if !strings.HasPrefix(l, "XCLIENT ") {
			continue
		}
		for _, m := range xclientField.FindAllStringSubmatch(l, -1) {
			// ManageSieve's values are no xtext: a plus has no meaning there.
			ok := raw || !strings.Contains(m[2], "+0D") && !strings.Contains(m[2], "+0A") && !strings.Contains(m[2], "+00") && !strings.Contains(m[2], "+1B")
			switch m[1] {
			case "ADDR":
				a, err := netip.ParseAddr(strings.TrimPrefix(m[2], "IPV6:"))
				ok = err == nil && a.Zone() == ""
			case "PORT":
				n, err := strconv.ParseUint(m[2], 10, 16)
				ok = err == nil && n > 0
			case "TTL":
				_, err := strconv.ParseUint(m[2], 10, 31)
				ok = err == nil
			case "SESSION":
				ok = ok && len(m[2]) <= 64+20
			case "PROTO":
				ok = m[2] == "SMTP" || m[2] == "ESMTP" || m[2] == "LMTP"
			}
			if !ok {
				t.Errorf("the backend heard %s of %.80q", m[1], m[2])
			}
		}
	}
}
