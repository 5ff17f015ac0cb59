package e2e

import (
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"dproxy/test/daemon"
)

const lmtpConf = `protocols = imap pop3 lmtp
lmtp_proxy = yes
hostname = proxy.example.org
service lmtp {
  inet_listener lmtp {
    port = %d
  }
  inet_listener lmtps {
    port = %d
    ssl = yes
  }
}
passdb {
  driver = passwd-file
  args = @DIR@/passwd
}
`

// testLMTP has swaks send messages for users of two real backends, and of one that is down, through the proxy.
func testLMTP(t *testing.T, h *house, _ *front) {
	swaks := daemon.Program(t, "swaks")
	var ports [3]int
	for i := range ports {
		var err error
		if ports[i], err = h.ports.Free("127.0.0.1"); err != nil {
			t.Fatal(err)
		}
	}
	passwd := ""
	for user, where := range map[string]string{
		"carol@example.org": fmt.Sprintf("host=%s port=%d", h.one.IP, h.one.Port("lmtp")),
		"bob@example.org":   fmt.Sprintf("host=%s port=%d starttls=any-cert", h.two.IP, h.two.Port("lmtp")),
		"down@example.org":  fmt.Sprintf("host=127.0.0.1 port=%d", ports[2]),
	} {
		passwd += user + ":{PLAIN}x::::::proxy=y " + where + "\n"
	}
	f := h.start(t, fmt.Sprintf(lmtpConf, ports[0], ports[1]), map[string]string{"passwd": passwd})
	f.port["lmtp"], f.port["lmtps"] = ports[0], ports[1]
	for name, size := range map[string]int{"swaks": 100, "swaks, past what is kept in memory": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			subject := fmt.Sprintf("lmtp-of-%d-bytes", size) // none is part of another: SEARCH finds substrings
			body := ".dots\n..more\n" + strings.Repeat("a line of text that is not very long\n", size/37)
			f.write(t, "message", "From: sender@example.org\nTo: list@example.org\nSubject: "+subject+"\n\n"+body)
			out, _ := exec.CommandContext(t.Context(), swaks,
				"--protocol", "LMTP", "--server", f.addr("lmtp"), "--helo", "mta.example.org", "--from", "sender@example.org",
				"--to", "carol@example.org,nobody@example.org,down@example.org,bob@example.org", "--data", "@"+f.file("message"),
			).CombinedOutput() // it fails: two are refused
			for _, want := range []string{
				`550 5\.1\.1 <nobody@example\.org> User doesn't exist`, `451 4\.4\.0 Proxy failed \(connect, session=`,
				`250 2\.0\.0 <carol@example\.org> \S+ Saved`, `250 2\.0\.0 <bob@example\.org> \S+ Saved`,
			} {
				if !regexp.MustCompile(want).Match(out) {
					t.Errorf("swaks did not hear %s:\n%s", want, out)
				}
			}
			arrived(t, h.one.Addr("imap"), "carol@example.org", subject, "LMTP", body)
			arrived(t, h.two.Addr("imap"), "bob@example.org", subject, "LMTP", body)
		})
	}
	t.Run("another client, 25 MB over TLS", func(t *testing.T) { bigLMTP(t, h, f) })
}

// bigLMTP delivers 25 MB over TLS to two backends.
func bigLMTP(t *testing.T, h *house, f *front) {
	nc, err := dial(f.addr("lmtps"), "", h.clientTLS())
	if err != nil {
		t.Fatal(err)
	}
	c := smtp.NewClientLMTP(nc)
	defer c.Close()
	for _, err := range []error{
		c.Hello("mta.example.org"), c.Mail("sender@example.org", nil), c.Rcpt("carol@example.org", nil), c.Rcpt("bob@example.org", nil),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	message := bigMessage(bigAppend)
	if _, err := w.Write(message); err != nil {
		t.Fatal(err)
	}
	if answers, err := w.CloseWithLMTPResponse(); err != nil || len(answers) != 2 {
		t.Fatalf("%v, %v", answers, err)
	}
	_, body, _ := strings.Cut(strings.ReplaceAll(string(message), "\r\n", "\n"), "\n\n")
	arrived(t, h.one.Addr("imap"), "carol@example.org", "big", "LMTPS", body)
	arrived(t, h.two.Addr("imap"), "bob@example.org", "big", "LMTPS", body)
}

// arrived reads a message at its backend.
func arrived(t *testing.T, addr, user, subject, with, body string) {
	t.Helper()
	c, err := loginIMAP(addr, "", nil, user)
	if err != nil {
		t.Fatal(err)
	}
	defer c.nc.Close()
	if _, err := c.cmd("SELECT INBOX"); err != nil {
		t.Fatal(err)
	}
	found, err := c.cmd("SEARCH SUBJECT %s", subject)
	if err != nil {
		t.Fatal(err)
	}
	numbers := regexp.MustCompile(`\* SEARCH (\d+)$`).FindStringSubmatch(strings.Join(found, "\n"))
	if numbers == nil {
		t.Fatalf("%s has not exactly one message with the subject %s: %q", user, subject, found)
	}
	lines, err := c.cmd("FETCH %s BODY[]", numbers[1])
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(lines, "\n")
	if !strings.Contains(got, "\n\n"+body) {
		t.Errorf("%s has another body than was sent: %s", user, got[:min(len(got), 2000)])
	}
	if !strings.Contains(got, "\tby proxy.example.org with "+with+"\n") {
		t.Errorf("%s has no trace of the proxy in the message: %s", user, got[:min(len(got), 2000)])
	}
}
