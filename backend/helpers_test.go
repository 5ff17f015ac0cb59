package backend_test

import (
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"testing"

	"dproxy/backend/backendtest"
)

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
