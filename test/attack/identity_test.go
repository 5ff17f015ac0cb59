package attack

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"
)

// testIdentity: who may say whose connection it is, and what is never handed on.
func testIdentity(t *testing.T, g *gate) {
	const spoof = `"x-originating-ip" "203.0.113.9" "x-originating-port" "77" "x-connected-ip" "203.0.113.8" "x-session-id" "spoofed" "x-proxy-ttl" "3" "x-forward-evil" "1"`
	hears := func(t *testing.T, from, id string) string {
		t.Helper()
		before := len(g.good["imap"].text())
		p := g.meet(t, "imap", from)
		p.send("i ID (" + id + ")\r\na LOGIN any@example.org x\r\n")
		if l := p.until(t, "a "); !strings.HasPrefix(l, "a OK") {
			t.Fatalf("answer %q", l)
		}
		for l := range strings.Lines(g.good["imap"].text()[before:]) {
			if strings.HasPrefix(l, "I ID ") && strings.Contains(l, from) == (from != frontend || !strings.Contains(id, "x-originating-ip")) {
				return l
			}
		}
		return g.good["imap"].text()[before:]
	}
	t.Run("a stranger's ID is not believed", func(t *testing.T) {
		l := hears(t, stranger, spoof)
		if !strings.Contains(l, `"x-originating-ip" "`+stranger+`"`) || strings.Contains(l, "203.0.113") || strings.Contains(l, "spoofed") || strings.Contains(l, "evil") {
			t.Errorf("the backend heard %q", l)
		}
	})
	literal := func(s string) string { return fmt.Sprintf("{%d+}\r\n%s", len(s), s) }
	for _, v := range []string{
		"999.1.1.1", "1.2.3.4 ", "1.2.3", "fe80::1%eth0", "::ffff:999.1.1.1", "1.2.3.4\r\nX", "1.2.3.4\x00", "", strings.Repeat("1", 900), "localhost", "0x7f.1", "127.1", "010.1.1.1",
	} {
		t.Run(fmt.Sprintf("a frontend's malformed address %.20q is not handed on", v), func(t *testing.T) {
			p := g.meet(t, "imap", frontend)
			before := len(g.good["imap"].text())
			p.send(`i ID ("x-originating-ip" ` + literal(v) + ` "x-connected-ip" ` + literal(v) + ")\r\n")
			p.upTo(t, "(?m)^i ")
			p.send("a LOGIN any@example.org x\r\n")
			p.upTo(t, "(?m)^a ")
			checkIDs(t, g.good["imap"].text()[before:])
		})
	}
	for key, values := range map[string][]string{
		"x-originating-port": {"65536", "-1", "1e3", "99999999999999999999", "", "1\r\n", "+5"},
		"x-connected-port":   {"65536", "-1", "0x10"},
		"x-proxy-ttl":        {"-1", "99999999999999999999", "4294967297", "1.5", "", "+2", "1000000"},
		"x-session-id":       {strings.Repeat("s", 900), "a b", "a\"b", "a\r\nb", "a\tb", "a\x00b", "\x1b[31m"},
		"x-forward-key":      {"a\r\nX", "a\x00b", "a\tb", strings.Repeat("v", 900), "\x1b]0;x\x07"},
		"x-forward-":         {"empty"},
		"x-forward-a b":      {"blank"},
	} {
		for _, v := range values {
			t.Run(fmt.Sprintf("a frontend's %s of %.20q is not handed on", key, v), func(t *testing.T) {
				p := g.meet(t, "imap", frontend)
				before := len(g.good["imap"].text())
				p.send("i ID (" + literal(key) + " " + literal(v) + ")\r\n")
				p.upTo(t, "(?m)^i ")
				p.send("a LOGIN any@example.org x\r\n")
				p.upTo(t, "(?m)^a ")
				checkIDs(t, g.good["imap"].text()[before:])
			})
		}
	}
}

