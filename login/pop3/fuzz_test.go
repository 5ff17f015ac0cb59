package pop3_test

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
		"CAPA\r\nQUIT\r\n", "USER u\r\nPASS p\r\n", "AUTH\r\nAUTH PLAIN =\r\n", "AUTH PLAIN\r\nAHUAcA==\r\nCAPA\r\n", "AUTH LOGIN\r\n*\r\n", "APOP u 0123456789abcdef0123456789abcdef\r\n",
		"XCLIENT ADDR=192.0.2.1 PORT=1 SESSION=x TTL=3 FORWARD=YT0x\r\n", "XOIP ::1\r\n", "STLS\r\nCAPA\r\n", "x\r\ny\r\nz\r\n", "GET / HTTP/1.1\r\n", "U\rSER \x00\xff\r\n",
	} {
		f.Add([]byte(seed))
	}
	r := loginrig.Start(f, loginrig.Options{
		Protocol: protocol(), Conf: "login_trusted_networks = 127.0.0.1\nauth_mechanisms = plain login apop",
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
	if limit := 64*len(data) + 4*login.MaxInput; len(out) > limit {
		t.Errorf("%d bytes for %d", len(out), len(data))
	}
}
