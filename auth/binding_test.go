package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/xdg-go/scram"
)

// tlsPair is both ends of a TLS connection over loopback memory, and the server's certificate.
func tlsPair(t *testing.T, version uint16) (client, server tls.ConnectionState, cert *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.CreateCertificate(rand.Reader, template(), template(), key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if cert, err = x509.ParseCertificate(raw); err != nil {
		t.Fatal(err)
	}
	a, b := net.Pipe()
	t.Cleanup(func() { _ = a.Close(); _ = b.Close() })
	s := tls.Server(b, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{raw}, PrivateKey: key}}, MaxVersion: version, SessionTicketsDisabled: true})
	c := tls.Client(a, &tls.Config{InsecureSkipVerify: true, MaxVersion: version})
	done := make(chan error, 1)
	go func() { done <- s.Handshake() }()
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return c.ConnectionState(), s.ConnectionState(), cert
}

func template() *x509.Certificate {
	return &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "h"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
}

// boundLogin logs u in with SCRAM-SHA-256, or its PLUS, by the library's client.
func (r rig) boundLogin(t *testing.T, q Request, password string, b scram.ChannelBinding) *Reply {
	t.Helper()
	c, err := scram.SHA256.NewClient("u", password, "")
	if err != nil {
		t.Fatal(err)
	}
	conv := c.NewConversation()
	if b.IsSupported() {
		conv = c.NewConversationWithChannelBinding(b)
	}
	first, err := conv.Step("")
	if err != nil {
		t.Fatal(err)
	}
	q.Initial, q.HasInitial = []byte(first), true
	x, challenge, reply := r.Start(t.Context(), q)
	if reply != nil {
		return reply
	}
	final, err := conv.Step(string(challenge))
	if err != nil {
		t.Fatal(err)
	}
	_, reply = x.Step(t.Context(), []byte(final))
	if reply.OK {
		if _, err := conv.Step(string(reply.Final)); err != nil || !conv.Valid() {
			t.Errorf("the server's signature: %v", err)
		}
	}
	return reply
}

func TestChannelBinding(t *testing.T) {
	c13, s13, cert := tlsPair(t, tls.VersionTLS13)
	c12, s12, _ := tlsPair(t, tls.VersionTLS12)
	other, _, _ := tlsPair(t, tls.VersionTLS13)
	exporter := func(s tls.ConnectionState) scram.ChannelBinding {
		data, err := s.ExportKeyingMaterial(exporterLabel, nil, exporterSize)
		if err != nil {
			t.Fatal(err)
		}
		return scram.ChannelBinding{Type: scram.ChannelBindingTLSExporter, Data: data}
	}
	hash := sha256.Sum256(cert.Raw) // the certificate is signed with ECDSA and SHA-256
	const plus = "SCRAM-SHA-256-PLUS"
	for _, tc := range []struct {
		name, mech, password string
		server               *tls.ConnectionState
		client               scram.ChannelBinding
		want                 bool
		line                 string
	}{
		{"tls-exporter under TLS 1.3", plus, "p", &s13, exporter(c13), true, ""},
		{"tls-exporter under TLS 1.2", plus, "p", &s12, exporter(c12), true, ""},
		{"tls-unique under TLS 1.2", plus, "p", &s12, scram.ChannelBinding{Type: "tls-unique", Data: c12.TLSUnique}, true, ""},
		{"tls-server-end-point", plus, "p", &s13, scram.ChannelBinding{Type: "tls-server-end-point", Data: hash[:]}, true, ""},
		{"a wrong password", plus, "bad", &s13, exporter(c13), false, "Password mismatch"},
		{"another connection than ours: somebody is in between", plus, "p", &s13, exporter(other), false, "Invalid channel binding data"},
		{"tls-unique under TLS 1.3, which has none", plus, "p", &s13, scram.ChannelBinding{Type: "tls-unique", Data: []byte("x")}, false, "Channel binding type not supported: tls-unique"},
		{"an unknown binding", plus, "p", &s13, scram.ChannelBinding{Type: "x", Data: []byte("x")}, false, "Channel binding type not supported: x"},
		{"a binding without PLUS", "SCRAM-SHA-256", "p", &s13, exporter(c13), false, "Channel binding not supported"},
		{"PLUS without a binding", plus, "p", &s13, scram.ChannelBinding{}, false, "Channel binding required"},
		{"no binding wanted", "SCRAM-SHA-256", "p", &s13, scram.ChannelBinding{}, true, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := &fakeConfig{services: noPenalty}
			f.settings.AuthMechanisms, f.settings.Hostname, f.settings.AuthVerbose = "scram-sha-256 scram-sha-256-plus", "h", true
			r := newRig(t, f, memory{"u": user("p")})
			q := Request{Mech: tc.mech}
			q.TLS, q.ServerCert = tc.server, cert
			if got := r.boundLogin(t, q, tc.password, tc.client); got.OK != tc.want {
				t.Errorf("%+v", got)
			}
			if log := strings.Join(r.log.lines(), "\n"); tc.line != "" && !strings.HasSuffix(log, tc.line) {
				t.Errorf("log %q, want %q", log, tc.line)
			}
		})
	}
}

// TestDowngrade: a client that could bind, and to whom somebody has shown a list without PLUS, is refused; the same
// message is fine where PLUS is not offered.
func TestDowngrade(t *testing.T) {
	_, state, _ := tlsPair(t, tls.VersionTLS13)
	for _, tc := range []struct {
		name, mechanisms string
		tls              *tls.ConnectionState
		refused          bool
	}{
		{"PLUS was offered", "scram-sha-256 scram-sha-256-plus", &state, true},
		{"PLUS is not configured", "scram-sha-256", &state, false},
		{"there is no TLS", "scram-sha-256 scram-sha-256-plus", nil, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := &fakeConfig{services: noPenalty}
			f.settings.AuthMechanisms, f.settings.Hostname = tc.mechanisms, "h"
			r := newRig(t, f, memory{"u": user("p")})
			q := Request{Mech: "SCRAM-SHA-256", Initial: []byte("y,,n=u,r=abc"), HasInitial: true}
			q.TLS = tc.tls
			_, _, reply := r.Start(t.Context(), q)
			if refused := reply != nil; refused != tc.refused {
				t.Errorf("%+v", reply)
			}
		})
	}
}

func TestPlusNeedsTLS(t *testing.T) {
	f := &fakeConfig{services: noPenalty}
	f.settings.AuthMechanisms, f.settings.Hostname = "scram-sha-256-plus", "h"
	r := newRig(t, f, memory{"u": user("p")})
	if _, _, reply := r.Start(t.Context(), Request{Mech: "SCRAM-SHA-256-PLUS"}); reply == nil || reply.Code != CodeMechInvalid {
		t.Errorf("%+v", reply)
	}
}
