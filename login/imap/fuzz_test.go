package imap_test

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
		"a CAPABILITY\r\nb NOOP\r\nc LOGOUT\r\n", "a LOGIN {1}\r\nu {1+}\r\np\r\n", "a LOGIN \"u\\\"\" p\r\n", "a AUTHENTICATE PLAIN =\r\n",
		"a AUTHENTICATE PLAIN\r\nAHUAcA==\r\nb NOOP\r\n", "a AUTHENTICATE LOGIN\r\n*\r\n", "a ID (\"name\" \"x\" \"os\" NIL)\r\n", "a ID (((\r\n", "a NOOP (x) \"y\" {3+}\r\nabc\r\n",
		"a STARTTLS\r\nb NOOP\r\n", "LOGIN u p\r\n", "* x\r\n+ y\r\n\r\n", "GET / HTTP/1.1\r\n", "a LOGIN {99999999999999999999}\r\n", "a {-1}\r\n", "a\rb\x00\xff\r\n",
		"a ENABLE ~{1}\r\n", "a LOGOUT\r\nb LOGIN u p\r\n",
	} {
		f.Add([]byte(seed))
	}
	r := loginrig.Start(f, loginrig.Options{
		Protocol: protocol(), Conf: "imap_id_log = *\nimap_id_retain = yes\nlogin_trusted_networks = 127.0.0.1\nauth_mechanisms = plain login",
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
