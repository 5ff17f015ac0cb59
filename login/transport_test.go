package login_test

import (
	"crypto/tls"
	"fmt"
	"strings"
	"testing"

	"dproxy/listen"
	"dproxy/login"
	"dproxy/test/loginrig"
)

func TestImplicitTLS(t *testing.T) {
	proxy, alt := loginrig.NewCert(t, "proxy.example.org"), loginrig.NewCert(t, "alt.example.org")
	o := options("ssl = yes\n" + proxy.Conf + "local_name alt.example.org {\n" + alt.Conf + "login_greeting = Hello alt\n}")
	o.Spec = listen.Spec{SSL: true, Name: "imaps"}
	r := loginrig.Start(t, o)
	dial := func(c *tls.Config) (*loginrig.Peer, *tls.Conn) {
		p := r.Dial("127.0.0.2")
		p.StartTLS(c)
		conn, _ := p.Conn.(*tls.Conn)
		return p, conn
	}
	t.Run("the greeting comes within TLS, and passwords are safe", func(t *testing.T) {
		p, _ := dial(loginrig.Client())
		p.Play("S: * OK [CAPABILITY <*> AUTH=PLAIN] Proxy ready.\nC: a LOGIN u p\nS: " + welcome + "\nC: bye\nS: got: bye\nEOF")
		r.Log.Wait("rip=127.0.0.2, lip=127.0.0.1, TLS, session=<")
	})
	t.Run("the name picks certificate and settings", func(t *testing.T) {
		for name, want := range map[string][2]string{
			"":                  {"proxy.example.org", "Proxy ready."},
			"other.example.org": {"proxy.example.org", "Proxy ready."},
			"ALT.example.org":   {"alt.example.org", "Hello alt"},
		} {
			c := loginrig.Client()
			c.ServerName = name
			p, conn := dial(c)
			if got := conn.ConnectionState().PeerCertificates[0].Subject.CommonName; got != want[0] {
				t.Errorf("for the name %q the certificate of %q was shown", name, got)
			}
			p.Expect("* OK [<*>] " + want[1])
		}
	})
	t.Run("unknown names cost nothing", func(t *testing.T) {
		before := r.Snapshot.Profiles()
		for i := range 50 {
			c := loginrig.Client()
			c.ServerName = fmt.Sprintf("n%d.example.net", i)
			p, _ := dial(c)
			p.Line()
			_ = p.Close()
		}
		if after := r.Snapshot.Profiles(); after != before {
			t.Errorf("%d profiles, before %d", after, before)
		}
	})
	t.Run("ALPN", func(t *testing.T) {
		for protocol, ok := range map[string]bool{"imap": true, "http/1.1": false, "pop3": false} {
			c := loginrig.Client()
			c.NextProtos = []string{protocol}
			err := tls.Client(r.Dial("").TCP, c).Handshake()
			if (err == nil) != ok {
				t.Errorf("a client that speaks %s: %v", protocol, err)
			}
		}
		r.Log.Wait("no application protocol")
	})
	t.Run("clear text is not answered", func(t *testing.T) {
		p := r.Dial("")
		p.Send("a NOOP\r\n")
		if rest := p.Rest(); strings.Contains(rest, "OK") {
			t.Errorf("got %q", rest)
		}
		r.Log.Wait("Disconnected: Connection closed: SSL_accept() failed: first record does not look like a TLS handshake (no auth attempts in 0 secs): user=<>, rip=127.0.0.1, lip=127.0.0.1, TLS handshaking: SSL_accept() failed: first record does not look like a TLS handshake, session=<")
	})
	t.Run("old versions are refused", func(t *testing.T) {
		c := loginrig.Client()
		c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		if err := tls.Client(r.Dial("").TCP, c).Handshake(); err == nil {
			t.Error("TLS 1.1 was accepted")
		}
		r.Log.Wait("unsupported version")
	})
	t.Run("a handshake that stalls", func(t *testing.T) {
		o.Tune = tune(login.Times{Handshake: soon})
		r := loginrig.Start(t, o)
		p := r.Dial("")
		p.Send("\x16\x03")
		p.EOF()
		r.Log.Wait("Disconnected: TLS handshake timed out (no auth attempts in 0 secs): user=<>, rip=127.0.0.1, lip=127.0.0.1, TLS handshaking")
	})
}

func TestTLSInLines(t *testing.T) {
	cert := loginrig.NewCert(t, "proxy.example.org")
	o := options("ssl = yes\nlogin_log_format = [%s] %$\nlogin_log_format_elements = %c k=%k %{listener} n=%{local_name} h=%{passdb:host} %b:%a real=%{real_rip} o=%{orig_user} %e\n" + cert.Conf)
	o.Spec = listen.Spec{SSL: true, Name: "imaps"}
	r := loginrig.Start(t, o)
	for version, want := range map[uint16]string{
		tls.VersionTLS12: "TLSv1.2 with cipher ECDHE-ECDSA-AES128-GCM-SHA256 (128/128 bits)",
		tls.VersionTLS13: "TLSv1.3 with cipher TLS_",
	} {
		c := loginrig.Client()
		c.MaxVersion, c.ServerName = version, "name.example"
		c.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
		p := r.Dial("")
		p.StartTLS(c)
		p.Play("S: <*>\nC: a LOGIN u p\nS: <*>\nC: bye\nS: <*>\nEOF")
		r.Log.Wait("[TLS, k=" + want)
	}
	line := r.Log.Wait("Started proxying")
	if !strings.Contains(line, " bits), imaps, n=name.example, h=127.0.0.1, ") || !strings.Contains(line, ", real=127.0.0.1, o=u] proxy(u,127.0.0.1:") {
		t.Error(line)
	}
}

