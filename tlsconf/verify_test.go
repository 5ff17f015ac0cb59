package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"dproxy/conf"
)

// TestBackendCertificates: the texts are those of Dovecot 2.3.19.1 with OpenSSL 3.0, recorded.
func TestBackendCertificates(t *testing.T) {
	ca, stranger := issue(t, spec{cn: "CA", ca: true}), issue(t, spec{cn: "Other", ca: true})
	revoked := issue(t, spec{cn: "b.example", dns: []string{"b.example"}, by: ca})
	const check = " (check ssl_client_ca_* settings?)"
	for _, tc := range []struct {
		name string
		cert *issued
		host string
		crl  string
		want string
	}{
		{"a name among the alternatives", issue(t, spec{dns: []string{"b.example"}, by: ca}), "b.example", "", ""},
		{"a wildcard", issue(t, spec{dns: []string{"*.example"}, by: ca}), "b.example", "", ""},
		{"an address", issue(t, spec{ips: []string{"127.0.0.11"}, by: ca}), "127.0.0.11", "", ""},
		{"an IPv6 address in brackets", issue(t, spec{ips: []string{"::1"}, by: ca}), "[::1]", "", ""},
		{"the common name when there are no alternatives", issue(t, spec{cn: "b.example", by: ca}), "b.example", "", ""},
		{"not beside alternatives", issue(t, spec{cn: "b.example", dns: []string{"c.example"}, by: ca}), "b.example", "", "Received invalid SSL certificate: SSL certificate doesn't match expected host name b.example: did not match to any IP or DNS fields"},
		{"another name", issue(t, spec{dns: []string{"c.example"}, by: ca}), "b.example", "", "Received invalid SSL certificate: SSL certificate doesn't match expected host name b.example: did not match to any IP or DNS fields"},
		{"a name where an address is asked", issue(t, spec{dns: []string{"b.example"}, by: ca}), "127.0.0.11", "", "Received invalid SSL certificate: SSL certificate doesn't match expected host name 127.0.0.11: did not match to any IP or DNS fields"},
		{"self-signed", issue(t, spec{cn: "rogue.example.net"}), "b.example", "", "Received invalid SSL certificate: self-signed certificate: /CN=rogue.example.net" + check},
		{"unknown issuer", issue(t, spec{subject: pkix.Name{Country: []string{"FI"}, Organization: []string{"Org"}, CommonName: "b.example"}, by: stranger}), "b.example", "", "Received invalid SSL certificate: unable to get local issuer certificate: /C=FI/O=Org/CN=b.example" + check},
		{"expired", issue(t, spec{cn: "b.example", dns: []string{"b.example"}, before: -2 * time.Hour, after: -time.Hour, by: ca}), "b.example", "", "Received invalid SSL certificate: certificate has expired: /CN=b.example" + check},
		{"not yet valid", issue(t, spec{cn: "b.example", dns: []string{"b.example"}, before: time.Hour, after: 2 * time.Hour, by: ca}), "b.example", "", "Received invalid SSL certificate: certificate is not yet valid: /CN=b.example" + check},
		{"for a client only", issue(t, spec{cn: "b.example", dns: []string{"b.example"}, usage: x509.ExtKeyUsageClientAuth, by: ca}), "b.example", "", "Received invalid SSL certificate: unsupported certificate purpose: /CN=b.example" + check},
		{"revoked", revoked, "b.example", ca.revoke(t, time.Hour, revoked), "Received invalid SSL certificate: certificate revoked: /CN=b.example" + check},
		{"revoked by an outdated list too", revoked, "b.example", ca.revoke(t, -time.Minute, revoked), "Received invalid SSL certificate: certificate revoked: /CN=b.example" + check},
		{"a list without it", issue(t, spec{dns: []string{"b.example"}, by: ca}), "b.example", ca.revoke(t, time.Hour, revoked), ""},
		{"a list of another authority", issue(t, spec{dns: []string{"b.example"}, by: ca}), "b.example", stranger.revoke(t, time.Hour), ""},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(tc.name+" in "+tls.VersionName(version), func(t *testing.T) {
				base, err := Client(&conf.Settings{SSLCA: ca.pem + tc.crl}, true)
				if err != nil {
					t.Fatal(err)
				}
				server := mustServer(t, settings(tc.cert))
				server.MaxVersion = version
				_, _, serr, err := handshake(t, server, ForHost(base, tc.host))
				if got := text(err); got != tc.want {
					t.Errorf("got  %q\nwant %q", got, tc.want)
				}
				var ce *CertError
				if tc.want != "" && (!errors.As(err, &ce) || serr == nil) {
					t.Errorf("client %T, server %v", err, serr)
				}
			})
		}
	}
}

func TestResumedSessionIsVerifiedAgain(t *testing.T) {
	ca := issue(t, spec{cn: "CA", ca: true})
	server := mustServer(t, settings(issue(t, spec{dns: []string{"b.example"}, by: ca})))
	base, err := Client(&conf.Settings{SSLCA: ca.pem}, true)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		_, state, _, err := handshake(t, server, ForHost(base, "b.example"))
		if err != nil || state.DidResume != (i == 1) {
			t.Fatalf("handshake %d: resumed %t, %v", i, state.DidResume, err)
		}
	}
	// The session of one name never serves another.
	if _, _, _, err := handshake(t, server, ForHost(base, "c.example")); err == nil {
		t.Error("another name was accepted")
	}
	stranger := issue(t, spec{cn: "Other", ca: true})
	strict, err := Client(&conf.Settings{SSLCA: stranger.pem}, true)
	if err != nil {
		t.Fatal(err)
	}
	strict.ClientSessionCache = base.ClientSessionCache
	if _, _, _, err := handshake(t, server, ForHost(strict, "b.example")); err == nil {
		t.Error("a resumed session escaped verification")
	}
}

