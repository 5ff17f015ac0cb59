package relay

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// onTLSClients runs f for the pairings whose client speaks TLS, on every engine.
func onTLSClients(t *testing.T, f func(t *testing.T, e *Engine, k kind)) {
	onEngines(t, Options{}, func(t *testing.T, e *Engine) {
		for _, k := range kinds {
			if k.client != 0 {
				t.Run(k.String(), func(t *testing.T) { f(t, e, k) })
			}
		}
	})
}

// dribbler writes one byte at a time.
type dribbler struct{ net.Conn }

func (d dribbler) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := d.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

// breaker changes, cuts or keeps back what goes out once it is armed.
type breaker struct {
	net.Conn
	change func(record []byte) []byte // nil until armed
}

func (b *breaker) Write(p []byte) (int, error) {
	if b.change == nil {
		return b.Conn.Write(p)
	}
	_, err := b.Conn.Write(b.change(bytes.Clone(p)))
	return len(p), err
}

// startOver is start with a TLS client whose records go through wrap.
func startOver(t *testing.T, e *Engine, k kind, config *tls.Config, wrap func(net.Conn) net.Conn) *rig {
	t.Helper()
	a, b := tcpPair(t)
	if config == nil {
		config = configs().client
	}
	config = config.Clone()
	config.MinVersion, config.MaxVersion = k.client, k.client
	ours, theirs := tls.Server(&swap{a}, configs().server), tls.Client(wrap(b), config)
	failed := make(chan error, 1)
	go func() { failed <- theirs.Handshake() }()
	if err := ours.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, client: &peer{theirs, b}, end: make(chan Stats, 2)}
	var p Pair
	p.Client = ours
	p.Backend, r.backend = side(t, k.backend, false)
	r.s = e.Start(p, func(st Stats) { r.end <- st })
	return r
}

func TestTLSInput(t *testing.T) {
	t.Run("a client that dribbles is served", func(t *testing.T) {
		onTLSClients(t, func(t *testing.T, e *Engine, k kind) {
			r := startOver(t, e, k, nil, func(c net.Conn) net.Conn { return dribbler{c} })
			r.say(r.client, r.backend, "a NOOP\r\n")
			r.say(r.backend, r.client, "a OK\r\n")
			r.say(r.client, r.backend, strings.Repeat("b APPEND ", 300))
			r.client.Close()
			r.rest(r.backend)
			r.backend.Close()
			r.want(ByClient, 2708, 6)
		})
	})
	for _, c := range []struct {
		name   string
		change func([]byte) []byte
		close  bool
		want   string
	}{
		{name: "plain text instead of records", change: func([]byte) []byte { return []byte("a NOOP\r\nb NOOP\r\n") }, want: "tls: "},
		{name: "three bytes of plain text", change: func([]byte) []byte { return []byte("a N") }, close: true, want: "unexpected EOF"},
		{name: "a record of an impossible length", change: func(b []byte) []byte { b[3], b[4] = 0xff, 0xff; return b }, want: "tls: "},
		{name: "a record of another version", change: func(b []byte) []byte { b[1] = 2; return b }, want: "tls: "},
		{name: "a changed bit", change: func(b []byte) []byte { b[len(b)-1] ^= 1; return b }, want: "bad record MAC"},
		{name: "half a record and an end", change: func(b []byte) []byte { return b[:len(b)/2] }, close: true, want: "unexpected EOF"},
	} {
		t.Run(c.name+" ends the session with an error of the client", func(t *testing.T) {
			onTLSClients(t, func(t *testing.T, e *Engine, k kind) {
				b := &breaker{}
				r := startOver(t, e, k, nil, func(c net.Conn) net.Conn { b.Conn = c; return b })
				r.say(r.client, r.backend, "a NOOP\r\n")
				b.change = c.change
				r.client.Write([]byte("b NOOP\r\n"))
				if c.close {
					r.client.tcp.CloseWrite()
				}
				if got := r.rest(r.backend); got != "" {
					t.Errorf("the backend got %q", got)
				}
				r.backend.Close()
				st := r.want(ByClient, 8, 0)
				if st.Err == nil || !strings.Contains(st.Err.Error(), c.want) {
					t.Errorf("ended with %v, want %q", st.Err, c.want)
				}
			})
		})
	}
	t.Run("a reset within a record ends the session", func(t *testing.T) {
		onTLSClients(t, func(t *testing.T, e *Engine, k kind) {
			b := &breaker{}
			r := startOver(t, e, k, nil, func(c net.Conn) net.Conn { b.Conn = c; return b })
			b.change = func(b []byte) []byte { return b[:len(b)/2] }
			r.client.Write([]byte("b NOOP\r\n"))
			r.client.tcp.SetLinger(0)
			r.client.tcp.Close()
			r.rest(r.backend)
			if st := r.want(ByClient, 0, 0); st.Err == nil {
				t.Error("ended without an error")
			}
		})
	})
}

