package attack

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"dproxy/test/dialog"
	"dproxy/test/proxy"
)

// TestEndToEndAttack plays everything that shares one proxy, then what needs one of its own.
func TestEndToEndAttack(t *testing.T) {
	proxy.Dproxy(t)
	certs := dialog.NewCerts(t)
	t.Run("one proxy", func(t *testing.T) {
		g := newGate(t, certs)
		hostile, bad := g.hostileUsers(t), g.badDeliveries(t)
		for _, p := range protocols {
			g.user(p.name, "any", fmt.Sprintf("nopassword=y port=%d", g.good[p.name].port))
		}
		g.start(t, lenient, 0)
		birds := g.hatch(t)
		stalled := newCrowd(t)
		alone := g.measure(t)
		made := g.stall(stalled)
		// Some that the canaries had for a moment may be closed meanwhile.
		eventually(t, "the stalled handshakes have begun", func() bool { return descriptors(t, g.proc.PID()) >= alone.descriptors+made-slack })
		for _, tt := range []struct {
			name string
			run  func(*testing.T, *gate)
		}{
			{"STARTTLS", testStartTLS},
			{"TLS", testTLS},
			{"input", testInput},
			{"control bytes", testControls},
			{"control bytes in mail", testMailControls},
			{"pipelining", testPipelining},
			{"pipelining of mail", testMailPipelining},
			{"identity", testIdentity},
			{"hop counts and XCLIENT", testHops},
			{"XCLIENT of all", testForwarding},
			{"smuggling", testSmuggling},
			{"PROXY headers", testProxyHeaders},
			{"certificate names of balancers", testProxyCertificates},
			{"TLS records", testRecords},
			{"floods", testFloods},
			{"bounds", testBounds},
			{"messages that stall", testStalledMail},
			{"slow and absent clients", testSlowClients},
			{"readers that stall", testStalledReaders},
			{"names for SNI", testNames},
			{"reloads", testReloads},
		} {
			t.Run(tt.name, func(t *testing.T) {
				before := g.measure(t)
				birds.during(t, func() { t.Run("attack", func(t *testing.T) { tt.run(t, g) }) })
				g.calm(t, before)
			})
		}
		t.Run("backends", func(t *testing.T) {
			before := g.measure(t)
			birds.during(t, func() { t.Run("attack", func(t *testing.T) { testBackends(t, g, hostile) }) })
			g.calm(t, before)
		})
		t.Run("deliveries", func(t *testing.T) {
			before := g.measure(t)
			birds.during(t, func() { t.Run("attack", func(t *testing.T) { testDeliveries(t, g, bad) }) })
			g.calm(t, before)
		})
		t.Run("a handshake that stalls ends after half a minute", func(t *testing.T) { stalled.ends(t, 35*time.Second) })
	})
	for _, tt := range []struct {
		name string
		run  func(*testing.T, *dialog.Certs)
	}{
		{"a password before TLS", testPlaintext},
		{"mechanisms", testMechanisms},
		{"guessing", testGuessing},
		{"memory", testMemory},
		{"descriptors", testDescriptors},
		{"client certificates", testClientCertificates},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, certs) })
	}
}

// maxLogLine is the bound on a line of the log, in bytes.
const maxLogLine = 4096

// checkLog wants lines that cannot act on a terminal or a log's reader, and no password.
func checkLog(t *testing.T, log string) {
	t.Helper()
	for l := range strings.Lines(log) {
		l = strings.TrimSuffix(l, "\n")
		switch {
		case !utf8.ValidString(l):
			t.Errorf("a line of the log is not UTF-8: %.300q", l)
		case strings.ContainsFunc(l, unprintable):
			t.Errorf("a line of the log has control characters: %.300q", l)
		case len(l) > maxLogLine:
			t.Errorf("a line of the log has %d bytes: %.300q", len(l), l)
		case strings.Contains(l, password), strings.Contains(l, "hush-"):
			t.Errorf("a line of the log has the password: %.300q", l)
		}
	}
}

// unprintable are control characters, and those that turn or hide text (categories Cc and Cf).
func unprintable(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) }
