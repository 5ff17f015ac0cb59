package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"dproxy/conf"
)

// sessionsKept is how many backend names sessions are kept for, to be resumed.
const sessionsKept = 1024

// Client returns the side that talks to backends. verify is off for any-cert and for
// ssl_client_require_valid_cert = no. ForHost makes it ready for one backend.
func Client(s *conf.Settings, verify bool) (*tls.Config, error) {
	c, err := common(clientSide(s))
	if err != nil {
		return nil, err
	}
	c.InsecureSkipVerify = !verify //nolint:gosec // the passdb said any-cert
	c.ClientSessionCache = tls.NewLRUClientSessionCache(sessionsKept)
	if s.SSLClientCert != "" {
		cert, err := pair(certificate{"ssl_client_cert", s.SSLClientCert, "ssl_client_key", s.SSLClientKey, ""})
		if err != nil {
			return nil, err
		}
		c.Certificates = []tls.Certificate{cert}
	}
	if !verify {
		return c, nil
	}
	if c.RootCAs, err = clientRoots(s); err != nil {
		return nil, err
	}
	lists, err := revocations(s.SSLCA)
	if err != nil {
		return nil, fmt.Errorf("Couldn't parse ssl_ca: %w", err)
	}
	if len(lists) > 0 {
		c.VerifyConnection = func(state tls.ConnectionState) error { return lists.check(state.PeerCertificates, false) }
	}
	return c, nil
}

// ForHost returns a copy of a Client configuration for one backend: its name is sent as SNI unless it
// is an address, and the certificate has to carry it. A certificate that does not verify gives a
// *CertError.
func ForHost(base *tls.Config, host string) *tls.Config {
	c := base.Clone()
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	c.ServerName = host
	if base.InsecureSkipVerify {
		return c
	}
	// Dovecot takes the common name of a certificate without alternative names, which the library
	// refuses; so the chain and the name are verified here.
	c.InsecureSkipVerify = true //nolint:gosec // see VerifyConnection
	roots, revoked := base.RootCAs, base.VerifyConnection
	c.VerifyConnection = func(state tls.ConnectionState) error {
		if err := verifyBackend(state.PeerCertificates, roots, host); err != nil {
			return err
		}
		if revoked != nil {
			return revoked(state)
		}
		return nil
	}
	return c
}

// clientRoots joins ssl_ca with ssl_client_ca_file and ssl_client_ca_dir. Dovecot 2.3's login
// processes use ssl_ca only; a migrated configuration must verify with either. Without any of them
// the system's store decides.
func clientRoots(s *conf.Settings) (*x509.CertPool, error) {
	var roots *x509.CertPool
	add := func(setting, pem string) error {
		if roots == nil {
			roots = x509.NewCertPool()
		}
		if !roots.AppendCertsFromPEM([]byte(pem)) {
			return fmt.Errorf("Couldn't parse %s: no certificate found", setting)
		}
		return nil
	}
	if s.SSLCA != "" {
		if err := add("ssl_ca", s.SSLCA); err != nil {
			return nil, err
		}
	}
	if f := s.SSLClientCAFile; f != "" {
		b, err := os.ReadFile(f)
		if err != nil {
			return nil, fmt.Errorf("Can't load CA certs from file: %w (ssl_client_ca_file setting)", err)
		}
		if err := add("ssl_client_ca_file", string(b)); err != nil {
			return nil, err
		}
	}
	if d := s.SSLClientCADir; d != "" {
		names, err := os.ReadDir(d)
		if err != nil {
			return nil, fmt.Errorf("Can't load CA certs from directory: %w (ssl_client_ca_dir setting)", err)
		}
		if roots == nil {
			roots = x509.NewCertPool()
		}
		for _, n := range names {
			if b, err := os.ReadFile(filepath.Join(d, n.Name())); err == nil {
				roots.AppendCertsFromPEM(b)
			}
		}
	}
	return roots, nil // nil is the system's store
}

// clientSide puts what ssl_client { } of 2.4 says in the place of what counts for clients.
func clientSide(s *conf.Settings) *conf.Settings {
	if s.SSLClientCipherList+s.SSLClientCipherSuites+s.SSLClientCurveList+s.SSLClientMinProtocol == "" {
		return s
	}
	c := *s
	for _, f := range []struct {
		to    *string
		value string
	}{
		{&c.SSLCipherList, s.SSLClientCipherList},
		{&c.SSLCipherSuites, s.SSLClientCipherSuites},
		{&c.SSLCurveList, s.SSLClientCurveList},
		{&c.SSLMinProtocol, s.SSLClientMinProtocol},
	} {
		if f.value != "" {
			*f.to = f.value
		}
	}
	return &c
}