// TestRecordsReadBeforeHandOver has crypto/tls hold input that no event will announce.
func TestRecordsReadBeforeHandOver(t *testing.T) {
	onTLSClients(t, func(t *testing.T, e *Engine, k kind) {
		// Three records in one segment: the proxy reads one byte of the first, and crypto/tls has
		// all of the three, the last one cut.
		b := &breaker{}
		var sent []byte
		a, far := tcpPair(t)
		b.Conn = far
		ours, theirs := tls.Server(&swap{a}, configs().server), tls.Client(b, configs().client)
		go theirs.Handshake()
		if err := ours.Handshake(); err != nil {
			t.Fatal(err)
		}
		theirs.Handshake()
		b.change = func(b []byte) []byte { sent = append(sent, b...); return nil }
		for _, line := range []string{"a ONE\r\n", "b TWO\r\n", "c THREE\r\n"} {
			io.WriteString(theirs, line)
		}
		cut := len(sent) - 4
		far.Write(sent[:cut])
		first := make([]byte, 1)
		if _, err := io.ReadFull(ours, first); err != nil {
			t.Fatal(err)
		}
		r := &rig{t: t, client: &peer{theirs, far}, end: make(chan Stats, 2)}
		p := Pair{Client: ours, ToBackend: first}
		p.Backend, r.backend = side(t, k.backend, false)
		r.s = e.Start(p, func(st Stats) { r.end <- st })
		got := make([]byte, len("a ONE\r\nb TWO\r\n"))
		if _, err := io.ReadFull(r.backend, got); err != nil || string(got) != "a ONE\r\nb TWO\r\n" {
			t.Fatalf("the backend got %q, %v", got, err)
		}
		far.Write(sent[cut:])
		b.change = nil
		r.client.Close()
		if got := r.rest(r.backend); got != "c THREE\r\n" {
			t.Errorf("then the backend got %q", got)
		}
		r.backend.Close()
		r.want(ByClient, 23, 0)
	})
}

// writer13 seals TLS 1.3 records by itself (RFC 8446 5.2), because crypto/tls never starts a key
// update.
type writer13 struct {
	to     io.Writer
	secret []byte
	seq    uint64
}

