package listen

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/pires/go-proxyproto"

	"dproxy/event"
)

// v2 makes a version 2 header with a length that fits.
func v2(command, family byte, body ...string) string {
	b := strings.Join(body, "")
	return signatureV2 + string([]byte{command, family}) + string(binary.BigEndian.AppendUint16(nil, uint16(len(b)))) + b
}

func tlv(kind byte, value string) string {
	return string([]byte{kind}) + string(binary.BigEndian.AppendUint16(nil, uint16(len(value)))) + value
}

const (
	ip4 = "\xc0\x00\x02\x22\xc6\x33\x64\x01\x9c\x42\x00\x8f" // 192.0.2.34:40002 to 198.51.100.1:143
	ip6 = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07" +
		"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x9c\x43\x00\x8f"
)

// sealed appends the CRC32C of the whole header.
func sealed(broken bool) string {
	h := []byte(v2(0x21, 0x11, ip4, tlv(typeCRC32C, "\x00\x00\x00\x00"), tlv(typeALPN, "imap")))
	at := len(signatureV2) + 4 + len(ip4) + 3
	binary.BigEndian.PutUint32(h[at:], crc32.Checksum(h, crc32.MakeTable(crc32.Castagnoli)))
	if broken {
		h[at]++
	}
	return string(h)
}

