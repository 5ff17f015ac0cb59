package loginrig

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Cert is a throw-away certificate that signs itself, for servers and clients.
type Cert struct {
	Conf string // the ssl_cert and ssl_key settings
	CA   string // the ssl_ca setting
	Pair tls.Certificate
}

// NewCert makes a certificate for a name.
func NewCert(tb testing.TB, name string) Cert {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	dir := tb.TempDir()
	write := func(file, kind string, der []byte) string {
		path := filepath.Join(dir, file)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			tb.Fatal(err)
		}
		return path
	}
	crt, pemKey := write("crt", "CERTIFICATE", der), write("key", "PRIVATE KEY", keyDER)
	c := Cert{Conf: "ssl_cert = <" + crt + "\nssl_key = <" + pemKey + "\n", CA: "ssl_ca = <" + crt + "\n"}
	if c.Pair, err = tls.LoadX509KeyPair(crt, pemKey); err != nil {
		tb.Fatal(err)
	}
	return c
}

// Client is a configuration that believes every server.
func Client() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true} //nolint:gosec // throw-away certificates
}
