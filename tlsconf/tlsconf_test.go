package tlsconf

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"dproxy/conf"
)

// handshake connects both sides over TCP and passes one byte each way, so that TLS 1.3 tickets and late
// alerts arrive too.
func handshake(t *testing.T, server, client *tls.Config) (tls.ConnectionState, tls.ConnectionState, error, error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	type side struct {
		state tls.ConnectionState
		err   error
	}
	done := make(chan side, 1)
	go func() {
		nc, err := l.Accept()
		if err != nil {
			done <- side{err: err}
			return
		}
		defer nc.Close()
		c := tls.Server(nc, server)
		err = c.Handshake()
		if err == nil {
			_, err = c.Write([]byte{1})
		}
		if err == nil {
			_, err = io.ReadFull(c, make([]byte, 1))
		}
		done <- side{c.ConnectionState(), err}
	}()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	c := tls.Client(nc, client)
	cerr := c.Handshake()
	if cerr == nil {
		_, cerr = io.ReadFull(c, make([]byte, 1))
	}
	if cerr == nil {
		_, cerr = c.Write([]byte{1})
	}
	state := c.ConnectionState()
	nc.Close()
	s := <-done
	return s.state, state, s.err, cerr
}

func settings(c *issued) *conf.Settings {
	return &conf.Settings{SSL: "yes", SSLCert: c.pem, SSLKey: c.priv, SSLMinProtocol: "TLSv1.2", SSLCipherList: dovecotCiphers}
}

func mustServer(t *testing.T, s *conf.Settings, alpn ...string) *tls.Config {
	t.Helper()
	c, err := Server(s, alpn)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestVersions(t *testing.T) {
	cert := issue(t, spec{cn: "localhost", rsa: true})
	for _, tc := range []struct {
		min    string
		client uint16
		ok     bool
	}{
		{"TLSv1.2", tls.VersionTLS10, false},
		{"TLSv1.2", tls.VersionTLS11, false},
		{"TLSv1.2", tls.VersionTLS12, true},
		{"TLSv1.2", tls.VersionTLS13, true},
		{"", tls.VersionTLS11, false},
		{"TLSv1.1", tls.VersionTLS10, false},
		{"TLSv1.1", tls.VersionTLS11, true},
		{"TLSv1", tls.VersionTLS10, true},
		{"ANY", tls.VersionTLS10, true},
		{"TLSv1.3", tls.VersionTLS12, false},
		{"LATEST", tls.VersionTLS13, true},
	} {
		t.Run(tc.min+" and a client of "+tls.VersionName(tc.client), func(t *testing.T) {
			s := settings(cert)
			s.SSLMinProtocol = tc.min
			_, _, err, _ := handshake(t, mustServer(t, s), &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tc.client})
			if (err == nil) != tc.ok {
				t.Errorf("handshake: %v", err)
			}
		})
	}
	s := settings(cert)
	s.SSLMinProtocol = "TLSv9"
	if _, err := Server(s, nil); err == nil || err.Error() != "Unknown ssl_min_protocol setting 'TLSv9'" {
		t.Errorf("got %v", err)
	}
}

func TestDefaultCiphers(t *testing.T) {
	cert := issue(t, spec{cn: "localhost", rsa: true})
	server := mustServer(t, settings(cert))
	for _, tc := range []struct {
		name string
		id   uint16
		ok   bool
	}{
		{"AES-GCM", tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, true},
		{"ChaCha20", tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, true},
		{"CBC", tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, false},
		{"RSA key exchange", tls.TLS_RSA_WITH_AES_128_GCM_SHA256, false},
		{"3DES", tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA, false},
		{"RC4", tls.TLS_ECDHE_RSA_WITH_RC4_128_SHA, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, _, err, _ := handshake(t, server, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tc.id}})
			if (err == nil) != tc.ok {
				t.Errorf("handshake: %v", err)
			}
		})
	}
}

