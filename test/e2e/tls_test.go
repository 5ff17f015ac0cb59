package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// testBackendTLS reaches one backend in each way a passdb can ask for. Dovecot's login processes trust only ssl_ca (they
// live in a chroot); dproxy has to believe ssl_client_ca_file as well.
func testBackendTLS(t *testing.T, h *house, _ *front) {
	t.Run("ssl_ca", func(t *testing.T) {
		backendTLS(t, h, "ssl_require_crl = no\nssl_ca = <"+h.certs.File("ca", "crt")+"\n")
	})
	if !h.reference {
		t.Run("ssl_client_ca_file", func(t *testing.T) { backendTLS(t, h, "ssl_client_ca_file = "+h.certs.File("ca", "crt")+"\n") })
	}
}

func backendTLS(t *testing.T, h *house, authority string) {
	users := map[string]string{
		"implicit":    "port=993 ssl=any-cert",
		"starttls":    "starttls=any-cert",
		"verified":    "host=backend.example.org hostip=@IP@ port=993 ssl=yes",
		"verifiedtls": "host=backend.example.org hostip=@IP@ starttls=yes",
		"othername":   "host=other.example.org hostip=@IP@ port=993 ssl=yes",
		"address":     "port=993 ssl=yes",
		"popimplicit": "port=995 ssl=any-cert",
		"popstls":     "starttls=any-cert",
	}
	var passwd strings.Builder
	for user, fields := range users {
		if !strings.Contains(fields, "host=") {
			fields = "host=@IP@ " + fields
		}
		fmt.Fprintf(&passwd, "%s:{PLAIN}%s::::::proxy=y destuser=alice@example.org %s\n", user, password, strings.ReplaceAll(fields, "@IP@", h.one.IP))
	}
	f := h.start(t, authority+"login_proxy_max_reconnects = 0\npassdb {\n  driver = passwd-file\n  args = @DIR@/passwd\n}\n", map[string]string{"passwd": passwd.String()})
	for user, works := range map[string]bool{
		"implicit": true, "starttls": true, "verified": true, "verifiedtls": true,
		"othername": false, // the certificate is of backend.example.org
		"address":   false, // and does not name this address
	} {
		t.Run("IMAP "+user, func(t *testing.T) {
			c, err := loginIMAP(f.addr("imaps"), "", h.clientTLS(), user)
			if err == nil {
				defer c.nc.Close()
			}
			switch {
			case works && err != nil:
				t.Error(err)
			case !works && (err == nil || !strings.Contains(err.Error(), "[UNAVAILABLE] Account is temporarily unavailable.")):
				t.Errorf("a certificate of another name: %v", err)
			}
		})
	}
	for _, user := range []string{"popimplicit", "popstls"} {
		t.Run("POP3 "+user, func(t *testing.T) {
			c, err := dialIMAP(f.addr("pop3"), "", nil) // a line is a line
			if err != nil {
				t.Fatal(err)
			}
			defer c.nc.Close()
			if _, err := fmt.Fprintf(c.nc, "USER %s\r\nPASS %s\r\n", user, password); err != nil {
				t.Fatal(err)
			}
			if l, err := c.until(`Logged in|-ERR`); err != nil || !strings.HasPrefix(l, "+OK") {
				t.Errorf("%q, %v", l, err)
			}
		})
	}
}

// testAddress logs in from an address of its own and looks for it in the backend's log, where Dovecot writes what ID
// and XCLIENT tell it.
func testAddress(t *testing.T, h *house, f *front) {
	c, err := loginIMAP(f.addr("imap"), "127.0.0.77", nil, "carol@example.org")
	if err != nil {
		t.Fatal(err)
	}
	defer c.nc.Close()
	p, err := dialIMAP(f.addr("pop3"), "127.0.0.78", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.nc.Close()
	if _, err := fmt.Fprintf(p.nc, "USER carol@example.org\r\nPASS %s\r\n", password); err != nil {
		t.Fatal(err)
	}
	if l, err := p.until(`Logged in|-ERR`); err != nil || !strings.HasPrefix(l, "+OK") {
		t.Fatalf("%q, %v", l, err)
	}
	for service, rip := range map[string]string{"imap-login": "rip=127.0.0.77", "pop3-login": "rip=127.0.0.78"} {
		eventually(t, service+" logs "+rip, func() bool {
			for l := range strings.Lines(h.one.Log()) {
				if strings.Contains(l, service+": Info: Login: user=<carol@example.org>") && strings.Contains(l, rip+",") {
					return true
				}
			}
			return false
		})
	}
}