func TestClientCertificates(t *testing.T) {
	proxy, user, other := loginrig.NewCert(t, "proxy.example.org"), loginrig.NewCert(t, "u"), loginrig.NewCert(t, "u")
	conf := "ssl = yes\nssl_verify_client_cert = yes\nauth_ssl_require_client_cert = yes\nauth_ssl_username_from_cert = yes\n" + proxy.Conf + user.CA
	for name, c := range map[string]struct {
		pair        []tls.Certificate
		answer, end string
	}{
		"none":  {nil, "a NO [ALERT] Client didn't present valid SSL certificate", "(client didn't send a cert)"},
		"wrong": {[]tls.Certificate{other.Pair}, "a NO [ALERT] Client didn't present valid SSL certificate", "(client sent an invalid cert)"},
		"right": {[]tls.Certificate{user.Pair}, welcome, "Disconnected by client"},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(conf)
			o.Spec = listen.Spec{SSL: true}
			r := loginrig.Start(t, o)
			config := loginrig.Client()
			config.Certificates = c.pair
			p := r.Dial("")
			p.StartTLS(config)
			p.Play("S: <*>\nC: a LOGIN somebody p\nS: " + c.answer)
			_ = p.Close()
			r.Log.Wait(c.end)
		})
	}
	t.Run("no TLS", func(t *testing.T) {
		r := loginrig.Start(t, options(conf))
		p := r.Dial("")
		p.Play("S: <*>\nC: a LOGIN u p\nS: a NO [ALERT] Client didn't present valid SSL certificate")
		_ = p.Close()
		r.Log.Wait("(cert required, client didn't start TLS)")
	})
}

func TestPROXYHeader(t *testing.T) {
	const v1 = "PROXY TCP4 192.0.2.33 198.51.100.1 40001 143\r\n"
	v2 := "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x14\xc0\x00\x02\x22\xc6\x33\x64\x01\x9c\x42\x00\x8f\x20\x00\x05\x01\x00\x00\x00\x00"
	for name, c := range map[string]struct {
		from, header, script string
		line                 string
	}{
		"version 1": {"127.0.0.2", v1, "S: * OK [<*> LOGINDISABLED] Proxy ready.\nC: a LOGOUT\nS: <*>\nS: <*>\nEOF", "rip=192.0.2.33, lip=198.51.100.1, session=<"},
		"version 2 of a client with TLS": {
			"127.0.0.2", v2, "S: * OK [<*> AUTH=PLAIN] Proxy ready.\nC: a LOGIN u p\nS: " + welcome, "rip=192.0.2.34, lip=198.51.100.1, TLS, session=<",
		},
		"an unknown client keeps its address, without its trust": {
			"127.0.0.1", "PROXY UNKNOWN\r\n", "S: * OK [<*> LOGINDISABLED] Proxy ready.\nC: a LOGOUT\nS: <*>\nS: <*>\nEOF", "rip=127.0.0.1, lip=127.0.0.1, session=<",
		},
		"trust goes by the client in the header": {"127.0.0.2", "PROXY TCP4 192.0.2.9 127.0.0.1 1 143\r\n", "S: * OK [<*> AUTH=PLAIN] Proxy ready.", ""},
		"somebody else's":                        {"127.0.0.3", v1, "EOF", "imap-login: Warning: haproxy: Client not trusted (rip=127.0.0.3)"},
		"none":                                   {"127.0.0.2", "a LOGIN u p\r\n", "EOF", "imap-login: Error: haproxy: Client disconnected: <*>Failed to read valid HAproxy data<*> (rip=127.0.0.2)"},
		"none at all":                            {"127.0.0.2", "PRO", "EOF", "imap-login: Error: haproxy: Client timed out (rip=127.0.0.2)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := options("haproxy_trusted_networks = 127.0.0.1 127.0.0.2\nlogin_trusted_networks = 192.0.2.9 127.0.0.2\nhaproxy_timeout = 1s")
			o.Spec = listen.Spec{HAProxy: true}
			r := loginrig.Start(t, o)
			p := r.Dial(c.from)
			p.Send(c.header)
			p.Play(c.script)
			if text, _, _ := strings.Cut(c.line, "<*>"); text != "" {
				r.Log.Wait(text)
			}
		})
	}
	t.Run("is garbage where none is expected", func(t *testing.T) {
		r := loginrig.Start(t, options("haproxy_trusted_networks = 127.0.0.0/8"))
		r.Dial("").Play("S: <*>\nC: PROXY TCP4 192.0.2.33 198.51.100.1 40001 143\nS: PROXY BAD Error in IMAP command received by server.")
	})
	t.Run("in front of TLS", func(t *testing.T) {
		cert := loginrig.NewCert(t, "proxy.example.org")
		o := options("ssl = yes\nhaproxy_trusted_networks = 127.0.0.0/8\n" + cert.Conf)
		o.Spec = listen.Spec{HAProxy: true, SSL: true}
		r := loginrig.Start(t, o)
		p := r.Dial("")
		p.Send(v1)
		p.StartTLS(loginrig.Client())
		p.Play("S: * OK <*>\nC: a LOGIN u p\nS: " + welcome)
		r.Log.Wait("rip=192.0.2.33, lip=198.51.100.1, TLS, session=<")
	})
}
