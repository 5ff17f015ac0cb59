package lmtp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"go.uber.org/goleak"

	"dproxy/backend"
	"dproxy/backend/backendtest"
	"dproxy/conf"
	"dproxy/event"
	"dproxy/passdb"
	"dproxy/route"
	"dproxy/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func lines(l ...string) string { return strings.Join(l, "\n") }

const (
	lhlo  = `C: LHLO proxy\.example\.org`
	greet = "S: 220 b1\n" + lhlo
	plain = greet + "\nS: 250 b1"
	piped = greet + "\nS: 250-b1\nS: 250 PIPELINING"
	quit  = "C: QUIT\nS: 221 bye\nEOF"
)

// dial opens a session at a script. The caller quits it.
func dial(t *testing.T, script string, change func(*backend.Login)) (*Session, error) {
	t.Helper()
	server := backendtest.Start(t, "127.0.0.1", script)
	l := backendtest.NewLogin(server.Addr)
	l.Identity.Proto, l.Identity.TTL = "LMTP", 6
	if change != nil {
		change(l)
	}
	return Dial(t.Context(), backend.NewDialer(&conf.Settings{SSLCA: server.CA()}, event.Discard{}, nil), l, event.Client{Service: "lmtp"})
}

func must(t *testing.T, script string, change func(*backend.Login)) *Session {
	t.Helper()
	s, err := dial(t, script, change)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// said shows an answer or what stands for it.
func said(r wire.Reply, err error) string {
	var e *Error
	switch {
	case errors.As(err, &e):
		return fmt.Sprintf("(%s%s)", e.Kind.Detail(), e.Text)
	case err != nil:
		return "?" + err.Error()
	}
	return r.Wire()
}

func TestHandshake(t *testing.T) {
	for _, tc := range []struct {
		name, script string
		change       func(*backend.Login)
		want         string
	}{
		{"LHLO", lines(plain, quit), nil, ""},
		{"a greeting of several lines", lines("S: 220-b1", "S: 220 ready", lhlo, "S: 250 b1", quit), nil, ""},
		{"a greeting without text", lines("S: 220", lhlo, "S: 250", quit), nil, ""},
		{
			"XCLIENT, only what is listed, and LHLO again", lines(greet, "S: 250-b1", "S: 250 XCLIENT ADDR PORT TTL PROTO HELO SESSION LOGIN TIMEOUT",
				`C: XCLIENT HELO=client\.example\.com PROTO=LMTP LOGIN=u9 SESSION=S\+2BD:P1 TTL=5 PORT=4711 ADDR=192\.0\.2\.7`, "S: 220 again", lhlo, "S: 250 b1", quit),
			func(l *backend.Login) {
				l.Identity.Session, l.Identity.Login = "S+D:P1", "u9"
			}, "",
		},
		{"a refused XCLIENT does not matter", lines(greet, "S: 250-b1", "S: 250 XCLIENT TTL", "C: XCLIENT TTL=5", "S: 550 not you", lhlo, "S: 250 b1", quit), nil, ""},
		{"the last hop sends 0", lines(greet, "S: 250-b1", "S: 250 XCLIENT TTL", "C: XCLIENT TTL=0", "S: 220", lhlo, "S: 250 b1", quit), func(l *backend.Login) { l.Identity.TTL = 1 }, ""},
		{"421 to XCLIENT does", lines(greet, "S: 250-b1", "S: 250 XCLIENT TTL", "C: XCLIENT TTL=5", "S: 421 bye", "EOF"), nil, "(connection lost, Remote closed connection: 421 bye)"},
		{"proxy_not_trusted is obeyed, unlike in Dovecot", lines(greet, "S: 250-b1", "S: 250 XCLIENT TTL", quit), func(l *backend.Login) { l.Target.NotTrusted = true }, ""},
		{"IPv6 without prefix", lines(greet, "S: 250-b1", "S: 250 XCLIENT ADDR", "C: XCLIENT ADDR=2001:db8::7", "S: 220", lhlo, "S: 250 b1", quit), func(l *backend.Login) { l.Identity.Remote = netip.MustParseAddrPort("[2001:db8::7]:1") }, ""},
		{
			"IPv6 with prefix for SMTP", lines("S: 220 b1", `C: EHLO proxy\.example\.org`, "S: 250-b1", "S: 250 XCLIENT ADDR", "C: XCLIENT ADDR=IPV6:2001:db8::7", "S: 220", "C: EHLO .*", "S: 250 b1", quit),
			func(l *backend.Login) {
				l.Identity.Remote, l.Target.Protocol = netip.MustParseAddrPort("[2001:db8::7]:1"), "smtp"
			}, "",
		},
		{"HELO for an SMTP server that knows no EHLO", lines("S: 220 b1", "C: EHLO .*", "S: 502 what", `C: HELO proxy\.example\.org`, "S: 250 b1", quit), func(l *backend.Login) { l.Target.Protocol = "smtp" }, ""},
		{"STARTTLS and LHLO again", lines(greet, "S: 250-b1", "S: 250 STARTTLS", "C: STARTTLS", "S: 220 go", "TLS good", lhlo, "S: 250 b1", quit), func(l *backend.Login) { l.Target.TLS = route.StartTLS }, ""},
		{"implicit TLS", lines("TLS good", plain, quit), func(l *backend.Login) { l.Target.TLS = route.Implicit }, ""},
		{"no STARTTLS where it is asked", lines(plain, "EOF"), func(l *backend.Login) { l.Target.TLS = route.StartTLS }, "(connect, Requested STARTTLS, but server doesn't support it)"},
		{"STARTTLS refused", lines(greet, "S: 250-b1", "S: 250 STARTTLS", "C: STARTTLS", "S: 454 4.7.0 not now", "C: QUIT", "EOF"), func(l *backend.Login) { l.Target.TLS = route.StartTLS }, "(4.7.0 not now)"},
		{"a rogue certificate", lines("FAILTLS rogue"), func(l *backend.Login) { l.Target.TLS = route.Implicit }, "(connect, SSL handshake to ADDR failed: Received invalid SSL certificate: self-signed certificate: /CN=rogue.example.net (check ssl_client_ca_* settings?))"},
		{"a rogue certificate after STARTTLS", lines(greet, "S: 250-b1", "S: 250 STARTTLS", "C: STARTTLS", "S: 220 go", "FAILTLS rogue"), func(l *backend.Login) { l.Target.TLS = route.StartTLS }, "(connect, SSL handshake to ADDR failed: Received invalid SSL certificate: self-signed certificate: /CN=rogue.example.net (check ssl_client_ca_* settings?))"},
		{"a refusal instead of a greeting", lines("S: 554 5.3.2 full", "C: QUIT", "EOF"), nil, "(5.3.2 full)"},
		{"a wrong greeting", lines("S: 250 hello", "C: QUIT", "EOF"), nil, "(bad reply, Received inappropriate greeting)"},
		{"LHLO refused", lines(greet, "S: 451 4.3.0 later", "C: QUIT", "EOF"), nil, "(4.3.0 later)"},
		{"garbage", lines("S: hello", "C: QUIT", "EOF"), nil, "(bad reply, Invalid command reply: Invalid status code in reply)"},
		{"mixed codes", lines("S: 220-a", "S: 221 b", "C: QUIT", "EOF"), nil, "(bad reply, Invalid command reply: Inconsistent status codes in reply)"},
		{"a line without end", `R: "` + strings.Repeat("2", 5000) + `"` + "\nHANG", nil, "(bad reply, Command reply line too long)"},
		{"closed at once", "CLOSE", nil, "(connection lost, Remote closed connection unexpectedly)"},
		{"reset", lines(greet, "RESET"), nil, "(connection lost, Remote closed connection unexpectedly)"},
		{"silence", "HANG", func(l *backend.Login) { l.Target.Timeout = 50 * time.Millisecond }, "(connect, SMTP handshake timed out after 0 seconds)"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := dial(t, tc.script, tc.change)
			if err == nil {
				s.Quit()
			}
			got := ""
			if err != nil {
				got = said(wire.Reply{}, err)
				var e *Error
				if errors.As(err, &e) {
					got = strings.ReplaceAll(got, e.address, "ADDR")
				}
			}
			if got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestRefusedConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().(*net.TCPAddr).AddrPort()
	l.Close()
	_, err = Dial(t.Context(), backend.NewDialer(&conf.Settings{}, event.Discard{}, nil), backendtest.NewLogin(addr), event.Client{})
	var e *Error
	if !errors.As(err, &e) || e.Kind != Connect {
		t.Fatalf("got %v", err)
	}
	if want := fmt.Sprintf("conn %s [1]: connect(%s) failed: Connection refused", addr, addr); e.LogText() != want {
		t.Errorf("got %s, want %s", e.LogText(), want)
	}
}

func TestCanceledDial(t *testing.T) {
	server := backendtest.Start(t, "127.0.0.1", "HANG")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := Dial(ctx, backend.NewDialer(&conf.Settings{}, event.Discard{}, nil), backendtest.NewLogin(server.Addr), event.Client{})
		done <- err
	}()
	cancel()
	var e *Error
	if err := <-done; !errors.As(err, &e) || e.Kind != Aborted {
		t.Errorf("got %v", err)
	}
	if nc, err := net.Dial("tcp", server.Addr.String()); err == nil {
		_ = nc.Close() // the server may have been left before it was reached
	}
}

func TestRecipients(t *testing.T) {
	for _, tc := range []struct {
		name, script string
		mail         Mail
		rcpts        []Recipient
		want         []string
	}{
		{
			"MAIL and RCPT in one go", lines(piped, "C: MAIL FROM:<a@b>", "C: RCPT TO:<u1@x>", "S: 250 2.1.0 OK", "S: 250 2.1.5 fine", "C: RCPT TO:<u2@x>", "S: 550 5.1.1 unknown", quit),
			Mail{From: "a@b"},
			[]Recipient{{To: "u1@x"}, {To: "u2@x"}},
			[]string{"250 2.1.5 fine", "550 5.1.1 unknown"},
		},
		{
			"one after another without PIPELINING", lines(plain, "C: MAIL FROM:<>", "S: 250 OK", "C: RCPT TO:<u1>", "S: 250 fine", quit),
			Mail{},
			[]Recipient{{To: "u1"}},
			[]string{"250 fine"},
		},
		{
			"a refused MAIL is everybody's answer", lines(piped, "C: MAIL FROM:<a@b>", "C: RCPT TO:<u1>", "S: 550 5.7.0 bad sender", "S: 503 no MAIL", quit),
			Mail{From: "a@b"},
			[]Recipient{{To: "u1"}, {To: "u2"}},
			[]string{"550 5.7.0 bad sender", "550 5.7.0 bad sender"},
		},
		{
			"a refused MAIL without PIPELINING", lines(plain, "C: MAIL FROM:<a@b>", "S: 452 4.3.1 full", quit),
			Mail{From: "a@b"},
			[]Recipient{{To: "u1"}},
			[]string{"452 4.3.1 full"},
		},
		{
			"parameters only where the backend lists them", lines(plain, "C: MAIL FROM:<a@b>", "S: 250 OK", `C: RCPT TO:<u1> ORCPT=rfc822;U1@Example\.com`, "S: 250 OK", quit),
			Mail{From: "a@b", Body: "8BITMIME", Size: 100, Envid: "x", Ret: "HDRS", Auth: "<>"},
			[]Recipient{{To: "u1", ORCPT: OriginalRecipient("U1@Example.com"), Notify: "NEVER", Forward: []passdb.Field{{Name: "a", Value: "b"}}}},
			[]string{"250 OK"},
		},
		{
			"all parameters", lines(greet, "S: 250-b1", "S: 250-8BITMIME", "S: 250-SIZE 1000", "S: 250-DSN", "S: 250-AUTH PLAIN", "S: 250 XRCPTFORWARD",
				"C: MAIL FROM:<a@b> AUTH=<> BODY=8BITMIME ENVID=x RET=HDRS SIZE=100", "S: 250 OK", `C: RCPT TO:<u1> NOTIFY=NEVER ORCPT=rfc822;u\+2B1@x XRCPTFORWARD=foo\+3Dbar\+09a\+3Db`, "S: 250 OK", quit),
			Mail{From: "a@b", Body: "8BITMIME", Size: 100, Envid: "x", Ret: "HDRS", Auth: "<>"},
			[]Recipient{{To: "u1", ORCPT: OriginalRecipient("u+1@x"), Notify: "NEVER", Forward: []passdb.Field{{Name: "foo", Value: "bar"}, {Name: "a", Value: "b"}}}},
			[]string{"250 OK"},
		},
		{
			"BINARYMIME needs CHUNKING too", lines(greet, "S: 250-b1", "S: 250 BINARYMIME", "C: MAIL FROM:<a@b>", "S: 250 OK", "C: RCPT TO:<u1>", "S: 250 OK", quit),
			Mail{From: "a@b", Body: "BINARYMIME"},
			[]Recipient{{To: "u1"}},
			[]string{"250 OK"},
		},
		{
			"a quoted local part", lines(plain, `C: MAIL FROM:<"a> b"@x>`, "S: 250 OK", `C: RCPT TO:<"<\\">"@x>`, "S: 250 OK", quit),
			Mail{From: `"a> b"@x`},
			[]Recipient{{To: `"<\">"@x`}},
			[]string{"250 OK"},
		},
		{
			"421 loses the connection", lines(plain, "C: MAIL FROM:<a@b>", "S: 250 OK", "C: RCPT TO:<u1>", "S: 421 4.3.2 bye", "EOF"),
			Mail{From: "a@b"},
			[]Recipient{{To: "u1"}, {To: "u2"}},
			[]string{"(connection lost, Remote closed connection: 421 4.3.2 bye)", "(connection lost, Remote closed connection: 421 4.3.2 bye)"},
		},
		{
			"closed at RCPT", lines(plain, "C: MAIL FROM:<a@b>", "S: 250 OK", "C: RCPT TO:<u1>", "CLOSE"),
			Mail{From: "a@b"},
			[]Recipient{{To: "u1"}, {To: "u2"}},
			[]string{"(connection lost, Remote closed connection unexpectedly)", "(connection lost, Remote closed connection unexpectedly)"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := must(t, tc.script, nil)
			if err := s.Mail(tc.mail); err != nil {
				t.Fatal(err)
			}
			for i, r := range tc.rcpts {
				if got := said(s.Rcpt(r)); got != tc.want[i] {
					t.Errorf("recipient %d: got %s, want %s", i+1, got, tc.want[i])
				}
			}
			s.Quit()
		})
	}
}

func TestNothingIsSentThatEndsACommand(t *testing.T) {
	for _, bad := range []string{"a\r\nRSET", "a\nb", "a\x00b", "a> SIZE=1", "a b", "<a", `"a>`, `"a b`} {
		s := must(t, lines(plain, "EOF"), nil)
		if err := s.Mail(Mail{From: bad}); err == nil {
			t.Errorf("MAIL took %q", bad)
		}
		s.Abort()
		s = must(t, lines(plain, "EOF"), nil)
		if err := s.Mail(Mail{From: "a@b"}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Rcpt(Recipient{To: bad}); err == nil {
			t.Errorf("RCPT took %q", bad)
		}
		s.Abort()
	}
	for _, bad := range []Recipient{{To: ""}, {To: "a", ORCPT: "x\r\ny"}, {To: "a", Notify: "NEVER X=1"}} {
		s := must(t, lines(plain, "EOF"), nil)
		_ = s.Mail(Mail{})
		if _, err := s.Rcpt(bad); err == nil {
			t.Errorf("RCPT took %+v", bad)
		}
		s.Abort()
	}
}

// accept opens a session with n accepted recipients; tail is what the script says from DATA on.
func accept(t *testing.T, caps string, n int, change func(*backend.Login), tail ...string) *Session {
	t.Helper()
	script := []string{greet, "S: 250-b1"}
	if change != nil {
		script = []string{"S: 220 b1", "C: EHLO .*", "S: 250-b1"}
	}
	script = append(script, "S: 250 "+caps, "C: MAIL FROM:<a@b>", "S: 250 OK")
	for i := range n {
		script = append(script, fmt.Sprintf("C: RCPT TO:<u%d>", i+1), "S: 250 OK")
	}
	s := must(t, lines(append(script, tail...)...), change)
	if err := s.Mail(Mail{From: "a@b"}); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if _, err := s.Rcpt(Recipient{To: fmt.Sprintf("u%d", i+1)}); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func results(rs []Result) string {
	var out []string
	for _, r := range rs {
		out = append(out, said(r.Reply, r.Err))
	}
	return strings.Join(out, " / ")
}

func TestData(t *testing.T) {
	smtp := func(l *backend.Login) { l.Target.Protocol = "smtp" }
	broken := io.MultiReader(strings.NewReader("half"), iotest.ErrReader(errors.New("spool gone")))
	for _, tc := range []struct {
		name   string
		caps   string
		n      int
		change func(*backend.Login)
		body   io.Reader
		tail   []string
		want   string
	}{
		{
			"one answer for each recipient", "X", 3, nil, strings.NewReader("Subject: x\r\n\r\nHello\r\n"),
			[]string{"C: DATA", "S: 354 go", "C: Subject: x", "C: ", "C: Hello", `C: \.`, "S: 250 2.0.0 saved", "S: 452 4.2.2 quota", "S: 554 5.6.0 no", quit},
			"250 2.0.0 saved / 452 4.2.2 quota / 554 5.6.0 no",
		},
		{
			"one answer for all from SMTP", "X", 2, smtp, strings.NewReader("x\r\n"),
			[]string{"C: DATA", "S: 354 go", "C: x", `C: \.`, "S: 250 2.0.0 queued", quit},
			"250 2.0.0 queued / 250 2.0.0 queued",
		},
		{
			"dots are stuffed and line ends are CRLF", "X", 1, nil, iotest.OneByteReader(strings.NewReader(".a\n..b\r\nc\n.\n\n.\r\nd")),
			[]string{"C: DATA", "S: 354 go", `C: \.\.a`, `C: \.\.\.b`, "C: c", `C: \.\.`, "C: ", `C: \.\.`, "C: d", `C: \.`, "S: 250 ok", quit},
			"250 ok",
		},
		{
			"an empty message", "X", 1, nil, strings.NewReader(""),
			[]string{"C: DATA", "S: 354 go", `C: \.`, "S: 250 ok", quit},
			"250 ok",
		},
		{
			"a refused DATA is everybody's answer", "X", 2, nil, strings.NewReader("x"),
			[]string{"C: DATA", "S: 451 4.3.0 no", quit},
			"451 4.3.0 no / 451 4.3.0 no",
		},
		{
			"a success where none can be", "X", 1, nil, strings.NewReader("x"),
			[]string{"C: DATA", "S: 250 what", "C: QUIT", "EOF"},
			"(bad reply, Unexpected reply: 250 what)",
		},
		{
			"what came before the connection was lost stands", "X", 3, nil, strings.NewReader("x\r\n"),
			[]string{"C: DATA", "S: 354 go", "C: x", `C: \.`, "S: 250 saved", "CLOSE"},
			"250 saved / (connection lost, Remote closed connection unexpectedly) / (connection lost, Remote closed connection unexpectedly)",
		},
		{
			"a message that cannot be read is not ended", "X", 1, nil, broken,
			[]string{"C: DATA", "S: 354 go", "N: 4", "EOF"},
			"(Failed to read DATA stream: spool gone)",
		},
		{
			"BDAT, one answer for each recipient", "CHUNKING", 2, nil, strings.NewReader("a\r\n"),
			[]string{"C: BDAT 3 LAST", "C: a", "S: 250 saved", "S: 550 no", quit},
			"250 saved / 550 no",
		},
		{
			"BDAT leaves line ends and dots alone", "CHUNKING", 1, nil, strings.NewReader(".a\n.\r\n"),
			[]string{"C: BDAT 6 LAST", `B: ".a\n.\r\n"`, "S: 250 saved", quit},
			"250 saved",
		},
		{
			"an empty message with BDAT", "CHUNKING", 1, nil, strings.NewReader(""),
			[]string{"C: BDAT 0 LAST", "S: 250 saved", quit},
			"250 saved",
		},
		{
			"chunks have one answer each", "CHUNKING", 2, nil, strings.NewReader(strings.Repeat("x", 2*chunk) + "end"),
			[]string{fmt.Sprintf("C: BDAT %d", chunk), fmt.Sprintf("N: %d", chunk), "S: 250 got it", fmt.Sprintf("C: BDAT %d", chunk), fmt.Sprintf("N: %d", chunk), "S: 250 got it", "C: BDAT 3 LAST", "N: 3", "S: 250 a", "S: 250 b", quit},
			"250 a / 250 b",
		},
		{
			"a refused chunk is everybody's answer", "CHUNKING", 2, nil, strings.NewReader(strings.Repeat("x", chunk) + "end"),
			[]string{fmt.Sprintf("C: BDAT %d", chunk), fmt.Sprintf("N: %d", chunk), "S: 552 5.3.4 too big", "C: BDAT 3 LAST", "N: 3", "EOF"},
			"552 5.3.4 too big / 552 5.3.4 too big",
		},
		{
			"a message that cannot be read is not ended with BDAT", "CHUNKING", 1, nil, broken,
			[]string{"EOF"},
			"(Failed to read DATA stream: spool gone)",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := accept(t, tc.caps, tc.n, tc.change, tc.tail...)
			if got := results(s.Data(tc.body, time.Minute)); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
			s.Quit()
		})
	}
}

func TestSilentBackendAfterTheMessage(t *testing.T) {
	s := accept(t, "X", 2, nil, "C: DATA", "S: 354 go", "C: x", `C: \.`, "S: 250 saved", "HANG")
	if got, want := results(s.Data(strings.NewReader("x\r\n"), 50*time.Millisecond)), "250 saved / (timed out, Command timed out, disconnecting)"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	s.Quit()
}

func TestNoRecipientNoData(t *testing.T) {
	s := must(t, lines(plain, "C: MAIL FROM:<a@b>", "S: 250 OK", "C: RCPT TO:<u1>", "S: 550 no", quit), nil)
	_ = s.Mail(Mail{From: "a@b"})
	if _, err := s.Rcpt(Recipient{To: "u1"}); err != nil {
		t.Fatal(err)
	}
	if got := s.Data(iotest.ErrReader(errors.New("read")), time.Minute); got != nil {
		t.Errorf("got %v", got)
	}
	s.Quit()
}

func TestSecondTransaction(t *testing.T) {
	s := accept(t, "X", 1, nil, "C: DATA", "S: 354 go", "C: x", `C: \.`, "S: 250 one", "C: MAIL FROM:<c@d>", "S: 250 OK", "C: RCPT TO:<u2>", "S: 250 OK", "C: DATA", "S: 354 go", "C: y", `C: \.`, "S: 250 two", quit)
	if got := results(s.Data(strings.NewReader("x\r\n"), time.Minute)); got != "250 one" {
		t.Errorf("got %s", got)
	}
	if err := s.Mail(Mail{From: "c@d"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Rcpt(Recipient{To: "u2"}); err != nil {
		t.Fatal(err)
	}
	if got := results(s.Data(strings.NewReader("y\r\n"), time.Minute)); got != "250 two" {
		t.Errorf("got %s", got)
	}
	s.Quit()
}
