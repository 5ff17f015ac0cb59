package relay

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"dproxy/fiber"
)

// The directions of a connection.
const (
	input  = 0
	output = 1
)

// Conn is a TCP connection in an event loop before it is handed over. It is registered once, with the
// loop that relays its session afterwards, and waiting for it makes its fiber give way. It belongs to
// that fiber: only SetDeadline and its like, and SyscallConn, may be used by others. It is a net.Conn.
type Conn struct {
	loop   *loop
	fiber  *coroutine
	remote netip.AddrPort
	local  netip.AddrPort // invalid: to be asked for
	fd     int32
	dry    bool // the last read took all that was there
	shared atomic.Bool

	// What follows is guarded by loop.mu.
	closed   bool
	watching bool
	hup      bool // reading does not have to wait any more: it has ended
	timing   bool // in the loop's wheel
	mask     uint32
	slot     int32
	wait     [2]*coroutine
	until    [2]time.Duration // deadlines on the engine's clock; 0 is never
	look     time.Duration    // when the wheel looks at it
	timed    timed[*Conn]
}

// newConn takes a socket over. The loop does not watch it yet.
func newConn(l *loop, f *coroutine, fd int32) *Conn {
	return &Conn{loop: l, fiber: f, fd: fd, slot: -1}
}

// Runner returns what the connection's code runs on.
func (c *Conn) Runner() fiber.Runner { return c.fiber }

// Share lends the connection to another goroutine, which may write to it until Share(false). What
// cannot be written at once fails then.
func (c *Conn) Share(on bool) { c.shared.Store(on) }

// fail makes the error of an operation.
func (c *Conn) fail(op string, err error) error {
	if errno, ok := err.(syscall.Errno); ok {
		err = os.NewSyscallError(op, errno)
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

// ready tells why an operation cannot go on.
func (c *Conn) ready(dir int) error {
	c.loop.mu.Lock()
	defer c.loop.mu.Unlock()
	return c.readyLocked(dir, c.loop.engine.now())
}

func (c *Conn) readyLocked(dir int, now time.Duration) error {
	switch {
	case c.closed:
		return net.ErrClosed
	case c.until[dir] != 0 && c.until[dir] <= now:
		return os.ErrDeadlineExceeded
	}
	return nil
}

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	for {
		if err := c.ready(input); err != nil {
			return 0, c.fail("read", err)
		}
		if c.dry {
			c.dry = false
			c.fiber.wait(c, input)
			continue
		}
		n, errno := rawReceive(c.fd, p)
		switch {
		case errno == unix.EAGAIN:
			c.dry = true
		case errno != 0:
			return 0, c.fail("read", errno)
		case n == 0 && len(p) > 0:
			return 0, io.EOF
		default:
			c.dry = n < len(p)
			return n, nil
		}
	}
}

// Write implements net.Conn.
func (c *Conn) Write(p []byte) (n int, err error) {
	for {
		if err := c.ready(output); err != nil {
			return n, c.fail("write", err)
		}
		m, errno := rawSend(c.fd, p[n:])
		switch {
		case errno == unix.EAGAIN && c.shared.Load():
			return n, c.fail("write", os.ErrDeadlineExceeded)
		case errno == unix.EAGAIN:
			c.fiber.wait(c, output)
			continue
		case errno != 0:
			return n, c.fail("write", errno)
		}
		if n += m; n == len(p) {
			return n, nil
		}
	}
}

// Close implements net.Conn.
func (c *Conn) Close() error {
	l := c.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	closeFD(c.fd) // before its slot is free
	c.free()
	return nil
}

// leave takes the socket out of the loop.
func (c *Conn) leave() (fd int32, ok bool) {
	l := c.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.closed {
		return -1, false
	}
	if c.watching {
		rawControl(l.epfd, unix.EPOLL_CTL_DEL, c.fd, &unix.EpollEvent{})
	}
	return c.free(), true
}

// free gives the slot back. loop.mu is held.
func (c *Conn) free() int32 {
	l := c.loop
	if c.slot >= 0 {
		l.slots[c.slot] = slot{}
		l.late = append(l.late, c.slot)
	}
	return c.shed()
}

// shed makes the connection an empty shell. loop.mu is held.
func (c *Conn) shed() int32 {
	if c.fiber != nil && c.fiber.inline && c.fiber.loop == c.loop {
		c.loop.conns.remove(c)
	}
	fd := c.fd
	c.closed, c.fd, c.slot, c.fiber = true, -1, -1, nil
	return fd
}

// CloseWrite ends the sending.
func (c *Conn) CloseWrite() error {
	if err := c.ready(output); errors.Is(err, net.ErrClosed) {
		return c.fail("close", err)
	}
	if errno := rawShutdown(c.fd); errno != 0 {
		return c.fail("shutdown", errno)
	}
	return nil
}

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr {
	if !c.local.IsValid() && c.fd >= 0 {
		c.local = rawLocal(c.fd)
	}
	return net.TCPAddrFromAddrPort(c.local)
}

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error { return c.deadline(t, true, true) }

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.deadline(t, true, false) }

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.deadline(t, false, true) }

