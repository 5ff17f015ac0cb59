package dovecot_test

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"dproxy/test/daemon"
	dovecot "dproxy/test/dovecot-backend"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBackend(t *testing.T) {
	t.Parallel()
	s := dovecot.Start(t, dovecot.Config{
		IP:      "127.0.0.1",
		Users:   map[string]string{"u1": "secret"},
		Trusted: "127.0.0.0/8",
		Ports:   daemon.NewPorts(),
	})
	if err := s.Deliver("u1", []byte("Subject: one\n\nx\n"), []byte("Subject: two\n\ny\n")); err != nil {
		t.Fatal(err)
	}
	for name, script := range map[string][]string{
		"imap": {"", "* OK", "a1 LOGIN u1 secret\r\n", "a1 OK", "a2 STATUS INBOX (MESSAGES)\r\n", "* STATUS INBOX (MESSAGES 2)"},
		"pop3": {"", "+OK", "USER u1\r\n", "+OK", "PASS secret\r\n", "+OK Logged in", "STAT\r\n", "+OK 2 "},
		"lmtp": {"", "220 ", "LHLO x\r\n", "250 ", "MAIL FROM:<a@example.org>\r\n", "250 ", "RCPT TO:<u1>\r\n", "250 "},
	} {
		t.Run(name, func(t *testing.T) {
			if err := talk(s.Addr(name), script); err != nil {
				t.Errorf("%v\n%s", err, s.Log())
			}
		})
	}
	if !strings.Contains(s.Log(), "imap-login: Info: Login: user=<u1>") {
		t.Errorf("the log has no login:\n%s", s.Log())
	}
	if s.Port("imaps") != 0 || s.Port("submission") != 0 {
		t.Error("without a certificate there is no TLS, without a relay no submission")
	}
}

// talk alternates between sending and reading up to a line with a beginning.
func talk(addr string, script []string) error {
	nc, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return err
	}
	defer nc.Close()
	if err := nc.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	r := bufio.NewReader(nc)
	for i := 0; i < len(script); i += 2 {
		if _, err := nc.Write([]byte(script[i])); err != nil {
			return err
		}
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return fmt.Errorf("after %q: %w", script[i], err)
			}
			if strings.HasPrefix(line, script[i+1]) {
				break
			}
			if strings.Contains(line, " NO ") || strings.HasPrefix(line, "-ERR") || strings.HasPrefix(line, "5") {
				return fmt.Errorf("after %q: %s", script[i], line)
			}
		}
	}
	return nil
}
