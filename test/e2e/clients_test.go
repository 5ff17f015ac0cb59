package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"dproxy/test/daemon"
)

// TestEndToEndClients has more real clients use the proxy, each with STARTTLS and with a certificate that it verifies.
func TestEndToEndClients(t *testing.T) {
	h := newHouse(t)
	t.Run("fetchmail", func(t *testing.T) { testFetchmail(t, h) })
	t.Run("sieve-connect", func(t *testing.T) { testSieveConnect(t, h) })
}

// testFetchmail fetches the messages of a mailbox by each protocol and each kind of TLS. The last one deletes them.
func testFetchmail(t *testing.T, h *house) {
	program := daemon.Program(t, "fetchmail")
	var messages [][]byte
	for i := range 5 {
		messages = append(messages, fmt.Appendf(nil, "From: a@example.net\r\nTo: big@example.org\r\nSubject: number %d\r\n\r\n.a dot\r\ntext %d\r\n", i, i))
	}
	if err := h.one.Deliver("big@example.org", messages...); err != nil {
		t.Fatal(err)
	}
	f := h.start(t, "passdb {\n  driver = static\n  args = nopassword=y proxy=y host="+h.one.IP+"\n}\n", nil)
	for i, tt := range []struct{ name, protocol, listener, options string }{
		{"IMAP with STARTTLS", "IMAP", "imap", `sslproto "TLS1.2+"`},
		{"IMAPS", "IMAP", "imaps", `ssl`},
		{"POP3 with STLS", "POP3", "pop3", `sslproto "TLS1.2+"`},
		{"POP3S", "POP3", "pop3s", `ssl`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			home := daemon.ShortDir(t)
			keep := "keep"
			if i == 3 {
				keep = "nokeep"
			}
			rc := fmt.Sprintf("set no bouncemail\npoll 127.0.0.1 protocol %s port %d timeout 50 user \"big@example.org\" password \"%s\" %s sslcertck sslcertfile \"%s\" sslcommonname \"proxy.example.org\" fetchall %s mda \"cat >>%s/got\"\n",
				tt.protocol, f.port[tt.listener], password, tt.options, h.certs.File("ca", "crt"), keep, home)
			if err := os.WriteFile(home+"/rc", []byte(rc), 0o600); err != nil {
				t.Fatal(err)
			}
			out := run(t, program, "--nosyslog", "--fetchmailrc", home+"/rc", "--idfile", home+"/ids", "--pidfile", home+"/pid", "-v")
			got, err := os.ReadFile(home + "/got")
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for i := range messages {
				if text := fmt.Sprintf("Subject: number %d\n\n.a dot\ntext %d\n", i, i); !strings.Contains(string(got), text) {
					t.Errorf("message %d is missing: %s\n%s", i, got, out)
				}
			}
		})
	}
	c, err := loginIMAP(h.one.Addr("imap"), "", nil, "big@example.org")
	if err != nil {
		t.Fatal(err)
	}
	defer c.nc.Close()
	if lines, err := c.cmd("STATUS INBOX (MESSAGES)"); err != nil || !strings.Contains(strings.Join(lines, ""), "(MESSAGES 0)") {
		t.Errorf("what was fetched for good is still there: %q, %v", lines, err)
	}
}

// testSieveConnect stores, lists, activates and reads a script.
func testSieveConnect(t *testing.T, h *house) {
	program := daemon.Program(t, "sieve-connect")
	f := submitFront(t, h, h.one.IP, h.one.Port("sieve"))
	script := "require \"fileinto\";\n# " + strings.Repeat("a long comment ", 300) + "\nif header :contains \"Subject\" \"x\" { fileinto \"X\"; }\n"
	f.write(t, "script.sieve", script)
	connect := func(pass string, action ...string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		cmd := exec.CommandContext(ctx, program, append([]string{
			"--server", "127.0.0.1", "--port", fmt.Sprint(f.port["sieve"]), "--nosrv", "--tlshostname", "proxy.example.org",
			"--tlscafile", h.certs.File("ca", "crt"), "--user", "alice@example.org", "--passwordfd", "0",
		}, action...)...)
		cmd.Stdin = strings.NewReader(pass + "\n")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for _, action := range [][]string{
		{"--upload", "--localsieve", f.file("script.sieve"), "--remotesieve", "mine"},
		{"--activate", "--remotesieve", "mine"},
		{"--download", "--remotesieve", "mine", "--localsieve", f.file("copy.sieve")},
	} {
		if out, err := connect(password, action...); err != nil {
			t.Fatalf("%s: %v\n%s", action[0], err, out)
		}
	}
	if got := strings.ReplaceAll(f.read(t, "copy.sieve"), "\r\n", "\n"); got != script {
		t.Errorf("another script came back: %q", got)
	}
	if out, err := connect(password, "--list"); err != nil || !strings.Contains(out, `"mine" ACTIVE`) {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := connect("wrong", "--list"); err == nil {
		t.Errorf("a wrong password is good:\n%s", out)
	}
}
