package http

import (
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"dproxy/passdb"
)

// question is what differs between the ways to ask.
type question struct {
	method, user, pass, salt string
}

// maxHeaderValue bounds one header that is sent, in bytes.
const maxHeaderValue = 16 << 10

var errLong = errors.New("a header would be too long")

// protocols are nginx's names of ours.
var protocols = map[string]string{"submission": "smtp"}

// request makes the headers. Their names are written as nginx writes them.
func (d *driver) request(r *passdb.Request, q question) (http.Header, error) {
	h := http.Header{}
	set := func(name, value string) { h[name] = []string{value} }
	protocol := r.Service
	if p := protocols[protocol]; p != "" {
		protocol = p
	}
	set("Auth-Method", q.method)
	set("Auth-User", escape(q.user))
	set("Auth-Pass", escape(q.pass))
	if q.salt != "" {
		set("Auth-Salt", escape(q.salt))
	}
	set("Auth-Protocol", escape(protocol))
	set("Auth-Login-Attempt", attempt(r.Attempt))
	set("Client-IP", ip(r.Remote))
	if protocol == "smtp" {
		set("Client-Host", "[UNAVAILABLE]") // names of clients are not looked up
	}
	if q.method == "none" {
		set("Auth-SMTP-To", "RCPT TO:<"+escape(q.user)+">")
	}
	if r.Session != "" {
		set("Auth-Session", escape(r.Session))
	}
	d.setForwarded(r, set)
	d.setTLS(r, set)
	for _, x := range d.headers {
		v, err := x.value.Expand(r.Var)
		if err != nil {
			return nil, fmt.Errorf("Failed to expand header %s: %w", x.name, err)
		}
		set(x.name, flat(v))
	}
	for _, v := range h {
		if len(v[0]) > maxHeaderValue {
			return nil, errLong
		}
	}
	return h, nil
}

// setForwarded tells both ends of the connection when somebody in between has told us who the client is.
func (d *driver) setForwarded(r *passdb.Request, set func(name, value string)) {
	if !r.RealRemote.IsValid() || r.RealRemote == r.Remote {
		return
	}
	set("Proxy-Protocol-Addr", ip(r.Remote))
	set("Proxy-Protocol-Port", strconv.Itoa(int(r.Remote.Port())))
	set("Proxy-Protocol-Server-Addr", ip(r.Local))
	set("Proxy-Protocol-Server-Port", strconv.Itoa(int(r.Local.Port())))
}

func (d *driver) setTLS(r *passdb.Request, set func(name, value string)) {
	if r.Secured != "TLS" {
		return
	}
	set("Auth-SSL", "on")
	state := r.TLS
	if state == nil {
		return // a balancer has ended it
	}
	set("Auth-SSL-Protocol", strings.Replace(tls.VersionName(state.Version), "TLS ", "TLSv", 1))
	set("Auth-SSL-Cipher", cipherName(tls.CipherSuiteName(state.CipherSuite)))
	if !r.CertAsked {
		return
	}
	if len(state.PeerCertificates) == 0 {
		set("Auth-SSL-Verify", "NONE")
		return
	}
	verdict := "FAILED:certificate verify failed"
	if r.CertValid {
		verdict = "SUCCESS"
	}
	set("Auth-SSL-Verify", verdict)
	cert := state.PeerCertificates[0]
	fingerprint := sha1.Sum(cert.Raw) // what the protocol has
	for _, x := range [][2]string{
		{"Auth-SSL-Subject", flat(cert.Subject.String())},
		{"Auth-SSL-Issuer", flat(cert.Issuer.String())},
		{"Auth-SSL-Serial", serial(cert)},
		{"Auth-SSL-Fingerprint", hex.EncodeToString(fingerprint[:])},
	} {
		if x[1] != "" {
			set(x[0], x[1])
		}
	}
	if d.file.PassClientCert {
		set("Auth-SSL-Cert", escape(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))))
	}
}

func serial(cert *x509.Certificate) string {
	if cert.SerialNumber == nil {
		return ""
	}
	text := strings.ToUpper(cert.SerialNumber.Text(16))
	if len(text)%2 == 1 {
		text = "0" + text
	}
	return text
}

// cipherName is OpenSSL's name of a suite.
func cipherName(name string) string {
	short, ok := strings.CutPrefix(name, "TLS_ECDHE_")
	if !ok {
		return name
	}
	short = strings.Replace(short, "_WITH_", "-", 1)
	short = strings.Replace(short, "AES_", "AES", 1)
	short = strings.Replace(short, "CBC_", "", 1)
	short = strings.Replace(short, "CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305", 1)
	return "ECDHE-" + strings.ReplaceAll(short, "_", "-")
}

// escape writes a value as nginx does: control characters, blank, % and DEL in hexadecimal. So no value ends its header.
func escape(s string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == '%' || c == 0x7f {
			b.WriteByte('%')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// flat is a text that nginx sends as it is, and that must not end its header either.
func flat(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}

func ip(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.Addr().Unmap().String()
}

// checkHeaderName refuses names that are no tokens (RFC 9110 section 5.6.2), and those that the protocol or HTTP need.
func checkHeaderName(name string) error {
	for i := range len(name) {
		c := name[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte("\"(),/:;<=>?@[\\]{}", c) >= 0 {
			return fmt.Errorf("%q is no name of a header", name)
		}
	}
	switch lower := strings.ToLower(name); {
	case name == "":
		return errors.New("a header without a name")
	case strings.HasPrefix(lower, "auth-"), strings.HasPrefix(lower, "client-"), strings.HasPrefix(lower, "proxy-"),
		lower == "connection", lower == "content-length", lower == "transfer-encoding", lower == "upgrade", lower == "te", lower == "trailer":
		return fmt.Errorf("the header %s belongs to the protocol", name)
	}
	return nil
}

// secrets are what a raw log must not show.
func (d *driver) secrets(q question, h http.Header) []string {
	out := []string{q.pass, escape(q.pass)}
	for _, x := range d.headers {
		out = append(out, h[x.name]...)
	}
	return out
}
