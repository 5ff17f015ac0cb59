package backendtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Name is the host name in the certificates of Certs.
const Name = "backend.example"

// Certs are throw-away certificates: good is for Name and the loopback addresses, other is for another
// name, both signed by CA; rogue is self-signed.
type Certs struct {
	CA     string // PEM
	byName map[string]tls.Certificate
}

// NewCerts makes certificates.
func NewCerts(t *testing.T) *Certs {
	t.Helper()
	caKey, ca := certificate(t, "Test CA", nil, nil)
	c := &Certs{CA: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})), byName: map[string]tls.Certificate{}}
	add := func(name, cn string, by *x509.Certificate, byKey *ecdsa.PrivateKey) {
		key, cert := certificate(t, cn, by, byKey)
		c.byName[name] = tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
	}
	add("good", Name, ca, caKey)
	add("other", "other.example", ca, caKey)
	add("rogue", "rogue.example.net", nil, nil)
	return c
}

func certificate(t *testing.T, cn string, by *x509.Certificate, byKey *ecdsa.PrivateKey) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: cn}, DNSNames: []string{cn},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IsCA: by == nil, BasicConstraintsValid: true,
	}
	if cn == Name {
		tmpl.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	}
	if by == nil {
		by, byKey = tmpl, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, by, key.Public(), byKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, cert
}

// CA is the authority of the server's certificates, in PEM.
func (s *Server) CA() string { return s.certs.CA }

// Get returns a certificate by its name.
func (c *Certs) Get(name string) tls.Certificate { return c.byName[name] }

// Files writes a certificate and its key as PEM files and returns their paths.
func (c *Certs) Files(t *testing.T, name string) (cert, key string) {
	t.Helper()
	dir := t.TempDir()
	pair := c.byName[name]
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	write := func(file, kind string, b []byte) string {
		path := filepath.Join(dir, file)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", pair.Certificate[0]), write("key.pem", "PRIVATE KEY", der)
}
