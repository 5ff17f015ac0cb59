package relay

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

const (
	recordHeader  = 5
	maxCiphertext = 16384 + 2048 // RFC 5246 6.2.3; TLS 1.3 allows 256 (RFC 8446 5.2)

	// spare lets crypto/tls ask for more than a buffer holds without allocating one: it wants room
	// for a header and 512 bytes before it learns that there is nothing to read.
	spare = 1024
)

// secured is the TLS of one end.
type secured struct {
	conn *tls.Conn
	part []byte // the beginning of a record whose end has not come, in a borrowed buffer
}

// feed is the connection under every tls.Conn of a loop. Reading takes from what the loop has
// received and never waits; writing collects what the loop will send. It belongs to one end at a
// time, for the length of a call.
type feed struct {
	in    []byte
	ended bool // after in comes the end of stream
	out   []byte
	fd    int32 // whose turn it is
}

// wouldBlock tells crypto/tls that there is nothing now. It is a temporary net.Error, after which
// reading goes on where it stopped; any other error is final.
type wouldBlock struct{}

func (wouldBlock) Error() string   { return "no input now" }
func (wouldBlock) Timeout() bool   { return true }
func (wouldBlock) Temporary() bool { return true }

func (f *feed) Read(p []byte) (int, error) {
	if len(f.in) == 0 {
		if f.ended {
			return 0, io.EOF
		}
		return 0, wouldBlock{}
	}
	n := copy(p, f.in)
	f.in = f.in[n:]
	return n, nil
}

func (f *feed) Write(p []byte) (int, error) {
	f.out = append(f.out, p...)
	return len(p), nil
}

// RemoteAddr names the peer: crypto/tls keeps tickets under it when it has no server name.
func (f *feed) RemoteAddr() net.Addr { return address(unix.Getpeername(int(f.fd))) }

// LocalAddr is for completeness.
func (f *feed) LocalAddr() net.Addr { return address(unix.Getsockname(int(f.fd))) }

func address(sa unix.Sockaddr, _ error) net.Addr {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return &net.TCPAddr{IP: sa.Addr[:], Port: sa.Port}
	case *unix.SockaddrInet6:
		return &net.TCPAddr{IP: sa.Addr[:], Port: sa.Port}
	}
	return &net.TCPAddr{} // the socket is not connected any more
}

func (*feed) Close() error                     { return nil }
func (*feed) SetDeadline(time.Time) error      { return nil }
func (*feed) SetReadDeadline(time.Time) error  { return nil }
func (*feed) SetWriteDeadline(time.Time) error { return nil }

// wholeRecords returns how much of b is complete records. All of b is returned when it does not
// look like records, for crypto/tls to refuse: nobody waits for the rest of garbage.
func wholeRecords(b []byte) int {
	whole := 0
	for len(b)-whole >= recordHeader {
		h := b[whole:]
		n := int(h[3])<<8 | int(h[4])
		if h[1] != 3 || n > maxCiphertext {
			return len(b)
		}
		if whole+recordHeader+n > len(b) {
			break
		}
		whole += recordHeader + n
	}
	return whole
}

// cut returns the error of a stream that ended within a record.
func (s *looped) cut(i int) error {
	l, t := s.loop, s.ends[i].tls
	if l.guts.known {
		if len(t.part) > 0 {
			return io.ErrUnexpectedEOF
		}
		return nil
	}
	l.feed.ended = true
	_, err := l.decrypt(t.conn, nil)
	l.feed.ended = false
	if err == io.EOF {
		return nil
	}
	return err
}

// openBuffered opens what crypto/tls had read before the hand-over.
func (s *looped) openBuffered(i int) {
	l, e := s.loop, &s.ends[i]
	var left []byte
	if l.guts.known {
		raw := l.guts.rawOf(e.tls.conn)
		left = bytes.Clone(raw.Bytes())
		*raw = bytes.Buffer{}
	}
	s.open(i, left)
}

// open decrypts received bytes and delivers them to the other end.
func (s *looped) open(i int, received []byte) {
	l, t := s.loop, s.ends[i].tls
	whole := len(received)
	if l.guts.known {
		whole = wholeRecords(received)
		t.part = append(l.lent.borrow(len(received)-whole), received[whole:]...)
	}
	l.feed.fd = s.ends[i].fd
	plain, err := l.decrypt(t.conn, received[:whole])
	answers := l.feed.take() // to key updates, or the alert that goes with err
	if len(answers) > 0 && !s.ends[i].shut {
		s.send(i, answers)
	}
	if len(plain) > 0 {
		s.deliver(1-i, plain)
	}
	switch err {
	case nil:
	case io.EOF: // close_notify
		s.eof(i, nil)
	default:
		s.dead(i, err)
	}
}

// decrypt opens records that were received, in place where the layout of tls.Conn is known. err is
// nil when everything has been opened and more may come.
func (l *loop) decrypt(c *tls.Conn, records []byte) (plain []byte, err error) {
	if l.guts.known {
		raw := l.guts.rawOf(c)
		*raw = *bytes.NewBuffer(records)
		defer func() {
			raw.Reset() // nothing is left but what was refused
			l.guts.release(c)
		}()
	} else {
		l.feed.in = records
	}
	plain = l.opened[:0]
	for {
		if cap(plain)-len(plain) < maxCiphertext {
			plain = append(make([]byte, 0, 2*cap(plain)+2*chunk), plain...)
			l.opened = plain
		}
		n, err := c.Read(plain[len(plain):cap(plain)])
		plain = plain[:len(plain)+n]
		if err == (wouldBlock{}) {
			return plain, nil
		}
		if err != nil || l.guts.known && !l.guts.buffered(c) {
			return plain, err
		}
	}
}

// seal encrypts p for end i and sends it.
func (s *looped) seal(i int, p []byte) {
	l := s.loop
	if _, err := s.ends[i].tls.conn.Write(p); err != nil {
		l.feed.take()
		s.dead(i, err)
		return
	}
	s.send(i, l.feed.take())
}

// sealNotify seals and sends close_notify.
func (s *looped) sealNotify(i int) {
	e := &s.ends[i]
	e.notified = true
	_ = e.tls.conn.CloseWrite() // an error is in what send will say
	if b := s.loop.feed.take(); len(b) > 0 {
		s.send(i, b)
	}
}

// take returns what has been written and is to be sent before the next write.
func (f *feed) take() []byte {
	b := f.out
	f.out = f.out[:0]
	if cap(f.out) > 4*chunk {
		f.out = nil // early bytes were many
	}
	return b
}
