// Package tlsconf turns the ssl_* settings into *tls.Config for both sides. It imports conf only;
// backend and login import it.
package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"dproxy/conf"
)

// Server returns the listening side's configuration of ssl_cert, ssl_key and their relatives. alpn
// lists the protocol names a client may offer; a client that offers only others is refused (ALPACA),
// one that offers none is served.
func Server(s *conf.Settings, alpn []string) (*tls.Config, error) {
	if s.SSLCert == "" {
		return nil, errors.New("Can't load SSL certificate (ssl_cert setting): The certificate is empty")
	}
	cert, err := pair("ssl_cert", s.SSLCert, s.SSLKey)
	if err != nil {
		return nil, err
	}
	c := &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: alpn}
	if s.SSLAltCert != "" {
		alt, err := pair("ssl_alt_cert", s.SSLAltCert, s.SSLAltKey)
		if err != nil {
			return nil, err
		}
		c.Certificates = append(c.Certificates, alt)
	}
	if err := limits(c, s); err != nil {
		return nil, err
	}
	if s.SSLVerifyClientCert {
		// The chain is judged after the handshake, so that a bad certificate is a failed login with
		// a log line instead of a broken connection, as in Dovecot.
		c.ClientAuth = tls.RequestClientCert
		if c.ClientCAs, err = pool("ssl_ca", s.SSLCA); err != nil {
			return nil, err
		}
	}
	c.SessionTicketsDisabled = hasWord(s.SSLOptions, "no_ticket")
	return c, nil
}

// ClientCert judges the certificate a client sent: whether its chain leads to ssl_ca, and the user
// name it carries in ssl_cert_username_field.
func ClientCert(state tls.ConnectionState, c *tls.Config, s *conf.Settings) (valid bool, name string) {
	if len(state.PeerCertificates) == 0 || c == nil || c.ClientCAs == nil {
		return false, ""
	}
	leaf := state.PeerCertificates[0]
	chain := x509.NewCertPool()
	for _, x := range state.PeerCertificates[1:] {
		chain.AddCert(x)
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: c.ClientCAs, Intermediates: chain, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return false, ""
	}
	return true, subjectField(leaf, s.SSLCertUsernameField)
}

func subjectField(leaf *x509.Certificate, field string) string {
	oids := map[string]string{
		"": "2.5.4.3", "commonname": "2.5.4.3", "cn": "2.5.4.3", "emailaddress": "1.2.840.113549.1.9.1",
		"x500uniqueidentifier": "2.5.4.45", "uid": "0.9.2342.19200300.100.1.1", "serialnumber": "2.5.4.5",
	}
	want, ok := oids[strings.ToLower(field)]
	if !ok {
		return ""
	}
	for _, n := range leaf.Subject.Names {
		if n.Type.String() == want {
			v, _ := n.Value.(string)
			return v
		}
	}
	return ""
}

// Client returns the side that talks to backends. verify is off for any-cert and for
// ssl_client_require_valid_cert = no. The caller sets ServerName on a clone.
func Client(s *conf.Settings, verify bool) (*tls.Config, error) {
	c := &tls.Config{
		InsecureSkipVerify: !verify, //nolint:gosec // the passdb said any-cert
		ClientSessionCache: tls.NewLRUClientSessionCache(256),
	}
	if err := limits(c, s); err != nil {
		return nil, err
	}
	if s.SSLClientCert != "" {
		cert, err := pair("ssl_client_cert", s.SSLClientCert, s.SSLClientKey)
		if err != nil {
			return nil, err
		}
		c.Certificates = []tls.Certificate{cert}
	}
	if verify {
		roots, err := clientRoots(s)
		if err != nil {
			return nil, err
		}
		c.RootCAs = roots
	}
	return c, nil
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
			return fmt.Errorf("%s: no certificate found", setting)
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
			return nil, fmt.Errorf("ssl_client_ca_file: %w", err)
		}
		if err := add("ssl_client_ca_file", string(b)); err != nil {
			return nil, err
		}
	}
	if d := s.SSLClientCADir; d != "" {
		names, err := os.ReadDir(d)
		if err != nil {
			return nil, fmt.Errorf("ssl_client_ca_dir: %w", err)
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

func pair(setting, certPEM, keyPEM string) (tls.Certificate, error) {
	cert, err := tls.X509KeyPair([]byte(certPEM), []byte(keyPEM))
	if err != nil {
		return cert, fmt.Errorf("Can't load SSL certificate (%s setting): %s", setting, strings.TrimPrefix(err.Error(), "tls: "))
	}
	return cert, nil
}

func pool(setting, pem string) (*x509.CertPool, error) {
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM([]byte(pem)) {
		return nil, fmt.Errorf("%s: no certificate found", setting)
	}
	return p, nil
}

// limits applies ssl_min_protocol and ssl_cipher_list.
func limits(c *tls.Config, s *conf.Settings) error {
	switch s.SSLMinProtocol {
	case "ANY", "SSLv3", "TLSv1":
		c.MinVersion = tls.VersionTLS10
	case "TLSv1.1":
		c.MinVersion = tls.VersionTLS11
	case "", "TLSv1.2":
		c.MinVersion = tls.VersionTLS12
	case "TLSv1.3", "LATEST":
		c.MinVersion = tls.VersionTLS13
	default:
		return fmt.Errorf("Unknown ssl_min_protocol setting '%s'", s.SSLMinProtocol)
	}
	c.CipherSuites = ciphers(s.SSLCipherList)
	return nil
}

// ciphers picks the TLS 1.2 suites that an OpenSSL list names one by one. Lists made of keywords
// (ALL, HIGH, !aNULL) leave Go's own choice, which has none of what such lists exclude.
func ciphers(list string) []uint16 {
	names := map[string]uint16{
		"ECDHE-ECDSA-AES128-GCM-SHA256": tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
		"ECDHE-RSA-AES128-GCM-SHA256":   tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		"ECDHE-ECDSA-AES256-GCM-SHA384": tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		"ECDHE-RSA-AES256-GCM-SHA384":   tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		"ECDHE-ECDSA-CHACHA20-POLY1305": tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
		"ECDHE-RSA-CHACHA20-POLY1305":   tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		"ECDHE-ECDSA-AES128-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,
		"ECDHE-RSA-AES128-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
		"ECDHE-ECDSA-AES256-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
		"ECDHE-RSA-AES256-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
	}
	var out []uint16
	for _, word := range strings.FieldsFunc(list, func(r rune) bool { return r == ':' || r == ',' || r == ' ' }) {
		if id, ok := names[word]; ok {
			out = append(out, id)
		}
	}
	return out
}

func hasWord(list, word string) bool {
	for _, w := range strings.FieldsFunc(list, func(r rune) bool { return r == ' ' || r == ',' }) {
		if w == word {
			return true
		}
	}
	return false
}
