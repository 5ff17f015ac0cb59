package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"dproxy/test/daemon"
	dovecot "dproxy/test/dovecot-backend"
)

// loginConf has the services of two protocols: Submission in clear text and with TLS, and ManageSieve.
const loginConf = `protocols = imap pop3 submission sieve
hostname = proxy.example.org
service submission-login {
  inet_listener submission {
    port = %d
  }
  inet_listener submissions {
    port = %d
    ssl = yes
  }
}
service managesieve-login {
  inet_listener sieve {
    port = %d
  }
}
passdb {
  driver = static
  args = nopassword=y proxy=y host=%s port=%d
}
`

// outbox is the mail server that a Submission backend hands its mail to.
type outbox struct{ mail chan string }

func (o outbox) NewSession(*smtp.Conn) (smtp.Session, error) { return o, nil }
func (outbox) Reset()                                        {}
func (outbox) Logout() error                                 { return nil }
func (outbox) Mail(string, *smtp.MailOptions) error          { return nil }
func (outbox) Rcpt(string, *smtp.RcptOptions) error          { return nil }

func (o outbox) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	o.mail <- string(b)
	return err
}

// submitFront starts a proxy for Submission and ManageSieve in front of one backend.
func submitFront(t *testing.T, h *house, ip string, port int) *front {
	t.Helper()
	var ports [3]int
	for i := range ports {
		var err error
		if ports[i], err = h.ports.Free("127.0.0.1"); err != nil {
			t.Fatal(err)
		}
	}
	f := h.start(t, fmt.Sprintf(loginConf, ports[0], ports[1], ports[2], ip, port), nil)
	f.port["submission"], f.port["submissions"], f.port["sieve"] = ports[0], ports[1], ports[2]
	return f
}

// testSubmission has swaks and curl send mail through the proxy and a real Submission server.
func testSubmission(t *testing.T, h *house, _ *front) {
	swaks, curl := daemon.Program(t, "swaks"), daemon.Program(t, "curl")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	box := outbox{make(chan string, 1)}
	mta := smtp.NewServer(box)
	served := make(chan struct{})
	go func() { defer close(served); _ = mta.Serve(ln) }()
	t.Cleanup(func() { _ = mta.Close(); <-served })
	backend := dovecot.Start(t, dovecot.Config{
		IP: "127.0.0.1", Users: map[string]string{"alice@example.org": password}, Trusted: "127.0.0.0/8", Relay: ln.Addr().String(), Ports: h.ports,
	})
	f := submitFront(t, h, backend.IP, backend.Port("submission"))
	swaksArgs := func(pass, text string) []string {
		return []string{
			swaks, "--server", f.addr("submission"), "--helo", "client.example.org", "--from", "alice@example.org", "--to", "bob@example.net",
			"--auth", "PLAIN", "--auth-user", "alice@example.org", "--auth-password", pass, "--body", text,
		}
	}
	f.write(t, "mail", "Subject: x\n\nsent by curl\n")
	curlArgs := func(scheme, service string, more ...string) []string {
		return append([]string{
			curl, "--verbose", "--silent", "--max-time", "60", "--url", fmt.Sprintf("%s://proxy.example.org:%d/client.example.org", scheme, f.port[service]),
			"--resolve", fmt.Sprintf("proxy.example.org:%d:127.0.0.1", f.port[service]), "--cacert", h.certs.File("ca", "crt"),
			"--user", "alice@example.org:" + password, "--mail-from", "alice@example.org", "--mail-rcpt", "bob@example.net", "--upload-file", f.file("mail"),
		}, more...)
	}
	for name, command := range map[string][]string{
		"swaks": swaksArgs(password, "sent by swaks"),
		"swaks with STARTTLS": append(swaksArgs(password, "sent by swaks"), "--tls", "--tls-verify", "--tls-ca-path", h.certs.File("ca", "crt"),
			"--tls-sni", "proxy.example.org"),
		"curl with STARTTLS": curlArgs("smtp", "submission", "--ssl-reqd"),
		"curl with TLS":      curlArgs("smtps", "submissions"),
	} {
		t.Run(name, func(t *testing.T) {
			out, err := exec.CommandContext(t.Context(), command[0], command[1:]...).CombinedOutput()
			if err != nil || !strings.Contains(string(out), " 235 2.7.0 Logged in.") {
				t.Fatalf("not logged in: %v\n%s", err, out)
			}
			select {
			case mail := <-box.mail:
				if word, _, _ := strings.Cut(name, " "); !strings.Contains(mail, "sent by "+word) {
					t.Errorf("another mail came: %s", mail)
				}
			default:
				t.Errorf("no mail came:\n%s", out)
			}
		})
	}
	t.Run("a wrong password", func(t *testing.T) {
		command := swaksArgs("wrong", "x")
		out, err := exec.CommandContext(t.Context(), command[0], command[1:]...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), " 535 5.7.8 Authentication failed.") {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

// testSieve stores a script through the proxy at a real ManageSieve server and reads it again.
func testSieve(t *testing.T, h *house, _ *front) {
	f := submitFront(t, h, h.one.IP, h.one.Port("sieve"))
	nc, err := dial(f.addr("sieve"), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	r := bufio.NewReader(nc)
	until := func(response string) (all string) {
		t.Helper()
		for {
			line, err := r.ReadString('\n')
			if all += line; err != nil {
				t.Fatalf("%v behind %q", err, all)
			}
			if strings.HasPrefix(line, "OK") || strings.HasPrefix(line, "NO") || strings.HasPrefix(line, "BYE") {
				if !strings.HasPrefix(line, response) {
					t.Fatalf("not %s: %q", response, all)
				}
				return all
			}
		}
	}
	send := func(text string) {
		if _, err := io.WriteString(nc, text+"\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	until("OK \"Proxy ready.\"")
	send(`AUTHENTICATE "PLAIN" "AGFsaWNlQGV4YW1wbGUub3JnAHdyb25n"`) // alice@example.org, wrong
	until("NO \"Authentication failed.\"")
	send("AUTHENTICATE \"PLAIN\" {36+}\r\nAGFsaWNlQGV4YW1wbGUub3JnAHNlY3JldA==") // alice@example.org, secret
	until("OK")
	send("PUTSCRIPT \"a\" {5+}\r\nkeep;")
	until("OK")
	send(`GETSCRIPT "a"`)
	if all := until("OK"); !strings.Contains(all, "keep;") {
		t.Errorf("another script: %q", all)
	}
	send("LOGOUT")
	until("OK")
}
