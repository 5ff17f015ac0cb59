package e2e

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"dproxy/test/daemon"
)

// testCurl reads a message of two users on two backends by each protocol and each kind of TLS.
func testCurl(t *testing.T, h *house, f *front) {
	curl := daemon.Program(t, "curl")
	alice, bob := "Subject: for alice\r\n\r\nAlice lives on one.\r\n", "Subject: for bob\r\n\r\nBob lives on two.\r\n"
	if err := errors.Join(h.one.Deliver("alice@example.org", []byte(alice)), h.two.Deliver("bob@example.org", []byte(bob))); err != nil {
		t.Fatal(err)
	}
	run := func(user, scheme, path string, more ...string) (string, error) {
		// The name in the certificate stands in the URL, and is made to mean this machine.
		url := fmt.Sprintf("%s://proxy.example.org:%d/%s", scheme, f.port[scheme], path)
		args := append([]string{
			"--silent", "--show-error", "--max-time", "60", "--user", user, "--url", url,
			"--cacert", h.certs.File("ca", "crt"), "--resolve", fmt.Sprintf("proxy.example.org:%d:127.0.0.1", f.port[scheme]),
		}, more...)
		out, err := exec.CommandContext(t.Context(), curl, args...).CombinedOutput()
		return string(out), err
	}
	for user, text := range map[string]string{"alice@example.org": alice, "bob@example.org": bob} {
		for _, tt := range []struct {
			name, scheme, path string
			more               []string
		}{
			{"IMAP", "imap", "INBOX;MAILINDEX=1", nil},
			{"IMAP with STARTTLS", "imap", "INBOX;MAILINDEX=1", []string{"--ssl-reqd"}},
			{"IMAP with STARTTLS and AUTHENTICATE PLAIN", "imap", "INBOX;MAILINDEX=1", []string{"--ssl-reqd", "--login-options", "AUTH=PLAIN"}},
			{"IMAPS", "imaps", "INBOX;MAILINDEX=1", nil},
			{"POP3", "pop3", "1", nil},
			{"POP3 with STLS", "pop3", "1", []string{"--ssl-reqd"}},
			{"POP3S", "pop3s", "1", nil},
		} {
			t.Run(user+" "+tt.name, func(t *testing.T) {
				out, err := run(user+":"+password, tt.scheme, tt.path, tt.more...)
				if err != nil || !strings.Contains(out, strings.TrimSpace(strings.SplitN(text, "\r\n\r\n", 2)[1])) {
					t.Errorf("%v: %s", err, out)
				}
			})
		}
	}
	t.Run("a wrong password is refused by the backend", func(t *testing.T) {
		out, err := run("alice@example.org:wrong", "imaps", "INBOX;MAILINDEX=1")
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 67 { // CURLE_LOGIN_DENIED
			t.Errorf("%v: %s", err, out)
		}
	})
}
