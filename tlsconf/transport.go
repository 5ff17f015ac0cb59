package tlsconf

import "net"

// Slots bound how many TLS handshakes compute at the same time, so that a storm of reconnects queues up
// instead of delaying the sessions that run. A handshake that waits for its peer holds none. Nil is no bound.
type Slots chan struct{}

// NewSlots returns n slots.
func NewSlots(n int) Slots { return make(Slots, n) }

func (s Slots) take() {
	if s != nil {
		s <- struct{}{}
	}
}

func (s Slots) giveBack() {
	if s != nil {
		<-s
	}
}

// Transport lies under a *tls.Conn whose connection may be exchanged once the handshake is over:
// the relay's event loops read and write for it then. Both sides of a login make their TLS
// connections over one.
type Transport struct {
	net.Conn
	slots Slots
}

// NetConn returns the connection in use.
func (t *Transport) NetConn() net.Conn { return t.Conn }

// Exchange makes c the connection in use. Nothing may run on the Transport meanwhile.
func (t *Transport) Exchange(c net.Conn) { t.Conn = c }

// Handshake runs a handshake over the transport within a slot.
func (t *Transport) Handshake(s Slots, run func() error) error {
	s.take()
	t.slots = s
	defer func() {
		t.slots = nil
		s.giveBack()
	}()
	return run()
}

// Read implements net.Conn. The slot is others' while the peer is waited for.
func (t *Transport) Read(p []byte) (int, error) {
	if t.slots == nil {
		return t.Conn.Read(p)
	}
	t.slots.giveBack()
	n, err := t.Conn.Read(p)
	t.slots.take()
	return n, err
}
