// Package dovecot starts a real Dovecot on loopback as the mail server behind a proxy, with mailboxes of its own.
// (As the proxy in front, the reference, it is started by test/proxy, with the very configuration dproxy gets.)
// Imports test/daemon; imported by test/e2e.
package dovecot

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"dproxy/test/daemon"
)

// startLimit is from starting the daemon until it listens.
const startLimit = 30 * time.Second

// Config says what backend is wanted.
type Config struct {
	IP        string            // to listen at; 127.0.0.1 when empty
	Users     map[string]string // name to password, in plain text
	Trusted   string            // login_trusted_networks: peers whose ID and XCLIENT are believed
	Cert, Key string            // PEM files; without them the backend has no TLS
	Relay     string            // address:port where submitted mail goes; without it there is no Submission
	More      string            // further settings
	Ports     *daemon.Ports     // gives the ports; without it they are the standard ones
}

// Server is a running backend.
type Server struct {
	IP   string
	proc *daemon.Process
	dir  string
	port map[string]int
}

// listener is one inet_listener: where, its standard port, and whether it speaks TLS from the start.
type listener struct {
	service, name string
	port          int
	tls           bool
}

// listeners by protocol as Dovecot names it, and the executable that shows that the protocol is installed.
var listeners = map[string]struct {
	program string
	all     []listener
}{
	"imap":       {"imap", []listener{{"imap-login", "imap", 143, false}, {"imap-login", "imaps", 993, true}}},
	"pop3":       {"pop3", []listener{{"pop3-login", "pop3", 110, false}, {"pop3-login", "pop3s", 995, true}}},
	"lmtp":       {"lmtp", []listener{{"lmtp", "lmtp", 24, false}}},
	"submission": {"submission", []listener{{"submission-login", "submission", 587, false}, {"submission-login", "submissions", 465, true}}},
	"sieve":      {"managesieve", []listener{{"managesieve-login", "sieve", 4190, false}}},
}

// libexec is where Debian keeps Dovecot's executables.
const libexec = "/usr/lib/dovecot"

// Start starts a backend with the protocols that are installed. It ends with the test. Where Dovecot is missing the
// test is skipped, or fails, as daemon.Missing says.
func Start(tb testing.TB, c Config) *Server {
	tb.Helper()
	path := daemon.Program(tb, "dovecot", "/usr/sbin/dovecot")
	if os.Getuid() != 0 {
		daemon.Missing(tb, "a Dovecot backend needs root")
	}
	if c.IP == "" {
		c.IP = "127.0.0.1"
	}
	s := &Server{IP: c.IP, dir: daemon.ShortDir(tb), port: map[string]int{}}
	conf, err := s.write(c)
	if err != nil {
		tb.Fatal(err)
	}
	if s.proc, err = daemon.Start(path, "-F", "-c", conf); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.proc.Stop(); err != nil {
			tb.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(tb.Context(), startLimit)
	defer cancel()
	if err := s.proc.Ready(ctx, slices.Collect(maps.Values(s.port))...); err != nil {
		tb.Fatalf("backend: %v\n%s%s", err, s.proc.Output(), s.Log())
	}
	return s
}

// write makes the configuration and the user database, and chooses the ports.
func (s *Server) write(c Config) (conf string, err error) {
	protocols, sections, err := s.services(c)
	if err != nil {
		return "", err
	}
	tls := "ssl = no\n"
	if c.Cert != "" {
		tls = fmt.Sprintf("ssl = yes\nssl_cert = <%s\nssl_key = <%s\n", c.Cert, c.Key)
	}
	if c.Relay != "" {
		host, port, err := net.SplitHostPort(c.Relay)
		if err != nil {
			return "", err
		}
		tls += fmt.Sprintf("submission_relay_host = %s\nsubmission_relay_port = %s\n", host, port)
	}
	text := fmt.Sprintf(settings, s.dir, c.IP, protocols, c.Trusted) + tls + sections + c.More
	var users strings.Builder
	for name, password := range c.Users {
		fmt.Fprintf(&users, "%s:{PLAIN}%s::::::\n", name, password)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "passwd"), []byte(users.String()), 0o644); err != nil {
		return "", err
	}
	if err := s.owned("home"); err != nil {
		return "", err
	}
	conf = filepath.Join(s.dir, "dovecot.conf")
	return conf, os.WriteFile(conf, []byte(text), 0o644)
}

// settings: directory (which stands in more than one place), address, protocols, trusted networks. The limits are
// high enough for thousands of sessions; one imap process serves many of them, since they are idle for the most part.
const settings = `base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = %[1]s/log
listen = %[2]s
protocols = %[3]s
login_trusted_networks = %[4]s
disable_plaintext_auth = no
auth_failure_delay = 0
mail_location = maildir:~/Maildir
mail_uid = nobody
mail_gid = nogroup
first_valid_uid = 1
mail_max_userip_connections = 10000
default_client_limit = 10000
default_vsz_limit = 1G
passdb {
  driver = passwd-file
  args = %[1]s/passwd
}
userdb {
  driver = static
  args = uid=nobody gid=nogroup home=%[1]s/home/%%u allow_all_users=yes
}
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
service imap-login {
  service_count = 0
  process_min_avail = 1
  process_limit = 2
}
service imap {
  service_count = 0
  client_limit = 250
}
service stats {
  client_limit = 10000
}
protocol lmtp {
  postmaster_address = postmaster@example.org
}
`

// services gives the protocols and their sections in the configuration.
func (s *Server) services(c Config) (protocols, sections string, err error) {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(listeners)) {
		p := listeners[name]
		if _, err := os.Stat(filepath.Join(libexec, p.program)); err != nil || name == "submission" && c.Relay == "" {
			continue
		}
		protocols += name + " "
		for _, l := range p.all {
			port := 0 // closes the listener
			if !l.tls || c.Cert != "" {
				if port, err = c.choose(l); err != nil {
					return "", "", err
				}
				s.port[l.name] = port
			}
			fmt.Fprintf(&b, "service %s {\n  inet_listener %s {\n    port = %d\n    ssl = %s\n  }\n}\n", l.service, l.name, port, yesNo(l.tls))
		}
	}
	return protocols, b.String(), nil
}

func (c Config) choose(l listener) (int, error) {
	if c.Ports == nil {
		return l.port, nil
	}
	return c.Ports.Free(c.IP)
}

func yesNo(v bool) string {
	if v {
		return "yes"
	}
	return "no"
}

// Port is the port of a listener: imap, imaps, pop3, pop3s, lmtp, submission, submissions or sieve. 0: there is none.
func (s *Server) Port(name string) int { return s.port[name] }

// Addr is the address and port of a listener.
func (s *Server) Addr(name string) string { return net.JoinHostPort(s.IP, strconv.Itoa(s.port[name])) }

// Log is what the backend has logged so far.
func (s *Server) Log() string {
	text, err := os.ReadFile(filepath.Join(s.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Conf is the backend's configuration file, for doveadm.
func (s *Server) Conf() string { return filepath.Join(s.dir, "dovecot.conf") }
