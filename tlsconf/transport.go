package tlsconf

import "net"

// Transport lies under a *tls.Conn whose connection may be exchanged once the handshake is over:
// the relay's event loops read and write for it then. Both sides of a login make their TLS
// connections over one.
type Transport struct{ net.Conn }

// NetConn returns the connection in use.
func (t *Transport) NetConn() net.Conn { return t.Conn }

// Exchange makes c the connection in use. Nothing may run on the Transport meanwhile.
func (t *Transport) Exchange(c net.Conn) { t.Conn = c }