func TestReadProxy(t *testing.T) {
	const bad = "haproxy: Client disconnected: Failed to read valid HAproxy data (rip=127.0.0.1)"
	ssl := func(client byte, verify uint32, sub ...string) string {
		return tlv(typeSSL, string([]byte{client})+string(binary.BigEndian.AppendUint32(nil, verify))+strings.Join(sub, ""))
	}
	for _, tc := range []struct {
		name, in string
		want     string // shown, or the log line
	}{
		{"v1 TCP4", "PROXY TCP4 192.0.2.33 198.51.100.1 40001 110\r\n", "192.0.2.33:40001 198.51.100.1:110"},
		{"v1 TCP6", "PROXY TCP6 2001:db8::7 2001:db8::1 40001 110\r\n", "[2001:db8::7]:40001 [2001:db8::1]:110"},
		{"v1 UNKNOWN keeps the socket's addresses", "PROXY UNKNOWN\r\n", "-"},
		{"v1 UNKNOWN with anything behind it", "PROXY UNKNOWN ffff:: x 70000 y z\r\n", "-"},
		{"v1 the longest line", "PROXY UNKNOWN " + strings.Repeat("x", 91) + "\r\n", "-"},
		{"v1 one byte longer", "PROXY UNKNOWN " + strings.Repeat("x", 92) + "\r\n", bad},
		{"v1 without end", "PROXY UNKNOWN " + strings.Repeat("x", 200), bad},
		{"v1 a bad address", "PROXY TCP4 999.0.2.33 127.0.0.1 40001 143\r\n", "haproxy(v1): Client disconnected: Proxied remote address is invalid (address=`999.0.2.33', rip=127.0.0.1)"},
		{"v1 a bad local address", "PROXY TCP4 192.0.2.3 x 40001 143\r\n", "haproxy(v1): Client disconnected: Proxied local address is invalid (address=`x', rip=127.0.0.1)"},
		{"v1 an address of the other family", "PROXY TCP4 2001:db8::7 192.0.2.1 1 2\r\n", "haproxy(v1): Client disconnected: Proxied remote address is invalid (address=`2001:db8::7', rip=127.0.0.1)"},
		{"v1 IPv4 under TCP6", "PROXY TCP6 192.0.2.3 2001:db8::1 1 2\r\n", "haproxy(v1): Client disconnected: Proxied remote address is invalid (address=`192.0.2.3', rip=127.0.0.1)"},
		{"v1 a zone", "PROXY TCP6 fe80::1%eth0 2001:db8::1 1 2\r\n", "haproxy(v1): Client disconnected: Proxied remote address is invalid (address=`fe80::1%eth0', rip=127.0.0.1)"},
		{"v1 port 0", "PROXY TCP4 192.0.2.3 192.0.2.4 0 143\r\n", "haproxy(v1): Client disconnected: Proxied remote port is invalid (port=`0', rip=127.0.0.1)"},
		{"v1 a port too big", "PROXY TCP4 192.0.2.3 192.0.2.4 1 65536\r\n", "haproxy(v1): Client disconnected: Proxied local port is invalid (port=`65536', rip=127.0.0.1)"},
		{"v1 a negative port", "PROXY TCP4 192.0.2.3 192.0.2.4 -1 143\r\n", "haproxy(v1): Client disconnected: Proxied remote port is invalid (port=`-1', rip=127.0.0.1)"},
		{"v1 a field more", "PROXY TCP4 192.0.2.3 192.0.2.4 1 2 x\r\n", "haproxy(v1): Client disconnected: Header line has spurius extra field (field=`x', rip=127.0.0.1)"},
		{"v1 a field less", "PROXY TCP4 192.0.2.3 192.0.2.4 1\r\n", "haproxy(v1): Client disconnected: Field for proxied local port is missing (rip=127.0.0.1)"},
		{"v1 no address", "PROXY TCP4\r\n", "haproxy(v1): Client disconnected: Field for proxied remote address is missing (rip=127.0.0.1)"},
		{"v1 two blanks", "PROXY TCP4  192.0.2.3 192.0.2.4 1 2\r\n", "haproxy(v1): Client disconnected: Proxied remote address is invalid (address=`', rip=127.0.0.1)"},
		{"v1 another protocol", "PROXY UDP4 192.0.2.3 192.0.2.4 1 2\r\n", "haproxy(v1): Client disconnected: Unknown proxied protocol (protocol=`UDP4', rip=127.0.0.1)"},
		{"v1 control bytes stay out of the log", "PROXY X\x1b[1m\x00 1\r\n", "haproxy(v1): Client disconnected: Unknown proxied protocol (protocol=`X?[1m?', rip=127.0.0.1)"},
		{"v1 LF alone", "PROXY TCP4 192.0.2.3 192.0.2.4 1 2\n", bad},
		{"v1 a CR within", "PROXY UNKNOWN \r x\r\n", bad},
		{"v1 in small letters", "proxy TCP4 192.0.2.3 192.0.2.4 1 2\r\n", bad},
		{"v1 glued", "PROXYTCP4 192.0.2.3 192.0.2.4 1 2\r\n", bad},
		{"a mail command is refused at its first byte", "a1 LOGIN u1 secret\r\n", bad},
		{"a short one does not wait for more", "QUIT\r\n", bad},
		{"a TLS hello", "\x16\x03\x01\x02\x00\x01", bad},
		{"nothing", "", "haproxy: Client disconnected (rip=127.0.0.1): Connection reset by peer"},
		{"a part", "PROXY TCP4 192", "haproxy: Client disconnected (rip=127.0.0.1): Connection reset by peer"},

		{"v2 IPv4", v2(0x21, 0x11, ip4), "192.0.2.34:40002 198.51.100.1:143"},
		{"v2 IPv6", v2(0x21, 0x21, ip6), "[2001:db8::7]:40003 [2001:db8::1]:143"},
		{"v2 LOCAL", v2(0x20, 0x00), "-"},
		{"v2 LOCAL with anything in it", v2(0x20, 0xff, "\x02\xff\xff"), "-"},
		{"v2 unspecified family", v2(0x21, 0x00), "- haproxy(v2): Unsupported address family (family=00, rip=127.0.0.1)"},
		{"v2 UNIX, whose TLVs count", v2(0x21, 0x31, strings.Repeat("x", 216), tlv(typeALPN, "imap")), "- alpn=imap haproxy(v2): Unsupported address family (family=03, rip=127.0.0.1)"},
		{"v2 UNIX too short", v2(0x21, 0x31, "/run/x"), "haproxy(v2): Client disconnected: UNIX data is incomplete (rip=127.0.0.1)"},
		{"v2 datagrams", v2(0x21, 0x12, ip4), "haproxy(v2): Client disconnected: Not using TCP (type=02, rip=127.0.0.1)"},
		{"v2 an unknown family", v2(0x21, 0x41, ip4), "haproxy(v2): Client disconnected: Unknown address family (family=04, rip=127.0.0.1)"},
		{"v2 an unknown command", v2(0x22, 0x11, ip4), "haproxy(v2): Client disconnected: Invalid command (cmd=02, rip=127.0.0.1)"},
		{"version 3", v2(0x31, 0x11, ip4), "haproxy: Client disconnected: Unsupported protocol version (version=03, rip=127.0.0.1)"},
		{"v2 IPv4 too short", v2(0x21, 0x11, ip4[:11]), "haproxy(v2): Client disconnected: IPv4 data is incomplete (rip=127.0.0.1)"},
		{"v2 IPv6 too short", v2(0x21, 0x21, ip6[:35]), "haproxy(v2): Client disconnected: IPv6 data is incomplete (rip=127.0.0.1)"},
		{"v2 the longest header", v2(0x21, 0x11, ip4, tlv(0xee, strings.Repeat("x", maxV2-head-15))), "192.0.2.34:40002 198.51.100.1:143"},
		{"v2 one byte longer", v2(0x21, 0x11, ip4, tlv(0xee, strings.Repeat("x", maxV2-head-14))), "haproxy: Client disconnected: Too long header (rip=127.0.0.1)"},
		{"v2 cut off", v2(0x21, 0x11, ip4)[:20], "haproxy: Client disconnected (rip=127.0.0.1): Connection reset by peer"},
		{"v2 unknown TLVs are skipped", v2(0x21, 0x11, ip4, tlv(0x04, ""), tlv(0xe0, "x"), tlv(0x30, "ns")), "192.0.2.34:40002 198.51.100.1:143"},
		{"v2 authority, ALPN and id", v2(0x21, 0x11, ip4, tlv(typeAuthority, "mail.example.org"), tlv(typeALPN, "imap"), tlv(typeUniqueID, "id-1")), "192.0.2.34:40002 198.51.100.1:143 name=mail.example.org alpn=imap id=id-1"},
		{"v2 an authority that is no name", v2(0x21, 0x11, ip4, tlv(typeAuthority, "a\r\nb")), "haproxy(v2): Client disconnected: Invalid TLV: AUTHORITY is not a valid DNS name (cmd=01, rip=127.0.0.1)"},
		{"v2 a cut-off TLV", v2(0x21, 0x11, ip4, "\x02\x00\x05abc"), "haproxy(v2): Client disconnected: Invalid TLV: Truncated data (cmd=01, rip=127.0.0.1)"},
		{"v2 two bytes of a TLV", v2(0x21, 0x11, ip4, "\x02\x00"), "haproxy(v2): Client disconnected: Invalid TLV: Truncated data (cmd=01, rip=127.0.0.1)"},
		{"v2 TLS", v2(0x21, 0x11, ip4, ssl(1, 1, tlv(0x21, "TLSv1.3"))), "192.0.2.34:40002 198.51.100.1:143 ssl"},
		{"v2 TLS without its version", v2(0x21, 0x11, ip4, ssl(1, 1)), "192.0.2.34:40002 198.51.100.1:143 ssl"},
		{"v2 no TLS", v2(0x21, 0x11, ip4, ssl(0, 1)), "192.0.2.34:40002 198.51.100.1:143"},
		{"v2 a verified certificate", v2(0x21, 0x11, ip4, ssl(7, 0, tlv(typeSSLName, "u1"))), "192.0.2.34:40002 198.51.100.1:143 ssl cert=u1"},
		{"v2 a certificate that failed", v2(0x21, 0x11, ip4, ssl(7, 1, tlv(typeSSLName, "u1"))), "192.0.2.34:40002 198.51.100.1:143 ssl"},
		{"v2 a name without a certificate", v2(0x21, 0x11, ip4, ssl(1, 0, tlv(typeSSLName, "u1"))), "192.0.2.34:40002 198.51.100.1:143 ssl"},
		{"v2 a cut-off TLS TLV", v2(0x21, 0x11, ip4, tlv(typeSSL, "\x01\x00")), "haproxy(v2): Client disconnected: Invalid TLV: Truncated data (cmd=01, rip=127.0.0.1)"},
		{"v2 a cut-off sub-TLV", v2(0x21, 0x11, ip4, ssl(1, 0, "\x22\x00\x09x")), "haproxy(v2): Client disconnected: Invalid TLV: Truncated data (cmd=01, rip=127.0.0.1)"},
		{"v2 a right checksum", sealed(false), "192.0.2.34:40002 198.51.100.1:143 alpn=imap"},
		{"v2 a wrong checksum", sealed(true), "haproxy(v2): Client disconnected: Invalid TLV: CRC32C does not match (cmd=01, rip=127.0.0.1)"},
		{"v2 a checksum of two bytes", v2(0x21, 0x11, ip4, tlv(typeCRC32C, "xx")), "haproxy(v2): Client disconnected: Invalid TLV: CRC32C does not match (cmd=01, rip=127.0.0.1)"},
	} {
		for name, wrap := range map[string]func(io.Reader) io.Reader{"at once": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader, "with the end": iotest.DataErrReader} {
			t.Run(tc.name+" "+name, func(t *testing.T) {
				const rest = "a1 CAPABILITY\r\n"
				r := strings.NewReader(tc.in)
				p, err := ReadProxy(wrap(r))
				if got := shown(p, err); got != tc.want {
					t.Errorf("got  %s\nwant %s", got, tc.want)
				}
				if err != nil {
					return
				}
				src := strings.NewReader(tc.in + rest)
				if _, err := ReadProxy(src); err != nil {
					t.Fatal(err)
				}
				if left, _ := io.ReadAll(src); string(left) != rest {
					t.Errorf("left to read: %q", left)
				}
			})
		}
	}
}

