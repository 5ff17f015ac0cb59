package relay

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if arg := os.Getenv(peersVariable); arg != "" {
		runPeers(arg)
	}
	goleak.VerifyTestMain(m)
}

// engines are the ways to run a session; every test that takes a testing.T runs on all of them.
var engines = []struct {
	name    string
	options Options
}{
	{"loops", Options{}},
	{"loops with exported crypto tls only", Options{plainTLS: true}},
	{"goroutines", Options{Goroutines: true}},
}

// onEngines runs f on every engine with options on top of the engine's own.
func onEngines(t *testing.T, o Options, f func(t *testing.T, e *Engine)) {
	for _, k := range engines {
		t.Run(k.name, func(t *testing.T) {
			o := o
			o.Goroutines, o.plainTLS = k.options.Goroutines, k.options.plainTLS
			e := NewWith(o)
			t.Cleanup(e.Close)
			f(t, e)
		})
	}
}

// kinds are the pairings of a plain or TLS client with a plain or TLS backend.
var kinds = []kind{
	{},
	{client: tls.VersionTLS13},
	{backend: tls.VersionTLS13},
	{client: tls.VersionTLS13, backend: tls.VersionTLS13},
	{client: tls.VersionTLS12, backend: tls.VersionTLS12},
}

// kind is a pairing; a side is 0 for plain or a TLS version.
type kind struct{ client, backend uint16 }

func (k kind) String() string {
	name := func(v uint16) string {
		if v == 0 {
			return "plain"
		}
		return tls.VersionName(v)
	}
	return fmt.Sprintf("%s to %s", name(k.client), name(k.backend))
}

// swap is a Transport.
type swap struct{ net.Conn }

func (s *swap) NetConn() net.Conn   { return s.Conn }
func (s *swap) Exchange(c net.Conn) { s.Conn = c }

// configs are a server's and a client's TLS settings.
var configs = sync.OnceValue(func() (c struct{ server, client *tls.Config }) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "relay"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	c.server = &tls.Config{
		Certificates:                []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		DynamicRecordSizingDisabled: true,
		MinVersion:                  tls.VersionTLS10,
	}
	c.client = &tls.Config{InsecureSkipVerify: true, DynamicRecordSizingDisabled: true, MinVersion: tls.VersionTLS10}
	return c
})

// tcpPair returns both ends of a loopback connection.
func tcpPair(t testing.TB) (near, far *net.TCPConn) {
	t.Helper()
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	far, err = net.DialTCP("tcp4", nil, l.Addr().(*net.TCPAddr))
	if err != nil {
		t.Fatal(err)
	}
	near, err = l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

// peer is the far end of one side of a session.
type peer struct {
	net.Conn // *tls.Conn or *net.TCPConn
	tcp      *net.TCPConn
}

// closeWrite half-closes as its protocol does.
func (p *peer) closeWrite() error {
	if c, ok := p.Conn.(*tls.Conn); ok {
		if err := c.CloseWrite(); err != nil {
			return err
		}
	}
	return p.tcp.CloseWrite()
}

// side makes one side of a session: the connection that the proxy has and its peer. The proxy is
// the TLS server of clients and the TLS client of backends.
func side(t testing.TB, version uint16, proxyIsServer bool) (near net.Conn, far *peer) {
	t.Helper()
	a, b := tcpPair(t)
	if version == 0 {
		return a, &peer{b, b}
	}
	c := configs()
	server, client := c.server.Clone(), c.client.Clone()
	server.MaxVersion, client.MaxVersion = version, version
	var ours, theirs *tls.Conn
	if proxyIsServer {
		ours, theirs = tls.Server(&swap{a}, server), tls.Client(b, client)
	} else {
		ours, theirs = tls.Client(&swap{a}, client), tls.Server(b, server)
	}
	failed := make(chan error, 1)
	go func() { failed <- theirs.Handshake() }()
	if err := ours.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	return ours, &peer{theirs, b}
}

// rig is a session with both its peers.
type rig struct {
	t       testing.TB
	s       *Session
	client  *peer
	backend *peer
	end     chan Stats
}

// start runs a session of the given kind. early is what the proxy read before the hand-over.
func start(t testing.TB, e *Engine, k kind, early [2]string) *rig {
	t.Helper()
	var p Pair
	r := &rig{t: t, end: make(chan Stats, 2)}
	p.Client, r.client = side(t, k.client, true)
	p.Backend, r.backend = side(t, k.backend, false)
	p.ToClient, p.ToBackend = []byte(early[client]), []byte(early[backend])
	r.s = e.Start(p, func(st Stats) { r.end <- st })
	return r
}

// ended waits for the session's end.
func (r *rig) ended() Stats {
	r.t.Helper()
	select {
	case st := <-r.end:
		return st
	case <-time.After(30 * time.Second):
		r.t.Fatal("the session did not end")
		return Stats{}
	}
}
