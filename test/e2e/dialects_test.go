package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dproxy/test/daemon"
	dovecot "dproxy/test/dovecot-backend"
)

// tap passes connections on to a backend and keeps what the proxy says to it.
type tap struct {
	net.Listener
	port string
	wg   sync.WaitGroup
	mu   sync.Mutex
	said strings.Builder
}

func newTap(t *testing.T, backend string) *tap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	p := &tap{Listener: l, port: port}
	p.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.pass(c, backend) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.wg.Wait()
	})
	return p
}

func (p *tap) pass(c net.Conn, backend string) {
	defer c.Close()
	b, err := net.Dial("tcp", backend)
	if err != nil {
		return
	}
	defer b.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(c, b)
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(io.MultiWriter(b, p), c)
	_ = b.(*net.TCPConn).CloseWrite()
	<-done
}

// Write keeps what was said to the backend.
func (p *tap) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.Write(b)
}

// take gives what was said since the last call.
func (p *tap) take() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.said.Reset()
	return p.said.String()
}

// hand is the twin of common in the 2.4 dialect, with the same arguments.
const hand = `dovecot_config_version = 2.4.4
dovecot_storage_version = 2.4.4
base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = %[1]s/log
log_timestamp = ""
default_login_user = dovenull
default_internal_user = dovecot
listen = 127.0.0.1
protocols {
  imap = yes
  pop3 = yes
}
login_greeting = Proxy ready.
auth_allow_cleartext = yes
auth_failure_delay = 0
ssl = yes
ssl_server {
  cert_file = %[2]s/proxy.crt
  key_file = %[2]s/proxy.key
}
service imap-login {
  inet_listener imap {
    port = %[3]d
  }
  inet_listener imaps {
    port = %[4]d
    ssl = yes
  }
}
service pop3-login {
  inet_listener pop3 {
    port = %[5]d
  }
  inet_listener pop3s {
    port = %[6]d
    ssl = yes
  }
}
`

// dialect is one database in both dialects.
type dialect struct {
	name, old, fresh string
	files            map[string]string
}

const sqlRows = `CREATE TABLE users (userid varchar(200), service varchar(20), host varchar(200), port integer);
INSERT INTO users VALUES ('alice@example.org', 'imap', '127.0.0.1', %[1]s);
INSERT INTO users VALUES ('alice@example.org', 'pop3', '127.0.0.1', %[2]s);
`

const sqlOld = `driver = %[1]s
connect = %[2]s
password_query = SELECT NULL AS password, 'Y' AS nopassword, host, port, 'Y' AS proxy \
  FROM users WHERE userid = '%%Lu' AND service = '%%s'
`

const sqlFresh = `passdb sql {
  sql_driver = %[1]s
  %[2]s
  query = SELECT NULL AS password, host AS server, port FROM users WHERE userid = '%%{user | lower}' AND service = '%%{protocol}'
  fields {
    nopassword = y
    proxy = y
    host = %%{sql:server | default('none')}
  }
}
`

const directoryEntries = `dn: dc=ex
objectClass: dcObject
objectClass: organization
dc: ex
o: ex

dn: uid=alice,dc=ex
objectClass: inetOrgPerson
uid: alice
cn: alice
sn: a
mail: alice@example.org
l: 127.0.0.1
userPassword: secret
`

const ldapOld = `uris = ldap://127.0.0.1:%[1]d
base = dc=ex
auth_bind = yes
pass_filter = (&(objectClass=inetOrgPerson)(uid=%%Ln))
pass_attrs = mail=user, l=host, =proxy=y, =port=%%{if;%%s;eq;imap;%[2]s;%[3]s}
`

const ldapFresh = `ldap_uris = ldap://127.0.0.1:%[1]d
ldap_base = dc=ex
passdb ldap {
  bind = yes
  filter = (&(objectClass=inetOrgPerson)(uid=%%{user | username | lower}))
  fields {
    user = %%{ldap:mail}
    host = %%{ldap:l}
    proxy = y
    port = %%{protocol | if('eq', 'imap', '%[2]s', '%[3]s')}
  }
}
`

