// Package tlsconf turns the ssl_* settings into *tls.Config for both sides, and judges certificates as
// Dovecot's OpenSSL does. It imports conf only; backend and login import it.
package tlsconf

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"dproxy/conf"
)

// Server returns the listening side's configuration of ssl_cert, ssl_key and their relatives. alpn
// lists the protocol names a client may offer; a client that offers only others is refused (ALPACA),
// one that offers none is served.
func Server(s *conf.Settings, alpn []string) (*tls.Config, error) {
	c, err := common(s)
	if err != nil {
		return nil, err
	}
	c.NextProtos = alpn
	cert, err := pair(certificate{"ssl_cert", s.SSLCert, "ssl_key", s.SSLKey, s.SSLKeyPassword})
	if err != nil {
		return nil, err
	}
	c.Certificates = []tls.Certificate{cert}
	if s.SSLAltCert != "" {
		alt, err := pair(certificate{"ssl_alt_cert", s.SSLAltCert, "ssl_alt_key", s.SSLAltKey, s.SSLKeyPassword})
		if err != nil {
			return nil, err
		}
		c.Certificates = append(c.Certificates, alt)
	}
	if s.SSLVerifyClientCert {
		if s.SSLCA == "" {
			return nil, errors.New("Can't verify remote client certs without CA (ssl_ca setting)")
		}
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

// NotAfter is the earliest end of the certificates that a server configuration shows; the zero time
// when it has none. An expired certificate is served all the same, so somebody has to warn.
func NotAfter(c *tls.Config) time.Time {
	var first time.Time
	if c == nil {
		return first
	}
	for _, cert := range c.Certificates {
		if leaf := cert.Leaf; leaf != nil && (first.IsZero() || leaf.NotAfter.Before(first)) {
			first = leaf.NotAfter
		}
	}
	return first
}

// Warnings lists what the settings ask for that is unsafe or that dproxy cannot do, for the log at start
// and after a reload.
func Warnings(s *conf.Settings) []string {
	var out []string
	if s.SSL != "no" && s.SSLCert == "" {
		out = append(out, fmt.Sprintf("ssl = %s without ssl_cert: TLS can't be offered to clients", s.SSL))
	}
	switch s.SSLMinProtocol {
	case "ANY", "SSLv3", "TLSv1", "TLSv1.1":
		out = append(out, fmt.Sprintf("ssl_min_protocol = %s allows TLS versions with known weaknesses; use TLSv1.2 unless old clients need it", s.SSLMinProtocol))
	}
	if _, unknown := cipherList(s.SSLCipherList); len(unknown) > 0 {
		out = append(out, "ssl_cipher_list: not available and left out: "+strings.Join(unknown, " "))
	}
	if _, unknown := curveList(s.SSLCurveList); len(unknown) > 0 {
		out = append(out, "ssl_curve_list: not available and left out: "+strings.Join(unknown, " "))
	}
	if s.SSLCipherSuites != "" {
		out = append(out, "ssl_cipher_suites has no effect: the TLS 1.3 cipher suites can't be chosen, all three are on")
	}
	return out
}

// common holds what both sides share: protocol versions, ciphers and curves.
func common(s *conf.Settings) (*tls.Config, error) {
	c := &tls.Config{
		// Full-sized records from the start: the relay moves bulk data.
		DynamicRecordSizingDisabled: true,
	}
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
		return nil, fmt.Errorf("Unknown ssl_min_protocol setting '%s'", s.SSLMinProtocol)
	}
	switch list := strings.TrimSpace(s.SSLCipherList); list {
	case "", dovecotCiphers:
		c.CipherSuites = modern
		if c.MinVersion < tls.VersionTLS12 {
			c.CipherSuites = append(modern[:len(modern):len(modern)], old...)
		}
	default:
		if c.CipherSuites, _ = cipherList(list); len(c.CipherSuites) == 0 {
			return nil, fmt.Errorf("Can't set cipher list to '%s' (ssl_cipher_list setting): no cipher match", list)
		}
	}
	if c.CurvePreferences, _ = curveList(s.SSLCurveList); len(c.CurvePreferences) == 0 {
		return nil, fmt.Errorf("Can't set curve list to '%s' (ssl_curve_list setting)", s.SSLCurveList)
	}
	return c, nil
}

func hasWord(list, word string) bool {
	for w := range strings.FieldsFuncSeq(list, func(r rune) bool { return r == ' ' || r == ',' }) {
		if w == word {
			return true
		}
	}
	return false
}
