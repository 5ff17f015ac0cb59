package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// results are the measurements: metric, proxy, one value per round.
type results struct {
	order  []string
	values map[string]map[string][]float64
}

func (r *results) add(metric, proxy string, v float64) {
	if r.values[metric] == nil {
		r.values[metric] = map[string][]float64{}
		r.order = append(r.order, metric)
	}
	r.values[metric][proxy] = append(r.values[metric][proxy], v)
}

// table is Markdown: medians, and in brackets the ratio to Dovecot when it was measured.
func (r *results) table(list []*proxy, o options) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d CPUs, %s, %d rounds, medians; in brackets the ratio to Dovecot in the same run, and the spread of the rounds where it is above 15 %%.\n\n", runtime.NumCPU(), runtime.Version(), o.rounds)
	for _, p := range list {
		fmt.Fprintf(&b, "- %s: %s\n", p.name, p.version)
	}
	b.WriteString("\n| metric |")
	for _, p := range list {
		b.WriteString(" " + p.name + " |")
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(list)) + "\n")
	for _, metric := range r.order {
		fmt.Fprintf(&b, "| %s |", metric)
		base := median(r.values[metric]["dovecot"])
		for _, p := range list {
			v := r.values[metric][p.name]
			if len(v) == 0 {
				b.WriteString(" – |")
				continue
			}
			fmt.Fprintf(&b, " %.4g", median(v))
			if base != 0 && p.name != "dovecot" {
				fmt.Fprintf(&b, " (%.3f)", median(v)/base)
			}
			if s := spread(v); s > 0.15 {
				fmt.Fprintf(&b, " ±%.0f %%", 50*s)
			}
			b.WriteString(" |")
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// small fetches and appends n bytes, so that a session's buffers have been used.
func (c *client) small(n int) error {
	if _, err := fmt.Fprintf(c, "s FETCH %d\r\n", n); err != nil {
		return err
	}
	if _, err := c.until("* 1 FETCH"); err != nil {
		return err
	}
	if err := c.skip(n); err != nil {
		return err
	}
	if _, err := c.in.ReadString('\n'); err != nil {
		return err
	}
	if _, err := c.until("s OK"); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(c, "t APPEND x {%d+}\r\n%s\r\n", n, strings.Repeat("x", n)); err != nil {
		return err
	}
	_, err := c.until("t OK")
	return err
}

// makeCertificate writes a P-256 certificate for localhost: certificate, key, and both in one file.
func makeCertificate(dir string) (cert, key, both string, roots *x509.CertPool, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, k.Public(), k)
	if err != nil {
		return
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	cert, key, both = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "both.pem")
	for path, b := range map[string][]byte{cert: certPEM, key: keyPEM, both: append(append([]byte{}, certPEM...), keyPEM...)} {
		if err = os.WriteFile(path, b, 0o644); err != nil {
			return
		}
	}
	roots = x509.NewCertPool()
	roots.AppendCertsFromPEM(certPEM)
	return
}
