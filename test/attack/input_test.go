package attack

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// input is bytes that a parser before login must survive.
type input struct {
	name, listener, send string
	want                 string // what the answer matches
	closed               bool   // by the proxy
}

func inputs() []input {
	long := func(n int) string { return strings.Repeat("x", n) }
	return []input{
		{"a literal above the bound", "imap", "a LOGIN {8193}\r\n", `^\* BYE .*[Ll]iteral`, true},
		{"a literal of 11 digits", "imap", "a LOGIN {99999999999}\r\n", `^\* BYE .*[Ll]iteral`, true},
		{"a literal that overflows 64 bits", "imap", "a LOGIN {18446744073709551620+}\r\nabcd x\r\n", `^\* BYE .*[Ll]iteral`, true},
		{"a literal that overflows 32 bits", "imap", "a LOGIN {4294967300+}\r\nabcd x\r\n", `^\* BYE .*[Ll]iteral`, true},
		{"a negative literal", "imap", "a LOGIN {-1+}\r\nx\r\n", `^a BAD `, false},
		{"a literal without digits", "imap", "a LOGIN {}\r\n", `^a BAD `, false},
		{"a literal with only a plus", "imap", "a LOGIN {+}\r\n", `^a BAD `, false},
		{"a hexadecimal literal", "imap", "a LOGIN {0x10}\r\n", `^a BAD `, false},
		{"bytes behind a literal's size", "imap", "a LOGIN {3}x\r\nabc x\r\n", `^\+ OK\r\na BAD |^a BAD `, false},
		{"a literal with nothing behind it", "imap", "a LOGIN {3+}\r\nabcdef x\r\n", `^a BAD `, false},
		{"literals of no bytes", "imap", "a LOGIN {0+}\r\n {0+}\r\n\r\n", `^a (NO|BAD) `, false},
		{"a chain of literals", "imap", "a LOGIN" + strings.Repeat(" {900+}\r\n"+long(900), 20) + "\r\n", `BAD|BYE`, false},
		{"a chain of literals without an end", "imap", "a LOGIN" + strings.Repeat(" {1+}\r\nx", 40000), `BAD|BYE`, true},
		{"deep lists", "imap", "a LOGIN " + strings.Repeat("(", 2000) + "\r\n", `BAD|BYE`, false},
		{"a list without an end", "imap", "a ID (" + strings.Repeat(`"a" "b" `, 10000), ``, true},
		{"more than 30 ID pairs", "imap", "a ID (" + strings.Repeat(`"k" "v" `, 40) + ")\r\n", `^\* ID .*\r\na OK|^a BAD`, false},
		{"a list in a list of ID", "imap", `a ID ("a" ("b" "c"))` + "\r\n", `^a BAD`, false},
		{"an endless line", "imap", long(200000), `^\* (BYE|BAD) `, true},
		{"an endless tag", "imap", long(5000) + " NOOP\r\n", `BAD|BYE`, false},
		{"an endless quoted string", "imap", `a LOGIN "` + long(100000), `BYE|BAD`, true},
		{"a tag of an asterisk", "imap", "* NOOP\r\n", `^\* BAD`, false},
		{"a tag of a plus", "imap", "+ NOOP\r\n", `^\* BAD`, false},
		{"a tag with a format", "imap", "%n%s%x NOOP\r\n", `^\* BAD`, false},
		{"NUL in a tag", "imap", "a\x00b NOOP\r\n", `^\* BAD`, false},
		{"NUL in an atom", "imap", "a LOGIN us\x00er x\r\n", `^a BAD`, false},
		{"NUL in a quoted string", "imap", "a LOGIN \"us\x00er\" x\r\n", `^a BAD`, false},
		{"8-bit in an atom", "imap", "a LOGIN \xff\xfe x\r\n", `^a BAD`, false},
		{"a CR alone", "imap", "a NOOP\rb NOOP\r\n", `^(a|\*) BAD`, false},
		{"three bad commands", "imap", "a FOO\r\nb FOO\r\nc FOO\r\n", `\* BYE Too many invalid IMAP commands`, true},
		{"mail commands before login", "imap", "a SELECT INBOX\r\nb FETCH 1 ALL\r\nc APPEND INBOX {3}\r\nabc\r\n", `(?s)^a BAD.*b BAD`, true},
		{"bad base64", "imap", "a AUTHENTICATE PLAIN ====\r\n", `^a (BAD|NO)`, false},
		{"an aborted exchange", "imap", "a AUTHENTICATE PLAIN\r\n*\r\n", `(?m)^a BAD`, false},
		{"an endless SASL response", "imap", "a AUTHENTICATE PLAIN\r\n" + strings.Repeat("QUFB", 5000) + "\r\n", `^\+`, true},
		{"an endless initial response", "imap", "a AUTHENTICATE PLAIN " + strings.Repeat("QUFB", 5000) + "\r\n", ``, true},
		{"an unknown mechanism", "imap", "a AUTHENTICATE " + long(300) + "\r\n", `^a (NO|BAD)`, false},
		{"PLAIN with too few NULs", "imap", "a AUTHENTICATE PLAIN " + b64("x\x00y") + "\r\n", `^a NO`, false},
		{"PLAIN with too many NULs", "imap", "a AUTHENTICATE PLAIN " + b64("\x00victim@example.org\x00"+password+"\x00x") + "\r\n", `^a NO`, false},
		{"an authzid of somebody else", "imap", "a AUTHENTICATE PLAIN " + plain("fresh@example.org", "victim@example.org", password) + "\r\n", `^a NO`, false},
		{"HTTP on the port of imap", "imap", "POST / HTTP/1.1\r\nHost: x\r\n\r\na LOGIN victim@example.org " + password + "\r\n", `^$|^\* B`, true},
		{"HTTP on the port of pop3", "pop3", "POST / HTTP/1.1\r\nHost: x\r\n\r\nUSER victim@example.org\r\nPASS " + password + "\r\n", `^$|^-ERR`, true},
		{"an endless line", "pop3", long(200000), `^-ERR|^$`, true},
		{"an endless user name", "pop3", "USER " + long(100000) + "\r\n", `^-ERR|^$`, true},
		{"PASS without USER", "pop3", "PASS " + password + "\r\n", `^-ERR`, false},
		{"NUL in a user name", "pop3", "USER a\x00b\r\nPASS x\r\n", `-ERR`, false},
		{"three bad commands", "pop3", "FOO\r\nFOO\r\nFOO\r\n", `-ERR`, true},
		{"mail commands before login", "pop3", "STAT\r\nRETR 1\r\nDELE 1\r\n", `^-ERR`, true},
		{"bad base64", "pop3", "AUTH PLAIN ====\r\n", `^-ERR`, false},
		{"an aborted exchange", "pop3", "AUTH PLAIN\r\n*\r\n", `(?m)^-ERR`, false},
		{"an endless SASL response", "pop3", "AUTH PLAIN\r\n" + strings.Repeat("QUFB", 5000) + "\r\n", `^\+`, true},
		{"an unknown mechanism", "pop3", "AUTH " + long(300) + "\r\n", `^-ERR`, false},
		{"APOP without a challenge", "pop3", "APOP victim@example.org 00000000000000000000000000000000\r\n", `^-ERR`, false},
		{"APOP of much", "pop3", "APOP " + long(900) + " " + long(100) + "\r\n", `^-ERR`, false},
	}
}

