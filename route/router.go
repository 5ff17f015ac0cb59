package route

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"time"

	"dproxy/event"
)

// Resolver looks host names up; *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Router chooses targets.
type Router struct {
	resolver Resolver
	events   event.Sink
}

// New returns a Router that resolves names with res.
func New(res Resolver, events event.Sink) *Router { return &Router{resolver: res, events: events} }

const (
	dnsTimeout = 3 * time.Second
	dnsSlow    = 500 * time.Millisecond
)

// Targets lists the backends for a login in the order to try them. The error is an *Error.
func (r *Router) Targets(ctx context.Context, q Query) ([]Target, error) {
	targets, err := r.targets(ctx, q)
	e := event.RouteChosen{Client: q.Client, Err: err}
	for _, t := range targets {
		e.Targets = append(e.Targets, t.Event())
	}
	r.events.Emit(e)
	return targets, err
}

func (r *Router) targets(ctx context.Context, q Query) ([]Target, error) {
	host, _ := q.Fields.Get("host")
	addrs, err := r.addresses(ctx, q, host)
	if err != nil {
		return nil, err
	}
	if q.Fields.Has("proxy_maybe") && r.self(q, addrs) {
		return nil, &Error{Local, "proxy_maybe: the destination is this host, and dproxy keeps no mail itself; give the user another host"}
	}
	t, err := r.fields(q)
	if err != nil {
		return nil, err
	}
	if host == "" {
		return nil, &Error{Internal, "host not given"}
	}
	addr := addrs[0]
	if v, _ := q.Fields.Get("hostip"); v != "" {
		ip, err := netip.ParseAddr(v)
		if err != nil {
			return nil, &Error{Internal, "Invalid hostip " + event.Clean(v, 80)}
		}
		addr = ip.Unmap()
	}
	t.Addr = netip.AddrPortFrom(addr, r.port(q, t))
	if t.Addr == q.Peer.Local && t.User == q.User {
		return nil, &Error{Internal, "Proxying loops to itself"}
	}
	t.Source = r.source(q, addr)
	return []Target{t}, nil
}

// addresses are the IPs of the host field: itself, hostip, or what the resolver says.
func (r *Router) addresses(ctx context.Context, q Query, host string) ([]netip.Addr, error) {
	if host == "" {
		return nil, nil
	}
	if ip, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return []netip.Addr{ip.Unmap()}, nil
	}
	if v, _ := q.Fields.Get("hostip"); v != "" {
		ip, err := netip.ParseAddr(v)
		if err != nil {
			r.authLine(q, event.Error, "Invalid hostip in passdb: "+event.Clean(v, 80))
			return nil, &Error{AuthFailed, "Invalid hostip in passdb"}
		}
		return []netip.Addr{ip.Unmap()}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, dnsTimeout)
	defer cancel()
	began := time.Now()
	ips, err := r.resolver.LookupNetIP(ctx, "ip", host)
	if took := time.Since(began); took > dnsSlow {
		r.authLine(q, event.Warning, "DNS lookup for "+event.Clean(host, 255)+" took "+took.Round(time.Millisecond).String())
	}
	if err == nil && len(ips) == 0 {
		err = errors.New("Name or service not known")
	}
	if err != nil {
		text := "DNS lookup for " + event.Clean(host, 255) + " failed: " + dnsText(err)
		r.events.Emit(event.Notice{Level: event.Error, Source: "auth", Text: text})
		return nil, &Error{TempFail, text}
	}
	for i := range ips {
		ips[i] = ips[i].Unmap()
	}
	return ips, nil
}

// self tells whether a proxy_maybe answer means this host: its address is the connection's local
// one or one of auth_proxy_self, and the port is not given or the one the client connected to.
func (r *Router) self(q Query, addrs []netip.Addr) bool {
	if v, _ := q.Fields.Get("port"); v != "" && r.port(q, Target{}) != q.Peer.Local.Port() {
		return false
	}
	for _, a := range addrs {
		if a == q.Peer.RealLocal.Addr() {
			return true
		}
		for _, s := range strings.Fields(q.Settings.AuthProxySelf) {
			if ip, err := netip.ParseAddr(s); err == nil && ip.Unmap() == a {
				return true
			}
		}
	}
	return false
}

// source is the local address to connect from. A source_ip field, even an unusable one, switches
// login_source_ips off (Dovecot 2.3).
func (r *Router) source(q Query, to netip.Addr) netip.Addr {
	if v, ok := q.Fields.Get("source_ip"); ok {
		ip, err := netip.ParseAddr(v)
		if err != nil {
			return netip.Addr{}
		}
		return ip.Unmap()
	}
	return q.Sources.Next(to)
}

func (r *Router) authLine(q Query, level event.Level, text string) {
	r.events.Emit(event.AuthLine{Session: q.Peer.Session, DB: "auth", User: q.User, Remote: q.Peer.Remote.Addr(), Level: level, Text: text})
}

func dnsText(err error) string {
	var de *net.DNSError
	switch {
	case errors.As(err, &de) && de.IsNotFound:
		return "Name or service not known"
	case errors.As(err, &de) && de.IsTimeout, errors.Is(err, context.DeadlineExceeded):
		return "Lookup timed out"
	}
	return err.Error()
}
