package tlsconf

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"
)

// issued is a certificate made for a test.
type issued struct {
	cert *x509.Certificate
	key  crypto.Signer
	pem  string // the certificate
	priv string // its key
}

// spec says what to issue; zero values mean: valid now, for a server, no names.
type spec struct {
	cn      string
	dns     []string
	ips     []string
	after   time.Duration // NotAfter from now, default one hour
	before  time.Duration // NotBefore from now, default one hour ago
	ca      bool
	rsa     bool
	subject pkix.Name
	usage   x509.ExtKeyUsage
	by      *issued // issuer, default itself
}

// issue makes a certificate.
func issue(t *testing.T, s spec) *issued {
	t.Helper()
	var key crypto.Signer
	var err error
	if s.rsa {
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	} else {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	if s.after == 0 {
		s.after = time.Hour
	}
	if s.before == 0 {
		s.before = -time.Hour
	}
	if s.usage == x509.ExtKeyUsageAny {
		s.usage = x509.ExtKeyUsageServerAuth
	}
	subject := s.subject
	if s.cn != "" {
		subject.CommonName = s.cn
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial, Subject: subject, DNSNames: s.dns,
		NotBefore: time.Now().Add(s.before), NotAfter: time.Now().Add(s.after),
		IsCA: s.ca, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if s.ca {
		tmpl.KeyUsage |= x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	} else {
		tmpl.ExtKeyUsage = []x509.ExtKeyUsage{s.usage}
	}
	for _, ip := range s.ips {
		tmpl.IPAddresses = append(tmpl.IPAddresses, net.ParseIP(ip))
	}
	parent, signer := tmpl, key
	if s.by != nil {
		parent, signer = s.by.cert, s.by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	priv, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return &issued{cert, key, encode("CERTIFICATE", der), encode("PRIVATE KEY", priv)}
}

func encode(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// revoke returns a revocation list of the authority.
func (ca *issued) revoke(t *testing.T, next time.Duration, certs ...*issued) string {
	t.Helper()
	tmpl := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(next)}
	for _, c := range certs {
		tmpl.RevokedCertificateEntries = append(tmpl.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: c.cert.SerialNumber, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, tmpl, ca.cert, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	return encode("X509 CRL", der)
}
