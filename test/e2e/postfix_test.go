package e2e

import (
	"fmt"
	"net"
	"net/smtp"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"dproxy/test/daemon"
	dovecot "dproxy/test/dovecot-backend"
)

// TestEndToEndPostfix has a real Postfix deliver by LMTP through the proxy to two real backends and to one that is down.
func TestEndToEndPostfix(t *testing.T) {
	h := newHouse(t)
	smtpPort, lmtpPort, lmtps := h.freePort(t), h.freePort(t), h.freePort(t)
	third := strings.TrimSuffix(h.one.IP, "1") + "3" // nobody listens there yet
	passwd := ""
	for user, ip := range map[string]string{"alice@example.org": h.one.IP, "carol@example.org": h.one.IP, "bob@example.org": h.two.IP, "dave@example.org": third} {
		passwd += fmt.Sprintf("%s:{PLAIN}x::::::proxy=y host=%s port=24\n", user, ip)
	}
	f := h.start(t, fmt.Sprintf(lmtpConf, lmtpPort, lmtps), map[string]string{"passwd": passwd})
	p := startPostfix(t, smtpPort, lmtpPort)
	send := func(subject string, to ...string) {
		t.Helper()
		body := strings.ReplaceAll("From: s@example.net\nTo: list@example.org\nSubject: "+subject+"\n\n"+postfixBody, "\n", "\r\n")
		if err := smtp.SendMail(net.JoinHostPort("127.0.0.1", strconv.Itoa(smtpPort)), nil, "s@example.net", to, []byte(body)); err != nil {
			t.Fatalf("%v\n%s", err, p.log(t))
		}
	}

	send("for-four-and-nobody", "alice@example.org", "dave@example.org", "nobody@example.org", "bob@example.org", "carol@example.org")
	for _, want := range []string{
		`to=<alice@example\.org>, relay=127\.0\.0\.1.*status=sent \(250 2\.0\.0 <alice@example\.org> \S+ Saved`,
		`to=<bob@example\.org>, .*status=sent \(250 2\.0\.0 <bob@example\.org> \S+ Saved`,
		`to=<carol@example\.org>, .*status=sent \(250 2\.0\.0 <carol@example\.org> \S+ Saved`,
		`to=<nobody@example\.org>, .*dsn=5\.1\.1, status=bounced \(host 127\.0\.0\.1\S+ said: 550 5\.1\.1 <nobody@example\.org> User doesn't exist`,
		`to=<dave@example\.org>, .*dsn=4\.4\.0, status=deferred \(host 127\.0\.0\.1\S+ said: 451 4\.4\.0 Proxy failed \(connect`,
	} {
		p.await(t, want)
	}
	arrived(t, h.one.Addr("imap"), "alice@example.org", "for-four-and-nobody", "LMTPS", postfixBody)
	arrived(t, h.one.Addr("imap"), "carol@example.org", "for-four-and-nobody", "LMTPS", postfixBody)
	arrived(t, h.two.Addr("imap"), "bob@example.org", "for-four-and-nobody", "LMTPS", postfixBody)

	// Postfix tries again, and only for him who was deferred.
	back := h.backend(t, third, "dave@example.org")
	p.await(t, `to=<dave@example\.org>, .*status=sent \(250 2\.0\.0 <dave@example\.org> \S+ Saved`)
	arrived(t, back.Addr("imap"), "dave@example.org", "for-four-and-nobody", "LMTPS", postfixBody)
	arrived(t, h.one.Addr("imap"), "alice@example.org", "for-four-and-nobody", "LMTPS", postfixBody)
	for _, b := range []*dovecot.Server{h.one, h.two, back} {
		if log := b.Log(); strings.Contains(log, "nobody@example.org") {
			t.Errorf("a backend heard of a user whom the passdb does not know:\n%s", last(log, 2000))
		}
	}
	if crash := daemon.Crash(f.read(t, "log")); crash != "" {
		t.Error(crash)
	}
}

// postfixBody has lines that only correct stuffing of dots brings through.
const postfixBody = "a line\n.\n..\n.two words\nthe end\n"

// postfix is a private instance.
type postfix struct {
	dir  string
	port int // of SMTP
}

// startPostfix starts a Postfix that accepts mail for example.org at one port and hands it to another by LMTP, with
// STARTTLS. It tries again each second. It ends with the test. more are lines of its main.cf.
func startPostfix(t *testing.T, listen, lmtp int, more ...string) *postfix {
	t.Helper()
	program := daemon.Program(t, "postfix", "/usr/sbin/postfix")
	owner, err := user.Lookup("postfix")
	if err != nil {
		daemon.Missing(t, "Postfix is not set up: %v", err)
	}
	uid, err := strconv.Atoi(owner.Uid)
	if err != nil {
		t.Fatal(err)
	}
	p := &postfix{dir: daemon.ShortDir(t), port: listen}
	for _, sub := range []string{"conf", "queue", "data"} {
		if err := os.Mkdir(filepath.Join(p.dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(filepath.Join(p.dir, "data"), uid, -1); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"main.cf": fmt.Sprintf(mainCf, p.dir, lmtp) + strings.Join(more, "\n"), "master.cf": fmt.Sprintf(masterCf, listen)} {
		if err := os.WriteFile(filepath.Join(p.dir, "conf", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run(t, program, "-c", filepath.Join(p.dir, "conf"), "check") // makes what is missing below the queue
	start(t, listen, "/usr/lib/postfix/sbin/master", "-d", "-c", filepath.Join(p.dir, "conf"))
	return p
}

const mainCf = `compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
maillog_file = %[1]s/maillog
maillog_file_prefixes = %[1]s
myhostname = mta.example.net
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
virtual_mailbox_domains = example.org
virtual_transport = lmtp:inet:127.0.0.1:%[2]d
default_transport = error:there is no way out
lmtp_tls_security_level = encrypt
queue_run_delay = 1s
minimal_backoff_time = 1s
maximal_backoff_time = 2s
`

const masterCf = `127.0.0.1:%d inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 1 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
error unix - - n - - error
retry unix - - n - - error
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsmgr unix - - n 1000? 1 tlsmgr
proxymap unix - - n - - proxymap
postlog unix-dgram n - n - 1 postlogd
`

func (p *postfix) log(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(p.dir, "maillog"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(b)
}

// await waits for a line of the log.
func (p *postfix) await(t *testing.T, want string) {
	t.Helper()
	re := regexp.MustCompile(want)
	defer func() {
		if !re.MatchString(p.log(t)) {
			t.Logf("Postfix said:\n%s", last(p.log(t), 4000))
		}
	}()
	eventually(t, "Postfix's log: "+want, func() bool { return re.MatchString(p.log(t)) })
}
