package dialog

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"dproxy/test/daemon"
)

// Certs is a directory of throw-away certificates, NAME.crt and NAME.key in PEM: "ca"; signed by it "proxy" (CN
// proxy.example.org), "alt" (alt.example.org) and "backend" (backend.example.org, also valid for localhost, 127.0.0.1
// and 127.0.0.11 to 127.0.0.18); and "rogue" (rogue.example.net), which signs itself.
type Certs struct {
	Dir   string
	Roots *x509.CertPool // of ca

	pairs map[string]tls.Certificate
}

// NewCerts makes the certificates. They are removed after the test.
func NewCerts(tb testing.TB) *Certs {
	tb.Helper()
	c, err := makeCerts(daemon.ShortDir(tb))
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// File is the path of a certificate ("crt") or key ("key").
func (c *Certs) File(name, kind string) string { return filepath.Join(c.Dir, name+"."+kind) }

// Server is the configuration of a server that shows the named certificate.
func (c *Certs) Server(name string) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{c.pairs[name]}, MinVersion: tls.VersionTLS12}
}

func makeCerts(dir string) (*Certs, error) {
	c := &Certs{Dir: dir, Roots: x509.NewCertPool(), pairs: map[string]tls.Certificate{}}
	now := time.Now()
	template := func(serial int64, cn string, names ...string) *x509.Certificate {
		t := &x509.Certificate{
			SerialNumber: big.NewInt(serial),
			Subject:      pkix.Name{CommonName: cn},
			NotBefore:    now.Add(-time.Hour),
			NotAfter:     now.Add(24 * time.Hour),
			KeyUsage:     x509.KeyUsageDigitalSignature,
			ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
			DNSNames:     append([]string{cn}, names...),
		}
		return t
	}
	ca := template(1, "Throw-away CA")
	ca.IsCA, ca.BasicConstraintsValid = true, true
	ca.KeyUsage, ca.ExtKeyUsage, ca.DNSNames = x509.KeyUsageCertSign|x509.KeyUsageCRLSign, nil, nil
	backend := template(4, "backend.example.org", "localhost")
	backend.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	for n := byte(11); n <= 18; n++ {
		backend.IPAddresses = append(backend.IPAddresses, net.IPv4(127, 0, 0, n))
	}
	for _, e := range []struct {
		name string
		t    *x509.Certificate
		self bool
	}{
		{"ca", ca, true},
		{"proxy", template(2, "proxy.example.org"), false},
		{"alt", template(3, "alt.example.org"), false},
		{"backend", backend, false},
		{"rogue", template(5, "rogue.example.net"), true},
	} {
		if err := c.add(e.name, e.t, e.self); err != nil {
			return nil, fmt.Errorf("make certificate %s: %w", e.name, err)
		}
	}
	c.Roots.AddCert(c.pairs["ca"].Leaf)
	return c, nil
}

// add makes a key and a certificate, signed by ca unless it signs itself, and writes both.
func (c *Certs) add(name string, t *x509.Certificate, self bool) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	issuer, signer := t, any(key)
	if !self {
		issuer, signer = c.pairs["ca"].Leaf, c.pairs["ca"].PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, t, issuer, key.Public(), signer)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	crt := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	if err := os.WriteFile(c.File(name, "crt"), crt, 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(c.File(name, "key"), keyPEM, 0o600); err != nil {
		return err
	}
	pair, err := tls.X509KeyPair(crt, keyPEM)
	if err != nil {
		return err
	}
	c.pairs[name] = pair // Leaf is set since Go 1.23
	return nil
}
