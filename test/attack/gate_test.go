package attack

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"dproxy/test/daemon"
	"dproxy/test/dialog"
	"dproxy/test/proxy"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	// patience bounds everything that waits for another process.
	patience = 20 * time.Second
	// password is every user's; it stands in no log.
	password = "hush-8Kq2"
)

// prompt is how long a session that is not under attack may take to answer: three seconds, and on a machine that has more
// to do than it can, as much longer as everything there takes.
func prompt() time.Duration {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 3 * time.Second
	}
	var load float64
	_, _ = fmt.Sscan(string(text), &load)
	return time.Duration(3 * float64(time.Second) * max(1, min(load/float64(runtime.NumCPU()), 5)))
}

// The addresses that peers of different standing come from.
const (
	stranger = "127.0.0.66" // differs from the proxy's own address: not secured without TLS
	frontend = "127.8.0.1"  // in login_trusted_networks
	balancer = "127.9.0.1"  // in haproxy_trusted_networks
)

// gate is a proxy under attack.
type gate struct {
	proc  *daemon.Process
	certs *dialog.Certs
	dir   string
	port  map[string]int
	good  map[string]*target // by protocol: the backend of users who are not attacked
	users map[string][]string
}

// The listeners of a gate.
func listeners() (all []string) {
	for _, p := range protocols {
		all = append(all, p.name, p.name+"s", p.name+"ha")
	}
	return all
}

const common = `base_dir = @DIR@/run
state_dir = @DIR@/state
log_path = @DIR@/log
log_timestamp = ""
listen = 127.0.0.1
protocols = imap pop3 submission sieve lmtp
lmtp_proxy = yes
hostname = proxy.example.org
login_greeting = Proxy ready.
login_trusted_networks = 127.8.0.0/16
haproxy_trusted_networks = 127.9.0.0/16
imap_id_log = *
auth_verbose = yes
disable_plaintext_auth = no
auth_failure_delay = 0
ssl = yes
ssl_cert = <@CERTS@/proxy.crt
ssl_key = <@CERTS@/proxy.key
ssl_client_ca_file = @CERTS@/ca.crt
passdb {
  driver = passwd-file
  args = scheme=PLAIN username_format=%u @DIR@/users.%s
}
`

// lenient turns off the penalty that makes an address wait which has guessed wrong.
const lenient = `service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
`

// services is the part of the configuration with the listeners.
func (g *gate) services() string {
	var b strings.Builder
	for _, p := range protocols {
		fmt.Fprintf(&b, "service %s {\n", p.section)
		for _, name := range []string{p.name, p.name + "s", p.name + "ha"} {
			fmt.Fprintf(&b, "  inet_listener %s {\n    port = %d\n", name, g.port[name])
			switch {
			case strings.HasSuffix(name, "s"):
				b.WriteString("    ssl = yes\n")
			case strings.HasSuffix(name, "ha"):
				b.WriteString("    haproxy = yes\n")
			}
			b.WriteString("  }\n")
		}
		b.WriteString("}\n")
	}
	return b.String()
}

// newGate prepares a gate with a good backend for each protocol.
func newGate(t *testing.T, certs *dialog.Certs) *gate {
	t.Helper()
	g := &gate{certs: certs, dir: daemon.ShortDir(t), port: map[string]int{}, users: map[string][]string{}}
	ports := daemon.NewPorts()
	for _, name := range listeners() {
		port, err := ports.Free("127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		g.port[name] = port
	}
	g.good = map[string]*target{}
	for _, p := range protocols {
		g.good[p.name] = newTarget(t, p.serve)
		for _, u := range []string{"canary", "fresh", "victim"} {
			g.user(p.name, u, fmt.Sprintf("port=%d", g.good[p.name].port))
		}
	}
	return g
}

// user adds a user of a protocol whose backend is on the loopback interface. More are passdb fields; nopassword among
// them takes any password, which the backend has to judge.
func (g *gate) user(protocol, name, more string) {
	pass := "{PLAIN}" + password
	if strings.Contains(more, "nopassword") {
		pass = ""
	}
	g.users[protocol] = append(g.users[protocol], fmt.Sprintf("%s@example.org:%s::::::proxy=y host=127.0.0.1 %s\n", name, pass, more))
}

func (g *gate) write(t *testing.T, name, text string) {
	t.Helper()
	text = strings.NewReplacer("@DIR@", g.dir, "@CERTS@", g.certs.Dir).Replace(text)
	if err := os.WriteFile(g.file(name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (g *gate) file(name string) string { return filepath.Join(g.dir, name) }

func (g *gate) conf(more string) string { return common + g.services() + more }

// start runs the proxy with more configuration, which ends with the test. A limit bounds its open files.
func (g *gate) start(t *testing.T, more string, limit int) {
	t.Helper()
	program := proxy.Dproxy(t)
	g.write(t, "dovecot.conf", g.conf(more))
	for _, p := range protocols {
		g.write(t, "users."+p.name, strings.Join(g.users[p.name], ""))
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	args := []string{program.Path, "-F", "-c", g.file("dovecot.conf")}
	if limit > 0 {
		args = append([]string{daemon.Program(t, "prlimit"), fmt.Sprintf("--nofile=%d:%d", limit, limit)}, args...)
	}
	proc, err := daemon.Start(args[0], args[1:]...)
	if err != nil {
		t.Fatal(err)
	}
	g.proc = proc
	t.Cleanup(func() { g.stop(t) })
	var all []int
	for _, p := range g.port {
		all = append(all, p)
	}
	if err := proc.Ready(ctx, all...); err != nil {
		t.Fatalf("%v\n%s", err, proc.Output())
	}
}

func (g *gate) stop(t *testing.T) {
	select {
	case <-g.proc.Done():
		t.Error("the proxy has ended by itself")
	default:
	}
	if err := g.proc.Stop(); err != nil {
		t.Error(err)
	}
	if crash := daemon.Crash(g.proc.Output()); crash != "" {
		t.Error(crash)
	}
	log := g.log(t)
	checkLog(t, log)
	if t.Failed() {
		t.Logf("the proxy said:\n%s%s", g.proc.Output(), log[max(0, len(log)-6000):])
	}
}

func (g *gate) log(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(g.file("log"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// awaitLog waits for a text in the log.
func (g *gate) awaitLog(t *testing.T, text string) {
	t.Helper()
	eventually(t, "log: "+text, func() bool { return strings.Contains(g.log(t), text) })
}

func (g *gate) addr(name string) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(g.port[name]))
}

func (g *gate) tls() *tls.Config {
	return &tls.Config{ServerName: "proxy.example.org", RootCAs: g.certs.Roots}
}

// eventually waits until something is true. It fails the test when patience ends.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %s", what, patience)
		case <-tick.C:
		}
	}
}