// testHops: hop counts, XCLIENT, and names that look like fields.
func testHops(t *testing.T, g *gate) {
	literal := func(s string) string { return fmt.Sprintf("{%d+}\r\n%s", len(s), s) }
	t.Run("a hop count that is used up ends the way", func(t *testing.T) {
		for _, v := range []string{"0", "1"} {
			p := g.meet(t, "imap", frontend)
			p.send(`i ID ("x-proxy-ttl" "` + v + `")` + "\r\na LOGIN any@example.org x\r\n")
			if l := p.until(t, "a "); !strings.HasPrefix(l, "a NO [SERVERBUG]") && !strings.HasPrefix(l, "a NO [UNAVAILABLE]") {
				t.Errorf("TTL %s: %q", v, l)
			}
		}
	})
	t.Run("a stranger's XCLIENT is not believed", func(t *testing.T) {
		p := g.meet(t, "pop3", stranger)
		if err := p.ask("XCLIENT ADDR=198.51.100.9 PORT=7 SESSION=spoofed TTL=3\r\n", "+OK You are not from trusted IP"); err != nil {
			t.Error(err)
		}
		p.send("USER victim@example.org\r\nPASS wrong\r\n")
		p.until(t, "-ERR")
		if log := g.log(t); strings.Contains(log, "198.51.100.9") {
			t.Error("the log has the address that was claimed")
		}
	})
	t.Run("a frontend's malformed XCLIENT changes nothing", func(t *testing.T) {
		for _, v := range []string{
			"ADDR=999.1.1.1", "ADDR=", "PORT=65536", "PORT=-1", "TTL=-1", "TTL=99999999999999999999", "SESSION=" + strings.Repeat("s", 500), "ADDR", "=", "FORWARD=!!!",
			"FORWARD=" + base64.StdEncoding.EncodeToString([]byte("a=\x01b\r\nx\t\x00=\x1b")), "ADDR=\x1b[31m", strings.Repeat("A=B ", 200),
		} {
			p := g.meet(t, "pop3", frontend)
			p.send("XCLIENT " + v + "\r\nUSER any@example.org\r\nPASS x\r\n")
			p.upTo(t, `(?s)(\+OK|-ERR).*\n`)
			p.Close()
		}
		if text := g.good["pop3"].text(); strings.ContainsAny(text, "\x00\x1b") || strings.Contains(text, "999.1.1.1") {
			t.Errorf("the backend heard %q", text)
		}
	})
	t.Run("a user name sets no passdb field", func(t *testing.T) {
		for _, u := range []string{"any@example.org\thost=127.0.0.9", "any@example.org nopassword=y", "victim@example.org:x:::::: nopassword=y", "host=127.0.0.9", "%u", "%{env:PATH}", "../users.imap", "any@example.org%00"} {
			p := g.meet(t, "imap", stranger)
			p.send("a LOGIN " + literal(u) + " x\r\n")
			if l := p.upTo(t, "(?m)^a "); !strings.Contains(l, "a NO [AUTHENTICATIONFAILED]") {
				t.Errorf("%q: %q", u, l)
			}
		}
	})
}

var idValue = regexp.MustCompile(`"((?:[^"\\]|\\.)*)" "((?:[^"\\]|\\.)*)"`)

// checkIDs wants every ID that a backend heard to be well formed and true.
func checkIDs(t *testing.T, heard string) {
	t.Helper()
	for l := range strings.Lines(heard) {
		l, crlf := strings.CutSuffix(l, "\r\n")
		tag, _, _ := strings.Cut(l, " ")
		if !crlf || strings.ContainsFunc(l, unprintable) || len(tag) > 5 {
			t.Errorf("the backend heard the line %q", l)
		}
		for _, m := range idValue.FindAllStringSubmatch(l, -1) {
			ok := true
			switch key, v := m[1], m[2]; key {
			case "x-originating-ip", "x-connected-ip":
				a, err := netip.ParseAddr(v)
				ok = err == nil && a.Zone() == ""
			case "x-originating-port", "x-connected-port":
				ok = regexp.MustCompile(`^\d{1,5}$`).MatchString(v) && len(v) < 6 && v != "65536"
			case "x-proxy-ttl":
				ok = regexp.MustCompile(`^\d{1,9}$`).MatchString(v)
			case "x-session-id":
				ok = len(v) <= 64 && !strings.ContainsAny(v, " \\")
			}
			if !ok {
				t.Errorf("the backend heard %s of %.80q", m[1], m[2])
			}
		}
	}
}

