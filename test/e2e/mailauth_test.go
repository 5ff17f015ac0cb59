package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/smtp"
	"net/textproto"
	"strconv"
	"strings"
	"testing"

	"dproxy/test/daemon"
)

// mailAuth: port of a socket for Exim and others who ask by TCP.
const mailAuth = `auth_mechanisms = plain login cram-md5
passdb {
  driver = static
  args = nopassword=y fail=y
  username_filter = gone
}
passdb {
  driver = sql
  args = @DIR@/missing.conf.ext
  username_filter = broken
}
passdb {
  driver = passwd-file
  args = scheme=plain @DIR@/passwd
}
service auth {
  inet_listener {
    port = %d
    address = 127.0.0.1
  }
  unix_listener %s/queue/private/auth {
    mode = 0660
    user = postfix
    group = postfix
  }
}
`

// TestEndToEndMailServerAsks has a real Postfix with smtpd_sasl_type = dovecot ask the proxy who may send mail, on the
// usual unix socket and by TCP.
func TestEndToEndMailServerAsks(t *testing.T) {
	h := bareHouse(t)
	authPort := h.freePort(t)
	unix := startPostfix(t, h.freePort(t), 9, sasl("private/auth"))
	tcp := startPostfix(t, h.freePort(t), 9, sasl("inet:127.0.0.1:"+strconv.Itoa(authPort)))
	f := h.start(t, fmt.Sprintf(mailAuth, authPort, unix.dir), map[string]string{
		"passwd":           "alice:" + password + "::::::proxy=y host=127.0.0.9\n",
		"missing.conf.ext": "driver = sqlite\nconnect = /nonexistent/db\npassword_query = SELECT password FROM users WHERE user = '%u'\n",
	})
	for _, p := range []*postfix{unix, tcp} {
		name := map[*postfix]string{unix: "unix socket", tcp: "TCP"}[p]
		for _, tc := range []struct {
			name string
			auth smtp.Auth
			want int // SMTP code, 235 for a success
		}{
			{"PLAIN", smtp.PlainAuth("", "alice", password, "127.0.0.1"), 235},
			{"PLAIN with a wrong password", smtp.PlainAuth("", "alice", "wrong", "127.0.0.1"), 535},
			{"LOGIN", loginAuth{"alice", password}, 235},
			{"LOGIN with a wrong password", loginAuth{"alice", "wrong"}, 535},
			{"CRAM-MD5", smtp.CRAMMD5Auth("alice", password), 235},
			{"CRAM-MD5 with a wrong password", smtp.CRAMMD5Auth("alice", "wrong"), 535},
			{"an unknown user", smtp.PlainAuth("", "nobody", password, "127.0.0.1"), 535},
			{"a user whom a field refuses", smtp.PlainAuth("", "gone", password, "127.0.0.1"), 535},
			// Postfix 3.7 does not know of temporary failures: Dovecot's are 535 there as well.
			{"a user whose database is down", smtp.PlainAuth("", "broken", password, "127.0.0.1"), 535},
		} {
			t.Run(name+"/"+tc.name, func(t *testing.T) {
				if code := submit(t, p, tc.auth); code != tc.want {
					t.Errorf("SMTP code %d, want %d\n%s", code, tc.want, last(p.log(t), 2000))
				}
			})
		}
	}
	t.Run("Postfix connects again after a reload", func(t *testing.T) {
		f.write(t, "dovecot.conf", f.read(t, "dovecot.conf")+"login_greeting = Changed.\n")
		f.write(t, "passwd", "bob:"+password+"::::::\n")
		f.hangUp(t)
		eventually(t, "the new configuration is in use", func() bool { return f.greets(t, "Changed.") })
		if code := submit(t, unix, smtp.PlainAuth("", "bob", password, "127.0.0.1")); code != 235 {
			t.Errorf("SMTP code %d\n%s", code, last(unix.log(t), 2000))
		}
	})
	if crash := daemon.Crash(f.read(t, "log")); crash != "" {
		t.Error(crash)
	}
}

func sasl(path string) string {
	return "smtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = dovecot\nsmtpd_sasl_security_options = noanonymous\nsmtpd_error_sleep_time = 0\nsmtpd_sasl_path = " + path + "\n"
}

// submit authenticates and returns the code of the answer.
func submit(t *testing.T, p *postfix, a smtp.Auth) int {
	t.Helper()
	c, err := smtp.Dial(net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Auth(a); err != nil {
		var reply *textproto.Error
		if !errors.As(err, &reply) {
			t.Fatalf("%v\n%s", err, last(p.log(t), 2000))
		}
		return reply.Code
	}
	if err := c.Mail("alice@example.org"); err != nil {
		t.Error(err)
	}
	return 235
}

// loginAuth is the LOGIN mechanism, which net/smtp does not have.
type loginAuth struct{ user, password string }

func (loginAuth) Start(*smtp.ServerInfo) (string, []byte, error) { return "LOGIN", nil, nil }

func (l loginAuth) Next(prompt []byte, more bool) ([]byte, error) {
	switch {
	case !more:
		return nil, nil
	case strings.HasPrefix(string(prompt), "Username"):
		return []byte(l.user), nil
	}
	return []byte(l.password), nil
}