// shown is what the table compares.
func shown(p Proxied, err error) string {
	peer := netip.MustParseAddr("127.0.0.1")
	if err != nil {
		_, text := ProxyLog(err, peer)
		return text
	}
	words := []string{"-"}
	if p.Remote.IsValid() {
		words = []string{p.Remote.String(), p.Local.String()}
	}
	for _, x := range []struct{ name, value string }{{"name=", p.LocalName}, {"alpn=", p.ALPN}, {"id=", p.UniqueID}} {
		if x.value != "" {
			words = append(words, x.name+x.value)
		}
	}
	if p.SSL {
		words = append(words, "ssl")
	}
	if p.CertName != "" {
		words = append(words, "cert="+p.CertName)
	}
	if n := p.Notice(peer); n != "" {
		words = append(words, n)
	}
	return strings.Join(words, " ")
}

func TestProxyLogLevels(t *testing.T) {
	peer := netip.MustParseAddr("::ffff:127.0.0.1")
	for _, tc := range []struct {
		err   error
		level event.Level
		text  string
	}{
		{&ProxyError{Text: "x"}, event.Error, "haproxy: Client disconnected: x (rip=127.0.0.1)"},
		{&net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, event.Error, "haproxy: Client timed out (rip=127.0.0.1)"},
		{io.ErrUnexpectedEOF, event.Info, "haproxy: Client disconnected (rip=127.0.0.1): Connection reset by peer"},
	} {
		if level, text := ProxyLog(tc.err, peer); level != tc.level || text != tc.text {
			t.Errorf("%v: %v %q", tc.err, level, text)
		}
	}
}

