package submission_test

import (
	"bytes"
	"testing"

	"dproxy/login"
	"dproxy/test/loginrig"
)

// FuzzFront sends bytes to the front of a proxy that nobody may log in to: whatever they are, the connection ends,
// no backend is reached, and what comes back are lines of printable ASCII.
func FuzzFront(f *testing.F) {
	for _, seed := range []string{
		"EHLO x\r\nQUIT\r\n", "HELO x\r\nAUTH PLAIN AHUAcA==\r\n", "AUTH PLAIN\r\nAHUAcA==\r\nNOOP \"a\\\"b\"\r\n", "AUTH LOGIN\r\n*\r\n",
		"XCLIENT ADDR=IPV6:2001:db8::1 PORT=1 SESSION=x TTL=3 FORWARD=YT0x HELO=a+20b PROTO=SMTP\r\n", "STARTTLS\r\nEHLO x\r\n", "MAIL FROM:<a@b>\r\n", "GET / HTTP/1.1\r\n", "NO OP \x00\xff\r\n",
	} {
		f.Add([]byte(seed))
	}
	r := loginrig.Start(f, loginrig.Options{
		Protocol: protocol(), Conf: "login_trusted_networks = 127.0.0.1\nauth_mechanisms = plain login",
		Users: map[string]loginrig.User{}, Quiet: true,
		Backend: func(*loginrig.Peer) { panic("a backend was reached") },
	})
	f.Fuzz(func(t *testing.T, data []byte) {
		fuzzOne(t, r, data)
	})
}

func fuzzOne(t *testing.T, r *loginrig.Rig, data []byte) {
	p := r.DialFor(t, "")
	_, _ = p.Write(data) // the front may have ended it
	_ = p.TCP.CloseWrite()
	out := p.Rest()
	_ = p.Close()
	if n := r.Server.Panics(); n != 0 {
		t.Fatal("the front panicked")
	}
	if !bytes.HasSuffix([]byte(out), []byte("\r\n")) && out != "" {
		t.Errorf("the last line has no end: %q", out)
	}
	for line := range bytes.SplitSeq([]byte(out), []byte("\r\n")) {
		for _, b := range line {
			if b < ' ' || b >= 0x7f {
				t.Fatalf("%q is sent back in %q", b, line)
			}
		}
	}
	if limit := 400*len(data) + 4*login.MaxInput; len(out) > limit {
		t.Errorf("%d bytes for %d", len(out), len(data))
	}
}
