package e2e

import (
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"

	"dproxy/test/daemon"
)

// balancedConf: the listeners behind a balancer, of which those in clear text take no password without its word for TLS.
const balancedConf = `disable_plaintext_auth = yes
haproxy_trusted_networks = 127.9.0.0/16
service imap-login {
  inet_listener imap-ha {
    port = %d
    haproxy = yes
  }
  inet_listener imaps-ha {
    port = %d
    haproxy = yes
    ssl = yes
  }
}
service pop3-login {
  inet_listener pop3s-ha {
    port = %d
    haproxy = yes
    ssl = yes
  }
}
passdb {
  driver = static
  args = nopassword=y proxy=y host=%s
}
`

// haproxyConf: directory; the ports of HAProxy for IMAPS and POP3S that are passed through, for IMAPS that it decodes
// itself, and for one that the proxy does not trust; the ports of the proxy.
const haproxyConf = `global
  stats socket %[1]s/haproxy.sock mode 600 level user
defaults
  mode tcp
  timeout connect 20s
  timeout client 60s
  timeout server 60s
listen imaps
  bind 127.0.0.1:%[2]d
  server s 127.0.0.1:%[7]d source 127.9.0.1 send-proxy-v2
listen pop3s
  bind 127.0.0.1:%[3]d
  server s 127.0.0.1:%[8]d source 127.9.0.1 send-proxy
listen decoded
  bind 127.0.0.1:%[4]d ssl crt %[1]s/both.pem
  option tcp-check
  tcp-check connect send-proxy
  tcp-check expect string *\ OK
  server s 127.0.0.1:%[6]d source 127.9.0.1 send-proxy-v2-ssl-cn check inter 200ms fall 1 rise 3
listen untrusted
  bind 127.0.0.1:%[5]d
  server s 127.0.0.1:%[7]d source 127.10.0.1 send-proxy-v2
`

// TestEndToEndHAProxy: the backend behind HAProxy and the proxy sees the address of the client.
func TestEndToEndHAProxy(t *testing.T) {
	program := daemon.Program(t, "haproxy", "/usr/sbin/haproxy")
	h := newHouse(t)
	var p [7]int // as in haproxyConf
	for i := range p {
		p[i] = h.freePort(t)
	}
	f := h.start(t, fmt.Sprintf(balancedConf, p[4], p[5], p[6], h.one.IP), nil)
	var pem string
	for _, kind := range []string{"crt", "key"} {
		b, err := os.ReadFile(h.certs.File("proxy", kind))
		if err != nil {
			t.Fatal(err)
		}
		pem += string(b)
	}
	f.write(t, "both.pem", pem)
	f.write(t, "haproxy.cfg", fmt.Sprintf(haproxyConf, f.dir, p[0], p[1], p[2], p[3], p[4], p[5], p[6]))
	start(t, p[0], program, "-db", "-f", f.file("haproxy.cfg"))
	addr := func(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

	t.Run("IMAPS, version 2", func(t *testing.T) {
		c, err := loginIMAP(addr(p[0]), "127.66.0.1", h.clientTLS(), "alice@example.org")
		if err != nil {
			t.Fatal(err)
		}
		defer c.nc.Close()
		h.logged(t, "imap-login: Info: Login: user=<alice@example.org>", "rip=127.66.0.1,")
	})
	t.Run("POP3S, version 1", func(t *testing.T) {
		c, err := dialIMAP(addr(p[1]), "127.66.0.2", h.clientTLS()) // a line is a line
		if err != nil {
			t.Fatal(err)
		}
		defer c.nc.Close()
		if _, err := fmt.Fprintf(c.nc, "USER alice@example.org\r\nPASS %s\r\n", password); err != nil {
			t.Fatal(err)
		}
		if l, err := c.until(`Logged in|-ERR`); err != nil || !strings.HasPrefix(l, "+OK") {
			t.Fatalf("%q, %v", l, err)
		}
		h.logged(t, "pop3-login: Info: Login: user=<alice@example.org>", "rip=127.66.0.2,")
	})
	t.Run("IMAPS that HAProxy decodes is secured by its word", func(t *testing.T) {
		c, err := loginIMAP(addr(p[2]), "127.66.0.3", h.clientTLS(), "alice@example.org")
		if err != nil {
			t.Fatal(err)
		}
		defer c.nc.Close()
		if strings.Contains(c.greeting, "LOGINDISABLED") {
			t.Errorf("greeting %q", c.greeting)
		}
		h.logged(t, "imap-login: Info: Login: user=<alice@example.org>", "rip=127.66.0.3,")
	})
	t.Run("a balancer that is not trusted gets no greeting", func(t *testing.T) {
		c, err := dialIMAP(addr(p[3]), "127.66.0.4", h.clientTLS())
		if err == nil {
			c.nc.Close()
			t.Errorf("greeting %q", c.greeting)
		}
		eventually(t, "the log names the balancer", func() bool {
			return strings.Contains(f.read(t, "log"), "haproxy: Client not trusted (rip=127.10.0.1)")
		})
		if strings.Contains(h.one.Log(), "127.66.0.4") {
			t.Error("the backend heard of the client")
		}
	})
	t.Run("health checks find the proxy well", func(t *testing.T) {
		eventually(t, "three checks are good", func() bool {
			nc, err := net.Dial("unix", f.file("haproxy.sock"))
			if err != nil {
				return false
			}
			defer nc.Close()
			if _, err := io.WriteString(nc, "show stat\n"); err != nil {
				return false
			}
			stat, _ := io.ReadAll(nc)
			for l := range strings.Lines(string(stat)) {
				if strings.HasPrefix(l, "decoded,s,") {
					return strings.Contains(l, ",UP,") && strings.Contains(l, ",L7OK,")
				}
			}
			return false
		})
	})
}

// logged waits until a backend's log has a line with both texts.
func (h *house) logged(t *testing.T, text, more string) {
	t.Helper()
	eventually(t, text+" "+more, func() bool {
		for l := range strings.Lines(h.one.Log()) {
			if strings.Contains(l, text) && strings.Contains(l, more) {
				return true
			}
		}
		return false
	})
}