// FuzzReadProxy compares with another implementation: what both accept means the same.
func FuzzReadProxy(f *testing.F) {
	for _, s := range []string{
		"PROXY TCP4 192.0.2.33 198.51.100.1 40001 110\r\n", "PROXY TCP6 2001:db8::7 2001:db8::1 1 2\r\n", "PROXY UNKNOWN\r\n", "QUIT\r\n",
		v2(0x21, 0x11, ip4), v2(0x21, 0x21, ip6, tlv(typeAuthority, "a.b"), tlv(typeSSL, "\x07\x00\x00\x00\x00"+tlv(typeSSLName, "u"))), v2(0x20, 0), sealed(false), sealed(true),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		src := bytes.NewReader(in)
		p, err := ReadProxy(src)
		taken := len(in) - src.Len()
		if taken > maxV2 {
			t.Fatalf("%d bytes taken", taken)
		}
		if err != nil {
			var pe *ProxyError
			if !errors.As(err, &pe) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("error %T %v", err, err)
			}
			return
		}
		h, err := proxyproto.Read(bufio.NewReader(bytes.NewReader(in[:taken])))
		if err != nil || !h.Command.IsProxy() {
			return
		}
		if src, dst, ok := h.TCPAddrs(); ok && p.Remote.IsValid() {
			if !same(src, p.Remote) || !same(dst, p.Local) {
				t.Fatalf("%v %v, the other says %v %v", p.Remote, p.Local, src, dst)
			}
		}
	})
}

func same(a *net.TCPAddr, b netip.AddrPort) bool {
	ap := a.AddrPort()
	return ap.Addr().Unmap() == b.Addr() && ap.Port() == b.Port()
}
