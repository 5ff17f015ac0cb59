package main

import (
	"net"
	"slices"

	"dproxy/auth/socket"
	"dproxy/conf"
	"dproxy/event"
	"dproxy/listen"
	"dproxy/login"
)

// authService is the service whose sockets answer mail servers.
const authService = "auth"

// specs lists the sockets that a configuration asks for. Those of service auth that Dovecot's own processes use among
// themselves are not opened.
func (a *app) specs(c *conf.Config) ([]listen.Spec, error) {
	specs, err := listen.Specs(c, func(protocol string) bool { _, ok := a.protocols[protocol]; return ok })
	if err != nil {
		return nil, err
	}
	more, err := listen.AuthSpecs(c, func(path string) bool { return socket.KindOf(path) != socket.None })
	if err != nil {
		return nil, err
	}
	return append(specs, more...), nil
}

// clientLimit is how many connections service auth may have, 0 for the default.
func clientLimit(c *conf.Config) int {
	services := c.Services()
	if i := slices.IndexFunc(services, func(s conf.Service) bool { return s.Name == authService }); i >= 0 {
		return int(services[i].ClientLimit)
	}
	return 0
}

func newMailers(logins *login.Server, events event.Sink) *socket.Server {
	return socket.New(socket.Options{Events: events, Borrow: func() (socket.Authenticator, func()) {
		if a, release := logins.Authenticator(); a != nil {
			return a, release
		}
		return nil, nil
	}})
}

// connected serves an accepted connection.
func (a *app) connected(nc net.Conn, spec listen.Spec) {
	if spec.Protocol != authService {
		a.server.Serve(nc.(listen.Conn), spec)
		return
	}
	from := socket.Source{Kind: socket.Client}
	if u := spec.Unix; u != nil {
		from = socket.Source{Kind: socket.KindOf(u.Path), Restricted: u.Mode&0o666 == 0o666, Owner: u.UID}
	}
	a.mailers.Serve(nc, from)
}
