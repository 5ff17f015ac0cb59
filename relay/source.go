package relay

import "net"

// source yields the bytes of one end.
type source interface {
	// next waits for input and returns a borrowed buffer, to be put back into buffers when it is
	// not nil, with n bytes in it. Both n > 0 and err may be set.
	next() (buf *[chunk]byte, n int, err error)
}

// blocking is a source that can only wait with a buffer in hand.
type blocking struct{ conn net.Conn }

func (b *blocking) next() (*[chunk]byte, int, error) {
	buf := buffers.Get().(*[chunk]byte)
	n, err := b.conn.Read(buf[:])
	return buf, n, err
}