// v2 is a version 2 PROXY header with a length that may lie.
func v2(command, family byte, length int, body string) string {
	b := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), command, family)
	if length < 0 {
		length = len(body)
	}
	return string(binary.BigEndian.AppendUint16(b, uint16(length))) + body
}

func tlv(kind byte, value string) string {
	return string(binary.BigEndian.AppendUint16([]byte{kind}, uint16(len(value)))) + value
}

// fourTCP is the addresses of a version 2 header: 203.0.113.9 port 4242 to 203.0.113.8 port 143.
const fourTCP = "\xcb\x00\x71\x09\xcb\x00\x71\x08\x10\x92\x00\x8f"

// testProxyHeaders: only balancers are believed, and only when what they say makes sense.
func testProxyHeaders(t *testing.T, g *gate) {
	const good = "PROXY TCP4 203.0.113.9 203.0.113.8 4242 143\r\n"
	late := map[string]*peer{}
	for _, pr := range protocols {
		late[pr.name] = g.connect(t, pr.name+"ha", balancer)
		late[pr.name].send("PROXY TCP4 203.0.")
	}
	for _, pr := range protocols {
		l := pr.name + "ha"
		t.Run(l+": a stranger's header gets no greeting", func(t *testing.T) {
			p := g.connect(t, l, stranger)
			p.send(good)
			if got := p.rest(t); got != "" {
				t.Errorf("answer %q", got)
			}
			g.awaitLog(t, "haproxy: Client not trusted (rip="+stranger+")")
		})
		for name, header := range map[string]string{
			"no header":                "a NOOP\r\nUSER x\r\n",
			"an endless line":          "PROXY TCP4 " + strings.Repeat("1", 5000),
			"108 bytes":                "PROXY UNKNOWN " + strings.Repeat("x", 92) + "\r\n",
			"a bad address":            "PROXY TCP4 999.0.113.9 203.0.113.8 4242 143\r\n",
			"a name for an address":    "PROXY TCP4 localhost 203.0.113.8 4242 143\r\n",
			"the wrong family":         "PROXY TCP4 ::1 ::1 4242 143\r\n",
			"a zone":                   "PROXY TCP6 fe80::1%lo ::1 4242 143\r\n",
			"port 65536":               "PROXY TCP4 203.0.113.9 203.0.113.8 65536 143\r\n",
			"a negative port":          "PROXY TCP4 203.0.113.9 203.0.113.8 -1 143\r\n",
			"a signed port":            "PROXY TCP4 203.0.113.9 203.0.113.8 +42 143\r\n",
			"words too many":           "PROXY TCP4 203.0.113.9 203.0.113.8 4242 143 x\r\n",
			"words too few":            "PROXY TCP4 203.0.113.9\r\n",
			"an unknown protocol":      "PROXY UDP4 203.0.113.9 203.0.113.8 4242 143\r\n",
			"a LF alone":               "PROXY TCP4 203.0.113.9 203.0.113.8 4242 143\nxxxxxxxxxxxxxxxxx",
			"terminal codes":           "PROXY \x1b[31m\x07 203.0.113.9 203.0.113.8 4242 143\r\n",
			"v2 of 60000 bytes":        v2(0x21, 0x11, 60000, fourTCP),
			"v2 of 65535 bytes":        v2(0x21, 0x11, 65535, strings.Repeat("\x00", 65535)),
			"v2 of version 1":          v2(0x11, 0x11, -1, fourTCP),
			"v2 with a bad command":    v2(0x2f, 0x11, -1, fourTCP),
			"v2 that is too short":     v2(0x21, 0x11, -1, fourTCP[:7]),
			"v2 of UDP":                v2(0x21, 0x12, -1, fourTCP),
			"v2 of an unknown family":  v2(0x21, 0x91, -1, fourTCP),
			"v2 with a short TLV":      v2(0x21, 0x11, -1, fourTCP+"\x02\xff"),
			"v2 with a TLV too long":   v2(0x21, 0x11, -1, fourTCP+"\x02\xff\xffabc"),
			"v2 with a bad name":       v2(0x21, 0x11, -1, fourTCP+tlv(2, "a\r\nb\x00")),
			"v2 with a short SSL TLV":  v2(0x21, 0x11, -1, fourTCP+tlv(0x20, "\x01")),
			"v2 with a bad inner TLV":  v2(0x21, 0x11, -1, fourTCP+tlv(0x20, "\x01\x00\x00\x00\x00\x22\xff\xffx")),
			"v2 with a wrong checksum": v2(0x21, 0x11, -1, fourTCP+tlv(3, "abcd")),
		} {
			t.Run(l+": closed without a greeting: "+name, func(t *testing.T) {
				t.Parallel()
				p := g.connect(t, l, balancer)
				p.send(header)
				if got := p.rest(t); got != "" {
					t.Errorf("answer %q", got)
				}
			})
		}
		t.Run(l+": a balancer is believed", func(t *testing.T) {
			p := g.connect(t, l, balancer)
			p.send(good)
			p.line(t)
		})
	}
	for l, p := range late {
		t.Run(l+": a header that is late ends the connection", func(t *testing.T) {
			if got := p.rest(t); got != "" {
				t.Errorf("answer %q", got)
			}
		})
	}
	for _, pr := range protocols {
		l := pr.name
		t.Run(l+": a header where none belongs is a bad command", func(t *testing.T) {
			for _, header := range []string{good, v2(0x21, 0x11, -1, fourTCP) + "\r\n"} {
				for _, from := range []string{stranger, balancer, frontend} {
					p := g.meet(t, l, from)
					p.send(header + "a LOGIN victim@example.org wrong\r\nUSER victim@example.org\r\nPASS wrong\r\n")
					if got, bad := p.upTo(t, "(?m)BAD|^-ERR|^NO|^BYE|^5"), regexp.MustCompile("(?m)BAD|^-ERR|^NO|^BYE|^5"); !bad.MatchString(got) {
						t.Errorf("answer %q", got)
					}
				}
			}
		})
	}
	t.Run("the addresses of a plain port's header are not believed", func(t *testing.T) {
		for l := range strings.Lines(g.log(t)) {
			if strings.Contains(l, "203.0.113.9") && strings.Contains(l, "victim") {
				t.Errorf("log %q", l)
			}
		}
	})
}

// testProxyCertificates: a name from a certificate that the balancer could not verify does not log anybody in.
func testProxyCertificates(t *testing.T, g *gate) {
	ssl := func(client byte, verify uint32, name string) string {
		return tlv(0x20, string(binary.BigEndian.AppendUint32([]byte{client}, verify))+tlv(0x22, name))
	}
	for _, tt := range []struct {
		name   string
		client byte
		verify uint32
	}{
		{"not verified", 7, 1}, {"no certificate", 1, 0}, {"a failure of many bits", 7, 0x80000000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := g.connect(t, "imapha", balancer)
			p.send(v2(0x21, 0x11, -1, fourTCP+ssl(tt.client, tt.verify, "victim@example.org")))
			p.line(t)
			for _, cmd := range []string{"a AUTHENTICATE EXTERNAL =\r\n", "a LOGIN victim@example.org wrong\r\n"} {
				p.send(cmd)
				if l := p.until(t, "a "); !strings.HasPrefix(l, "a NO") {
					t.Errorf("%q: %q", cmd, l)
				}
			}
		})
	}
}
