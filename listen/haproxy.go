package listen

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"dproxy/event"
)

// Proxied is what a PROXY protocol header says of the client.
type Proxied struct {
	Local, Remote netip.AddrPort // invalid for UNKNOWN, LOCAL and other families: the socket's stay
	LocalName     string         // PP2_TYPE_AUTHORITY, a DNS name
	SSL           bool           // the balancer's client used TLS
	CertName      string         // common name of a certificate that the balancer verified
	ALPN          string         // PP2_TYPE_ALPN
	UniqueID      string         // PP2_TYPE_UNIQUE_ID, any bytes

	family string // an address family that is of no use here, as Dovecot prints it
}

// Notice is the error line for a header that is accepted although it names an address family that is of
// no use here; "" for all others. peer is the balancer.
func (p Proxied) Notice(peer netip.Addr) string {
	if p.family == "" {
		return ""
	}
	return "haproxy(v2): Unsupported address family (family=" + p.family + ", rip=" + peer.Unmap().String() + ")"
}

// ProxyError is a PROXY header that is not accepted.
type ProxyError struct {
	Version int    // 0 while it is not known
	Text    string // "Failed to read valid HAproxy data"
	Detail  string // "address=`x'", the value at fault; may be empty
}

// Error implements error.
func (e *ProxyError) Error() string { return e.Text }

// ProxyLog words an error of ReadProxy as Dovecot 2.3 logs it. peer is the balancer.
func ProxyLog(err error, peer netip.Addr) (event.Level, string) {
	rip := "rip=" + peer.Unmap().String() + ")"
	var pe *ProxyError
	switch {
	case errors.As(err, &pe):
		prefix := "haproxy"
		if pe.Version > 0 {
			prefix += "(v" + strconv.Itoa(pe.Version) + ")"
		}
		if pe.Detail != "" {
			rip = pe.Detail + ", " + rip
		}
		return event.Error, prefix + ": Client disconnected: " + pe.Text + " (" + rip
	case errors.Is(err, os.ErrDeadlineExceeded):
		return event.Error, "haproxy: Client timed out (" + rip
	}
	text := errno(err)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		text = "Connection reset by peer" // Dovecot's word for a peer that closes without a header
	}
	return event.Info, "haproxy: Client disconnected (" + rip + ": " + text
}

const (
	maxV1 = 107  // bytes of a version 1 line, CRLF included
	maxV2 = 1500 // bytes of a version 2 header (Dovecot)
	head  = 16   // bytes of a version 2 header before the addresses
)

const (
	signatureV1 = "PROXY "
	signatureV2 = "\r\n\r\n\x00\r\nQUIT\n"
)

// ReadProxy reads one PROXY header, version 1 or 2, and not a byte more. The caller sets the
// deadline (haproxy_timeout) and has checked that the peer may send one. A header that is not
// accepted gives a *ProxyError. Specification: the PROXY protocol, HAProxy doc/proxy-protocol.txt.
func ReadProxy(r io.Reader) (Proxied, error) {
	var raw [maxV2]byte
	n := 0
	// No header is shorter than the longer signature.
	for n < len(signatureV2) {
		m, err := r.Read(raw[n:len(signatureV2)])
		if n += m; m == 0 && err == nil {
			err = io.ErrNoProgress
		}
		got := string(raw[:min(n, len(signatureV1))])
		v1 := strings.HasPrefix(signatureV1, got)
		if v2 := strings.HasPrefix(signatureV2, string(raw[:n])); !v1 && !v2 {
			return Proxied{}, &ProxyError{Text: "Failed to read valid HAproxy data"}
		}
		if err != nil && n < len(signatureV2) {
			return Proxied{}, closed(err)
		}
	}
	if raw[0] == 'P' {
		return readV1(r, raw[:n])
	}
	return readV2(r, raw[:])
}

