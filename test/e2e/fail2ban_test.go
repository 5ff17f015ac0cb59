package e2e

import (
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"dproxy/test/daemon"
)

const fail2banFilter = "/etc/fail2ban/filter.d/dovecot.conf"

const fail2banConf = `log_timestamp = "%b %d %H:%M:%S "
auth_verbose = yes
auth_mechanisms = plain cram-md5
passdb {
  driver = passwd-file
  args = scheme=plain @DIR@/passwd
}
`

// TestEndToEndFail2ban has fail2ban's own filter for Dovecot read the proxy's log: it counts each failed login and
// nothing else.
func TestEndToEndFail2ban(t *testing.T) {
	program := daemon.Program(t, "fail2ban-regex", "/usr/bin/fail2ban-regex")
	if _, err := os.Stat(fail2banFilter); err != nil {
		daemon.Missing(t, "fail2ban's filter: %v", err)
	}
	h := bareHouse(t)
	f := h.start(t, fail2banConf, map[string]string{"passwd": "alice:" + password + "::::::\nnets:" + password + "::::::allow_nets=192.0.2.1\n"})
	for _, dialogue := range []struct{ front, say string }{
		{"imap", "a LOGIN alice wrong\r\nb LOGIN nobody wrong\r\nc LOGOUT\r\n"},
		{"imap", "a LOGIN nets " + password + "\r\nc LOGOUT\r\n"},
		{"imap", "a NOOP\r\nc LOGOUT\r\n"},
		{"pop3", "USER alice\r\nPASS wrong\r\nQUIT\r\n"},
	} {
		say(t, f.addr(dialogue.front), dialogue.say)
	}
	eventually(t, "four ends of connections in the log", func() bool {
		return strings.Count(f.read(t, "log"), "-login: Info: Disconnected: Aborted login by logging out") == 4
	})
	out, err := exec.CommandContext(t.Context(), program, "--print-all-matched", f.file("log"), fail2banFilter).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	_, matched, _ := strings.Cut(string(out), "- Matched line(s):")
	matched, _, _ = strings.Cut(matched, "- Missed line(s):")
	for line := range strings.Lines(f.read(t, "log")) {
		line = strings.TrimSpace(line)
		counted := slices.ContainsFunc([]string{": Password mismatch", ": unknown user", " (auth failed, "}, func(s string) bool { return strings.Contains(line, s) })
		if got := strings.Contains(matched, "|  "+line); got != counted {
			t.Errorf("counted: %t, want %t: %s", got, counted, line)
		}
	}
	if n := strings.Count(matched, "|  "); n != 6 {
		t.Errorf("%d lines counted, want 6:\n%s", n, out)
	}
}

// say sends all of a client's lines at once and reads until the proxy closes.
func say(t *testing.T, addr, text string) {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(nc, text); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(nc); err != nil {
		t.Fatal(err)
	}
}
