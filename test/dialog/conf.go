package dialog

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

// glue is what stands in front of each scenario's own configuration. Messages about configuration errors count
// lines from here, so its length is part of the golden files.
const glue = `# common part
base_dir = @BASE@/run
state_dir = @BASE@/state
log_path = @BASE@/proxy.log
log_timestamp = ""
default_login_user = dovenull
default_internal_user = dovecot
listen = 127.0.0.1
hostname = proxy.example.org
login_greeting = Proxy ready.
ssl = yes
ssl_cert = <@CERTS@/proxy.crt
ssl_key = <@CERTS@/proxy.key
auth_failure_delay = 0
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
`

const sieveGlue = `protocol sieve {
  managesieve_implementation_string = Sieve Proxy
  managesieve_sieve_capability = fileinto reject vacation
  managesieve_notify_capability = mailto
}
`

// service is the login service of a protocol and its listeners: name and placeholder of the port.
type service struct {
	name      string
	listeners [][2]string
}

var services = map[string]service{
	"imap":       {"imap-login", [][2]string{{"imap", "IMAP"}, {"imaps", "IMAPS"}}},
	"pop3":       {"pop3-login", [][2]string{{"pop3", "POP3"}, {"pop3s", "POP3S"}}},
	"submission": {"submission-login", [][2]string{{"submission", "SUBMISSION"}, {"submissions", "SUBMISSIONS"}}},
	"sieve":      {"managesieve-login", [][2]string{{"sieve", "SIEVE"}}},
	"lmtp":       {"lmtp", [][2]string{{"lmtp", "LMTP"}}},
}

// configuration is the whole configuration file of a scenario, with placeholders.
func configuration(s *Scenario) string {
	var b strings.Builder
	b.WriteString(glue)
	for _, p := range s.Protocols() {
		if p == "sieve" {
			b.WriteString(sieveGlue)
		}
		svc := services[p]
		fmt.Fprintf(&b, "service %s {\n", svc.name)
		for _, l := range svc.listeners {
			fmt.Fprintf(&b, "  inet_listener %s {\n    port = @%s@\n", l[0], l[1])
			if isTLS(l[0]) {
				b.WriteString("    ssl = yes\n")
			}
			b.WriteString("  }\n")
		}
		b.WriteString("}\n")
	}
	return b.String() + "\n# " + s.Name + "\n" + s.Conf
}

// isTLS says whether a listener of that name speaks TLS from the start.
func isTLS(listener string) bool {
	return listener == "imaps" || listener == "pop3s" || listener == "submissions"
}

var (
	furtherPort = regexp.MustCompile(`@(X[1-4])@`)
	noTLS       = regexp.MustCompile(`(?m)^ssl\s*=\s*no\s*$`)
)

// listening gives the ports on which the proxy has to listen before the clients start. With ssl = no, Dovecot
// leaves out the listeners with TLS.
func (e *environment) listening(s *Scenario) ([]int, error) {
	var names []string
	for _, p := range s.Protocols() {
		for _, l := range services[p].listeners {
			if !isTLS(l[0]) || !noTLS.MatchString(s.Conf) {
				names = append(names, l[1])
			}
		}
	}
	for _, m := range furtherPort.FindAllStringSubmatch(s.Conf, -1) {
		names = append(names, m[1])
	}
	var ports []int
	for _, n := range names {
		p, err := e.port(n)
		if err != nil {
			return nil, err
		}
		ports = append(ports, p)
	}
	return ports, nil
}

// write makes the configuration file and the other files of a scenario. It returns the path of the first.
func (e *environment) write(s *Scenario) (string, error) {
	files := append([]File{{Name: "dovecot.conf", Text: configuration(s)}}, s.Files...)
	for _, f := range files {
		text, err := e.expand(f.Text)
		if err != nil {
			return "", fmt.Errorf("section %s: %w", f.Name, err)
		}
		if db, ok := strings.CutSuffix(f.Name, ".sql"); ok {
			if err := runSQL(e.file(db+".db"), text); err != nil {
				return "", fmt.Errorf("section %s: %w", f.Name, err)
			}
			continue
		}
		if err := os.WriteFile(e.file(f.Name), []byte(text), 0o644); err != nil {
			return "", err
		}
	}
	return e.file("dovecot.conf"), nil
}
