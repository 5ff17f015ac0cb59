package login

import (
	"context"
	"crypto/tls"
	"errors"
	"strings"
	"time"

	"dproxy/auth"
	"dproxy/backend"
	"dproxy/event"
	"dproxy/passdb"
	"dproxy/route"
)

// connect logs in to the user's backend. Exactly one of session, refusal and err is set.
func (s *Server) connect(c *Client, reply *auth.Reply) (*backend.Session, *Refusal, error) {
	if r := c.elsewhere(reply); r != nil {
		c.successes++
		return nil, r, nil
	}
	if r := c.claim(); r != nil {
		c.successes++
		return nil, r, nil
	}
	c.phase, c.loginBegan = finishing, time.Now()
	var up *backend.Session
	var failure error
	err := c.blocking(c.loginEnd(), func(ctx context.Context) { up, failure = s.reach(ctx, c, reply) })
	c.up = up
	if err != nil {
		return nil, nil, err
	}
	if failure != nil {
		c.server.release(c.claimed)
		c.claimed = nil
		c.phase = talking
		c.setAbout(nil)
		return nil, c.unreached(failure), nil
	}
	c.successes++
	return up, nil, nil
}

// targets asks the router.
func (s *Server) targets(ctx context.Context, c *Client, reply *auth.Reply) ([]route.Target, error) {
	return s.router.Targets(ctx, route.Query{
		Peer: c.peer, User: reply.User, MasterUser: reply.MasterUser, Password: reply.Password, HasPassword: reply.HasPassword,
		Fields: &reply.Fields, Settings: c.profile.Settings, Sources: c.profile.sources, Ports: s.Protocols[c.spec.Protocol].Ports, Client: c.event(),
		Local: c.profile.local,
	})
}

// loginAt is what a backend is told.
func (c *Client) loginAt(t route.Target) *backend.Login {
	l := &backend.Login{Target: t, Identity: backend.Identity{
		Session: c.Session(), Local: c.peer.Local, Remote: c.peer.Remote, TTL: c.ttl, ClientID: c.peer.ClientID, Secured: c.secured,
		Hostname: c.profile.Hostname,
	}}
	if conn, ok := c.nc.(*tls.Conn); ok { // for a PROXY header to the backend
		state := conn.ConnectionState()
		l.Identity.TLSVersion = strings.Replace(tls.VersionName(state.Version), "TLS ", "TLSv", 1)
		l.Identity.TLSCipher, l.Identity.ServerName = tls.CipherSuiteName(state.CipherSuite), state.ServerName
	}
	if f, ok := c.front.(Preparer); ok {
		f.Prepare(l)
	}
	return l
}

// reach asks the router and tries its targets in order.
func (s *Server) reach(ctx context.Context, c *Client, reply *auth.Reply) (*backend.Session, error) {
	targets, err := s.targets(ctx, c, reply)
	if err != nil {
		return nil, err
	}
	client := c.event()
	for _, t := range targets {
		about := describe(&client, t.Event())
		about.Names, about.Began = userNames(&reply.Fields), c.loginBegan
		c.setAbout(&about)
		var up *backend.Session
		if up, err = c.profile.dialer.Connect(ctx, s.Protocols[c.spec.Protocol].Handshake, c.loginAt(t), client); err == nil {
			return up, nil
		}
		var e *backend.Error
		if !errors.As(err, &e) || e.Kind != backend.Connect || ctx.Err() != nil {
			break
		}
	}
	return nil, err
}

// elsewhere answers for users who are not proxied (Dovecot 2.3's order: proxy wins over host, host
// over nologin).
func (c *Client) elsewhere(r *auth.Reply) *Refusal {
	f := &r.Fields
	if f.Has("proxy") || f.Has("proxy_maybe") {
		return nil
	}
	reason := plain(r.Reason)
	if v, ok := f.Get("reason"); ok {
		reason = plain(v)
	}
	host, _ := f.Get("host")
	switch nologin := f.Has("nologin"); {
	case nologin && host != "":
		user, _ := f.Get("destuser")
		port, _ := f.Get("port")
		return &Refusal{Cause: Referred, Text: orElse(reason, textElsewhere), Referral: &Referral{
			User: plain(orElse(user, r.User)), Mech: c.mech, Host: plain(host), Port: plain(port),
		}}
	case nologin:
		return &Refusal{Cause: LoginDisabled, Text: orElse(reason, textLoginDisabled)}
	}
	// Dovecot would log the user in to its own store.
	c.Log(event.Error, "proxy("+Shown(c.user)+"): the passdb answered without proxy, and dproxy keeps no mail itself; add proxy and host to its answer")
	return &Refusal{Cause: Unavailable, Text: textUnavailable}
}

// unreached makes the refusal of a login that did not get through.
func (c *Client) unreached(err error) *Refusal {
	var re *route.Error
	if errors.As(err, &re) {
		switch re.Kind {
		case route.TempFail:
			c.lastFail = auth.CodeTempFail
			return c.tempFail("")
		case route.AuthFailed:
			return &Refusal{Cause: AuthFailed, Text: textAuthFailed}
		}
		c.successes++
		c.server.Events.Emit(event.BackendFailed{Client: c.event(), Kind: backend.Internal.String(), Text: re.Text, Level: event.Error, Final: true})
		return &Refusal{Cause: Unavailable, Text: textUnavailable}
	}
	c.successes++
	var be *backend.Error
	if !errors.As(err, &be) {
		return &Refusal{Cause: Unavailable, Text: textUnavailable}
	}
	switch be.Kind {
	case backend.InternalConfig, backend.RemoteConfig:
		return &Refusal{Cause: Misconfigured, Text: textUnavailable}
	case backend.Auth, backend.AuthTempFail:
		c.atBackend = true
		switch {
		case be.Reply != "":
			return &Refusal{Cause: BackendRefused, Text: textAuthFailed, Reply: be.Reply}
		case be.Kind == backend.Auth:
			return &Refusal{Cause: BackendFailed, Text: textAuthFailed}
		}
	}
	return &Refusal{Cause: Unavailable, Text: textUnavailable}
}

// peerNow is the connection as passdbs see it.
func (c *Client) peerNow() passdb.Peer {
	p := c.peer
	p.Session = c.Session()
	p.Secured = ""
	switch {
	case c.tls == tlsOn || c.proxiedSSL:
		p.Secured = "TLS"
	case c.secured:
		p.Secured = "secured"
	}
	p.Attempt = int(c.attempts)
	if conn, ok := c.nc.(*tls.Conn); ok {
		state := conn.ConnectionState()
		if certs := c.profile.tls.Certificates; len(certs) == 1 {
			p.ServerCert = certs[0].Leaf // with several the library does not tell which one it has shown
		}
		p.TLS, p.CertAsked = &state, c.profile.Settings.SSLVerifyClientCert
	}
	return p
}
