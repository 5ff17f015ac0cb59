package listen

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"

	"github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"
)

// Proxied is what a PROXY protocol header says of the client.
type Proxied struct {
	Local, Remote netip.AddrPort // invalid for UNKNOWN and LOCAL: the socket's addresses stay
	LocalName     string         // PP2_TYPE_AUTHORITY
	SSL           bool           // the balancer's client used TLS
	CertName      string         // common name of a certificate that the balancer verified
}

const (
	maxV1 = 107  // bytes of a version 1 line, CRLF included
	maxV2 = 1500 // bytes of a version 2 header
)

var signatureV2 = []byte("\r\n\r\n\x00\r\nQUIT\n")

var errInvalid = errors.New("Failed to read valid HAproxy data")

// ReadProxy reads one PROXY header, version 1 or 2, and not a byte more. The caller sets the
// deadline (haproxy_timeout) and has checked that the peer may send one. Specification: the PROXY
// protocol, HAProxy 2.x doc/proxy-protocol.txt.
func ReadProxy(r io.Reader) (Proxied, error) {
	raw := make([]byte, len(signatureV2), maxV1)
	if _, err := io.ReadFull(r, raw); err != nil {
		return Proxied{}, readErr(err)
	}
	switch {
	case bytes.Equal(raw, signatureV2):
		head := make([]byte, 4)
		if _, err := io.ReadFull(r, head); err != nil {
			return Proxied{}, readErr(err)
		}
		n := int(binary.BigEndian.Uint16(head[2:]))
		if len(raw)+len(head)+n > maxV2 {
			return Proxied{}, errInvalid
		}
		raw = append(append(raw, head...), make([]byte, n)...)
		if _, err := io.ReadFull(r, raw[len(signatureV2)+4:]); err != nil {
			return Proxied{}, readErr(err)
		}
	case bytes.HasPrefix(raw, []byte("PROXY ")):
		for raw[len(raw)-1] != '\n' {
			if len(raw) == maxV1 {
				return Proxied{}, errInvalid
			}
			raw = append(raw, 0)
			if _, err := io.ReadFull(r, raw[len(raw)-1:]); err != nil {
				return Proxied{}, readErr(err)
			}
		}
	default:
		return Proxied{}, errInvalid
	}
	h, err := proxyproto.Read(bufio.NewReader(bytes.NewReader(raw)))
	if err != nil {
		return Proxied{}, fmt.Errorf("%w: %s", errInvalid, err)
	}
	return proxied(h)
}

func proxied(h *proxyproto.Header) (Proxied, error) {
	var p Proxied
	if h.Command.IsProxy() {
		src, ok1 := h.SourceAddr.(*net.TCPAddr)
		dst, ok2 := h.DestinationAddr.(*net.TCPAddr)
		switch {
		case ok1 && ok2:
			p.Remote, p.Local = unmap(src.AddrPort()), unmap(dst.AddrPort())
		case h.TransportProtocol == proxyproto.UNSPEC, h.TransportProtocol.IsUnix():
			// The header is believed, but it names no addresses.
		default:
			return p, errInvalid
		}
	}
	tlvs, err := h.TLVs()
	if err != nil {
		return p, errInvalid
	}
	for _, t := range tlvs {
		switch t.Type {
		case proxyproto.PP2_TYPE_AUTHORITY:
			p.LocalName = string(t.Value)
		case proxyproto.PP2_TYPE_SSL:
			ssl, err := tlvparse.SSL(t)
			if err != nil {
				return p, errInvalid
			}
			p.SSL = ssl.ClientSSL()
			if cn, ok := ssl.ClientCN(); ok && ssl.Verified() {
				p.CertName = cn
			}
		}
	}
	return p, nil
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

func readErr(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errInvalid
	}
	return err
}
