package attack

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// hostileBackend is one that nobody wants to have.
type hostileBackend struct {
	name, protocol string
	fields         string // of its user, beside the port
	serve          func(*tap)
	mayHear        bool // the password: it comes after a good beginning
	on             *target
}

// id is the name of the user whose backend it is.
func (h *hostileBackend) id(i int) string { return fmt.Sprintf("%s%d", h.protocol, i) }

// hostileUsers starts the backends and adds a user of each.
func (g *gate) hostileUsers(t *testing.T) []*hostileBackend {
	t.Helper()
	all := hostileBackends(t, g)
	for i, h := range all {
		h.on = newTarget(t, h.serve)
		// One attempt has two seconds: the whole login stays within the test's patience.
		g.user(h.protocol, h.id(i), fmt.Sprintf("port=%d proxy_timeout=2 %s", h.on.port, h.fields))
	}
	return all
}

// outcome is what a user of a hostile backend saw.
type outcome struct {
	answer string
	bye    error // of the end of the connection, which is still before login
	err    error
}

// visit logs in as the user of a hostile backend.
func (g *gate) visit(protocol, user string) (o outcome) {
	p, err := dial(g.addr(protocol), stranger, nil)
	if err != nil {
		return outcome{err: err}
	}
	defer p.Close()
	if err := p.greeting(protocol); err != nil {
		return outcome{err: err}
	}
	pr := protocolOf(protocol)
	for _, s := range pr.login(user+"@example.org", password) {
		p.send(s[0])
		if o.answer, o.err = p.answer(pr); o.err != nil {
			return o
		}
		if !strings.HasPrefix(o.answer, s[1]) {
			break
		}
	}
	bye := map[string][2]string{"imap": {"z LOGOUT\r\n", "* BYE"}, "pop3": {"QUIT\r\n", "+OK"}, "sieve": {"LOGOUT\r\n", "OK"}}[protocol]
	if bye[0] == "" {
		bye = [2]string{"QUIT\r\n", "221 "}
	}
	if !strings.HasPrefix(o.answer, "421") { // which is the end
		o.bye = p.ask(bye[0], bye[1])
	}
	return o
}

// testBackends: whatever a backend does, its users hear that it is unavailable, and nothing else happens.
func testBackends(t *testing.T, g *gate, all []*hostileBackend) {
	outcomes := make([]outcome, len(all))
	var visitors sync.WaitGroup
	for i, h := range all {
		visitors.Go(func() { outcomes[i] = g.visit(h.protocol, h.id(i)) })
	}
	visitors.Wait()
	for i, h := range all {
		t.Run(h.protocol+": "+h.name, func(t *testing.T) {
			o := outcomes[i]
			if o.err != nil || o.bye != nil {
				t.Errorf("login: %v, goodbye: %v", o.err, o.bye)
			}
			if !hasAnyPrefix(o.answer, protocolOf(h.protocol).refused) {
				t.Errorf("answer %q", o.answer)
			}
			if strings.ContainsFunc(o.answer, unprintable) {
				t.Errorf("the backend's bytes came through: %q", o.answer)
			}
			if n := h.on.count(); n == 0 || n > 4 {
				t.Errorf("%d connections to it", n)
			}
			heard := h.on.text()
			user := h.id(i) + "@example.org"
			if knows := strings.Contains(heard, password) || strings.Contains(heard, plain("", user, password)) || strings.Contains(heard, plain(user, user, password)); knows && !h.mayHear {
				t.Errorf("it heard the password: %q", heard)
			}
			if strings.Contains(h.name, "certificate") && h.on.count() != 1 {
				t.Errorf("it was tried %d times: its certificate will not get better", h.on.count())
			}
		})
	}
	g.awaitLog(t, "Received invalid SSL certificate: ")
}