// dialects are the databases, which send users to the taps.
func dialects(t *testing.T, imap, pop3 *tap) []dialect {
	t.Helper()
	rows := fmt.Sprintf(sqlRows, imap.port, pop3.port)
	lite := database(t, rows)
	pg := daemon.StartPostgres(t)
	psql := exec.Command(daemon.Program(t, "psql"), "-q", "-h", "127.0.0.1", "-p", fmt.Sprint(pg.Port), "-U", "postgres", "-v", "ON_ERROR_STOP=1", "-c", rows)
	if out, err := psql.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	dir := daemon.StartDirectory(t, daemon.DirectoryOptions{Suffix: "dc=ex", LDIF: directoryEntries})
	static := "proxy=y host=127.0.0.1 nopassword=y port=" + imap.port
	return []dialect{
		{
			"SQLite", sqlPassdb, fmt.Sprintf(sqlFresh, "sqlite", "sqlite_path = "+lite),
			map[string]string{"dovecot-sql.conf.ext": fmt.Sprintf(sqlOld, "sqlite", lite)},
		},
		{
			"PostgreSQL", sqlPassdb, fmt.Sprintf(sqlFresh, "pgsql", fmt.Sprintf("pgsql 127.0.0.1 {\n parameters {\n port = %d\n user = postgres\n dbname = postgres\n }\n }", pg.Port)),
			map[string]string{"dovecot-sql.conf.ext": fmt.Sprintf(sqlOld, "pgsql", fmt.Sprintf("host=127.0.0.1 port=%d user=postgres dbname=postgres", pg.Port))},
		},
		{
			"LDAP", "passdb {\n  driver = ldap\n  args = @DIR@/dovecot-ldap.conf.ext\n}\n", fmt.Sprintf(ldapFresh, dir.Port, imap.port, pop3.port),
			map[string]string{"dovecot-ldap.conf.ext": fmt.Sprintf(ldapOld, dir.Port, imap.port, pop3.port)},
		},
		{
			"static in blocks",
			"passdb {\n  driver = static\n  args = " + static + "\n}\nprotocol pop3 {\n  passdb {\n    driver = static\n    args = proxy=y host=127.0.0.1 nopassword=y port=" + pop3.port +
				"\n  }\n}\nremote 127.0.0.0/8 {\n  login_greeting = Local one.\n}\nauth_username_format = %Ln@%Ld\nlogin_log_format_elements = user=<%u> method=%m rip=%r %c session=<%{session}>\n",
			"protocol pop3 {\n  passdb static {\n    fields {\n      proxy = y\n      host = 127.0.0.1\n      nopassword = y\n      port = " + pop3.port +
				"\n    }\n  }\n}\npassdb static2 {\n  driver = static\n  fields {\n    proxy = y\n    host = 127.0.0.1\n    nopassword = y\n    port = " + imap.port +
				"\n  }\n}\nremote 127.0.0.0/8 {\n  login_greeting = Local one.\n}\nauth_username_format = %{user | username | lower}@%{user | domain | lower}\n" +
				"login_log_format_elements = user=<%{user}> method=%{mechanism} rip=%{remote_ip} %{secured} session=<%{session}>\n",
			nil,
		},
	}
}

// behaviour is what can be seen of a proxy from outside.
type behaviour struct{ Client, Backend, Log, BackendLog []string }

// TestEndToEndDialects runs the same sessions through a proxy with a 2.3 configuration, with its twin in the 2.4 dialect
// and with what `dproxy conf convert` makes of it, and sees no difference.
func TestEndToEndDialects(t *testing.T) {
	h := bareHouse(t)
	backend := dovecot.Start(t, dovecot.Config{Users: map[string]string{"alice@example.org": password}, Trusted: "127.0.0.0/8", Ports: h.ports})
	imap, pop3 := newTap(t, backend.Addr("imap")), newTap(t, backend.Addr("pop3"))
	for _, d := range dialects(t, imap, pop3) {
		t.Run(d.name, func(t *testing.T) {
			old := h.prepare(t, d.old, d.files)
			want := h.watch(t, old, backend, imap, pop3)
			if len(want.Backend) < 4 || !strings.Contains(strings.Join(want.Backend, "\n"), `"x-originating-ip"`) {
				t.Errorf("the backend was told %q", want.Backend)
			}
			twin := h.prepare(t, "", nil)
			twin.write(t, "dovecot.conf", fmt.Sprintf(hand, twin.dir, h.certs.Dir, twin.port["imap"], twin.port["imaps"], twin.port["pop3"], twin.port["pop3s"])+d.fresh)
			if diff := cmp.Diff(want, h.watch(t, twin, backend, imap, pop3)); diff != "" {
				t.Errorf("the 2.4 twin (-2.3 +2.4):\n%s", diff)
			}
			converted := h.prepare(t, d.old, d.files)
			text, err := exec.Command(h.program.Path, "conf", "convert", "--to", "2.4", "-c", converted.conf()).Output()
			if err != nil {
				t.Fatalf("conf convert: %v\n%s", err, text)
			}
			converted.write(t, "dovecot.conf", string(text))
			if diff := cmp.Diff(want, h.watch(t, converted, backend, imap, pop3)); diff != "" {
				t.Errorf("the converted configuration (-2.3 +2.4):\n%s\n%s", diff, text)
			}
		})
	}
}

