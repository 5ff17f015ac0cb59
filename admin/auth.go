package admin

import (
	"context"
	"net/netip"
	"strconv"
	"strings"

	"dproxy/auth"
	"dproxy/event"
	"dproxy/passdb"
)

// service is the %{service} of lookups by an administrator, unless they say otherwise.
const service = "doveadm"

// withAuth lends the authenticator to a command.
func (s *Server) withAuth(run func(*auth.Authenticator) error) error {
	a, release := s.Auth()
	if a == nil {
		return &fault{Temporary, "authentication is broken; the log says why"}
	}
	defer release()
	return run(a)
}

// ParsePeer reads a connection's description: key=value as in doveadm's -x. Keys that are not known are ignored, as there.
func ParsePeer(info []string) (passdb.Peer, error) {
	p := passdb.Peer{Service: service}
	ips := map[string]*netip.AddrPort{"lip": &p.Local, "rip": &p.Remote, "real_lip": &p.RealLocal, "real_rip": &p.RealRemote}
	ports := map[string]*netip.AddrPort{"lport": &p.Local, "rport": &p.Remote, "real_lport": &p.RealLocal, "real_rport": &p.RealRemote}
	for _, x := range info {
		key, value, _ := strings.Cut(x, "=")
		if at := ips[key]; at != nil {
			a, err := netip.ParseAddr(value)
			if err != nil {
				return p, &fault{Temporary, key + ": Invalid ip"}
			}
			*at = netip.AddrPortFrom(a.Unmap(), at.Port())
			continue
		}
		if at := ports[key]; at != nil {
			n, err := strconv.ParseUint(value, 10, 16)
			if err != nil {
				return p, &fault{Temporary, key + ": Invalid port number"}
			}
			*at = netip.AddrPortFrom(at.Addr(), uint16(n))
			continue
		}
		switch key {
		case "service", "protocol":
			p.Service = value
		case "session":
			p.Session = value
		case "local_name":
			p.LocalName = value
		case "client_id":
			p.ClientID = value
		case "secured":
			if p.Secured = value; value == "" {
				p.Secured = "secured"
			}
		}
		if name, ok := strings.CutPrefix(key, "forward_"); ok {
			p.Forward = append(p.Forward, passdb.Field{Name: name, Value: value})
		}
	}
	if !p.RealRemote.IsValid() {
		p.RealRemote = p.Remote
	}
	if !p.RealLocal.IsValid() {
		p.RealLocal = p.Local
	}
	return p, nil
}

// authTest authenticates a user. The rows are the reply's fields, user first; the last of login's is the password.
func (s *Server) authTest(ctx context.Context, q *Request, a *answer) error {
	if len(q.Users) != 1 {
		return &fault{Usage, "one user must be given"}
	}
	peer, err := ParsePeer(q.Info)
	if err != nil {
		return err
	}
	user, authzid := q.Users[0], ""
	if q.Master != "" {
		user, authzid = q.Master, user
	}
	return s.withAuth(func(au *auth.Authenticator) error {
		_, _, reply := au.Start(ctx, auth.Request{
			Peer: peer, Mech: "PLAIN", HasInitial: true, Initial: []byte(authzid + "\x00" + user + "\x00" + q.Password),
		})
		if reply == nil {
			return &fault{Temporary, "the PLAIN mechanism asks for more"}
		}
		if reply.Code == auth.CodeMechInvalid {
			return &fault{Temporary, "auth_mechanisms has no PLAIN, which this test needs"}
		}
		s.replyRows(a, q, reply)
		if !reply.OK {
			return &fault{Denied, ""}
		}
		return nil
	})
}

func (s *Server) replyRows(a *answer, q *Request, r *auth.Reply) {
	a.row("user", r.User)
	fields := r.Fields.Clone()
	for _, f := range shownFields(&fields) {
		if f.Name == "proxy" || f.Value == "" {
			a.row(f.Name)
		} else {
			a.row(f.Name, f.Value)
		}
	}
	if r.OK && r.MasterUser != "" {
		for _, f := range []passdb.Field{{Name: "original_user", Value: r.OrigUser}, {Name: "auth_user", Value: r.AuthUser}} {
			if !fields.Has(f.Name) {
				a.row(f.Name, f.Value)
			}
		}
	}
	if !r.OK && r.Code != auth.CodeNone {
		a.row("code", r.Code.String())
	}
	if r.OK && r.HasPassword && q.Command == "auth login" && fields.Has("proxy") && !fields.Has("pass") {
		a.row("pass", string(r.Password))
	}
}

// shownFields are an answer's fields as Dovecot's auth process shows them: proxy_maybe has been decided on.
func shownFields(f *passdb.Fields) []passdb.Field {
	if f.Has("proxy_maybe") {
		f.Remove("proxy_maybe")
		f.Set("proxy", "")
	}
	return f.All()
}

// authLookup asks for users without their passwords. For each a row says what became of it ("user", name, verdict, text),
// followed by its fields.
func (s *Server) authLookup(ctx context.Context, q *Request, a *answer) error {
	if len(q.Users) == 0 {
		return &fault{Usage, "a user must be given"}
	}
	peer, err := ParsePeer(q.Info)
	if err != nil {
		return err
	}
	return s.withAuth(func(au *auth.Authenticator) error {
		for _, user := range q.Users {
			r := au.Lookup(ctx, peer, user)
			switch {
			case r.OK:
				a.row("user", user, "ok", "")
				a.row("user", r.User)
				for _, f := range shownFields(&r.Fields) {
					a.row(f.Name, f.Value)
				}
			case r.Code == auth.CodeTempFail:
				a.row("user", user, "failed", event.Clean(r.Reason, 512))
			default:
				a.row("user", user, "unknown", "")
			}
		}
		return nil
	})
}

func (s *Server) authCacheFlush(_ context.Context, q *Request, a *answer) error {
	return s.withAuth(func(au *auth.Authenticator) error {
		a.row(strconv.Itoa(au.FlushCache(q.Users...)))
		return nil
	})
}

// penalty lists the addresses that are slowed down.
func (s *Server) penalty(_ context.Context, q *Request, a *answer) error {
	f, err := newFilter(q)
	if err != nil {
		return err
	}
	return s.withAuth(func(au *auth.Authenticator) error {
		for _, p := range au.Penalties() {
			if !f.net.IsValid() || f.net.Overlaps(p.Net) {
				a.row(p.Net.Addr().String(), strconv.Itoa(p.Value), p.Raised.Format("2006-01-02 15:04:05"), p.Updated.Format("15:04:05"))
			}
		}
		return nil
	})
}
