//go:build unix

package relay

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// newSource returns a source that waits without a buffer where that is possible.
func newSource(c, tcp net.Conn) source {
	t, ok := tcp.(*net.TCPConn)
	if !ok {
		return &blocking{c}
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return &blocking{c}
	}
	if c == tcp {
		return newPlain(raw)
	}
	return newSealed(c, raw)
}

// plain reads a TCP connection. The buffer is borrowed for the attempt to read and given back
// before the wait.
type plain struct {
	raw     syscall.RawConn
	attempt func(fd uintptr) bool
	buf     *[chunk]byte
	n       int
	err     error
}

func newPlain(raw syscall.RawConn) *plain {
	p := &plain{raw: raw}
	p.attempt = func(fd uintptr) bool {
		p.buf = buffers.Get().(*[chunk]byte)
		for {
			p.n, p.err = syscall.Read(int(fd), p.buf[:])
			if p.err != syscall.EINTR {
				break
			}
		}
		if p.err == syscall.EAGAIN {
			buffers.Put(p.buf)
			p.buf = nil
			return false
		}
		return true
	}
	return p
}

func (p *plain) next() (*[chunk]byte, int, error) {
	p.buf, p.n, p.err = nil, 0, nil
	err := p.raw.Read(p.attempt)
	if err == nil {
		err = p.err
	}
	if err == nil && p.n == 0 {
		err = io.EOF
	}
	return p.buf, max(p.n, 0), err
}

// sealed reads a TLS connection. With a deadline in the past crypto/tls returns what it has
// decrypted already and does not touch the socket; when it has nothing, the socket's readiness is
// waited for.
type sealed struct {
	conn    net.Conn
	raw     syscall.RawConn
	arrived func(fd uintptr) bool
	peek    [1]byte
	err     error // of the socket: being told once, it has forgotten it
	fresh   bool  // the socket has something that crypto/tls has not seen
}

func newSealed(c net.Conn, raw syscall.RawConn) *sealed {
	s := &sealed{conn: c, raw: raw}
	s.arrived = func(fd uintptr) bool {
		for {
			_, _, s.err = syscall.Recvfrom(int(fd), s.peek[:], syscall.MSG_PEEK)
			if s.err != syscall.EINTR {
				return s.err != syscall.EAGAIN
			}
		}
	}
	return s
}

func (s *sealed) next() (*[chunk]byte, int, error) {
	for {
		deadline := time.Unix(1, 0)
		if s.fresh {
			deadline = time.Time{}
		}
		if err := s.conn.SetReadDeadline(deadline); err != nil {
			return nil, 0, err
		}
		buf := buffers.Get().(*[chunk]byte)
		n, err := s.conn.Read(buf[:])
		drained := !s.fresh && errors.Is(err, os.ErrDeadlineExceeded)
		s.fresh = false
		if n > 0 || !drained {
			if drained {
				err = nil
			}
			return buf, n, err
		}
		buffers.Put(buf)
		if err := s.conn.SetReadDeadline(time.Time{}); err != nil {
			return nil, 0, err
		}
		if err := s.raw.Read(s.arrived); err != nil {
			return nil, 0, err
		}
		if s.err != nil {
			return nil, 0, s.err
		}
		s.fresh = true
	}
}
