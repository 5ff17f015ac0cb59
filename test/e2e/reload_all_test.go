package e2e

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"dproxy/test/daemon"
)

// reloading is a proxy whose configuration changes again and again, with a session that has to survive it all.
type reloading struct {
	*front
	good    string // the configuration at first
	session *imapConn
	count   int // reloads that ended, whichever way
}

const (
	reloaded     = "configuration reloaded for "
	reloadFailed = "reload failed, the old configuration stays"
)

// apply reloads with a configuration and waits for the end of it. It tells whether the new one is in force.
func (r *reloading) apply(t *testing.T, conf string) bool {
	t.Helper()
	r.write(t, "dovecot.conf", conf)
	r.hangUp(t)
	r.count++
	var log string
	eventually(t, "the log tells the end of the reload", func() bool {
		log = r.read(t, "log")
		return strings.Count(log, reloaded)+strings.Count(log, reloadFailed) >= r.count
	})
	return strings.LastIndex(log, reloaded) > strings.LastIndex(log, reloadFailed)
}

// change reloads with something added to or replaced in the first configuration.
func (r *reloading) change(t *testing.T, more string, replace ...string) {
	t.Helper()
	if !r.apply(t, strings.NewReplacer(replace...).Replace(r.good)+more) {
		t.Fatalf("the reload failed:\n%s", last(r.read(t, "log"), 1000))
	}
	if _, err := r.session.cmd("NOOP"); err != nil {
		t.Fatalf("the session from before: %v", err)
	}
}

// listens tells whether something does at a port.
func listens(t *testing.T, port int) bool {
	t.Helper()
	up, err := daemon.Listening(port)
	if err != nil {
		t.Fatal(err)
	}
	return up
}

// shown is the name in the certificate at the imaps port.
func (r *reloading) shown(t *testing.T) string {
	t.Helper()
	c, err := tls.Dial("tcp", r.addr("imaps"), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return strings.Join(c.ConnectionState().PeerCertificates[0].DNSNames, " ")
}

// proxiedTo logs alice in and gives the backend that the log names.
func (r *reloading) proxiedTo(t *testing.T) string {
	t.Helper()
	before := len(r.read(t, "log"))
	c, err := loginIMAP(r.addr("imap"), "", nil, "alice@example.org")
	if err != nil {
		t.Fatal(err)
	}
	defer c.nc.Close()
	var host string
	eventually(t, "the log names the backend", func() bool {
		_, after, ok := strings.Cut(r.read(t, "log")[before:], "Started proxying to <")
		host, _, _ = strings.Cut(after, ">")
		return ok
	})
	return host
}

// testReloadOfAll changes at a reload what Dovecot changes at one: listeners and protocols, certificates and keys, passdbs and
// their files, mechanisms, blocks, the log. A session lives through all of it.
func testReloadOfAll(t *testing.T, h *house, _ *front) {
	f := h.start(t, sqlPassdb, h.wikiFiles(t))
	r := &reloading{front: f, good: f.read(t, "dovecot.conf")}
	var err error
	if r.session, err = loginIMAP(f.addr("imap"), "", nil, "alice@example.org"); err != nil {
		t.Fatal(err)
	}
	defer r.session.nc.Close()
	for _, tt := range []struct {
		name string
		run  func(*testing.T, *house, *reloading)
	}{
		{"listeners come and go", reloadListeners},
		{"protocols come and go", reloadProtocols},
		{"certificates and keys", reloadCertificates},
		{"passdbs and their files", reloadPassdbs},
		{"mechanisms, blocks and limits", reloadSettings},
		{"what is broken changes nothing", reloadBroken},
		{"the log", reloadLog},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, h, r) })
	}
	if _, err := r.session.cmd("SELECT INBOX"); err != nil {
		t.Errorf("the session after all reloads: %v", err)
	}
}