// closed turns an end of stream into the error that Dovecot reports for it.
func closed(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func readV1(r io.Reader, raw []byte) (Proxied, error) {
	for raw[len(raw)-1] != '\n' {
		if len(raw) == maxV1 {
			return Proxied{}, &ProxyError{Text: "Failed to read valid HAproxy data"}
		}
		raw = raw[:len(raw)+1]
		if _, err := io.ReadFull(r, raw[len(raw)-1:]); err != nil {
			return Proxied{}, closed(err)
		}
	}
	line, ok := strings.CutSuffix(string(raw), "\r\n")
	if !ok || strings.ContainsAny(line, "\r\n") {
		return Proxied{}, &ProxyError{Text: "Failed to read valid HAproxy data"}
	}
	return parseV1(strings.Split(line, " ")[1:])
}

// parseV1 reads the words behind PROXY.
func parseV1(words []string) (Proxied, error) {
	fail := func(text, kind, value string) (Proxied, error) {
		e := &ProxyError{Version: 1, Text: text}
		if kind != "" {
			e.Detail = kind + "=`" + event.Clean(value, 64) + "'"
		}
		return Proxied{}, e
	}
	four := false
	switch words[0] {
	case "UNKNOWN":
		return Proxied{}, nil
	case "TCP4":
		four = true
	case "TCP6":
	default:
		return fail("Unknown proxied protocol", "protocol", words[0])
	}
	words = words[1:]
	var addrs [2]netip.Addr
	var ports [2]uint16
	sides := [2]string{"remote", "local"}
	for i, side := range sides {
		if len(words) <= i {
			return fail("Field for proxied "+side+" address is missing", "", "")
		}
		a, err := netip.ParseAddr(words[i])
		if err != nil || a.Is4() != four || a.Zone() != "" {
			return fail("Proxied "+side+" address is invalid", "address", words[i])
		}
		addrs[i] = a.Unmap()
	}
	for i, side := range sides {
		if len(words) <= 2+i {
			return fail("Field for proxied local port is missing", "", "")
		}
		n, err := strconv.ParseUint(words[2+i], 10, 16)
		if err != nil || n == 0 {
			return fail("Proxied "+side+" port is invalid", "port", words[2+i])
		}
		ports[i] = uint16(n)
	}
	if len(words) > 4 {
		return fail("Header line has spurius extra field", "field", words[4])
	}
	return Proxied{Remote: netip.AddrPortFrom(addrs[0], ports[0]), Local: netip.AddrPortFrom(addrs[1], ports[1])}, nil
}

// readV2 reads the rest of a version 2 header; the signature stands at the beginning of raw.
func readV2(r io.Reader, raw []byte) (Proxied, error) {
	if _, err := io.ReadFull(r, raw[len(signatureV2):head]); err != nil {
		return Proxied{}, closed(err)
	}
	command, family := raw[12], raw[13]
	n := head + int(binary.BigEndian.Uint16(raw[14:]))
	if n > maxV2 {
		return Proxied{}, &ProxyError{Text: "Too long header"}
	}
	raw = raw[:n]
	if _, err := io.ReadFull(r, raw[head:]); err != nil {
		return Proxied{}, closed(err)
	}
	if command>>4 != 2 {
		return Proxied{}, &ProxyError{Text: "Unsupported protocol version", Detail: fmt.Sprintf("version=%02x", command>>4)}
	}
	switch command & 15 {
	case 0: // LOCAL: a check of the balancer's own; nothing else in it counts
		return Proxied{}, nil
	case 1:
	default:
		return Proxied{}, &ProxyError{2, "Invalid command", fmt.Sprintf("cmd=%02x", command&15)}
	}
	p, rest, err := addresses(family, raw[head:])
	if err != nil {
		return Proxied{}, err
	}
	if err := p.tlvs(rest, raw); err != nil {
		return Proxied{}, err
	}
	return p, nil
}

// addresses reads the endpoints of a version 2 header.
func addresses(family byte, body []byte) (p Proxied, rest []byte, err error) {
	if family&15 != 1 && family != 0 {
		return p, nil, &ProxyError{2, "Not using TCP", fmt.Sprintf("type=%02x", family&15)}
	}
	size, name := 0, ""
	switch family >> 4 {
	case 0:
		p.family = "00"
		return p, body, nil
	case 1:
		size, name = 4, "IPv4"
	case 2:
		size, name = 16, "IPv6"
	case 3:
		if len(body) < 216 {
			return p, nil, &ProxyError{2, "UNIX data is incomplete", ""}
		}
		p.family = "03"
		return p, body[216:], nil
	default:
		return p, nil, &ProxyError{2, "Unknown address family", fmt.Sprintf("family=%02x", family>>4)}
	}
	if len(body) < 2*size+4 {
		return p, nil, &ProxyError{2, name + " data is incomplete", ""}
	}
	from, _ := netip.AddrFromSlice(body[:size])
	to, _ := netip.AddrFromSlice(body[size : 2*size])
	ports := body[2*size:]
	p.Remote = netip.AddrPortFrom(from.Unmap(), binary.BigEndian.Uint16(ports))
	p.Local = netip.AddrPortFrom(to.Unmap(), binary.BigEndian.Uint16(ports[2:]))
	return p, ports[4:], nil
}

// The TLVs that are read.
const (
	typeALPN      = 0x01
	typeAuthority = 0x02
	typeCRC32C    = 0x03
	typeUniqueID  = 0x05
	typeSSL       = 0x20
	typeSSLName   = 0x22
)

// nextTLV splits one TLV off.
func nextTLV(b []byte) (kind byte, value, rest []byte, ok bool) {
	if len(b) < 3 {
		return 0, nil, nil, false
	}
	n := int(binary.BigEndian.Uint16(b[1:]))
	if n > len(b)-3 {
		return 0, nil, nil, false
	}
	return b[0], b[3 : 3+n], b[3+n:], true
}

// tlvs reads what follows the addresses. whole is the header, for its checksum.
func (p *Proxied) tlvs(b, whole []byte) error {
	for len(b) > 0 {
		kind, value, rest, ok := nextTLV(b)
		if !ok {
			return &ProxyError{2, "Invalid TLV: Truncated data", "cmd=01"}
		}
		switch kind {
		case typeALPN:
			p.ALPN = string(value)
		case typeAuthority:
			if p.LocalName = string(value); !dnsName(p.LocalName) {
				return &ProxyError{2, "Invalid TLV: AUTHORITY is not a valid DNS name", "cmd=01"}
			}
		case typeCRC32C:
			if !checksum(whole, len(whole)-len(rest)-len(value), value) {
				return &ProxyError{2, "Invalid TLV: CRC32C does not match", "cmd=01"}
			}
		case typeUniqueID:
			p.UniqueID = string(value)
		case typeSSL:
			if !p.ssl(value) {
				return &ProxyError{2, "Invalid TLV: Truncated data", "cmd=01"}
			}
		}
		b = rest
	}
	return nil
}

// ssl reads a PP2_TYPE_SSL. The certificate's name counts only when the client showed one and the balancer
// found it good (Dovecot 2.4.4; 2.3 took any).
func (p *Proxied) ssl(b []byte) bool {
	if len(b) < 5 {
		return false
	}
	p.SSL = b[0]&1 != 0
	verified := b[0]&6 != 0 && binary.BigEndian.Uint32(b[1:]) == 0
	for b = b[5:]; len(b) > 0; {
		kind, value, rest, ok := nextTLV(b)
		if !ok {
			return false
		}
		if kind == typeSSLName && verified {
			p.CertName = string(value)
		}
		b = rest
	}
	return true
}

// checksum verifies the CRC32C whose value stands at an offset of the header; it is computed with that
// value set to zero.
func checksum(whole []byte, at int, value []byte) bool {
	if len(value) != 4 {
		return false
	}
	zeroed := bytes.Clone(whole)
	clear(zeroed[at : at+4])
	return crc32.Checksum(zeroed, crc32.MakeTable(crc32.Castagnoli)) == binary.BigEndian.Uint32(value)
}

// dnsName tells whether s can be a host name: labels of letters, digits, hyphens and underscores.
func dnsName(s string) bool {
	if s == "" || len(s) > 255 {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for i := 0; i < len(label); i++ {
			c := label[i]
			if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' {
				continue
			}
			return false
		}
	}
	return true
}
