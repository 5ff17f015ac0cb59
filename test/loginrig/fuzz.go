package loginrig

import (
	"bytes"
	"strings"
	"testing"

	"dproxy/login"
)

// Fuzz says what FuzzFront feeds to which front.
type Fuzz struct {
	Protocol login.Protocol
	Conf     string // beside trust in the client
	Seeds    []string
	// EchoesAny: what the client said may come back in any bytes (ManageSieve strings).
	EchoesAny bool
	// Growth is how many bytes may be answered for one, beside a constant.
	Growth int
}

// FuzzFront sends bytes to the front of a proxy that nobody may log in to: whatever they are, the connection ends, no
// backend is reached, and what comes back are lines of printable ASCII.
func FuzzFront(f *testing.F, o Fuzz) {
	for _, seed := range o.Seeds {
		f.Add([]byte(seed))
	}
	r := Start(f, Options{
		Protocol: o.Protocol, Conf: "login_trusted_networks = 127.0.0.1\n" + o.Conf, Users: map[string]User{}, Quiet: true,
		Backend: func(*Peer) { panic("a backend was reached") },
	})
	f.Fuzz(func(t *testing.T, data []byte) {
		p := r.DialFor(t, "")
		_, _ = p.Write(data) // the front may have ended it
		_ = p.TCP.CloseWrite()
		out := p.Rest()
		_ = p.Close()
		if n := r.Server.Panics(); n != 0 {
			t.Fatal("the front panicked")
		}
		if !strings.HasSuffix(out, "\r\n") && out != "" {
			t.Errorf("the last line has no end: %q", out)
		}
		if limit := o.Growth*len(data) + 4*login.MaxInput; len(out) > limit {
			t.Errorf("%d bytes for %d", len(out), len(data))
		}
		if o.EchoesAny {
			return
		}
		for line := range bytes.SplitSeq([]byte(out), []byte("\r\n")) {
			for _, b := range line {
				if b < ' ' || b >= 0x7f {
					t.Fatalf("%q is sent back in %q", b, line)
				}
			}
		}
	})
}