func reloadListeners(t *testing.T, h *house, r *reloading) {
	extra := h.freePort(t)
	r.change(t, fmt.Sprintf("service imap-login {\n  inet_listener extra {\n    port = %d\n  }\n}\n", extra))
	through, err := loginIMAP(fmt.Sprintf("127.0.0.1:%d", extra), "", nil, "bob@example.org")
	if err != nil {
		t.Fatalf("login at the new listener: %v", err)
	}
	defer through.nc.Close()
	r.change(t, "service pop3-login {\n  inet_listener pop3 {\n    port = 0\n  }\n}\n")
	if listens(t, extra) || listens(t, r.port["pop3"]) {
		t.Error("a listener that is gone from the configuration is still open")
	}
	if !listens(t, r.port["imap"]) || !listens(t, r.port["pop3s"]) {
		t.Error("a listener that stays was closed")
	}
	if _, err := through.cmd("NOOP"); err != nil {
		t.Errorf("a session that came through a listener that is closed: %v", err)
	}
	r.change(t, "", fmt.Sprintf("port = %d", r.port["pop3"]), fmt.Sprintf("port = %d", extra))
	if !listens(t, extra) || listens(t, r.port["pop3"]) {
		t.Error("a listener did not move to another port")
	}
	r.change(t, "")
	if listens(t, extra) || !listens(t, r.port["pop3"]) {
		t.Error("a listener did not move back")
	}
}

func reloadProtocols(t *testing.T, h *house, r *reloading) {
	sieve := h.freePort(t)
	r.change(t, fmt.Sprintf("service managesieve-login {\n  inet_listener sieve {\n    port = %d\n  }\n}\n", sieve), "protocols = imap pop3", "protocols = imap sieve")
	if !listens(t, sieve) || listens(t, r.port["pop3"]) || listens(t, r.port["pop3s"]) {
		t.Error("sieve should have come and pop3 gone")
	}
	r.change(t, "")
	if listens(t, sieve) || !listens(t, r.port["pop3"]) {
		t.Error("sieve should have gone and pop3 come back")
	}
}

func reloadCertificates(t *testing.T, h *house, r *reloading) {
	first := r.shown(t)
	cert, key := h.certs.File("proxy", "crt"), h.certs.File("proxy", "key")
	r.change(t, "", cert, h.certs.File("backend", "crt"), key, h.certs.File("backend", "key"))
	second := r.shown(t)
	if second == first {
		t.Errorf("both certificates are for %q", first)
	}
	// The usual renewal: other files by the same names.
	for _, kind := range []string{"crt", "key"} {
		text, err := os.ReadFile(h.certs.File("proxy", kind))
		if err != nil {
			t.Fatal(err)
		}
		r.write(t, "renewed."+kind, string(text))
	}
	r.change(t, "", cert, r.file("renewed.crt"), key, r.file("renewed.key"))
	if got := r.shown(t); got != first {
		t.Errorf("certificate for %q, want %q", got, first)
	}
	for _, kind := range []string{"crt", "key"} {
		text, err := os.ReadFile(h.certs.File("backend", kind))
		if err != nil {
			t.Fatal(err)
		}
		r.write(t, "renewed."+kind, string(text))
	}
	r.change(t, "", cert, r.file("renewed.crt"), key, r.file("renewed.key"))
	if got := r.shown(t); got != second {
		t.Errorf("renewed certificate for %q, want %q", got, second)
	}
	// Keys of a block.
	r.change(t, "local 127.0.0.1 {\n  ssl_cert = <"+h.certs.File("backend", "crt")+"\n  ssl_key = <"+h.certs.File("backend", "key")+"\n}\n")
	if got := r.shown(t); got != second {
		t.Errorf("certificate of a block for %q, want %q", got, second)
	}
	r.change(t, "")
	if got := r.shown(t); got != first {
		t.Errorf("certificate for %q, want %q", got, first)
	}
}

