package e2e

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dproxy/test/daemon"
)

const (
	syncMessages = 1000 // in the mailbox at the beginning
	syncNew      = 40   // written by the client
)

// testMbsync synchronises a mailbox with one copy through the proxy and another directly, both ways.
func testMbsync(t *testing.T, h *house, f *front) {
	mbsync := daemon.Program(t, "mbsync")
	var messages [][]byte
	for i := range syncMessages {
		messages = append(messages, fmt.Appendf(nil, "From: a@example.org\r\nSubject: message %d\r\nMessage-ID: <%d@example.org>\r\n\r\n%s\r\n",
			i, i, strings.Repeat(fmt.Sprintf("line %d of text. ", i), 1+i%50)))
	}
	if err := h.one.Deliver("sync@example.org", messages...); err != nil {
		t.Fatal(err)
	}
	proxied := newCopy(t, h, fmt.Sprintf("Host 127.0.0.1\nPort %d\nSSLType STARTTLS", f.port["imap"]))
	direct := newCopy(t, h, fmt.Sprintf("Host %s\nPort 143\nSSLType None\nAuthMechs LOGIN", h.one.IP))
	sync := func(c string) {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), mbsync, "-c", filepath.Join(c, "mbsyncrc"), "-a").CombinedOutput()
		if err != nil {
			t.Fatalf("mbsync: %v\n%s", err, out)
		}
	}
	compare := func(want int) {
		t.Helper()
		a, b := contents(t, proxied), contents(t, direct)
		if len(a) != want || !slices.Equal(a, b) {
			t.Errorf("%d messages through the proxy, %d directly, %d expected; equal: %v", len(a), len(b), want, slices.Equal(a, b))
		}
	}
	sync(proxied)
	sync(direct)
	compare(syncMessages)

	for i := range syncNew {
		text := fmt.Sprintf("From: b@example.org\nSubject: written %d\n\n%s\n", i, strings.Repeat("x", 10*i))
		if err := os.WriteFile(filepath.Join(proxied, "INBOX", "cur", fmt.Sprintf("1800000000.%d.client:2,S", i)), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i, name := range files(t, proxied)[:100] { // flags and deletions travel too
		flags := "FS"
		if i%4 == 0 {
			flags = "ST"
		}
		if base, _, ok := strings.Cut(name, ":2,"); ok {
			if err := os.Rename(name, strings.Replace(base, "/new/", "/cur/", 1)+":2,"+flags); err != nil {
				t.Fatal(err)
			}
		}
	}
	sync(proxied)
	sync(direct)
	sync(proxied)
	compare(syncMessages + syncNew - 25)
}

// newCopy makes a directory with a local store and mbsync's configuration for the account.
func newCopy(t *testing.T, h *house, account string) string {
	t.Helper()
	dir := daemon.ShortDir(t)
	conf := fmt.Sprintf(`IMAPAccount server
%[1]s
User sync@example.org
Pass %[2]s
CertificateFile %[3]s

IMAPStore far
Account server

MaildirStore near
Path %[4]s/
Inbox %[4]s/INBOX

Channel all
Far :far:
Near :near:
Patterns INBOX
Create Near
Expunge Both
SyncState *
`, account, password, h.certs.File("proxy", "crt"), dir)
	if err := os.WriteFile(filepath.Join(dir, "mbsyncrc"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "INBOX", "*", "*:2,*"))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// contents gives a sorted line for each message: hash of its text, without what mbsync adds, and its flags.
func contents(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	for _, name := range files(t, dir) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var kept []string
		for l := range strings.Lines(string(text)) {
			if !strings.HasPrefix(l, "X-TUID: ") {
				kept = append(kept, strings.TrimRight(l, "\r\n"))
			}
		}
		_, flags, _ := strings.Cut(filepath.Base(name), ":2,")
		out = append(out, fmt.Sprintf("%x %s", sha256.Sum256([]byte(strings.Join(kept, "\n"))), flags))
	}
	slices.Sort(out)
	return out
}
