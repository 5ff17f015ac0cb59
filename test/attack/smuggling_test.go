package attack

import (
	"fmt"
	"strings"
	"testing"
)

// deliver sends one LMTP transaction up to DATA's answer.
func (p *peer) begin(t *testing.T, recipients ...string) {
	t.Helper()
	script := [][2]string{{"LHLO client.example.org\r\n", "250 "}, {"MAIL FROM:<s@example.net>\r\n", "250 "}}
	for _, r := range recipients {
		script = append(script, [2]string{"RCPT TO:<" + r + "@example.org>\r\n", "250 "})
	}
	if err := p.talk(protocolOf("lmtp"), script); err != nil {
		t.Fatal(err)
	}
}

// testSmuggling: one message stays one, for the strictest and the laxest reader behind the proxy.
func testSmuggling(t *testing.T, g *gate) {
	b := g.good["lmtp"]
	lmtp := protocolOf("lmtp")
	for i, end := range []string{"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r.\r\n", "\r\n.\r", "\n.\r", "\r\r\n.\r\r\n", "\x00\r\n.\x00\r\n", "\r\n\x00.\r\n", "\r\n.\x00\r\n", "\r\n.\r\x00\n"} {
		t.Run(fmt.Sprintf("%q does not end a message", end), func(t *testing.T) {
			mark := fmt.Sprintf("smuggled-%d-", i)
			p := g.meet(t, "lmtp", stranger)
			p.begin(t, "any")
			evil := "MAIL FROM:<evil@example.net>\r\nRCPT TO:<victim@example.org>\r\nDATA\r\nSubject: " + mark + "inner\r\n\r\nx"
			if err := p.talk(lmtp, [][2]string{
				{"DATA\r\n", "354 "},
				{"Subject: " + mark + "outer\r\n\r\ntext" + end + evil + "\r\n.\r\n", "250 "},
				{"NOOP\r\n", "250 2.0.0 OK"},
			}); err != nil {
				t.Fatal(err)
			}
			if got := b.message(mark); len(got) != 1 {
				t.Errorf("the backend has %d messages: %q", len(got), got)
			} else {
				checkLax(t, got[0], mark)
			}
		})
	}
	for i, end := range []string{"\r\n.\r\n", "\n.\n", "\r\n.", "\r"} {
		t.Run(fmt.Sprintf("%q in a chunk does not end a message", end), func(t *testing.T) {
			mark := fmt.Sprintf("chunked-%d-", i)
			p := g.meet(t, "lmtp", stranger)
			p.begin(t, "any")
			part, rest := "Subject: "+mark+"outer\r\n\r\ntext"+end, "\r\nMAIL FROM:<evil@example.net>\r\nRCPT TO:<victim@example.org>\r\nDATA\r\n"+mark+"\r\n.\r\nQUIT"
			if err := p.talk(lmtp, [][2]string{
				{fmt.Sprintf("BDAT %d\r\n%s", len(part), part), "250 "},
				{fmt.Sprintf("BDAT %d LAST\r\n%s", len(rest), rest), "250 "},
				{"NOOP\r\n", "250 2.0.0 OK"},
			}); err != nil {
				t.Fatal(err)
			}
			if got := b.message(mark); len(got) != 1 {
				t.Errorf("the backend has %d messages: %q", len(got), got)
			} else {
				checkLax(t, got[0], mark)
			}
		})
	}
	t.Run("an end in two pieces ends a message", func(t *testing.T) {
		p := g.meet(t, "lmtp", stranger)
		p.begin(t, "any")
		if err := p.talk(lmtp, [][2]string{{"DATA\r\n", "354 "}}); err != nil {
			t.Fatal(err)
		}
		for _, part := range []string{"Subject: in-pieces\r", "\n\r\n..dot\r\n", ".", "\r", "\n"} {
			p.send(part)
		}
		if l, err := p.answer(lmtp); err != nil || !strings.HasPrefix(l, "250 ") {
			t.Fatalf("%q, %v", l, err)
		}
		if got := b.message("in-pieces"); len(got) != 1 || !strings.HasSuffix(got[0], "\r\n\r\n..dot\r\n.\r\n") {
			t.Errorf("the backend has %q", got)
		}
	})
	t.Run("commands behind a message are commands", func(t *testing.T) {
		p := g.meet(t, "lmtp", stranger)
		p.begin(t, "any")
		p.send("DATA\r\nSubject: piped\r\n\r\nx\r\n.\r\nRSET\r\nNOOP\r\nFOO\r\n")
		for _, want := range []string{"354 ", "250 ", "250 2.0.0 OK", "250 2.0.0 OK", "500 "} {
			if l := p.line(t); !strings.HasPrefix(l, want) {
				t.Errorf("answer %q, not %s", l, want)
			}
		}
	})
	t.Run("a message that is cut off is not delivered", func(t *testing.T) {
		for _, cut := range []string{"DATA\r\nSubject: cut-off\r\n\r\nx\r\n.", "DATA\r\nSubject: cut-off\r\n\r\nx\r\n", "BDAT 100 LAST\r\nSubject: cut-off\r\n\r\n", "BDAT 21\r\nSubject: cut-off\r\n\r\n"} {
			p := g.meet(t, "lmtp", stranger)
			p.begin(t, "any")
			p.send(cut)
			if err := p.raw.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			p.rest(t)
		}
		if got := b.message("cut-off"); len(got) != 0 {
			t.Errorf("the backend has %q", got)
		}
	})
	t.Run("a sender and a name cannot write headers", func(t *testing.T) {
		for _, helo := range []string{"x\tby", "x)\tfor", "a(b", "<x>", strings.Repeat("h", 4000)} {
			p := g.meet(t, "lmtp", stranger)
			p.send("LHLO " + helo + "\r\n")
			if l, err := p.answer(lmtp); err != nil || !strings.HasPrefix(l, "250 ") {
				continue // refused
			}
			if err := p.talk(lmtp, [][2]string{
				{"MAIL FROM:<\"a\\\"b c\"@example.net>\r\n", "250 "},
				{"RCPT TO:<any@example.org>\r\n", "250 "},
				{"DATA\r\n", "354 "},
				{"Subject: header-of-proxy\r\n\r\nx\r\n.\r\n", "250 "},
			}); err != nil {
				t.Errorf("%.20q: %v", helo, err)
			}
		}
		for _, m := range b.message("header-of-proxy") {
			head, _, _ := strings.Cut(m[2:], "Subject: ")
			for i, l := range strings.Split(strings.TrimSuffix(head, "\r\n"), "\r\n") {
				if want := "\t"; i == 0 && !strings.HasPrefix(l, "Received: from ") || i > 0 && !strings.HasPrefix(l, want) {
					t.Errorf("header %.300q", head)
				}
			}
		}
	})
}

// message finds those that hold a text.
func (b *target) message(text string) (found []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.messages {
		if strings.Contains(m, text) {
			found = append(found, m)
		}
	}
	return found
}

// checkLax wants no reader that takes a bare LF for the end of a line to see the end of the message in it.
func checkLax(t *testing.T, message, mark string) {
	t.Helper()
	body := strings.TrimSuffix(message, "\r\n.\r\n")
	for _, end := range []string{"\n.\n", "\n.\r\n", "\r\n.\n"} {
		if strings.Contains(body, end) {
			t.Errorf("%s: a lax reader ends it at %q: %q", mark, end, message)
		}
	}
	if strings.Contains(strings.ReplaceAll(body, "\r\n", ""), "\n") {
		t.Errorf("%s: it has a bare LF: %q", mark, message)
	}
}