func TestCipherList(t *testing.T) {
	gcm := []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	}
	all := append(slices.Clone(modern), old...)
	for _, tc := range []struct {
		name, list string
		want       []uint16
		unknown    []string
	}{
		{"names one by one", "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-SHA", []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA}, nil},
		{"keywords joined by +", "ECDHE+AESGCM", gcm, nil},
		{"EECDH is ECDHE", "EECDH+AESGCM", gcm, nil},
		{"HIGH with exclusions", "HIGH:!aNULL:!MD5", all, nil},
		{"an exclusion is for good", "!SHA:ALL", modern, nil},
		{"a removal is not", "ALL:-SHA:ECDHE-RSA-AES128-SHA", append(slices.Clone(modern), tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA), nil},
		{"reordering changes nothing", "ALL:+CHACHA20", all, nil},
		{"@STRENGTH is dropped", "ALL:!SHA@STRENGTH", modern, nil},
		{"@SECLEVEL is dropped", "ALL:!SHA:@SECLEVEL=2", modern, nil},
		{"no keyword brings RSA key exchange", "ALL:kRSA:RSA", all, nil},
		{"its full name does", "AES256-SHA", []uint16{tls.TLS_RSA_WITH_AES_256_CBC_SHA}, nil},
		{"RC4 and 3DES never", "RC4:3DES:ECDHE-RSA-RC4-SHA", nil, []string{"ECDHE-RSA-RC4-SHA"}},
		{"unknown names are told", "DHE-RSA-AES256-GCM-SHA384:AESGCM:FOO", gcm, []string{"DHE-RSA-AES256-GCM-SHA384", "FOO"}},
		{"an unknown exclusion is nothing to tell", "AESGCM:!FOO", gcm, nil},
		{"Mozilla's intermediate list", "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305", modern, nil},
		{"TLSv1.2 alone", "TLSv1.2", modern, nil},
		{"empty words", "::!:AESGCM", gcm, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, unknown := cipherList(tc.list)
			if !slices.Equal(got, tc.want) || !slices.Equal(unknown, tc.unknown) {
				t.Errorf("got %x %q, want %x %q", got, unknown, tc.want, tc.unknown)
			}
		})
	}
	cert := issue(t, spec{cn: "localhost"})
	s := settings(cert)
	s.SSLCipherList = "RC4"
	if _, err := Server(s, nil); err == nil || err.Error() != "Can't set cipher list to 'RC4' (ssl_cipher_list setting): no cipher match" {
		t.Errorf("nothing left: %v", err)
	}
	s.SSLCipherList, s.SSLMinProtocol = "", "TLSv1"
	if got := mustServer(t, s).CipherSuites; !slices.Equal(got, all) {
		t.Errorf("for TLSv1: %x", got)
	}
}

func FuzzCipherList(f *testing.F) {
	f.Add(dovecotCiphers)
	f.Add("ECDHE+AESGCM:!SHA:-X@STRENGTH")
	f.Fuzz(func(t *testing.T, list string) {
		ids, _ := cipherList(list)
		for _, id := range ids {
			if !slices.ContainsFunc(suites, func(s suite) bool { return s.id == id }) {
				t.Fatalf("suite %x from %q", id, list)
			}
		}
	})
}

func TestCurves(t *testing.T) {
	for _, tc := range []struct {
		name, list string
		want       []tls.CurveID
		unknown    []string
	}{
		{"the default begins with the hybrid", "", []tls.CurveID{tls.X25519MLKEM768, tls.X25519, tls.CurveP256, tls.CurveP384}, nil},
		{"auto is the default", "auto", []tls.CurveID{tls.X25519MLKEM768, tls.X25519, tls.CurveP256, tls.CurveP384}, nil},
		{"OpenSSL and NIST names", "P-521:prime256v1:secp384r1:x25519", []tls.CurveID{tls.CurveP521, tls.CurveP256, tls.CurveP384, tls.X25519}, nil},
		{"unknown ones are told", "X448:P-256", []tls.CurveID{tls.CurveP256}, []string{"X448"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, unknown := curveList(tc.list)
			if !slices.Equal(got, tc.want) || !slices.Equal(unknown, tc.unknown) {
				t.Errorf("got %v %q", got, unknown)
			}
		})
	}
	s := settings(issue(t, spec{cn: "localhost"}))
	s.SSLCurveList = "X448"
	if _, err := Server(s, nil); err == nil || err.Error() != "Can't set curve list to 'X448' (ssl_curve_list setting)" {
		t.Errorf("got %v", err)
	}
}

