package backend

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"time"

	"dproxy/event"
)

// dial connects to the target's address, or to another of its name's when that cannot be reached. The
// time that is left is shared among the addresses. The target keeps the address that was taken.
func (r *run) dial(ctx context.Context) (*net.TCPConn, *Error) {
	addrs := append([]netip.AddrPort{r.login.Target.Addr}, r.login.Target.Others...)
	var failure *Error
	for i, addr := range addrs {
		actx, cancel := share(ctx, len(addrs)-i)
		r.target.Addr = addr
		tcp, err := r.dialAddress(actx, addr)
		cancel()
		if err == nil {
			return tcp, nil
		}
		if failure = err; err.canceled || ctx.Err() != nil {
			break
		}
	}
	return nil, failure
}

// share gives a context one of n equal parts of the time that is left.
func share(ctx context.Context, n int) (context.Context, context.CancelFunc) {
	end, ok := ctx.Deadline()
	if !ok || n == 1 {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, time.Now().Add(time.Until(end)/time.Duration(n)))
}

// dialAddress connects to one address, unless it is known to be down.
func (r *run) dialAddress(ctx context.Context, addr netip.AddrPort) (*net.TCPConn, *Error) {
	hosts := r.dialer.shared.Hosts
	if hosts.start(addr, r.login.Target.FailAfter) {
		return nil, &Error{Kind: Connect, Text: "Host is down", final: true, dial: true}
	}
	tcp, err := r.dialSources(ctx, addr)
	switch {
	case err == nil:
		hosts.done(addr, r.began, connected)
		return tcp, nil
	case r.ctx.Err() != nil:
		hosts.done(addr, r.began, undecided)
		return nil, canceled()
	case ours(err):
		hosts.done(addr, r.began, undecided)
	default:
		hosts.done(addr, r.began, unreachable)
	}
	return nil, r.dialError(addr, err)
}

// ours tells whether a connect failed for want of something on this host.
func ours(err error) bool {
	for _, e := range []error{syscall.EADDRNOTAVAIL, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// dialSources connects from the target's source address. When it has no port left, or is not there at
// all, the next of login_source_ips is taken; each is tried once.
func (r *run) dialSources(ctx context.Context, addr netip.AddrPort) (*net.TCPConn, error) {
	t := &r.target
	t.Source = r.login.Target.Source
	for n := 1; ; n++ {
		began := time.Now()
		tcp, err := dialFrom(ctx, t.Source, addr)
		e := event.Dialed{Client: r.client, Attempt: r.reconnects, Target: t.Event(), Took: time.Since(began), Err: err}
		if err == nil {
			e.Local = tcp.LocalAddr().(*net.TCPAddr).AddrPort()
		}
		r.dialer.events.Emit(e)
		if err == nil || !errors.Is(err, syscall.EADDRNOTAVAIL) || !t.Source.IsValid() {
			return tcp, err
		}
		if bound(err) {
			r.dialer.events.Emit(event.SourceExhausted{Client: r.client, Target: t.Event(), Source: t.Source})
		} else {
			r.dialer.events.Emit(event.Notice{Level: event.Error, Source: event.LoginSource(r.client.Service), Text: "bind(" + t.Source.String() + ") failed: " + sentence(syscall.EADDRNOTAVAIL.Error())})
		}
		if t.Sources == nil || n >= t.Sources.Len(addr.Addr()) {
			return nil, err
		}
		t.Sources.Exhausted(t.Source, addr.Addr())
		t.Source = t.Sources.Next(addr.Addr())
	}
}

// bound tells whether the source address was there, so that it was connect() that found no port.
func bound(err error) bool {
	var se *os.SyscallError
	return errors.As(err, &se) && se.Syscall == "connect"
}

// dialFailure is a failed connect with the local address that it had, if any.
type dialFailure struct {
	err   error
	local string
}

func (e *dialFailure) Error() string { return e.err.Error() }
func (e *dialFailure) Unwrap() error { return e.err }

func dialFrom(ctx context.Context, source netip.Addr, to netip.AddrPort) (*net.TCPConn, error) {
	var s socket
	defer s.release()
	nd := net.Dialer{KeepAlive: -1} // the relay sets keepalive on what is handed over
	nd.Control = s.control
	if source.IsValid() {
		nd.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
		s.bind = true
	}
	nc, err := nd.DialContext(ctx, "tcp", to.String())
	if err != nil {
		f := &dialFailure{err, s.local()}
		if f.local == "" && source.IsValid() {
			f.local = source.String()
		}
		return nil, f
	}
	return nc.(*net.TCPConn), nil
}

// dialError words a failed connect as Dovecot does.
func (r *run) dialError(addr netip.AddrPort, err error) *Error {
	text := err.Error()
	var errno syscall.Errno
	var ne net.Error
	switch {
	case errors.As(err, &errno):
		text = sentence(errno.Error())
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &ne) && ne.Timeout():
		text = "Connection timed out"
	}
	local := ""
	var f *dialFailure
	if errors.As(err, &f) {
		local = f.local
	}
	return &Error{Kind: Connect, dial: true, ours: ours(err), err: err, Text: fmt.Sprintf("connect(%s, %d) failed: %s (%s)", addr.Addr(), addr.Port(), text, r.after(local))}
}

// addrText is an address as Dovecot prints it, IPv6 without brackets.
func addrText(a net.Addr) string {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return ""
	}
	ap := t.AddrPort()
	return ap.Addr().Unmap().String() + ":" + strconv.Itoa(int(ap.Port()))
}
