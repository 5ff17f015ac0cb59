package backend_test

import (
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"dproxy/backend/backendtest"
)

// fullListener returns an address whose listen queue is full, so that connects to it hang, and what frees
// it.
func fullListener(t *testing.T) (netip.AddrPort, func()) {
	t.Helper()
	fd, addr := listenWithoutQueue(t)
	var conns []net.Conn
	for { // until one hangs
		nc, err := net.DialTimeout("tcp", addr.String(), 100*time.Millisecond)
		if err != nil {
			break
		}
		conns = append(conns, nc)
	}
	return addr, func() {
		for _, nc := range conns {
			_ = nc.Close()
		}
		fd()
	}
}

// tlsServer greets over TLS with one configuration for all connections.
type tlsServer struct {
	addr    netip.AddrPort
	certs   string
	resumed chan bool
}

func newTLSServer(t *testing.T) *tlsServer {
	t.Helper()
	certs := backendtest.NewCerts(t)
	config := &tls.Config{Certificates: []tls.Certificate{certs.Get("good")}}
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	s := &tlsServer{addr: l.Addr().(*net.TCPAddr).AddrPort(), certs: certs.CA, resumed: make(chan bool, 2)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(nc, "ok\r\nwelcome\r\n")
			_, _ = io.Copy(io.Discard, nc)
			s.resumed <- nc.(*tls.Conn).ConnectionState().DidResume
			_ = nc.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return s
}
