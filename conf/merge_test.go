package conf

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestSettingsPrecedence(t *testing.T) {
	c := mustLoad(t, `
login_greeting = global
protocol imap {
  login_greeting = imap
}
protocol !pop3 {
  login_greeting = not pop3
}
remote 10.0.0.0/8 {
  login_greeting = r8
}
remote 10.1.0.0/16 {
  login_greeting = r16
}
local 192.0.2.0/24 {
  login_greeting = l24
  local_name b.example {
    login_greeting = l24 b
  }
}
local 2001:db8::/32 {
  login_greeting = l6
}
local_name "a.example A2.example" {
  login_greeting = a
}
local_name *.w.example {
  login_greeting = w
}
local_name ?.q.example {
  login_greeting = q
}
local_name pre*.example {
  login_greeting = pre
}
local_name pre*x.example {
  login_greeting = never
}
`, Options{})
	ip := netip.MustParseAddr
	for _, tt := range []struct {
		f    Filter
		want string
	}{
		{Filter{}, "global"},
		{Filter{Protocol: "imap"}, "imap"},
		{Filter{Protocol: "pop3"}, "global"},
		{Filter{Protocol: "lmtp"}, "not pop3"},
		{Filter{Protocol: "imap", Remote: ip("10.2.0.1")}, "r8"},
		{Filter{Protocol: "imap", Remote: ip("10.1.0.1")}, "r16"},
		{Filter{Protocol: "imap", Remote: ip("::ffff:10.1.0.1")}, "r16"},
		{Filter{Protocol: "imap", Remote: ip("10.1.0.1"), Local: ip("192.0.2.9")}, "l24"},
		{Filter{Local: ip("192.0.2.9"), LocalName: "b.example"}, "l24 b"},
		{Filter{Local: ip("192.0.3.9"), LocalName: "b.example"}, "global"},
		{Filter{Local: ip("2001:db8::5")}, "l6"},
		{Filter{Local: ip("192.0.2.9"), LocalName: "a.EXAMPLE"}, "a"},
		{Filter{LocalName: "a2.example"}, "a"},
		{Filter{LocalName: "X.w.example"}, "w"},
		{Filter{LocalName: "y.x.w.example"}, "global"},
		{Filter{LocalName: "w.example"}, "global"},
		{Filter{LocalName: "z.q.example"}, "q"},
		{Filter{LocalName: "zz.q.example"}, "global"},
		{Filter{LocalName: "prefix.example"}, "pre"},
		{Filter{LocalName: "pre.prefix.example"}, "global"},
		{Filter{LocalName: strings.Repeat("x", 300) + ".w.example"}, "global"},
	} {
		if got := c.Settings(tt.f).LoginGreeting; got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.f, got, tt.want)
		}
	}
}

func TestSettingsPointers(t *testing.T) {
	c := mustLoad(t, "protocol imap {\n  login_greeting = x\n}\nlocal_name a {\n  mail_plugins = y\n}\n", Options{})
	imap := c.Settings(Filter{Protocol: "imap"})
	if imap != c.Settings(Filter{Protocol: "imap", LocalName: "a"}) {
		t.Error("a block without an effect makes other settings")
	}
	if imap == c.Settings(Filter{Protocol: "pop3"}) {
		t.Error("different blocks share settings")
	}
	if c.Settings(Filter{Protocol: "pop3"}) != c.Settings(Filter{}) {
		t.Error("equal sets of blocks have different settings")
	}
}

// manyNames is a configuration of n hosts with a certificate each.
func manyNames(n int) string {
	var b strings.Builder
	b.WriteString("protocols = imap\nssl_cert = <default.pem\n")
	for i := range n {
		fmt.Fprintf(&b, "local_name mail%d.example.org {\n  ssl_cert = </etc/ssl/%d.pem\n  ssl_key = </etc/ssl/%d.key\n}\n", i, i, i)
	}
	return b.String()
}

func TestSettingsDoesNotAllocate(t *testing.T) {
	c := mustLoad(t, manyNames(5000), Options{})
	f := Filter{Protocol: "imap", Local: netip.MustParseAddr("192.0.2.1"), Remote: netip.MustParseAddr("192.0.2.2"), LocalName: "Mail4711.example.org"}
	if got := c.Settings(f).SSLCert; got != "</etc/ssl/4711.pem" {
		t.Fatalf("ssl_cert = %q", got)
	}
	if n := testing.AllocsPerRun(100, func() { c.Settings(f) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkSettings5000Names(b *testing.B) {
	path := filepath.Join(b.TempDir(), "dovecot.conf")
	if err := os.WriteFile(path, []byte(manyNames(5000)), 0o600); err != nil {
		b.Fatal(err)
	}
	c, err := Load(path, Options{})
	if err != nil {
		b.Fatal(err)
	}
	f := Filter{Protocol: "imap", Local: netip.MustParseAddr("192.0.2.1"), LocalName: "mail4711.example.org"}
	b.ReportAllocs()
	for b.Loop() {
		c.Settings(f)
	}
}

// BenchmarkLoad5000Names parses 5,000 local_name blocks, and has doveconf do the same when it is
// installed.
func BenchmarkLoad5000Names(b *testing.B) {
	path := filepath.Join(b.TempDir(), "dovecot.conf")
	if err := os.WriteFile(path, []byte(manyNames(5000)), 0o600); err != nil {
		b.Fatal(err)
	}
	b.Run("dproxy", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Load(path, Options{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	doveconf, err := exec.LookPath("doveconf")
	if err != nil {
		return
	}
	b.Run("doveconf", func(b *testing.B) {
		for b.Loop() {
			if err := exec.Command(doveconf, "-c", path, "ssl").Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func TestSettingsOfManyGoroutines(t *testing.T) {
	c := mustLoad(t, manyNames(100), Options{})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 100 {
				name := fmt.Sprintf("mail%d.example.org", (i+g)%100)
				if got, want := c.Settings(Filter{LocalName: name}).SSLCert, fmt.Sprintf("</etc/ssl/%d.pem", (i+g)%100); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
		})
	}
	wg.Wait()
}
