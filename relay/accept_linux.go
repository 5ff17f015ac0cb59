package relay

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// acceptor is a listening socket in one of the loops. A connection is served by that loop or given to one
// with less to do, where it stays from its first byte to its last. (Watched by all loops, the socket would
// wake all of them for every connection.)
type acceptor struct {
	engine *Engine
	home   *loop
	addr   net.Addr
	fd     int32
	serve  func(net.Conn)
	failed func(error) time.Duration
	local  netip.AddrPort // of every connection; invalid for a wildcard address

	mu     sync.Mutex
	slot   int32 // -1: not watched
	closed bool
}

const (
	// acceptMost is how many connections one turn takes at most: those of others wait meanwhile.
	acceptMost = 16
	// moreLogins and moreSessions are how much more than another a loop may have before it gives
	// connections away, which costs a wake-up.
	moreLogins   = 2
	moreSessions = 256
)

// Accept takes over accepting on a listener, which is closed: each connection is given to serve, on an
// event loop and in the coroutine that its *Conn belongs to. failed is told why accepting does not work and
// says how long not to try. The socket lives on in held: closing that ends it all, and no connection is
// accepted afterwards. Where there are no event loops nothing happens and ok is false.
func (e *Engine) Accept(l *net.TCPListener, serve func(net.Conn), failed func(error) time.Duration) (held net.Listener, ok bool) {
	all := e.makeLoops()
	if len(all) == 0 {
		return nil, false
	}
	raw, err := l.SyscallConn()
	if err != nil {
		return nil, false
	}
	a := &acceptor{engine: e, addr: l.Addr(), home: all[int(e.acceptors.Add(1))%len(all)], serve: serve, failed: failed, slot: -1}
	if at := l.Addr().(*net.TCPAddr).AddrPort(); !at.Addr().IsUnspecified() {
		a.local = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	}
	err = raw.Control(func(fd uintptr) {
		// Accepted sockets inherit it.
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		var n int
		n, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 3)
		a.fd = int32(n)
	})
	if err != nil || !a.watch() {
		return nil, false
	}
	_ = l.Close()
	return a, true
}

// Accept implements net.Listener, whose connections go to serve.
func (a *acceptor) Accept() (net.Conn, error) { return nil, errors.ErrUnsupported }

// Addr implements net.Listener.
func (a *acceptor) Addr() net.Addr { return a.addr }

// SyscallConn lends the descriptor to Control.
func (a *acceptor) SyscallConn() (syscall.RawConn, error) { return borrowed{a}, nil }

type borrowed struct{ a *acceptor }

// Control implements syscall.RawConn.
func (b borrowed) Control(f func(fd uintptr)) error {
	b.a.mu.Lock()
	defer b.a.mu.Unlock()
	if b.a.closed {
		return net.ErrClosed
	}
	f(uintptr(b.a.fd))
	return nil
}

// Read implements syscall.RawConn.
func (borrowed) Read(func(uintptr) bool) error { return errors.ErrUnsupported }

// Write implements syscall.RawConn.
func (borrowed) Write(func(uintptr) bool) error { return errors.ErrUnsupported }

// watch makes the loop accept.
func (a *acceptor) watch() bool {
	l := a.home
	a.mu.Lock()
	defer a.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if a.closed || l.over || l.stopping || a.slot >= 0 {
		return false
	}
	n := l.slotFor()
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: n}
	if rawControl(l.epfd, unix.EPOLL_CTL_ADD, a.fd, &ev) != 0 {
		l.free = append(l.free, n)
		return false
	}
	l.slots[n], a.slot = slot{a: a}, n
	return true
}

// unwatch makes the loop not accept. a.mu is held.
func (a *acceptor) unwatch() {
	l := a.home
	l.mu.Lock()
	defer l.mu.Unlock()
	if a.slot < 0 {
		return
	}
	rawControl(l.epfd, unix.EPOLL_CTL_DEL, a.fd, &unix.EpollEvent{})
	l.slots[a.slot] = slot{}
	l.late = append(l.late, a.slot)
	a.slot = -1
}

// Close implements net.Listener.
func (a *acceptor) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return net.ErrClosed
	}
	a.closed = true
	a.unwatch()
	closeFD(a.fd)
	return nil
}

// take accepts one connection.
func (a *acceptor) take(l *loop) (*Conn, error) {
	a.mu.Lock() // against close: the descriptor's number may be another's afterwards
	defer a.mu.Unlock()
	if a.closed {
		return nil, net.ErrClosed
	}
	fd, remote, errno := rawAccept(a.fd)
	if errno != 0 {
		return nil, os.NewSyscallError("accept4", errno)
	}
	c := newConn(l, nil, fd)
	c.remote, c.local, c.dry = remote, a.local, true
	return c, nil
}

// accept serves what waits to be accepted.
func (a *acceptor) accept(l *loop) {
	for n := 1; ; n++ {
		c, err := a.take(l)
		if err != nil {
			a.trouble(l, err)
			return
		}
		if other := a.engine.lighter(l); other != nil {
			c.loop = other
			other.hand(c, a)
		} else {
			l.start(c, a)
		}
		if n >= l.burst {
			l.burst = min(2*l.burst, acceptMost)
			l.again = true
			return
		}
	}
}

// trouble handles an accept that brought nothing.
func (a *acceptor) trouble(l *loop, err error) {
	l.burst = 1
	switch {
	case isErrno(err, unix.EAGAIN), isErrno(err, unix.ECONNABORTED), err == net.ErrClosed:
		return
	}
	a.mu.Lock()
	a.unwatch()
	a.mu.Unlock()
	time.AfterFunc(a.failed(err), func() { a.watch() })
}

func isErrno(err error, e syscall.Errno) bool {
	se, ok := err.(*os.SyscallError)
	return ok && se.Err == e
}

// lighter returns a loop that has clearly less to do than l, if there is one.
func (e *Engine) lighter(l *loop) *loop {
	for _, other := range e.loops.all {
		if l.logins.Load() > other.logins.Load()+moreLogins || l.count.Load() > other.count.Load()+moreSessions {
			return other
		}
	}
	return nil
}

// start serves an accepted connection on a coroutine of the loop.
func (l *loop) start(c *Conn, a *acceptor) {
	l.logins.Add(1)
	l.begin(func(f *coroutine) {
		c.fiber = f
		a.serve(c)
	})
}

// hand gives an accepted connection to a loop from another one.
func (l *loop) hand(c *Conn, a *acceptor) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		closeFD(c.fd)
		return
	}
	l.handed = append(l.handed, handed{c, a})
	l.wakeLocked()
}

type handed struct {
	c *Conn
	a *acceptor
}
