package route

import (
	"context"
	"net/netip"
	"strconv"
	"strings"
	"sync"

	"dproxy/event"
)

// Router chooses targets.
type Router struct {
	names  names
	events event.Sink

	mu     sync.Mutex
	warned map[string]bool
}

// New returns a Router that resolves names with res.
func New(res Resolver, events event.Sink) *Router {
	return &Router{names: newNames(res), events: events, warned: map[string]bool{}}
}

// Targets lists the backends for a login in the order to try them. The error is an *Error.
func (r *Router) Targets(ctx context.Context, q Query) ([]Target, error) {
	targets, err := r.targets(ctx, &q)
	e := event.RouteChosen{Client: q.Client, Err: err}
	for _, t := range targets {
		e.Targets = append(e.Targets, t.Event())
	}
	r.events.Emit(e)
	return targets, err
}

func (r *Router) targets(ctx context.Context, q *Query) ([]Target, error) {
	addrs, err := r.addresses(ctx, q, q.get("host"))
	if err != nil {
		return nil, err
	}
	if q.Fields.Has("proxy_maybe") && r.self(q, addrs) {
		return r.local(q)
	}
	t, err := r.fields(q)
	if err != nil {
		return nil, err
	}
	port, err := r.port(q, t)
	if err != nil {
		return nil, err
	}
	if err := r.check(q, &t); err != nil {
		return nil, err
	}
	if v := q.get("hostip"); v != "" {
		ip, _ := netip.ParseAddr(v) // check has read it
		addrs = []netip.Addr{ip.Unmap()}
	}
	t.Addr = netip.AddrPortFrom(addrs[0], port)
	if t.User == q.User && (t.Addr == q.Peer.Local || t.Addr == q.Peer.RealLocal) {
		return nil, &Error{Internal, loops}
	}
	r.source(q, &t)
	for _, a := range addrs[1:] {
		// A source address binds the choice to its family.
		if !t.Source.IsValid() || t.Source.Is4() == a.Is4() {
			t.Others = append(t.Others, netip.AddrPortFrom(a, port))
		}
	}
	return []Target{t}, nil
}

// local serves a user whose proxy_maybe answer points at this host. Dovecot would log in to its own
// store, without host, port and destuser; dproxy keeps no mail.
func (r *Router) local(q *Query) ([]Target, error) {
	if !q.Local.IsValid() {
		return nil, &Error{Local, "proxy_maybe: the destination is this host, and dproxy keeps no mail itself; set login_proxy_local, or give the user another host"}
	}
	t, err := r.fields(q)
	if err != nil {
		return nil, err
	}
	if q.Local == q.Peer.Local || q.Local == q.Peer.RealLocal {
		return nil, &Error{Internal, loops}
	}
	t.Host, t.Addr, t.User, t.TLS = q.Local.Addr().String(), q.Local, q.User, Plain
	if err := r.check(q, &t); err != nil {
		return nil, err
	}
	return []Target{t}, nil
}

// addresses are the IPs of the host field: itself, hostip, or what the resolver says.
func (r *Router) addresses(ctx context.Context, q *Query, host string) ([]netip.Addr, error) {
	if host == "" {
		return nil, nil
	}
	if ip, ok := parseIP(host); ok {
		return []netip.Addr{ip}, nil
	}
	if v := q.get("hostip"); v != "" {
		ip, err := netip.ParseAddr(v)
		if err != nil {
			r.authLine(q, event.Error, "Invalid hostip in passdb: "+event.Clean(v, 80))
			return nil, &Error{AuthFailed, "Invalid hostip in passdb"}
		}
		return []netip.Addr{ip.Unmap()}, nil
	}
	return r.resolve(ctx, q, host)
}

// parseIP reads an address; brackets around it are allowed, as in Dovecot.
func parseIP(s string) (netip.Addr, bool) {
	if inner, ok := strings.CutPrefix(s, "["); ok {
		if s, ok = strings.CutSuffix(inner, "]"); !ok {
			return netip.Addr{}, false
		}
	}
	ip, err := netip.ParseAddr(s)
	return ip.Unmap(), err == nil
}

// self tells whether a proxy_maybe answer means this host: its address is the connection's local
// one or one of auth_proxy_self, and the port is not given or the one the client connected to.
func (r *Router) self(q *Query, addrs []netip.Addr) bool {
	if v := q.get("port"); v != "" && v != strconv.Itoa(int(q.Peer.Local.Port())) {
		return false
	}
	if ip, err := netip.ParseAddr(q.get("hostip")); err == nil {
		addrs = append(addrs[:len(addrs):len(addrs)], ip.Unmap())
	}
	for _, a := range addrs {
		if a == q.Peer.RealLocal.Addr().Unmap() {
			return true
		}
		for s := range strings.FieldsSeq(q.Settings.AuthProxySelf) {
			if ip, ok := parseIP(s); ok && ip == a {
				return true
			}
		}
	}
	return false
}

// source chooses the local address to connect from. A source_ip field, even an unusable one, switches
// login_source_ips off, and one of another family than the destination is not used (Dovecot 2.3).
func (r *Router) source(q *Query, t *Target) {
	v := q.get("source_ip")
	if v == "" {
		if t.Source = q.Sources.Next(t.Addr.Addr()); t.Source.IsValid() {
			t.Sources = q.Sources
		}
		return
	}
	ip, ok := parseIP(v)
	if !ok {
		return
	}
	if ip.Is4() != t.Addr.Addr().Is4() {
		r.events.Emit(event.Notice{
			Level: event.Warning, Source: event.LoginSource(q.Peer.Service),
			Text: "net_connect_ip(): ip->family != my_ip->family (source_ip " + ip.String() + ", destination " + t.Addr.Addr().String() + ")",
		})
		return
	}
	t.Source = ip
}

func (r *Router) authLine(q *Query, level event.Level, text string) {
	r.events.Emit(event.AuthLine{Session: q.Peer.Session, DB: "auth", User: q.User, Remote: q.Peer.Remote.Addr(), Level: level, Text: text})
}
