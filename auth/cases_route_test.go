package auth_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"

	"dproxy/auth"
	"dproxy/conf"
	"dproxy/event"
	"dproxy/route"
)

// routed are the cases whose recorded answer includes what the route room decides here. It is asked
// after the chain; the value is its kind of error for each step, where -1 is a target.
var routed = map[string][]route.Kind{
	"proxy-host-absent":            {route.Internal},
	"proxy-host-name-unresolvable": {route.TempFail, route.TempFail},
	"proxy-hostip-invalid":         {route.AuthFailed, route.AuthFailed},
	"proxy-maybe-self":             {route.Local, -1, -1},
	"proxy-maybe-self-list":        {route.Local},
	"proxy-maybe-real-lip":         {route.Internal, route.Local}, // first a loop, which Dovecot's login process notices
}

// noNames is a resolver that knows no name.
type noNames struct{}

func (noNames) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

// routeKind asks the route room about the answer to a step.
func routeKind(t *testing.T, c *conf.Config, a *auth.Authenticator, s step) route.Kind {
	t.Helper()
	p := peer("imap", s.Params)
	if !p.RealLocal.IsValid() {
		p.RealLocal = p.Local
	}
	var r auth.Reply
	if s.Kind == "doveadm" {
		r = a.Lookup(t.Context(), p, s.Argv[len(s.Argv)-1])
	} else {
		r = *converse(t, a, p, s)
	}
	if !r.OK {
		t.Fatalf("the chain refuses: %+v", r)
	}
	_, err := route.New(noNames{}, event.Discard{}).Targets(t.Context(), route.Query{
		Peer: p, User: r.User, Password: r.Password, HasPassword: r.HasPassword || s.Kind == "doveadm", Fields: &r.Fields,
		Settings: c.Settings(conf.Filter{Protocol: "imap"}), Ports: route.Ports{Plain: 143, TLS: 993},
	})
	var e *route.Error
	switch {
	case err == nil:
		return -1
	case !errors.As(err, &e):
		t.Fatal(err)
	}
	return e.Kind
}