// testInput: none of the inputs reaches a backend.
func testInput(t *testing.T, g *gate) {
	for _, tt := range append(inputs(), moreInputs()...) {
		t.Run(tt.listener+": "+tt.name, func(t *testing.T) {
			p := g.meet(t, tt.listener, stranger)
			p.send(tt.send)
			var got string
			if tt.closed {
				got = p.rest(t)
			} else {
				got = p.upTo(t, tt.want)
			}
			if !regexp.MustCompile(tt.want).MatchString(got) {
				t.Errorf("answer %.300q", got)
			}
		})
	}
	const victim = "victim@example.org"
	for _, p := range protocols {
		text := g.good[p.name].text()
		for _, v := range []string{"victim", plain("", victim, password), plain(victim, victim, password)} {
			if strings.Contains(text, v) {
				t.Errorf("the %s backend heard of the victim: %q", p.name, text)
			}
		}
	}
	g.awaitLog(t, "Authentication response too large")
	g.awaitLog(t, "Too much input before login")
	t.Run("ten thousand aborted exchanges end as one does", func(t *testing.T) {
		for protocol, command := range map[string]string{
			"imap": "a AUTHENTICATE PLAIN\r\n*\r\n", "pop3": "AUTH PLAIN\r\n*\r\n", "submission": "AUTH PLAIN\r\n*\r\n",
			"sieve": "AUTHENTICATE \"PLAIN\"\r\n\"*\"\r\n",
		} {
			p := g.meet(t, protocol, stranger)
			p.send(strings.Repeat(command, 10000))
			got := p.rest(t) // closed at the bound on all input
			if n := strings.Count(got, "aborted"); n == 0 || n > 64<<10/len(command) {
				t.Errorf("%s: %d answers", protocol, n)
			}
		}
	})
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// upTo reads lines until all of them together match.
func (p *peer) upTo(t *testing.T, want string) string {
	t.Helper()
	re := regexp.MustCompile(want)
	var b strings.Builder
	for {
		l, err := p.r.ReadString('\n')
		b.WriteString(l)
		if err != nil || re.MatchString(b.String()) {
			return b.String()
		}
	}
}

// testControls: no control byte in a user name, a password or an authzid becomes part of a backend's command or a
// log line.
func testControls(t *testing.T, g *gate) {
	var bytes []byte
	for b := range byte(0x20) {
		bytes = append(bytes, b)
	}
	bytes = append(bytes, 0x7f)
	for _, b := range bytes {
		c := string([]byte{b})
		mark := fmt.Sprintf("mark%02x", b)
		evil := mark + c + "evil"
		literal := func(s string) string { return fmt.Sprintf("{%d+}\r\n%s", len(s), s) }
		for _, tt := range []struct{ name, listener, send string }{
			{"user of LOGIN", "imap", "a LOGIN " + literal("any"+c+mark+"@example.org") + " x\r\n"},
			{"password of LOGIN", "imap", "a LOGIN any@example.org " + literal(evil) + "\r\n"},
			{"user of PLAIN", "imap", "a AUTHENTICATE PLAIN " + plain("", "any"+c+mark+"@example.org", "x") + "\r\n"},
			{"password of PLAIN", "imap", "a AUTHENTICATE PLAIN " + plain("", "any@example.org", evil) + "\r\n"},
			{"authzid of PLAIN", "imap", "a AUTHENTICATE PLAIN " + plain("any"+c+mark, "any@example.org", "x") + "\r\n"},
			{"user of AUTH PLAIN", "pop3", "AUTH PLAIN " + plain("", "any"+c+mark+"@example.org", "x") + "\r\n"},
			{"password of AUTH PLAIN", "pop3", "AUTH PLAIN " + plain("", "any@example.org", evil) + "\r\n"},
		} {
			t.Run(fmt.Sprintf("%s: 0x%02x in the %s", tt.listener, b, tt.name), func(t *testing.T) {
				p := g.meet(t, tt.listener, stranger)
				p.send(tt.send)
				got := p.upTo(t, `(?m)^(a |\+OK|-ERR)`)
				refused := strings.HasPrefix(got, "a NO") || strings.HasPrefix(got, "a BAD") || strings.HasPrefix(got, "-ERR")
				if must := b == 0 || b == 1 || b == '\t' || b == '\r' || b == '\n' || !strings.HasPrefix(tt.name, "password"); must && !refused {
					t.Errorf("answer %q", got)
				}
			})
		}
		for _, protocol := range []string{"imap", "pop3"} {
			for l := range strings.SplitSeq(g.good[protocol].text(), "\r\n") {
				if strings.HasPrefix(l, "evil") || strings.ContainsAny(l, "\x00\x01\r\n\t") {
					t.Errorf("0x%02x: the %s backend heard the line %q", b, protocol, l)
				}
			}
		}
	}
	t.Run("texts that turn around in a log are masked", func(t *testing.T) {
		for _, s := range []string{"\u202e", "\u2066", "\u200b", "\u2028", "\u0085", "\xff\xfe", "\xc3\x28", "\ufeff"} {
			p := g.meet(t, "imap", stranger)
			p.send(`i ID ("name" "` + s + `bidi" "` + s + `" "x")` + "\r\n")
			p.send("a LOGIN \"" + s + "@example.org\" x\r\n")
			p.until(t, "a NO")
			p.send("a AUTHENTICATE \"" + s + "\"\r\n")
			p.Close()
			p = g.meet(t, "pop3", stranger)
			p.send("USER " + s + "@example.org\r\nPASS x\r\n")
			p.until(t, "-ERR")
			p.Close()
		}
		checkLog(t, g.log(t))
	})
}

// testPipelining: bytes behind a login go to the backend once, in order; bytes behind a refusal are commands.
func testPipelining(t *testing.T, g *gate) {
	t.Run("a second login in the pipe is the backend's business", func(t *testing.T) {
		before := g.good["imap"].count()
		p := g.meet(t, "imap", stranger)
		p.send("a LOGIN any@example.org one\r\nb LOGIN victim@example.org two\r\nc XPIPE\r\n")
		p.until(t, "c OK")
		text := g.good["imap"].text()
		if strings.Count(text, "b LOGIN victim@example.org two\r\nc XPIPE\r\n") != 1 {
			t.Errorf("the backend heard %q", text[max(0, len(text)-300):])
		}
		_ = before // others log in at the same time: connections are not countable here
	})
	t.Run("much behind a login arrives untouched", func(t *testing.T) {
		const n = 3000
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "p%d XMUCH\r\n", i)
		}
		p := g.meet(t, "imap", stranger)
		go p.send("a LOGIN any@example.org one\r\n" + b.String())
		p.until(t, "a OK")
		for i := range n {
			if l := p.line(t); l != fmt.Sprintf("p%d OK XMUCH completed", i) {
				t.Fatalf("answer %d is %q", i, l)
			}
		}
	})
	t.Run("bytes behind a refusal are commands to the proxy", func(t *testing.T) {
		p := g.meet(t, "imap", stranger)
		p.send("a LOGIN victim@example.org wrong\r\nb XSECRET\r\nc NOOP\r\nd LOGIN any@example.org x\r\ne XAFTER\r\n")
		for _, want := range []string{"a NO", "b BAD", "c OK", "d OK", "e OK"} {
			p.until(t, want)
		}
		if strings.Contains(g.good["imap"].text(), "XSECRET") {
			t.Error("the backend heard what came before the login")
		}
	})
	t.Run("bytes behind a refusal are commands to the proxy in POP3", func(t *testing.T) {
		p := g.meet(t, "pop3", stranger)
		p.send("USER victim@example.org\r\nPASS wrong\r\nXSECRET\r\nUSER any@example.org\r\nPASS x\r\nXAFTER\r\n")
		p.until(t, "-ERR [AUTH]")
		p.until(t, "-ERR")
		p.until(t, "+OK XAFTER")
		if strings.Contains(g.good["pop3"].text(), "XSECRET") {
			t.Error("the backend heard what came before the login")
		}
	})
}