func hasAnyPrefix(s string, all []string) bool {
	for _, p := range all {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}

// backendCerts are certificates that prove nothing.
func backendCerts(t *testing.T, g *gate) map[string]*tls.Config {
	t.Helper()
	return map[string]*tls.Config{
		"self-signed":      g.certs.Server("rogue"),
		"for another name": g.certs.Server("proxy"),
		"expired":          expired(t),
	}
}

// expired is a certificate of yesterday, which signs itself: that it has expired comes on top.
func expired(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(9), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-24 * time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
}

// startTLS is the server's half of a handshake. Then it plays a friendly backend.
func (c *tap) startTLS(conf *tls.Config, serve func(*tap)) {
	nc := tls.Server(&replay{c.Conn, c}, conf)
	if nc.Handshake() == nil {
		serve(newTap(c.b, nc))
	}
}

// replay reads what the tap has read ahead, and then on.
type replay struct {
	net.Conn
	c *tap
}

// Read implements io.Reader.
func (r *replay) Read(p []byte) (int, error) { return r.c.r.Read(p) }

func hostileBackends(t *testing.T, g *gate) []*hostileBackend {
	t.Helper()
	all := append(hostileBanners(), hostileStartTLS(g)...)
	for name, conf := range backendCerts(t, g) {
		all = append(
			all,
			&hostileBackend{name: "a certificate that is " + name, protocol: "imap", fields: "ssl=yes", serve: func(c *tap) { c.startTLS(conf, serveIMAP) }},
			&hostileBackend{name: "a certificate that is " + name, protocol: "pop3", fields: "ssl=yes", serve: func(c *tap) { c.startTLS(conf, servePOP3) }},
			&hostileBackend{name: "STARTTLS with a certificate that is " + name, protocol: "imap", fields: "starttls=yes", serve: func(c *tap) {
				starttlsIMAP(c, "S OK go\r\n", conf)
			}},
			&hostileBackend{name: "STLS with a certificate that is " + name, protocol: "pop3", fields: "starttls=yes", serve: func(c *tap) {
				starttlsPOP3(c, "+OK go\r\n", conf)
			}},
		)
	}
	all = append(append(all, hostileMail()...), hostileMailTLS(backendCerts(t, g))...)
	return append(all, hostileReplies()...)
}

const tlsBanner = "* OK [CAPABILITY IMAP4rev1 SASL-IR STARTTLS LITERAL+ AUTH=PLAIN] ready\r\n"

// starttlsIMAP answers STARTTLS with a text and then does the handshake.
func starttlsIMAP(c *tap, answer string, conf *tls.Config) {
	if c.send(tlsBanner) != nil {
		return
	}
	if _, err := c.r.ReadString('\n'); err != nil || c.send(answer) != nil {
		return
	}
	if conf == nil {
		imapCommands(c)
		return
	}
	c.startTLS(conf, imapCommands)
}

func starttlsPOP3(c *tap, answer string, conf *tls.Config) {
	if c.send("+OK ready\r\n") != nil {
		return
	}
	if _, err := c.r.ReadString('\n'); err != nil || c.send(answer) != nil {
		return
	}
	if conf == nil {
		servePOP3(c)
		return
	}
	c.startTLS(conf, servePOP3)
}

// hostileStartTLS are those in the way of TLS: none of them may hear a password.
func hostileStartTLS(g *gate) []*hostileBackend {
	conf := g.certs.Server("backend")
	imap := func(name string, serve func(*tap)) *hostileBackend {
		return &hostileBackend{name: name, protocol: "imap", fields: "starttls=yes", serve: serve}
	}
	pop3 := func(name string, serve func(*tap)) *hostileBackend {
		return &hostileBackend{name: name, protocol: "pop3", fields: "starttls=yes", serve: serve}
	}
	return []*hostileBackend{
		imap("STARTTLS is not offered", serveIMAP),
		imap("STARTTLS is refused", func(c *tap) { starttlsIMAP(c, "S NO not today\r\n", nil) }),
		imap("STARTTLS is bad", func(c *tap) { starttlsIMAP(c, "S BAD what\r\n", nil) }),
		imap("a login is believed before STARTTLS", func(c *tap) { starttlsIMAP(c, "L OK you are in\r\n", nil) }),
		imap("a login and its capabilities behind STARTTLS", func(c *tap) {
			starttlsIMAP(c, "S OK go\r\n* CAPABILITY EVIL\r\nL OK you are in\r\n", nil)
		}),
		imap("silence behind STARTTLS", func(c *tap) {
			if c.send(tlsBanner) == nil {
				c.wait()
			}
		}),
		imap("plaintext in place of the handshake", func(c *tap) { starttlsIMAP(c, "S OK go\r\n", nil) }),
		pop3("STLS is refused", func(c *tap) { starttlsPOP3(c, "-ERR no\r\n", nil) }),
		pop3("a login behind STLS", func(c *tap) { starttlsPOP3(c, "+OK go\r\n+OK user\r\n+OK in\r\n", nil) }),
		{name: "injected capabilities before the handshake", protocol: "imap", fields: "starttls=yes", mayHear: true, serve: func(c *tap) {
			// The handshake is good: either the injected bytes are dropped or the connection fails.
			starttlsIMAP(c, "S OK go\r\n* BYE evil\r\nL OK you are in\r\n", conf)
		}},
	}
}
