package login_test

import (
	"strings"
	"testing"

	"dproxy/test/loginrig"
)

// BenchmarkLogin is one IMAP login and its end, with client and backend in the same process.
func BenchmarkLogin(b *testing.B) {
	o := options("")
	o.Quiet = true
	r := loginrig.Start(b, o)
	b.ReportAllocs()
	for b.Loop() {
		p := r.DialFor(b, "")
		p.Line()
		p.Send("a LOGIN u p\r\n")
		if line := p.Line(); !strings.HasPrefix(line, "a OK") {
			b.Fatal(line)
		}
		_ = p.Close()
	}
}

// BenchmarkCommand is one command before login.
func BenchmarkCommand(b *testing.B) {
	o := options("")
	o.Quiet = true
	r := loginrig.Start(b, o)
	p := r.DialFor(b, "")
	p.Line()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%6000 == 5999 { // what one connection may send
			_ = p.Close()
			p = r.DialFor(b, "")
			p.Line()
		}
		p.Send("a NOOP\r\n")
		p.Line()
	}
}