func (c *Conn) deadline(t time.Time, in, out bool) error {
	var d time.Duration
	if !t.IsZero() {
		d = max(1, t.Sub(c.loop.engine.epoch))
	}
	l := c.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	for dir, set := range [2]bool{in, out} {
		if !set {
			continue
		}
		c.until[dir] = d
		if c.wait[dir] != nil && d != 0 {
			l.recheck(c)
		}
	}
	return nil
}

// SyscallConn lends the descriptor to Control.
func (c *Conn) SyscallConn() (syscall.RawConn, error) { return rawConn{c}, nil }

type rawConn struct{ c *Conn }

// Control implements syscall.RawConn.
func (r rawConn) Control(f func(fd uintptr)) error {
	r.c.loop.mu.Lock()
	defer r.c.loop.mu.Unlock()
	if r.c.closed {
		return net.ErrClosed
	}
	f(uintptr(r.c.fd))
	return nil
}

// Read implements syscall.RawConn.
func (rawConn) Read(func(uintptr) bool) error { return errors.ErrUnsupported }

// Write implements syscall.RawConn.
func (rawConn) Write(func(uintptr) bool) error { return errors.ErrUnsupported }

// Dial connects, until a time, on the event loop that ctx runs on. ok is false when it runs on none. The errors are a
// *net.OpError as those of net.Dialer; local is the address that a failed connect had.
func (e *Engine) Dial(ctx context.Context, until time.Time, source netip.Addr, to netip.AddrPort) (nc net.Conn, local netip.AddrPort, ok bool, err error) {
	f, _ := fiber.From(ctx).(*coroutine)
	if f == nil || f.loop.engine != e {
		return nil, netip.AddrPort{}, false, nil
	}
	c, err := f.dial(ctx, until, source, to)
	if err == nil {
		return c, c.local, true, nil
	}
	if c != nil {
		c.LocalAddr()
		local = c.local
		_ = c.Close()
	}
	if local.Port() == 0 || local.Addr().IsUnspecified() {
		local = netip.AddrPort{}
	}
	return nil, local, true, &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(to), Err: err}
}

// dial connects. With an error it returns the connection that failed, if there is one.
func (f *coroutine) dial(ctx context.Context, until time.Time, source netip.Addr, to netip.AddrPort) (*Conn, error) {
	family := unix.AF_INET6
	if to.Addr().Is4() {
		family = unix.AF_INET
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	c := newConn(f.loop, f, int32(fd))
	c.remote = to
	rawOption(c.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if source.IsValid() {
		// The port is chosen at connect(), so that one address serves 28,000 connections per destination
		// instead of in all; a kernel without that does as before.
		rawOption(c.fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
		if errno := rawBind(c.fd, netip.AddrPortFrom(source, 0)); errno != 0 {
			return c, os.NewSyscallError("bind", errno)
		}
	}
	switch errno := rawConnect(c.fd, to); errno {
	case unix.EINPROGRESS:
		return c, f.connected(ctx, until, c)
	case 0:
		return c, nil
	default:
		return c, os.NewSyscallError("connect", errno)
	}
}

// connected waits for the end of a connect.
func (f *coroutine) connected(ctx context.Context, until time.Time, c *Conn) error {
	_ = c.SetDeadline(until)
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	f.wait(c, output)
	if !stop() && ctx.Err() != nil {
		return ctx.Err()
	}
	if err := c.ready(output); err != nil {
		return err
	}
	errno, err := unix.GetsockoptInt(int(c.fd), unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && errno != 0 {
		err = syscall.Errno(errno)
	}
	if err != nil {
		return os.NewSyscallError("connect", err)
	}
	c.dry = true // a backend speaks after a while
	return c.SetDeadline(time.Time{})
}
