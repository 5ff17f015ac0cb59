package backend

import (
	"fmt"
	"net"

	"github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"
)

// maxUniqueID is the longest PP2_TYPE_UNIQUE_ID.
const maxUniqueID = 128

// header is the PROXY header for the target's backend, empty when it gets none.
func (r *run) header() ([]byte, error) {
	version := r.login.Target.ProxyHeader
	if version == 0 {
		return nil, nil
	}
	id := &r.login.Identity
	if !id.Remote.IsValid() || !id.Local.IsValid() {
		return nil, fmt.Errorf("proxy_protocol: the client's address is not known")
	}
	h := proxyproto.HeaderProxyFromAddrs(byte(version), net.TCPAddrFromAddrPort(id.Remote), net.TCPAddrFromAddrPort(id.Local))
	if version == 2 {
		tlvs, err := id.tlvs()
		if err == nil {
			err = h.SetTLVs(tlvs)
		}
		if err != nil {
			return nil, fmt.Errorf("proxy_protocol: %w", err)
		}
	}
	b, err := h.Format()
	if err != nil {
		return nil, fmt.Errorf("proxy_protocol: %w", err)
	}
	return b, nil
}

// tlvs tell of the client's TLS and name the session.
func (id *Identity) tlvs() ([]proxyproto.TLV, error) {
	var out []proxyproto.TLV
	if id.ServerName != "" {
		out = append(out, proxyproto.TLV{Type: proxyproto.PP2_TYPE_AUTHORITY, Value: []byte(id.ServerName)})
	}
	if n := len(id.Session); n > 0 && n <= maxUniqueID {
		out = append(out, proxyproto.TLV{Type: proxyproto.PP2_TYPE_UNIQUE_ID, Value: []byte(id.Session)})
	}
	if id.TLSVersion == "" {
		return out, nil
	}
	ssl := tlvparse.PP2SSL{Client: tlvparse.PP2_BITFIELD_CLIENT_SSL, Verify: 1, TLV: []proxyproto.TLV{{Type: proxyproto.PP2_SUBTYPE_SSL_VERSION, Value: []byte(id.TLSVersion)}}}
	if id.TLSCipher != "" {
		ssl.TLV = append(ssl.TLV, proxyproto.TLV{Type: proxyproto.PP2_SUBTYPE_SSL_CIPHER, Value: []byte(id.TLSCipher)})
	}
	t, err := ssl.Marshal()
	return append(out, t), err
}
