package admin

import (
	"context"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"dproxy/session"
)

// proxyList gives the columns in its first row: a user_* field has one of its own.
func (s *Server) proxyList(_ context.Context, _ *Request, a *answer) error {
	var all []session.Info
	var names []string
	s.Registry.Each(func(i session.Info) bool {
		all = append(all, i)
		for _, n := range i.Names {
			if !slices.Contains(names, n.Field) {
				names = append(names, n.Field)
			}
		}
		return true
	})
	a.row(slices.Concat([]string{"username"}, names, []string{"service", "src-ip", "dest-ip", "dest-port"})...)
	cells := make([]string, 0, 5+len(names))
	for _, i := range all {
		cells = append(cells[:0], i.User)
		for _, n := range names {
			value, _ := i.As(n)
			cells = append(cells, value)
		}
		a.line(append(cells, i.Service, addrText(i.Remote), addrText(i.Backend), strconv.Itoa(int(i.Backend.Port()))))
	}
	return nil
}

func addrText(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.Addr().Unmap().String()
}

// proxyKick ends the sessions of users by their exact names, or those at backends. The row is their number.
func (s *Server) proxyKick(_ context.Context, q *Request, a *answer) error {
	if (len(q.Users) == 0) == (len(q.Hosts) == 0) {
		return &fault{Usage, "either users or hosts must be given"}
	}
	out := s.Registry.Kick(func(i *session.Info) bool {
		if len(q.Hosts) > 0 {
			return slices.Contains(q.Hosts, i.Host) || slices.Contains(q.Hosts, addrText(i.Backend))
		}
		name, ok := i.As(q.Field)
		return ok && slices.Contains(q.Users, name)
	})
	a.row(strconv.Itoa(len(out)))
	return nil
}

// filter is the user mask and the network of who and kick.
type filter struct {
	field, mask string
	net         netip.Prefix // invalid: any
}

func newFilter(q *Request) (f filter, err error) {
	f.field = q.Field
	switch len(q.Users) {
	case 0:
	case 1:
		f.mask = q.Users[0]
	default:
		return f, &fault{Usage, "Multiple username masks not supported"}
	}
	if q.Net != "" {
		if f.net, err = ParseNet(q.Net); err != nil {
			return f, err
		}
	}
	return f, nil
}

// ParseNet reads an address or a network.
func ParseNet(text string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p.Masked(), nil
	}
	if a, err := netip.ParseAddr(text); err == nil {
		a = a.Unmap().WithZone("")
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	return netip.Prefix{}, &fault{Usage, "Invalid netmask '" + text + "' given"}
}

func (f *filter) match(i *session.Info) bool {
	name, ok := i.As(f.field)
	return ok && (f.mask == "" || wildcard(f.mask, name)) && (!f.net.IsValid() || f.net.Contains(i.Remote.Addr().Unmap()))
}

// wildcard compares with a mask of * and ?.
func wildcard(mask, s string) bool {
	star, mark := -1, 0
	m, i := 0, 0
	for i < len(s) {
		switch {
		case m < len(mask) && mask[m] == '*':
			star, mark = m, i
			m++
		case m < len(mask) && (mask[m] == '?' || mask[m] == s[i]):
			m++
			i++
		case star >= 0:
			mark++
			m, i = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(mask[m:], "*") == ""
}

// who gives the sessions that match: username, service, pid, address; or with one row for a user's sessions of a service:
// username, their number, service, pids, addresses.
func (s *Server) who(_ context.Context, q *Request, a *answer) error {
	f, err := newFilter(q)
	if err != nil {
		return err
	}
	pid := strconv.Itoa(os.Getpid())
	type key struct{ user, service string }
	type group struct {
		key
		n   int
		ips []string
	}
	groups := map[key]*group{}
	var order []*group
	s.Registry.Each(func(i session.Info) bool {
		if !f.match(&i) {
			return true
		}
		name, _ := i.As(f.field)
		if q.Separate {
			a.row(name, i.Service, pid, addrText(i.Remote))
			return true
		}
		k := key{name, i.Service}
		g := groups[k]
		if g == nil {
			g = &group{key: k}
			groups[k] = g
			order = append(order, g)
		}
		g.n++
		if ip := addrText(i.Remote); !slices.Contains(g.ips, ip) {
			g.ips = append(g.ips, ip)
		}
		return true
	})
	for _, g := range order {
		a.row(g.user, strconv.Itoa(g.n), g.service, "("+pid+")", "("+strings.Join(g.ips, " ")+")")
	}
	return nil
}

// kick ends the sessions that match. Its rows are the users whose sessions they were.
func (s *Server) kick(_ context.Context, q *Request, a *answer) error {
	f, err := newFilter(q)
	if err != nil {
		return err
	}
	if f.mask == "" && !f.net.IsValid() {
		return &fault{Usage, "user and/or ip[/bits] must be specified."}
	}
	var users []string
	for _, i := range s.Registry.Kick(f.match) {
		if !slices.Contains(users, i.User) {
			users = append(users, i.User)
		}
	}
	if len(users) == 0 {
		return &fault{NotFound, "no users kicked"}
	}
	for _, u := range users {
		a.row(u)
	}
	return nil
}