func TestALPN(t *testing.T) {
	server := mustServer(t, settings(issue(t, spec{cn: "localhost"})), "imap")
	for _, tc := range []struct {
		name   string
		offers []string
		ok     bool
		want   string
	}{
		{"none is served", nil, true, ""},
		{"the right one is chosen", []string{"http/1.1", "imap"}, true, "imap"},
		{"only others are refused", []string{"http/1.1", "h2"}, false, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			state, _, err, cerr := handshake(t, server, &tls.Config{InsecureSkipVerify: true, NextProtos: tc.offers})
			if (err == nil) != tc.ok || tc.ok && state.NegotiatedProtocol != tc.want {
				t.Errorf("got %q, %v", state.NegotiatedProtocol, err)
			}
			if !tc.ok && !strings.Contains(cerr.Error(), "no application protocol") {
				t.Errorf("the client heard %v", cerr)
			}
		})
	}
}

func TestServerCertificates(t *testing.T) {
	good, other := issue(t, spec{cn: "a", rsa: true}), issue(t, spec{cn: "b"})
	block, _ := pem.Decode([]byte(good.priv))
	//lint:ignore SA1019 what ssl_key_password is used with
	enc, err := x509.EncryptPEMBlock(rand.Reader, "PRIVATE KEY", block.Bytes, []byte("pw"), x509.PEMCipherAES256)
	if err != nil {
		t.Fatal(err)
	}
	locked := string(pem.EncodeToMemory(enc))
	for _, tc := range []struct {
		name   string
		change func(*conf.Settings)
		err    string
	}{
		{"a pair loads", func(*conf.Settings) {}, ""},
		{"no certificate", func(s *conf.Settings) { s.SSLCert = "" }, "Can't load SSL certificate (ssl_cert setting): The certificate is empty"},
		{"no key", func(s *conf.Settings) { s.SSLKey = "" }, "Can't load SSL private key (ssl_key setting): The key is empty"},
		{"a forgotten <", func(s *conf.Settings) { s.SSLCert = "/etc/cert.pem" }, "Can't load SSL certificate (ssl_cert setting): There is no valid PEM certificate. (You probably forgot '<' from ssl_cert=</etc/cert.pem)"},
		{"mixed up", func(s *conf.Settings) { s.SSLCert = s.SSLKey }, "Can't load SSL certificate (ssl_cert setting): The file contains a private key (you've mixed ssl_cert and ssl_key settings)"},
		{"another's key", func(s *conf.Settings) { s.SSLKey = issue(t, spec{cn: "c", rsa: true}).priv }, "Can't load SSL private key (ssl_key setting): Key is for a different cert than ssl_cert"},
		{"a key with its password", func(s *conf.Settings) { s.SSLKey, s.SSLKeyPassword = locked, "pw" }, ""},
		{"without its password", func(s *conf.Settings) { s.SSLKey = locked }, "Can't load SSL private key (ssl_key setting): SSL private key file is password protected, but password isn't given"},
		{"with a wrong one", func(s *conf.Settings) { s.SSLKey, s.SSLKeyPassword = locked, "px" }, "Can't load SSL private key (ssl_key setting): Couldn't parse private SSL key (maybe ssl_key_password is wrong?)"},
		{"PKCS#8 encryption", func(s *conf.Settings) { s.SSLKey = encode("ENCRYPTED PRIVATE KEY", []byte("x")) }, "Can't load SSL private key (ssl_key setting): keys encrypted in PKCS#8 format can't be read; store the key without a password (openssl pkey -in KEY -out NEW)"},
		{"an alternative certificate", func(s *conf.Settings) { s.SSLAltCert, s.SSLAltKey = other.pem, other.priv }, ""},
		{"an alternative without key", func(s *conf.Settings) { s.SSLAltCert = other.pem }, "Can't load SSL private key (ssl_alt_key setting): The key is empty"},
		{"client certificates without authority", func(s *conf.Settings) { s.SSLVerifyClientCert = true }, "Can't verify remote client certs without CA (ssl_ca setting)"},
		{"a broken authority", func(s *conf.Settings) { s.SSLVerifyClientCert, s.SSLCA = true, "x" }, "Couldn't parse ssl_ca: no certificate found"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := settings(good)
			tc.change(s)
			_, err := Server(s, nil)
			if got := text(err); got != tc.err {
				t.Errorf("got %q, want %q", got, tc.err)
			}
		})
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestAlternativeCertificateServesItsKeyType(t *testing.T) {
	rsaCert, ecCert := issue(t, spec{cn: "rsa", rsa: true}), issue(t, spec{cn: "ec"})
	s := settings(rsaCert)
	s.SSLAltCert, s.SSLAltKey = ecCert.pem, ecCert.priv
	server := mustServer(t, s)
	for id, want := range map[uint16]string{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256: "rsa", tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: "ec"} {
		_, state, err, _ := handshake(t, server, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{id}})
		if err != nil || state.PeerCertificates[0].Subject.CommonName != want {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestTickets(t *testing.T) {
	cert := issue(t, spec{cn: "localhost"})
	for _, tc := range []struct {
		name, options string
		resumed       bool
	}{{"a session is resumed", "", true}, {"no_ticket switches that off", "no_compression no_ticket", false}} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(tc.name+" in "+tls.VersionName(version), func(t *testing.T) {
				s := settings(cert)
				s.SSLOptions = tc.options
				server := mustServer(t, s)
				client := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(4)}
				var state tls.ConnectionState
				for range 2 {
					var err error
					if _, state, err, _ = handshake(t, server, client); err != nil {
						t.Fatal(err)
					}
				}
				if state.DidResume != tc.resumed {
					t.Errorf("resumed: %t", state.DidResume)
				}
			})
		}
	}
}

