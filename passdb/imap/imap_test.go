package imap

import (
	"bufio"
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dproxy/conf"
	"dproxy/passdb"
	"dproxy/test/daemon"
	"dproxy/test/dialog"
	dovecot "dproxy/test/dovecot-backend"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, args string) passdb.Verifier {
	t.Helper()
	d, err := New(conf.Passdb{Args: args})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := d.(passdb.VerifyOnly); !ok {
		t.Error("the driver claims to look users up")
	}
	return d.(passdb.Verifier)
}

func ask(t *testing.T, v passdb.Verifier, user, password string) string {
	t.Helper()
	res, err := v.Verify(t.Context(), &passdb.Request{User: user}, passdb.Secret(password))
	if err != nil {
		return "error: " + err.Error()
	}
	return res.Status.String()
}

func TestVerify_against_Dovecot(t *testing.T) {
	t.Parallel()
	certs := dialog.NewCerts(t)
	const odd = "p\xc3\xa4ss \"wo\\rd{4}"
	server := dovecot.Start(t, dovecot.Config{
		Users: map[string]string{"bob@example.org": "secret", "odd": odd},
		Cert:  certs.File("backend", "crt"), Key: certs.File("backend", "key"), Ports: daemon.NewPorts(),
		More: "auth_failure_delay = 0\nssl_client_ca_file = " + certs.File("ca", "crt") + "\n",
	})
	host, port := server.IP, strconv.Itoa(server.Port("imap"))
	plain := "host=" + host + " port=" + port
	ca := " ssl_ca_file=" + certs.File("ca", "crt")
	for _, args := range []string{
		plain,
		plain + " ssl=starttls" + ca,
		plain + " ssl=starttls allow_invalid_cert=yes",
		"host=" + host + " port=" + strconv.Itoa(server.Port("imaps")) + " ssl=imaps" + ca,
	} {
		v := open(t, args)
		for _, c := range [][3]string{
			{"bob@example.org", "secret", "ok"},
			{"bob@example.org", "wrong", "password_mismatch"},
			{"bob@example.org", "", "password_mismatch"},
			{"nobody", "secret", "password_mismatch"},
			{"odd", odd, "ok"},
		} {
			if got := ask(t, v, c[0], c[1]); got != c[2] {
				t.Errorf("%s: %s with %q: %s, want %s", args, c[0], c[1], got, c[2])
			}
		}
	}
	if got := ask(t, open(t, plain+" username=%n@example.org"), "bob@elsewhere", "secret"); got != "ok" {
		t.Errorf("username=: %s", got)
	}
	if got := ask(t, open(t, plain+" username=%{nosuch}"), "bob", "x"); got != "error: Failed to expand username=%{nosuch}: Unknown variable '%nosuch'" {
		t.Errorf("unknown variable: %s", got)
	}
	if got := ask(t, open(t, plain+" ssl=starttls"), "bob@example.org", "secret"); !strings.HasPrefix(got, "error: "+host+":"+port+": ") {
		t.Errorf("a certificate of nobody we know: %s", got)
	}
}

// script is a server that says lines and, at each "> text", expects the client to say text; at "> hang" it waits.
func script(t *testing.T, lines ...string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		in := bufio.NewReader(c)
		for _, line := range lines {
			if want, ok := strings.CutPrefix(line, "> "); ok {
				got, err := in.ReadString('\n')
				if want == "hang" {
					return // the client has gone
				}
				if strings.TrimRight(got, "\r\n") != want {
					t.Errorf("the client says %q %v, want %q", got, err, want)
					return
				}
				continue
			}
			if _, err := c.Write([]byte(line + "\r\n")); err != nil {
				return
			}
		}
	})
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
	})
	return "host=127.0.0.1 port=" + strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

