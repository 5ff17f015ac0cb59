package auth

import (
	"crypto"
	_ "crypto/sha256" // for tls-server-end-point
	_ "crypto/sha512"
	"crypto/x509"
	"strings"

	"github.com/xdg-go/scram"
)

const (
	// exporterLabel and exporterSize are those of RFC 9266.
	exporterLabel = "EXPORTER-Channel-Binding"
	exporterSize  = 32
)

// binding is the data of the channel binding that the client's first message names. Without one it makes sure
// that nobody has taken the mechanisms with binding out of the list that the client saw: a client that could bind
// and was not offered to says so with "y" (RFC 5802 section 6).
func (s *scramSHA) binding(t *attempt, in string) (b scram.ChannelBinding, text string) {
	flag, _, _ := strings.Cut(in, ",")
	kind, asked := strings.CutPrefix(flag, "p=")
	switch {
	case asked:
		b.Type, b.Data = scram.ChannelBindingType(kind), t.bindingData(kind)
		if len(b.Data) == 0 {
			return b, "Channel binding type not supported: " + kind
		}
	case flag == "y" && t.req.TLS != nil && t.a.offers(s.name+"-PLUS"):
		return b, "Channel binding was offered, but the client has not seen it"
	}
	return b, ""
}

// bindingData is what identifies the client's TLS connection in one of the registered ways; nil when there is no
// such thing.
func (t *attempt) bindingData(kind string) []byte {
	state := t.req.TLS
	if state == nil {
		return nil
	}
	switch kind {
	case "tls-exporter":
		data, err := state.ExportKeyingMaterial(exporterLabel, nil, exporterSize)
		if err != nil {
			return nil // TLS 1.2 without extended master secret
		}
		return data
	case "tls-unique":
		return state.TLSUnique // nil from TLS 1.3 on
	case "tls-server-end-point":
		return endPoint(t.req.ServerCert)
	}
	return nil
}

// endPoint hashes the certificate as RFC 5929 section 4.1 wants it: with its signature's hash, SHA-256 in place of
// weaker ones. Signatures without a hash of their own have no such binding.
func endPoint(c *x509.Certificate) []byte {
	if c == nil {
		return nil
	}
	var h crypto.Hash
	switch c.SignatureAlgorithm {
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.SHA256WithRSA, x509.ECDSAWithSHA256, x509.SHA256WithRSAPSS:
		h = crypto.SHA256
	case x509.SHA384WithRSA, x509.ECDSAWithSHA384, x509.SHA384WithRSAPSS:
		h = crypto.SHA384
	case x509.SHA512WithRSA, x509.ECDSAWithSHA512, x509.SHA512WithRSAPSS:
		h = crypto.SHA512
	default:
		return nil
	}
	d := h.New()
	d.Write(c.Raw)
	return d.Sum(nil)
}