func TestRecordsAreFullSized(t *testing.T) {
	s := settings(issue(t, spec{cn: "localhost"}))
	client, err := Client(s, true)
	if err != nil {
		t.Fatal(err)
	}
	if !mustServer(t, s).DynamicRecordSizingDisabled || !ForHost(client, "x").DynamicRecordSizingDisabled {
		t.Error("dynamic record sizes slow the relay down")
	}
}

func TestWarnings(t *testing.T) {
	base := conf.Settings{SSL: "yes", SSLCert: "x", SSLMinProtocol: "TLSv1.2", SSLCipherList: dovecotCiphers}
	for _, tc := range []struct {
		name   string
		change func(*conf.Settings)
		want   string
	}{
		{"nothing to say", func(*conf.Settings) {}, ""},
		{"no certificate", func(s *conf.Settings) { s.SSLCert = "" }, "ssl = yes without ssl_cert: TLS can't be offered to clients"},
		{"TLS switched off needs none", func(s *conf.Settings) { s.SSL, s.SSLCert = "no", "" }, ""},
		{"an old protocol", func(s *conf.Settings) { s.SSLMinProtocol = "TLSv1" }, "ssl_min_protocol = TLSv1 allows TLS versions with known weaknesses; use TLSv1.2 unless old clients need it"},
		{"ciphers", func(s *conf.Settings) { s.SSLCipherList = "AESGCM:FOO:BAR" }, "ssl_cipher_list: not available and left out: FOO BAR"},
		{"curves", func(s *conf.Settings) { s.SSLCurveList = "X448:P-256" }, "ssl_curve_list: not available and left out: X448"},
		{"TLS 1.3 suites", func(s *conf.Settings) { s.SSLCipherSuites = "TLS_AES_128_GCM_SHA256" }, "ssl_cipher_suites has no effect: the TLS 1.3 cipher suites can't be chosen, all three are on"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := base
			tc.change(&s)
			if got := strings.Join(Warnings(&s), "; "); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestNotAfter(t *testing.T) {
	long, short := issue(t, spec{cn: "a", after: 48 * time.Hour}), issue(t, spec{cn: "b", after: time.Hour})
	s := settings(long)
	s.SSLAltCert, s.SSLAltKey = short.pem, short.priv
	if got := NotAfter(mustServer(t, s)); !got.Equal(short.cert.NotAfter) {
		t.Errorf("got %v, want %v", got, short.cert.NotAfter)
	}
	if !NotAfter(nil).IsZero() {
		t.Error("nil has an end")
	}
}