func TestVerify_dialogues(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		lines []string
		user  string
		want  string // without the address
	}{
		{"LOGIN with quoted strings", []string{"* OK [capability IMAP4rev1] hi", `> A1 LOGIN "bo\"b" "secret"`, "* OK by the way", "A1 OK done"}, `bo"b`, "ok"},
		{"LOGIN with a literal", []string{"* OK [CAPABILITY IMAP4rev1] hi", "> A1 LOGIN {3}", "+ go on", "> \xc3\xa4b \"secret\"", "A1 OK done"}, "\xc3\xa4b", "ok"},
		{"a line end in a name stays data", []string{"* OK [CAPABILITY IMAP4rev1] hi", "> A1 LOGIN {9}", "+ go on", "> a", "> A9 NOO \"secret\"", "A1 NO no"}, "a\r\nA9 NOO", "password_mismatch"},
		{"capabilities are asked for", []string{"* OK hi", "> A1 CAPABILITY", "* CAPABILITY IMAP4rev1 AUTH=PLAIN", "A1 OK", "> A2 AUTHENTICATE PLAIN", "+ ", "> AGJvYgBzZWNyZXQ=", "A2 NO [AUTHENTICATIONFAILED] no"}, "bob", "password_mismatch"},
		{"initial response", []string{"* OK [CAPABILITY AUTH=PLAIN SASL-IR] hi", "> A1 AUTHENTICATE PLAIN AGJvYgBzZWNyZXQ=", "A1 OK [CAPABILITY x] in"}, "bob", "ok"},
		{"an expired password", []string{"* OK [CAPABILITY x] hi", `> A1 LOGIN "bob" "secret"`, "A1 NO [EXPIRED] no"}, "bob", "pass_expired"},
		{"a server in trouble", []string{"* OK [CAPABILITY x] hi", `> A1 LOGIN "bob" "secret"`, "A1 NO [UNAVAILABLE] later"}, "bob", "error: login refused: NO [UNAVAILABLE] later"},
		{"BAD", []string{"* OK [CAPABILITY x] hi", `> A1 LOGIN "bob" "secret"`, "A1 BAD what"}, "bob", `error: the server answers "BAD what"`},
		{"LOGINDISABLED", []string{"* OK [CAPABILITY LOGINDISABLED] hi", "> hang"}, "bob", "error: the server does not allow LOGIN (LOGINDISABLED); set ssl"},
		{"BYE", []string{"* BYE too many"}, "bob", `error: the greeting is "* BYE too many"`},
		{"another protocol", []string{"220 mail ESMTP"}, "bob", `error: the greeting is "220 mail ESMTP"`},
		{"closes", []string{"* OK [CAPABILITY x] hi", `> A1 LOGIN "bob" "secret"`}, "bob", "error: Disconnected from server"},
		{"a stray tag", []string{"* OK [CAPABILITY x] hi", `> A1 LOGIN "bob" "secret"`, "A7 OK"}, "bob", `error: unexpected response "A7 OK"`},
		{"asks too often", []string{"* OK [CAPABILITY x] hi", `> A1 LOGIN "bob" "secret"`, "+ more"}, "bob", "error: the server asks for more than there is"},
		{"a long line", []string{"* OK " + strings.Repeat("x", maxLine)}, "bob", "error: line too long"},
		{"many lines", append(append([]string{"* OK [CAPABILITY x] hi", `> A1 LOGIN "bob" "secret"`}, slices.Repeat([]string{"* OK"}, maxLines)...), "A1 OK"), "bob", "error: the server sends too many lines"},
		{"a NUL", []string{"* OK [CAPABILITY x] hi", "> hang"}, "b\x00b", "error: a NUL cannot be sent"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			args := script(t, c.lines...)
			got := ask(t, open(t, args), c.user, "secret")
			if text, ok := strings.CutPrefix(got, "error: 127.0.0.1:"+args[strings.LastIndexByte(args, '=')+1:]+": "); ok {
				got = "error: " + text
			}
			if got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestStartTLS_ends_on_what_came_before_it(t *testing.T) {
	t.Parallel()
	args := script(t, "* OK [CAPABILITY x] hi", "> A1 STARTTLS", "A1 OK now\r\nA2 OK injected", "> hang")
	if got := ask(t, open(t, args+" ssl=starttls"), "bob", "secret"); !strings.HasSuffix(got, ": the server sent more before TLS") {
		t.Errorf("got %s", got)
	}
	args = script(t, "* OK [CAPABILITY x] hi", "> A1 STARTTLS", "A1 NO never", "> hang")
	if got := ask(t, open(t, args+" ssl=starttls"), "bob", "secret"); !strings.HasSuffix(got, ": STARTTLS refused: NO never") {
		t.Errorf("got %s", got)
	}
}

func TestVerify_ends_with_its_context(t *testing.T) {
	t.Parallel()
	v := open(t, script(t, "> hang"))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := v.Verify(ctx, &passdb.Request{User: "bob"}, "x"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

func TestNew_args(t *testing.T) {
	t.Parallel()
	for _, c := range [][2]string{
		{"", "passdb imap: Missing host parameter"},
		{"port=1", "passdb imap: Missing host parameter"},
		{"host=x foo=1", "passdb imap: Unknown parameter: foo"},
		{"host=x ssl=foo", "passdb imap: Invalid ssl mode: foo"},
		{"host=x ssl=imaps ssl_ca_file=/nonexistent", "passdb imap: Can't load CA certs from file: open /nonexistent: no such file or directory (ssl_client_ca_file setting)"},
	} {
		if _, err := New(conf.Passdb{Args: c[0]}); err == nil || err.Error() != c[1] {
			t.Errorf("%q: %v, want %s", c[0], err, c[1])
		}
	}
	for args, port := range map[string]string{"host=x": "143", "host=x ssl=starttls": "143", "host=x ssl=imaps": "993", "host=x port=1": "1"} {
		d, err := New(conf.Passdb{Args: args})
		if err != nil || d.(*driver).port != port {
			t.Errorf("%s: %v", args, err)
		}
	}
}