// expand is HKDF-Expand-Label with SHA-256 and an empty context (RFC 8446 7.1).
func expand(t *testing.T, secret []byte, label string, n int) []byte {
	t.Helper()
	label = "tls13 " + label
	info := append(binary.BigEndian.AppendUint16(nil, uint16(n)), byte(len(label)))
	info = append(append(info, label...), 0)
	out, err := hkdf.Expand(sha256.New, secret, string(info), n)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (w *writer13) write(t *testing.T, kind byte, content []byte) {
	t.Helper()
	block, err := aes.NewCipher(expand(t, w.secret, "key", 16))
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	nonce := expand(t, w.secret, "iv", 12)
	for i, b := range binary.BigEndian.AppendUint64(nil, w.seq) {
		nonce[4+i] ^= b
	}
	w.seq++
	plain := append(bytes.Clone(content), kind)
	header := []byte{23, 3, 3, 0, 0}
	binary.BigEndian.PutUint16(header[3:], uint16(len(plain)+gcm.Overhead()))
	if _, err := w.to.Write(append(header, gcm.Seal(nil, nonce, plain, header)...)); err != nil {
		t.Fatal(err)
	}
}

// update sends a KeyUpdate and changes the key (RFC 8446 4.6.3).
func (w *writer13) update(t *testing.T, requested byte) {
	t.Helper()
	w.write(t, 22, []byte{24, 0, 0, 1, requested})
	w.secret, w.seq = expand(t, w.secret, "traffic upd", 32), 0
}

func TestKeyUpdate(t *testing.T) {
	for _, backend := range []uint16{0, tls.VersionTLS13} {
		k := kind{client: tls.VersionTLS13, backend: backend}
		onEngines(t, Options{}, func(t *testing.T, e *Engine) {
			var log bytes.Buffer
			config := configs().client.Clone()
			config.KeyLogWriter = &log
			r := startOver(t, e, k, config, func(c net.Conn) net.Conn { return c })
			if r.client.Conn.(*tls.Conn).ConnectionState().CipherSuite != tls.TLS_AES_128_GCM_SHA256 {
				t.Skip("another cipher suite is preferred on this machine")
			}
			w := &writer13{to: r.client.tcp}
			for line := range strings.Lines(log.String()) {
				if f := strings.Fields(line); f[0] == "CLIENT_TRAFFIC_SECRET_0" {
					w.secret, _ = hex.DecodeString(f[2])
				}
			}
			const rounds = 20
			for i := range rounds {
				// Asked for a new key, the proxy must answer before it sends anything else; the client's
				// crypto/tls follows.
				w.update(t, byte(i%2))
				line := fmt.Sprintf("a%d NOOP\r\n", i)
				w.write(t, 23, []byte(line))
				got := make([]byte, len(line))
				if _, err := io.ReadFull(r.backend, got); err != nil || string(got) != line {
					t.Fatalf("the backend got %q, %v; want %q", got, err, line)
				}
				r.say(r.backend, r.client, "* OK\r\n")
			}
			r.s.Close()
			r.ended()
		})
	}
}

// tickets is a session cache that tells of what it is given.
type tickets struct {
	tls.ClientSessionCache
	put chan string
}

func (c *tickets) Put(key string, s *tls.ClientSessionState) {
	c.ClientSessionCache.Put(key, s)
	c.put <- key
}

func TestSessionTicketFromBackend(t *testing.T) {
	for _, name := range []string{"relay", ""} {
		onEngines(t, Options{}, func(t *testing.T, e *Engine) {
			cache := &tickets{ClientSessionCache: tls.NewLRUClientSessionCache(4), put: make(chan string, 8)}
			config := configs().client.Clone()
			config.ServerName, config.ClientSessionCache = name, cache
			for round := range 2 {
				a, b := tcpPair(t)
				ours, theirs := tls.Client(&swap{a}, config), tls.Server(b, configs().server)
				failed := make(chan error, 1)
				go func() { failed <- theirs.Handshake() }()
				if err := errors.Join(ours.Handshake(), <-failed); err != nil {
					t.Fatal(err)
				}
				if got, want := ours.ConnectionState().DidResume, round > 0 && name != ""; got != want {
					t.Errorf("connection %d: resumed is %v", round, got)
				}
				near, far := side(t, 0, true)
				r := &rig{t: t, client: far, backend: &peer{theirs, b}, end: make(chan Stats, 2)}
				// The ticket is still in the socket: it comes before any data, and without any.
				r.s = e.Start(Pair{Client: near, Backend: ours}, func(st Stats) { r.end <- st })
				want := name
				if want == "" {
					want = b.LocalAddr().String()
				}
				select {
				case key := <-cache.put:
					if key != want {
						t.Errorf("the ticket is kept under %q, want %q", key, want)
					}
				case <-time.After(10 * time.Second):
					t.Fatal("the ticket was not read")
				}
				r.say(r.backend, r.client, "* OK\r\n")
				r.s.Close()
				r.ended()
			}
			if n := e.Counters().Panics; n != 0 {
				t.Errorf("%d panics", n)
			}
		})
	}
}
