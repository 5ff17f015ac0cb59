package managesieve_test

import (
	"bytes"
	"testing"

	"dproxy/login"
	"dproxy/test/loginrig"
)

// FuzzFront sends bytes to the front of a proxy that nobody may log in to: whatever they are, the connection ends,
// and no backend is reached.
func FuzzFront(f *testing.F) {
	for _, seed := range []string{
		"CAPABILITY\r\nLOGOUT\r\n", "AUTHENTICATE \"PLAIN\" \"AHUAcA==\"\r\n", "AUTHENTICATE {5+}\r\nPLAIN {8+}\r\nAHUAcA==\r\n", "AUTHENTICATE \"LOGIN\"\r\n\"*\"\r\nNOOP\r\n",
		"XCLIENT ADDR=192.0.2.1 PORT=1 SESSION=x TTL=3 FORWARD=YT0x\r\n", "STARTTLS\r\nNOOP\r\n", "NOOP \"a\\\"\"\r\n", "NOOP {3}\r\nabc\r\n", "NOOP {99999999999999999999}\r\n", "GET / HTTP/1.1\r\n", "x\r\n \x00\xff\r\n",
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
	if limit := 400*len(data) + 4*login.MaxInput; len(out) > limit {
		t.Errorf("%d bytes for %d", len(out), len(data))
	}
}
