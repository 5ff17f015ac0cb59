package e2e

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"dproxy/test/daemon"
)

// cyrusDir is where test/packages.sh unpacks Debian's Cyrus, which cannot be installed beside Dovecot.
const cyrusDir = "/var/cache/dproxy-test/cyrus"

// cyrus is a running instance.
type cyrus struct {
	root, dir string
	port      map[string]int // imap, pop3, lmtp, sieve
}

const imapdConf = `servername: cyrus.example.org
configdirectory: %[1]s/conf
proc_path: %[1]s/proc
mboxname_lockpath: %[1]s/lock
defaultpartition: default
partition-default: %[1]s/spool
sievedir: %[1]s/sieve
lmtpsocket: %[1]s/socket/lmtp
idlesocket: %[1]s/socket/idle
notifysocket: %[1]s/socket/notify
cyrus_user: nobody
cyrus_group: nogroup
virtdomains: userid
defaultdomain: example.org
unixhierarchysep: yes
altnamespace: yes
autocreate_quota: 0
autocreate_post: yes
allowplaintext: yes
proxyservers: frontend
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: %[1]s/sasldb2
sasl_mech_list: PLAIN LOGIN
`

// startCyrus starts the unpacked Cyrus with users whose password is the usual one. Without it the test is skipped, even
// where all other software is required: a mirror that is out of reach must not stop the gate.
func startCyrus(t *testing.T, h *house, users ...string) *cyrus {
	t.Helper()
	c := &cyrus{root: os.Getenv("DPROXY_TEST_CYRUS"), dir: daemon.ShortDir(t), port: map[string]int{}}
	if c.root == "" {
		c.root = cyrusDir
	}
	if _, err := os.Stat(c.program("imapd")); err != nil {
		t.Skipf("no Cyrus is unpacked (%v): see test/packages.sh", err)
	}
	if os.Getuid() != 0 {
		daemon.Missing(t, "a Cyrus backend needs root")
	}
	for _, sub := range []string{"conf", "proc", "lock", "spool", "sieve", "socket"} {
		if err := os.Mkdir(filepath.Join(c.dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	conf := filepath.Join(c.dir, "imapd.conf")
	services := ""
	for name, program := range map[string]string{"imap": "imapd", "pop3": "pop3d", "lmtp": "lmtpd -a", "sieve": "timsieved"} {
		c.port[name] = h.freePort(t)
		services += fmt.Sprintf("  %s cmd=\"%s -C %s\" listen=\"127.0.0.1:%d\"\n", name, c.program(program), conf, c.port[name])
	}
	recover := fmt.Sprintf("  recover cmd=\"%s -C %s -r\"\n", c.program("ctl_cyrusdb"), conf)
	for name, text := range map[string]string{
		"imapd.conf": fmt.Sprintf(imapdConf, c.dir),
		"cyrus.conf": "START {\n" + recover + "}\nSERVICES {\n" + services + "}\nEVENTS {\n}\n",
	} {
		if err := os.WriteFile(filepath.Join(c.dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, u := range users {
		c.setPassword(t, u)
	}
	c.own(t)
	libraries, err := filepath.Glob(filepath.Join(c.root, "usr/lib/*-linux-gnu"))
	if err != nil || len(libraries) == 0 {
		t.Fatalf("no libraries in %s: %v", c.root, err)
	}
	start(t, c.port["imap"], daemon.Program(t, "env"), "LD_LIBRARY_PATH="+strings.Join(libraries, ":"),
		c.program("master"), "-D", "-C", conf, "-M", filepath.Join(c.dir, "cyrus.conf"), "-p", filepath.Join(c.dir, "pid"))
	return c
}

func (c *cyrus) program(name string) string { return filepath.Join(c.root, "usr/lib/cyrus/bin", name) }

func (c *cyrus) setPassword(t *testing.T, user string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(c.root, "usr/sbin/saslpasswd2"), "-p", "-c", "-f", filepath.Join(c.dir, "sasldb2"), "-u", "cyrus.example.org", user)
	cmd.Stdin = strings.NewReader(password)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("saslpasswd2: %v\n%s", err, out)
	}
}

// own gives everything to the user that Cyrus runs as.
func (c *cyrus) own(t *testing.T) {
	t.Helper()
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	uid, err := strconv.Atoi(nobody.Uid)
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.Atoi(nobody.Gid)
	if err != nil {
		t.Fatal(err)
	}
	if err := filepath.Walk(c.dir, func(name string, _ os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(name, uid, gid)
	}); err != nil {
		t.Fatal(err)
	}
}

// cyrusConf: the ports of the services, and users whom the backend knows by their own password or, as in a murder, by
// that of the frontend.
const cyrusConf = `protocols = imap pop3 lmtp sieve
lmtp_proxy = yes
hostname = proxy.example.org
service lmtp {
  inet_listener lmtp {
    port = %d
  }
}
service managesieve-login {
  inet_listener sieve {
    port = %d
  }
}
passdb {
  driver = passwd-file
  args = username_format=%%u @DIR@/users.%%s
}
`

// TestEndToEndCyrus logs in at a real Cyrus through the proxy by four protocols.
func TestEndToEndCyrus(t *testing.T) {
	h := bareHouse(t)
	c := startCyrus(t, h, "alice", "frontend")
	lmtp, sieve := h.freePort(t), h.freePort(t)
	files := map[string]string{}
	for service, name := range map[string]string{"imap": "imap", "pop3": "pop3", "lmtp": "lmtp", "sieve": "sieve"} {
		to := fmt.Sprintf("proxy=y host=127.0.0.1 port=%d", c.port[name])
		files["users."+service] = fmt.Sprintf("alice@example.org:{PLAIN}%[1]s::::::%[2]s\n"+
			"bob@example.org:{PLAIN}%[1]s::::::%[2]s master=frontend pass=%[1]s proxy_mech=PLAIN\n"+
			"mallory@example.org:{PLAIN}%[1]s::::::%[2]s master=alice pass=%[1]s proxy_mech=PLAIN\n", password, to)
	}
	f := h.start(t, fmt.Sprintf(cyrusConf, lmtp, sieve), files)
	f.port["lmtp"], f.port["sieve"] = lmtp, sieve

	for _, u := range []string{"alice@example.org", "bob@example.org"} {
		t.Run("IMAP "+u, func(t *testing.T) { cyrusMailbox(t, f, u) })
		t.Run("POP3 "+u, func(t *testing.T) {
			p, err := dialIMAP(f.addr("pop3"), "", nil) // a line is a line
			if err != nil {
				t.Fatal(err)
			}
			defer p.nc.Close()
			for _, s := range [][2]string{{"USER " + u, `^\+OK`}, {"PASS " + password, `^\+OK`}, {"STAT", `^\+OK 1 `}, {"QUIT", `^\+OK`}} {
				if _, err := fmt.Fprintf(p.nc, "%s\r\n", s[0]); err != nil {
					t.Fatal(err)
				}
				if l, err := p.until(s[1] + `|^-ERR`); err != nil || strings.HasPrefix(l, "-ERR") {
					t.Fatalf("%s: %q, %v", s[0], l, err)
				}
			}
		})
		t.Run("ManageSieve "+u, func(t *testing.T) { cyrusScript(t, f, u) })
	}
	t.Run("LMTP", func(t *testing.T) { cyrusDelivery(t, f, c) })
	t.Run("who is no frontend logs nobody in", func(t *testing.T) {
		m, err := loginIMAP(f.addr("imap"), "", nil, "mallory@example.org")
		if err == nil {
			m.nc.Close()
			t.Error("alice may act for mallory")
		} else if !strings.Contains(err.Error(), "NO [AUTHENTICATIONFAILED]") {
			t.Error(err)
		}
	})
	if crash := daemon.Crash(f.read(t, "log")); crash != "" {
		t.Error(crash)
	}
}

// cyrusMailbox stores a message through the proxy and reads it again. It is the user's only one.
func cyrusMailbox(t *testing.T, f *front, u string) {
	m, err := loginIMAP(f.addr("imap"), "", nil, u)
	if err != nil {
		t.Fatal(err)
	}
	defer m.nc.Close()
	caps, err := m.cmd("CAPABILITY")
	if err != nil || !strings.Contains(strings.Join(caps, " "), "X-REPLICATION") {
		t.Errorf("not the capabilities of Cyrus: %q, %v", caps, err)
	}
	message := "From: " + u + "\r\nSubject: kept\r\n\r\nby Cyrus for " + u + "\r\n"
	if err := m.append("INBOX", int64(len(message)), strings.NewReader(message)); err != nil {
		t.Fatal(err)
	}
	if _, err := m.cmd("SELECT INBOX"); err != nil {
		t.Fatal(err)
	}
	lines, err := m.cmd("FETCH 1:* BODY[TEXT]")
	if err != nil || !strings.Contains(strings.Join(lines, "\n"), "by Cyrus for "+u) {
		t.Errorf("%q, %v", lines, err)
	}
}

// cyrusScript stores a script by ManageSieve and reads it again.
func cyrusScript(t *testing.T, f *front, u string) {
	nc, err := dial(f.addr("sieve"), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	r := bufio.NewReader(nc)
	answer := func(command string) (all string) {
		t.Helper()
		if _, err := io.WriteString(nc, command); err != nil {
			t.Fatal(err)
		}
		for !strings.HasPrefix(all[strings.LastIndexByte(strings.TrimRight(all, "\r\n"), '\n')+1:], "OK") {
			l, err := r.ReadString('\n')
			if all += l; err != nil || strings.HasPrefix(l, "NO") || strings.HasPrefix(l, "BYE") {
				t.Fatalf("%.20q: %q, %v", command, all, err)
			}
		}
		return all
	}
	answer("")
	answer(fmt.Sprintf("AUTHENTICATE \"PLAIN\" \"%s\"\r\n", base64.StdEncoding.EncodeToString([]byte("\x00"+u+"\x00"+password))))
	answer("PUTSCRIPT \"a\" {5+}\r\nkeep;\r\n")
	if all := answer("GETSCRIPT \"a\"\r\n"); !strings.Contains(all, "keep;") {
		t.Errorf("another script: %q", all)
	}
}

// cyrusDelivery delivers to two users of Cyrus and reads the message of one.
func cyrusDelivery(t *testing.T, f *front, c *cyrus) {
	nc, err := dial(f.addr("lmtp"), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	l := smtp.NewClientLMTP(nc)
	defer l.Close()
	for _, err := range []error{
		l.Hello("mta.example.org"), l.Mail("s@example.net", nil), l.Rcpt("alice@example.org", nil), l.Rcpt("bob@example.org", nil),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	w, err := l.Data()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, "Subject: delivered-to-cyrus\r\n\r\n.dots\r\n"); err != nil {
		t.Fatal(err)
	}
	if answers, err := w.CloseWithLMTPResponse(); err != nil || len(answers) != 2 {
		t.Fatalf("%v, %v", answers, err)
	}
	arrived(t, net.JoinHostPort("127.0.0.1", strconv.Itoa(c.port["imap"])), "alice", "delivered-to-cyrus", "LMTP", ".dots\n")
}