func reloadPassdbs(t *testing.T, h *house, r *reloading) {
	if got := r.proxiedTo(t); got != h.one.IP {
		t.Fatalf("alice is sent to %s", got)
	}
	static := "passdb {\n  driver = static\n  args = proxy=y nopassword=y host=" + h.two.IP + "\n}\n"
	r.change(t, "", strings.TrimSpace(strings.ReplaceAll(sqlPassdb, "@DIR@", r.dir)), static)
	if got := r.proxiedTo(t); got != h.two.IP {
		t.Errorf("after another passdb alice is sent to %s", got)
	}
	// The same block with another file behind it.
	old := r.read(t, "dovecot-sql.conf.ext")
	r.write(t, "dovecot-sql.conf.ext", strings.Replace(old, "SELECT NULL AS password, 'Y' as nopassword, host", "SELECT NULL AS password, 'Y' as nopassword, '"+h.two.IP+"' AS host", 1))
	r.change(t, "")
	if got := r.proxiedTo(t); got != h.two.IP {
		t.Errorf("after another query alice is sent to %s", got)
	}
	r.write(t, "dovecot-sql.conf.ext", old)
	r.change(t, "")
	if got := r.proxiedTo(t); got != h.one.IP {
		t.Errorf("after the first query again alice is sent to %s", got)
	}
}

func reloadSettings(t *testing.T, _ *house, r *reloading) {
	capability := func() string {
		t.Helper()
		c, err := dialIMAP(r.addr("imap"), "", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.nc.Close()
		return c.greeting
	}
	r.change(t, "auth_mechanisms = plain login\nimap_capability = +XRELOADED\nremote 127.0.0.0/8 {\n  login_greeting = For you.\n}\n")
	if g := capability(); !strings.Contains(g, "AUTH=LOGIN") || !strings.HasSuffix(g, "For you.") {
		t.Errorf("greeting after the change: %s", g)
	}
	r.change(t, "")
	if g := capability(); strings.Contains(g, "AUTH=LOGIN") || !strings.HasSuffix(g, "Proxy ready.") {
		t.Errorf("greeting of the first configuration: %s", g)
	}
	r.change(t, "login_log_format_elements = changed user=<%u>\n")
	before := len(r.read(t, "log"))
	c, err := loginIMAP(r.addr("imap"), "", nil, "alice@example.org")
	if err != nil {
		t.Fatal(err)
	}
	c.nc.Close()
	eventually(t, "the elements of the log are the new ones", func() bool {
		return strings.Contains(r.read(t, "log")[before:], "user=<alice@example.org>\n")
	})
}

func reloadBroken(t *testing.T, _ *house, r *reloading) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	for name, conf := range map[string]string{
		"an unknown setting":        "no_such = 1\n",
		"a certificate that is not": "ssl_cert = </nonexistent/x.pem\n",
		"a key that does not fit":   "ssl_key = <" + r.file("dovecot.conf") + "\n",
		"a passdb without its file": "passdb {\n  driver = sql\n  args = /nonexistent/sql\n}\n",
		"a port that is taken":      fmt.Sprintf("service imap-login {\n  inet_listener busy {\n    port = %d\n  }\n}\n", busy.Addr().(*net.TCPAddr).Port),
		"an unclosed block":         "service imap-login {\n",
	} {
		if r.apply(t, strings.Replace(r.good, "Proxy ready.", "Broken.", 1)+conf) {
			t.Errorf("%s: the reload worked", name)
		}
		if !r.greets(t, "Proxy ready.") || r.shown(t) == "" || !listens(t, r.port["pop3"]) {
			t.Errorf("%s: something changed", name)
		}
		if _, err := r.session.cmd("NOOP"); err != nil {
			t.Fatalf("%s: the session from before: %v", name, err)
		}
	}
}

func reloadLog(t *testing.T, _ *house, r *reloading) {
	r.write(t, "dovecot.conf", strings.Replace(r.good, "log_path = "+r.file("log"), "log_path = "+r.file("log2"), 1)+"log_timestamp = \"stamp \"\n")
	r.hangUp(t)
	eventually(t, "the new log is written to, in the new form", func() bool {
		r.greets(t, "") // a connection, for a line about it
		text, err := os.ReadFile(r.file("log2"))
		return err == nil && strings.Contains(string(text), "stamp ")
	})
}
