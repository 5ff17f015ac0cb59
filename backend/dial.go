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
func (r *run) dial(deadline time.Time) (net.Conn, *Error) {
	addrs := append([]netip.AddrPort{r.login.Target.Addr}, r.login.Target.Others...)
	var failure *Error
	for i, addr := range addrs {
		r.target.Addr = addr
		now := time.Now()
		tcp, err := r.dialAddress(now.Add(deadline.Sub(now)/time.Duration(len(addrs)-i)), addr)
		if err == nil {
			return tcp, nil
		}
		if failure = err; err.canceled || r.ctx.Err() != nil || !time.Now().Before(deadline) {
			break
		}
	}
	return nil, failure
}

// dialAddress connects to one address, unless it is known to be down.
func (r *run) dialAddress(until time.Time, addr netip.AddrPort) (net.Conn, *Error) {
	hosts := r.dialer.shared.Hosts
	if hosts.start(addr, r.login.Target.FailAfter) {
		return nil, &Error{Kind: Connect, Text: "Host is down", final: true, dial: true}
	}
	tcp, err := r.dialSources(until, addr)
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
func (r *run) dialSources(until time.Time, addr netip.AddrPort) (net.Conn, error) {
	t := &r.target
	t.Source = r.login.Target.Source
	for n := 1; ; n++ {
		began := time.Now()
		tcp, err := r.dialer.dialFrom(r.ctx, until, t.Source, addr)
		e := event.Dialed{Client: r.client, Attempt: r.reconnects, Target: t.Event(), Took: time.Since(began), Err: err}
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

func (d *Dialer) dialFrom(ctx context.Context, until time.Time, source netip.Addr, to netip.AddrPort) (net.Conn, error) {
	if d.Loops != nil {
		if nc, local, ok, err := d.Loops.Dial(ctx, until, source, to); ok {
			if err != nil {
				return nil, failed(err, source, addrPortText(local))
			}
			return nc, nil
		}
	}
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
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
		return nil, failed(err, source, s.local())
	}
	return nc, nil
}

// failed makes the failure of a connect that had a local address, "" when it did not come that far.
func failed(err error, source netip.Addr, local string) error {
	if local == "" && source.IsValid() {
		local = source.String()
	}
	return &dialFailure{err, local}
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
	return addrPortText(t.AddrPort())
}

func addrPortText(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.Addr().Unmap().String() + ":" + strconv.Itoa(int(a.Port()))
}
