package backend_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"dproxy/backend"
	"dproxy/backend/backendtest"
	"dproxy/backend/imap"
	"dproxy/backend/lmtp"
	"dproxy/backend/managesieve"
	"dproxy/backend/pop3"
	"dproxy/backend/submission"
	"dproxy/conf"
	"dproxy/event"
	"dproxy/route"
	"dproxy/test/daemon"
	dovecot "dproxy/test/dovecot-backend"
)

// TestRealDovecot logs in at a real Dovecot of every protocol, and reads in its log that the client's address
// arrived.
func TestRealDovecot(t *testing.T) {
	certs := backendtest.NewCerts(t)
	cert, key := certs.Files(t, "good")
	ports := daemon.NewPorts()
	proxied, err := ports.Free("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	server := dovecot.Start(t, dovecot.Config{
		IP: "127.0.0.1", Users: map[string]string{"u1": "secret"}, Trusted: "127.0.0.0/8", Cert: cert, Key: key, Relay: "127.0.0.1:9", Ports: ports,
		More: fmt.Sprintf("haproxy_trusted_networks = 127.0.0.0/8\nservice imap-login {\n inet_listener imap_ha {\n  port = %d\n  haproxy = yes\n }\n}\n", proxied),
	})
	d := backend.NewDialer(&conf.Settings{SSLCA: certs.CA}, event.Discard{}, nil)
	for _, p := range []struct {
		service, plain, tls string
		hs                  backend.Handshake
	}{
		{"imap", "imap", "imaps", imap.Handshake{}},
		{"pop3", "pop3", "pop3s", pop3.Handshake{}},
		{"submission", "submission", "submissions", submission.Handshake{}},
		{"managesieve", "sieve", "", managesieve.Handshake{}},
	} {
		for i, way := range []route.TLS{route.Plain, route.StartTLS, route.Implicit} {
			port := server.Port(p.plain)
			if way == route.Implicit {
				port = server.Port(p.tls)
			}
			if port == 0 {
				continue
			}
			name := p.service + [...]string{" plain", " over TLS", " after STARTTLS"}[way]
			t.Run(name, func(t *testing.T) {
				remote := fmt.Sprintf("192.0.2.%d", 10+i)
				l := backendtest.NewLogin(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port)))
				l.Target.TLS, l.Target.Timeout = way, 20*time.Second
				l.Identity.Remote = netip.AddrPortFrom(netip.MustParseAddr(remote), 4711)
				s, err := d.Connect(t.Context(), p.hs, l, client)
				if err != nil {
					t.Fatalf("%v\n%s", err, server.Log())
				}
				defer s.Conn.Close()
				wants(t, server, p.service+"-login: Info: Login: user=<u1>, method=PLAIN, rip="+remote+", ")
			})
			t.Run(name+" with a wrong password", func(t *testing.T) {
				l := backendtest.NewLogin(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port)))
				l.Target.TLS, l.Target.Timeout, l.Target.Password = way, 20*time.Second, "wrong"
				_, err := d.Connect(t.Context(), p.hs, l, client)
				var e *backend.Error
				if !errors.As(err, &e) || e.Kind != backend.Auth {
					t.Errorf("got %v", err)
				}
			})
		}
	}
	for version := 1; version <= 2; version++ {
		t.Run(fmt.Sprintf("PROXY header version %d", version), func(t *testing.T) {
			remote := fmt.Sprintf("203.0.113.%d", version)
			l := backendtest.NewLogin(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(proxied)))
			l.Target.ProxyHeader, l.Target.NotTrusted = version, true
			l.Identity.Remote = netip.AddrPortFrom(netip.MustParseAddr(remote), 4711)
			l.Identity.TLSVersion, l.Identity.TLSCipher, l.Identity.ServerName = "TLSv1.3", "TLS_AES_128_GCM_SHA256", "mail.example.org"
			s, err := d.Connect(t.Context(), imap.Handshake{}, l, client)
			if err != nil {
				t.Fatalf("%v\n%s", err, server.Log())
			}
			defer s.Conn.Close()
			wants(t, server, "imap-login: Info: Login: user=<u1>, method=PLAIN, rip="+remote+", lip=198.51.100.1, ")
		})
	}
	for _, way := range []route.TLS{route.Plain, route.StartTLS} {
		if server.Port("lmtp") == 0 {
			continue
		}
		t.Run(fmt.Sprintf("LMTP, TLS way %d", way), func(t *testing.T) {
			l := backendtest.NewLogin(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(server.Port("lmtp"))))
			l.Target.TLS, l.Identity.TTL, l.Identity.Proto = way, 6, "LMTP"
			l.Identity.Remote = netip.AddrPortFrom(netip.MustParseAddr(fmt.Sprintf("198.18.0.%d", way+1)), 4711)
			s, err := lmtp.Dial(t.Context(), d, l, event.Client{Service: "lmtp"})
			if err != nil {
				t.Fatalf("%v\n%s", err, server.Log())
			}
			defer s.Quit()
			if err := s.Mail(lmtp.Mail{From: "a@example.org", Body: "8BITMIME"}); err != nil {
				t.Fatal(err)
			}
			for _, to := range []string{"u1", "u2"} {
				if r, err := s.Rcpt(lmtp.Recipient{To: to, ORCPT: lmtp.OriginalRecipient("x+y@example.org")}); err != nil || !r.OK() {
					t.Fatalf("%s: %v, %v", to, r, err)
				}
			}
			rs := s.Data(strings.NewReader("Subject: x\n\n.dot\n"+strings.Repeat("a line of text\n", 10000)), lmtp.DataTime)
			if len(rs) != 2 || rs[0].Err != nil || rs[1].Err != nil || !rs[0].Reply.OK() || !rs[1].Reply.OK() {
				t.Fatalf("got %+v\n%s", rs, server.Log())
			}
			wants(t, server, "lmtp(u1)")
		})
	}
}

// wants waits for a line in the server's log.
func wants(t *testing.T, server *dovecot.Server, line string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !strings.Contains(server.Log(), line) {
		if time.Now().After(deadline) {
			t.Fatalf("no %q in\n%s", line, server.Log())
		}
		time.Sleep(10 * time.Millisecond)
	}
}
