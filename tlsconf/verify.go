package tlsconf

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"dproxy/conf"
)

// CertError is a backend's certificate that does not verify. Its text has Dovecot's wording.
type CertError struct {
	text string
	err  error
}

// Error implements error.
func (e *CertError) Error() string { return e.text }

// Unwrap returns the library's error, if there is one.
func (e *CertError) Unwrap() error { return e.err }

func invalid(reason string, cert *x509.Certificate, err error) *CertError {
	return &CertError{"Received invalid SSL certificate: " + reason + ": " + oneline(cert) + " (check ssl_client_ca_* settings?)", err}
}

// verifyBackend judges the chain and the name of a backend.
func verifyBackend(chain []*x509.Certificate, roots *x509.CertPool, host string) error {
	if len(chain) == 0 {
		return &CertError{"Received invalid SSL certificate: the server sent none", nil}
	}
	leaf := chain[0]
	o := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, c := range chain[1:] {
		o.Intermediates.AddCert(c)
	}
	if _, err := leaf.Verify(o); err != nil {
		return invalid(chainReason(err, chain), leaf, err)
	}
	if !matches(leaf, host) {
		return &CertError{"Received invalid SSL certificate: SSL certificate doesn't match expected host name " + host + ": did not match to any IP or DNS fields", nil}
	}
	return nil
}

// matches tells whether a certificate is for host. The common name counts when there are no alternative
// names at all, as in OpenSSL's X509_check_host.
func matches(leaf *x509.Certificate, host string) bool {
	if leaf.VerifyHostname(host) == nil {
		return true
	}
	if len(leaf.DNSNames)+len(leaf.IPAddresses)+len(leaf.EmailAddresses)+len(leaf.URIs) > 0 || leaf.Subject.CommonName == "" {
		return false
	}
	byName := x509.Certificate{DNSNames: []string{leaf.Subject.CommonName}}
	return strings.EqualFold(leaf.Subject.CommonName, host) || byName.VerifyHostname(host) == nil
}

// chainReason is OpenSSL's text for what is wrong with a chain.
func chainReason(err error, chain []*x509.Certificate) string {
	var bad x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.As(err, &bad):
		switch bad.Reason {
		case x509.Expired:
			if bad.Cert != nil && time.Now().Before(bad.Cert.NotBefore) {
				return "certificate is not yet valid"
			}
			return "certificate has expired"
		case x509.IncompatibleUsage:
			return "unsupported certificate purpose"
		case x509.NotAuthorizedToSign, x509.TooManyIntermediates:
			return "invalid CA certificate"
		}
		return bad.Error()
	case errors.As(err, &unknown):
		last := chain[len(chain)-1]
		switch {
		case !bytes.Equal(last.RawSubject, last.RawIssuer):
			return "unable to get local issuer certificate"
		case len(chain) == 1:
			return "self-signed certificate"
		}
		return "self-signed certificate in certificate chain"
	}
	return err.Error()
}

// shortNames are OpenSSL's names of subject parts.
var shortNames = map[string]string{
	"2.5.4.3": "CN", "2.5.4.4": "SN", "2.5.4.5": "serialNumber", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.9": "street",
	"2.5.4.10": "O", "2.5.4.11": "OU", "2.5.4.12": "title", "2.5.4.42": "GN", "1.2.840.113549.1.9.1": "emailAddress",
	"0.9.2342.19200300.100.1.1": "UID", "0.9.2342.19200300.100.1.25": "DC", "2.5.4.45": "x500UniqueIdentifier",
}

// oneline is a subject as OpenSSL's X509_NAME_oneline prints it: /C=FI/O=Example/CN=mail.example.
func oneline(c *x509.Certificate) string {
	var b strings.Builder
	for _, n := range c.Subject.Names {
		name := shortNames[n.Type.String()]
		if name == "" {
			name = n.Type.String()
		}
		fmt.Fprintf(&b, "/%s=%v", name, n.Value)
	}
	return b.String()
}

// ClientCert judges the certificate a client sent: whether its chain leads to ssl_ca and is not revoked,
// and the user name it carries in ssl_cert_username_field. The name is empty unless the certificate is
// valid.
func ClientCert(state tls.ConnectionState, c *tls.Config, s *conf.Settings) (valid bool, name string) {
	if len(state.PeerCertificates) == 0 || c == nil || c.ClientCAs == nil {
		return false, ""
	}
	leaf := state.PeerCertificates[0]
	o := x509.VerifyOptions{Roots: c.ClientCAs, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, x := range state.PeerCertificates[1:] {
		o.Intermediates.AddCert(x)
	}
	chains, err := leaf.Verify(o)
	if err != nil {
		return false, ""
	}
	lists, err := revocations(s.SSLCA)
	if err != nil {
		return false, ""
	}
	if err := lists.check(chains[0], s.SSLRequireCRL); err != nil {
		return false, ""
	}
	return true, subjectField(leaf, s.SSLCertUsernameField)
}

var subjectFields = map[string]string{
	"": "2.5.4.3", "commonname": "2.5.4.3", "cn": "2.5.4.3", "emailaddress": "1.2.840.113549.1.9.1",
	"x500uniqueidentifier": "2.5.4.45", "uid": "0.9.2342.19200300.100.1.1", "userid": "0.9.2342.19200300.100.1.1", "serialnumber": "2.5.4.5",
}

func subjectField(leaf *x509.Certificate, field string) string {
	want, ok := subjectFields[strings.ToLower(field)]
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

// crls are the revocation lists that stand beside the authorities in ssl_ca.
type crls []*x509.RevocationList

func revocations(ca string) (crls, error) {
	var out crls
	for rest := []byte(ca); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return out, nil
		}
		if block.Type != "X509 CRL" {
			continue
		}
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, err
		}
		out = append(out, list)
	}
}

// check fails for a chain of which a certificate is revoked. With require a certificate whose issuer has
// no current list fails too, as under ssl_require_crl; the root itself needs none.
func (lists crls) check(chain []*x509.Certificate, require bool) error {
	for i, c := range chain {
		if bytes.Equal(c.RawSubject, c.RawIssuer) {
			break
		}
		current := false
		for _, l := range lists {
			if !bytes.Equal(l.RawIssuer, c.RawIssuer) || i+1 < len(chain) && l.CheckSignatureFrom(chain[i+1]) != nil {
				continue
			}
			current = current || l.NextUpdate.IsZero() || time.Now().Before(l.NextUpdate)
			for _, e := range l.RevokedCertificateEntries {
				if e.SerialNumber.Cmp(c.SerialNumber) == 0 {
					return invalid("certificate revoked", c, nil)
				}
			}
		}
		if require && !current {
			return invalid("unable to get certificate CRL", c, nil)
		}
	}
	return nil
}