func TestAnyCert(t *testing.T) {
	base, err := Client(&conf.Settings{}, false)
	if err != nil {
		t.Fatal(err)
	}
	_, state, _, err := handshake(t, mustServer(t, settings(issue(t, spec{cn: "rogue"}))), ForHost(base, "b.example"))
	if err != nil || state.ServerName != "b.example" {
		t.Errorf("got %q, %v", state.ServerName, err)
	}
}

func TestAuthorities(t *testing.T) {
	ca := issue(t, spec{cn: "CA", ca: true})
	other := issue(t, spec{cn: "Other", ca: true})
	dir := t.TempDir()
	file := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(file, []byte(ca.pem), 0o600); err != nil {
		t.Fatal(err)
	}
	server := mustServer(t, settings(issue(t, spec{dns: []string{"b.example"}, by: ca})))
	for _, tc := range []struct {
		name string
		s    conf.Settings
		ok   bool
	}{
		{"ssl_ca", conf.Settings{SSLCA: ca.pem}, true},
		{"ssl_client_ca_file", conf.Settings{SSLClientCAFile: file}, true},
		{"ssl_client_ca_dir", conf.Settings{SSLClientCADir: dir}, true},
		{"either of them", conf.Settings{SSLCA: other.pem, SSLClientCAFile: file}, true},
		{"another authority", conf.Settings{SSLCA: other.pem}, false},
		{"the system's store does not know it", conf.Settings{}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			base, err := Client(&tc.s, true)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, _, err := handshake(t, server, ForHost(base, "b.example")); (err == nil) != tc.ok {
				t.Errorf("got %v", err)
			}
		})
	}
	for _, s := range []conf.Settings{{SSLClientCAFile: dir + "/none"}, {SSLClientCADir: dir + "/none"}, {SSLCA: "x"}} {
		if _, err := Client(&s, true); err == nil {
			t.Errorf("%+v was accepted", s)
		}
	}
}

func TestClientCertificateToBackend(t *testing.T) {
	ca := issue(t, spec{cn: "CA", ca: true})
	mine := issue(t, spec{cn: "proxy", usage: x509.ExtKeyUsageClientAuth, by: ca})
	base, err := Client(&conf.Settings{SSLClientCert: mine.pem, SSLClientKey: mine.priv}, false)
	if err != nil {
		t.Fatal(err)
	}
	server := mustServer(t, settings(issue(t, spec{cn: "b"})))
	server.ClientAuth = tls.RequireAnyClientCert
	state, _, err, _ := handshake(t, server, ForHost(base, "b.example"))
	if err != nil || state.PeerCertificates[0].Subject.CommonName != "proxy" {
		t.Errorf("got %v", err)
	}
}

func TestClientCert(t *testing.T) {
	ca, stranger := issue(t, spec{cn: "CA", ca: true}), issue(t, spec{cn: "Other", ca: true})
	user := func(s spec) *issued { s.usage = x509.ExtKeyUsageClientAuth; return issue(t, s) }
	good := user(spec{cn: "u1", subject: pkix.Name{SerialNumber: "s1"}, by: ca})
	for _, tc := range []struct {
		name  string
		cert  *issued
		crl   string
		crls  bool // ssl_require_crl
		field string
		valid bool
		user  string
	}{
		{"valid", good, "", false, "commonName", true, "u1"},
		{"another field", good, "", false, "serialNumber", true, "s1"},
		{"a field that is absent names nobody", good, "", false, "emailAddress", true, ""},
		{"a field that is unknown names nobody", good, "", false, "foo", true, ""},
		{"none sent", nil, "", false, "", false, ""},
		{"a stranger's", user(spec{cn: "u1", by: stranger}), "", false, "", false, ""},
		{"self-signed", user(spec{cn: "u1"}), "", false, "", false, ""},
		{"expired", user(spec{cn: "u1", before: -2 * time.Hour, after: -time.Hour, by: ca}), "", false, "", false, ""},
		{"a server's", issue(t, spec{cn: "u1", by: ca}), "", false, "", false, ""},
		{"revoked", good, ca.revoke(t, time.Hour, good), false, "", false, ""},
		{"a list is required and there is none", good, "", true, "", false, ""},
		{"a list is required and outdated", good, ca.revoke(t, -time.Minute), true, "", false, ""},
		{"a list is required and current", good, ca.revoke(t, time.Hour), true, "", true, "u1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := settings(issue(t, spec{cn: "proxy"}))
			s.SSLVerifyClientCert, s.SSLCA, s.SSLRequireCRL, s.SSLCertUsernameField = true, ca.pem+tc.crl, tc.crls, tc.field
			server := mustServer(t, s)
			client := &tls.Config{InsecureSkipVerify: true}
			if tc.cert != nil {
				pair, err := tls.X509KeyPair([]byte(tc.cert.pem), []byte(tc.cert.priv))
				if err != nil {
					t.Fatal(err)
				}
				client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
			}
			state, _, err, _ := handshake(t, server, client)
			if err != nil {
				t.Fatalf("a bad certificate must not break the handshake: %v", err)
			}
			valid, user := ClientCert(state, server, s)
			if valid != tc.valid || user != tc.user {
				t.Errorf("got %t %q, want %t %q", valid, user, tc.valid, tc.user)
			}
		})
	}
	if valid, _ := ClientCert(tls.ConnectionState{}, nil, &conf.Settings{}); valid {
		t.Error("no configuration, yet valid")
	}
}
