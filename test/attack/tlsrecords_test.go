package attack

import (
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// record is a TLS record.
func record(kind byte, body string) string {
	return string([]byte{kind, 3, 3, byte(len(body) >> 8), byte(len(body))}) + body
}

// testRecords: records that no TLS library makes end the connection, and cost nothing.
func testRecords(t *testing.T, g *gate) {
	hello := "\x01\x00\x00\x2a\x03\x03" + strings.Repeat("\x00", 32) + "\x00\x00\x02\x13\x01\x01\x00"
	for name, bytes := range map[string]string{
		"an oversize record":                       "\x16\x03\x03\xff\xff" + strings.Repeat("\x01", 0xffff),
		"a record of no bytes":                     record(0x16, ""),
		"ten thousand records of no bytes":         strings.Repeat(record(0x16, ""), 10000),
		"ten thousand warnings":                    strings.Repeat(record(0x15, "\x01\x5a"), 10000),
		"ten thousand changes of cipher":           strings.Repeat(record(0x14, "\x01"), 10000),
		"application data before the handshake":    record(0x17, "a LOGIN any@example.org x\r\n"),
		"a ClientHello of 16 MB":                   record(0x16, "\x01\xff\xff\xff\x03\x03"+strings.Repeat("\x00", 16000)) + strings.Repeat(record(0x16, strings.Repeat("\x00", 16000)), 20),
		"a ClientHello with a session id too long": record(0x16, "\x01\x00\x00\x2a\x03\x03"+strings.Repeat("\x00", 32)+"\xff\x00\x02\x13\x01\x01\x00"),
		"a ClientHello without ciphers":            record(0x16, strings.Replace(hello, "\x00\x02\x13\x01", "\x00\x00", 1)),
		"a ServerHello":                            record(0x16, "\x02"+hello[1:]),
		"a heartbeat":                              record(0x18, "\x01\x40\x00x"),
		"SSL 2":                                    "\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + strings.Repeat("\x01", 200),
		"SSL 3":                                    "\x16\x03\x00\x00\x05\x01\x00\x00\x01\x00",
		"a version of the future":                  "\x16\x7f\x7f\x00\x05\x01\x00\x00\x01\x00",
		"an HTTP request":                          "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"nothing but zeros":                        strings.Repeat("\x00", 70000),
	} {
		for _, l := range secure() {
			t.Run(l+": "+name, func(t *testing.T) {
				p, err := dial(g.addr(l), stranger, nil)
				if err != nil {
					t.Fatal(err)
				}
				defer p.Close()
				p.send(bytes)
				if name == "a record of no bytes" {
					return // it may be followed by a good one
				}
				_ = p.raw.(*net.TCPConn).CloseWrite()
				for rest := p.rest(t); rest != ""; rest = "" {
					if rest[0] != 0x15 { // an alert
						t.Errorf("answer %.100q", rest)
					}
				}
			})
		}
	}
	t.Run("a ClientHello in pieces of a byte is good", func(t *testing.T) {
		nc, err := net.DialTimeout("tcp", g.addr("imaps"), patience)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		_ = nc.SetDeadline(time.Now().Add(patience))
		c := tls.Client(&slicing{Conn: nc}, g.tls())
		if _, err := c.Read(make([]byte, 100)); err != nil {
			t.Error(err)
		}
	})
	t.Run("garbage behind the handshake ends the session", func(t *testing.T) {
		for _, l := range secure() {
			p := g.meet(t, l, stranger)
			if _, err := io.WriteString(p.raw, record(0x17, strings.Repeat("x", 100))); err != nil {
				t.Error(err)
			}
			if _, err := io.ReadAll(p.r); err == nil || strings.Contains(err.Error(), "i/o timeout") {
				t.Errorf("%s: %v", l, err)
			}
		}
	})
	t.Run("a session cut off without a goodbye in TLS ends", func(t *testing.T) {
		for _, l := range secure() {
			p := g.meet(t, l, stranger)
			_ = p.raw.(*net.TCPConn).CloseWrite()
			p.rest(t)
		}
	})
}

// slicing writes byte by byte.
type slicing struct{ net.Conn }

// Write implements io.Writer.
func (c *slicing) Write(b []byte) (int, error) {
	for i := range b {
		if _, err := c.Conn.Write(b[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(b), nil
}
