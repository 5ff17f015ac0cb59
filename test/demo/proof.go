package main

import (
	"bufio"
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
	"strings"
	"time"
)

// writeCertificate makes a certificate for 127.0.0.1 that signs itself.
func writeCertificate(certPath, keyPath string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: "localhost"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(30 * 24 * time.Hour),
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:         true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.WriteFile(certPath, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		return err
	}
	return os.WriteFile(keyPath, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600)
}

// prove logs in as both users, over IMAP and POP3, and checks that each session ended up on the user's own store.
func prove(dir string, stores ...*store) error {
	pemText, err := os.ReadFile(filepath.Join(dir, "proxy.crt"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pemText)
	config := &tls.Config{RootCAs: roots, ServerName: "localhost"}
	for _, s := range stores {
		subject, err := imapSubject(config, s)
		if err != nil {
			return fmt.Errorf("login of %s over IMAP: %w", s.user, err)
		}
		if want := "Greetings from " + s.name; subject != want {
			return fmt.Errorf("%s sees %q over IMAP instead of %q", s.user, subject, want)
		}
		fmt.Printf("ok: %s logged in over IMAPS and was proxied to %s (127.0.0.1:%d): %q\n", s.user, s.name, port(s.imap), subject)
		reply, err := pop3Login(config, s)
		if err != nil {
			return fmt.Errorf("login of %s over POP3: %w", s.user, err)
		}
		fmt.Printf("ok: %s logged in over POP3S and was proxied to %s (127.0.0.1:%d): %q\n", s.user, s.name, port(s.pop3), reply)
	}
	return nil
}

// talk is a connection of a very small client.
type talk struct {
	net.Conn
	in *bufio.Reader
}

func dial(config *tls.Config, port int) (*talk, error) {
	d := &tls.Dialer{NetDialer: &net.Dialer{Timeout: 5 * time.Second}, Config: config}
	c, err := d.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, err
	}
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return nil, err
	}
	return &talk{c, bufio.NewReader(c)}, nil
}

// until sends a line (none if empty) and reads up to a line with the prefix, which it returns; all of it is in seen.
func (t *talk) until(send, prefix string) (last, seen string, err error) {
	if send != "" {
		if _, err := fmt.Fprintf(t, "%s\r\n", send); err != nil {
			return "", "", err
		}
	}
	for {
		line, err := t.in.ReadString('\n')
		if err != nil {
			return "", seen, err
		}
		seen += line
		if strings.HasPrefix(line, prefix) {
			return strings.TrimSpace(line), seen, nil
		}
	}
}

func imapSubject(config *tls.Config, s *store) (string, error) {
	t, err := dial(config, ports["IMAPS"])
	if err != nil {
		return "", err
	}
	defer t.Close()
	if _, _, err := t.until("", "* OK"); err != nil {
		return "", err
	}
	if last, _, err := t.until("a LOGIN "+s.user+" "+s.password, "a "); err != nil || !strings.HasPrefix(last, "a OK") {
		return "", fmt.Errorf("%s (%v)", last, err)
	}
	if last, _, err := t.until("b SELECT INBOX", "b "); err != nil || !strings.HasPrefix(last, "b OK") {
		return "", fmt.Errorf("%s (%v)", last, err)
	}
	last, seen, err := t.until("c FETCH 1 BODY.PEEK[HEADER.FIELDS (SUBJECT)]", "c ")
	if err != nil || !strings.HasPrefix(last, "c OK") {
		return "", fmt.Errorf("%s (%v)", last, err)
	}
	_, subject, _ := strings.Cut(seen, "Subject: ")
	subject, _, _ = strings.Cut(subject, "\r\n")
	_, _, err = t.until("d LOGOUT", "d OK")
	return subject, err
}

func pop3Login(config *tls.Config, s *store) (string, error) {
	t, err := dial(config, ports["POP3S"])
	if err != nil {
		return "", err
	}
	defer t.Close()
	if _, _, err := t.until("", "+OK"); err != nil {
		return "", err
	}
	if _, _, err := t.until("USER "+s.user, "+OK"); err != nil {
		return "", err
	}
	reply, _, err := t.until("PASS "+s.password, "+OK")
	if err != nil {
		return "", err
	}
	if !strings.Contains(reply, s.name) {
		return "", fmt.Errorf("%q is not an answer of %s", reply, s.name)
	}
	_, _, err = t.until("QUIT", "+OK")
	return reply, err
}
