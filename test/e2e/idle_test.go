package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// testIdle waits in IDLE for a message that comes by LMTP past the proxy.
func testIdle(t *testing.T, h *house, f *front) {
	for _, tls := range []bool{false, true} {
		t.Run(fmt.Sprintf("with TLS %v", tls), func(t *testing.T) {
			addr, conf := f.addr("imap"), h.clientTLS()
			if tls {
				addr = f.addr("imaps")
			} else {
				conf = nil
			}
			c, err := loginIMAP(addr, "", conf, "carol@example.org")
			if err != nil {
				t.Fatal(err)
			}
			defer c.nc.Close()
			if _, err := c.cmd("SELECT INBOX"); err != nil {
				t.Fatal(err)
			}
			tag, err := c.start("IDLE")
			if err != nil {
				t.Fatal(err)
			}
			if l, err := c.line(); err != nil || !strings.HasPrefix(l, "+") {
				t.Fatalf("%q, %v", l, err)
			}
			deliver(t, h.one.Addr("lmtp"), "carol@example.org")
			if l, err := c.until(`^\* \d+ EXISTS`); err != nil {
				t.Fatalf("%q, %v", l, err)
			}
			if _, err := fmt.Fprint(c.nc, "DONE\r\n"); err != nil {
				t.Fatal(err)
			}
			if _, err := c.finish(tag); err != nil {
				t.Error(err)
			}
		})
	}
}

// deliver sends a small message by LMTP.
func deliver(t *testing.T, addr, to string) {
	t.Helper()
	c, err := dialIMAP(addr, "", nil) // it reads lines, which is all LMTP needs too
	if err != nil {
		t.Fatal(err)
	}
	defer c.nc.Close()
	for _, step := range []struct{ say, hear string }{
		{"LHLO client.example.org", `^250 `},
		{"MAIL FROM:<sender@example.org>", `^250 `},
		{"RCPT TO:<" + to + ">", `^250 `},
		{"DATA", `^354`},
		{"Subject: pushed\r\n\r\nHello\r\n.", `^250 `},
		{"QUIT", `^221`},
	} {
		if _, err := fmt.Fprint(c.nc, step.say+"\r\n"); err != nil {
			t.Fatal(err)
		}
		if l, err := c.until(step.hear + `|^[45]`); err != nil || strings.ContainsAny(l[:1], "45") {
			t.Fatalf("%s: %q, %v", step.say, l, err)
		}
	}
}