// watch starts a proxy, has all sessions in it and ends it.
func (h *house) watch(t *testing.T, f *front, backend *dovecot.Server, imap, pop3 *tap) behaviour {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	proc, err := h.program.Start(ctx, f.conf(), f.port["imap"], f.port["imaps"], f.port["pop3"], f.port["pop3s"])
	if err != nil {
		t.Fatalf("start: %v\n%s", err, proc.Output())
	}
	before := len(backend.Log())
	var b behaviour
	for _, s := range []struct {
		port   string
		conf   *tls.Config
		script []string
	}{
		{"imap", nil, []string{"1 CAPABILITY", "2 LOGIN alice@example.org wrong", `3 ID ("name" "tester")`, "4 LOGIN Alice@Example.org secret", "5 SELECT INBOX", "6 LOGOUT"}},
		{"imap", nil, []string{"1 LOGIN nobody@example.org secret", "2 LOGOUT"}},
		{"imaps", h.clientTLS(), []string{"1 AUTHENTICATE PLAIN AGFsaWNlQGV4YW1wbGUub3JnAHNlY3JldA==", "2 NOOP", "3 LOGOUT"}},
		{"pop3", nil, []string{"CAPA", "USER alice@example.org", "PASS wrong", "USER alice@example.org", "PASS secret", "STAT", "QUIT"}},
		{"pop3s", h.clientTLS(), []string{"USER nobody@example.org", "PASS secret", "QUIT"}},
	} {
		lines, err := converse(f.addr(s.port), s.conf, s.script)
		if err != nil {
			t.Errorf("%s %q: %v after %q", s.port, s.script, err, lines)
		}
		b.Client = append(b.Client, "-- "+s.port)
		b.Client = append(b.Client, lines...)
	}
	if err := proc.Stop(); err != nil {
		t.Error(err)
	}
	if crash := daemon.Crash(proc.Output()); crash != "" {
		t.Error(crash)
	}
	b.Backend = plainLines(imap.take() + pop3.take())
	b.Log = plainLines(strings.ReplaceAll(f.read(t, "log"), f.dir, "@DIR@"))
	eventually(t, "the backend has logged the sessions' ends", func() bool {
		return strings.Count(backend.Log()[before:], "Logged out") >= 3
	})
	b.BackendLog = plainLines(backend.Log()[before:])
	slices.Sort(b.Log) // the order of what two processes say at the same time is an accident
	slices.Sort(b.BackendLog)
	return b
}

// converse sends one line after another, each when the one before is answered, and gives all that was answered.
func converse(addr string, conf *tls.Config, script []string) ([]string, error) {
	nc, err := dial(addr, "", conf)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	r := bufio.NewReader(nc)
	var lines []string
	read := func(last func(string) bool) error {
		for {
			l, err := r.ReadString('\n')
			if l = strings.TrimRight(l, "\r\n"); l != "" {
				lines = append(lines, plainLines(l)...)
			}
			if err != nil || last(l) {
				return err
			}
		}
	}
	if err := read(func(string) bool { return true }); err != nil {
		return lines, err
	}
	for _, s := range script {
		if _, err := io.WriteString(nc, s+"\r\n"); err != nil {
			return lines, err
		}
		tag, _, _ := strings.Cut(s, " ")
		last := func(l string) bool { return strings.HasPrefix(l, tag+" ") }
		if tag[0] > '9' {
			last = func(l string) bool { return s != "CAPA" && (l[0] == '+' || l[0] == '-') || l == "." }
		}
		if err := read(last); err != nil {
			return lines, err
		}
	}
	return lines, nil
}

// changing is what differs from run to run: names of sessions, ports, process numbers, times and their lengths, who hangs up first.
var changing = regexp.MustCompile(`^[A-Z][a-z]{2} [ 0-9]\d \d\d:\d\d:\d\d |\([\d. +]+ secs\)|\d+ secs|[\d.]+ msecs|session=<[^>]*>|"x-session-id" "[^"]*"|` +
	`"x-(originating|connected)-port" "\d+"|FORWARD=[^ \r\n]+|PORT=\d+|SESSION=[^ \r\n]+|m?pid=\d+|\(\d+\)|\)<\d+>|<[A-Za-z0-9/+]{16}>|:\d{4,5}\b|` +
	`UIDVALIDITY \d+|<[0-9a-f.]+@[^>]*>|Disconnected by (client|server)|\(\ds idle, |out=\d+`)

func plainLines(text string) []string {
	var out []string
	for l := range strings.Lines(text) {
		out = append(out, changing.ReplaceAllString(strings.TrimRight(l, "\r\n"), "#"))
	}
	return out
}
