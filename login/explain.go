package login

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"dproxy/auth"
	"dproxy/backend"
	"dproxy/event"
	"dproxy/listen"
	"dproxy/passdb"
)

// Depth is how far an explained login goes.
type Depth int

// The depths.
const (
	ToRoute   Depth = iota // no connection to a backend
	ToConnect              // connect, with implicit TLS
	ToLogin                // log in, and leave
)

// Explanation asks what would become of a login.
type Explanation struct {
	Peer   passdb.Peer // Service, addresses, LocalName; its Session tells the events apart
	Secure bool        // as if over TLS
	User   string
	Master string // authenticates for User
	// Password is the user's, or the master's. Without one the passdbs are only looked at, and nothing logs in.
	Password    passdb.Secret
	HasPassword bool
	Depth       Depth
	// Say is told of the steps that make no event.
	Say func(stage, text string)
}

// ErrRefused is the end of an explained login that would be refused.
var ErrRefused = errors.New("the login would be refused")

// Explain takes a login through the code that real ones take, without a client, and without a session at its end. Failure
// delays and penalties apply as to a real one. The error is ErrRefused when the login would not succeed.
func (s *Server) Explain(ctx context.Context, x Explanation) error {
	p, ok := s.Protocols[x.Peer.Service]
	if x.Depth == ToLogin && !x.HasPassword {
		return errors.New("a login at the backend needs a password")
	}
	if !ok || p.Handshake == nil && x.Depth == ToLogin {
		return fmt.Errorf("no login can be explained for protocol %q", x.Peer.Service)
	}
	snap := s.current()
	if snap == nil {
		return errors.New("the server has no configuration")
	}
	defer snap.release()
	if snap.authErr != nil {
		return snap.authErr
	}
	c := &Client{server: s, snap: snap, spec: listen.Spec{Protocol: x.Peer.Service}, peer: x.Peer, began: time.Now(), loginBegan: time.Now(), ttl: firstTTL}
	c.proxiedSSL, c.proxied = x.Secure, true // what came before a login is what a balancer would have told
	c.peer.Trace = func(text string) { x.Say("passdb", text) }
	c.configure()
	c.judge()
	set := c.profile.Settings
	x.Say("settings", fmt.Sprintf("ssl=%s disable_plaintext_auth=%v; the client is %s", set.SSL, set.DisablePlaintextAuth, orElse(c.securedText(), "not secured")+map[bool]string{true: ", in login_trusted_networks"}[c.trusted]))
	c.user = x.User
	reply, refusal := c.explainAuth(ctx, x)
	if refusal == nil {
		refusal = c.elsewhere(reply)
	}
	if refusal != nil {
		return c.refused(x, refusal)
	}
	return s.explainRoute(ctx, c, reply, x)
}

// refused tells what the client would hear.
func (c *Client) refused(x Explanation, r *Refusal) error {
	text := r.Text
	if r.Reply != "" {
		text = r.Reply
	}
	if r.Referral != nil {
		text += " (referral to " + r.Referral.Host + ")"
	}
	x.Say("refused", "the client hears: "+event.Clean(text, 512))
	return ErrRefused
}

// explainAuth asks the passdbs.
func (c *Client) explainAuth(ctx context.Context, x Explanation) (*auth.Reply, *Refusal) {
	cred := Credentials{Mech: "PLAIN", HasInitial: true, Initial: []byte("\x00" + x.User + "\x00" + string(x.Password)), User: x.User}
	if x.Master != "" {
		cred.Initial = []byte(x.User + "\x00" + x.Master + "\x00" + string(x.Password))
	}
	c.attempt(cred)
	if r := c.forbidden(cred); r != nil {
		return nil, r
	}
	var reply *auth.Reply
	if !x.HasPassword {
		r := c.Lookup(ctx, c.peerNow(), x.User)
		reply = &r
	} else if _, _, reply = c.snap.auth.Start(ctx, auth.Request{Peer: c.peerNow(), Mech: cred.Mech, Initial: cred.Initial, HasInitial: true}); reply == nil {
		return nil, &Refusal{Text: "the mechanism asks for more"}
	}
	c.reply, c.elementsOK = reply, false
	if reply.User != "" {
		c.user = reply.User
	}
	if !reply.OK {
		return nil, c.failed(reply)
	}
	var names []string
	for _, f := range reply.Fields.All() {
		switch {
		case f.Secret() || x.Password != "" && strings.Contains(f.Value, string(x.Password)):
			f.Value = "<hidden>"
		case f.Value == "":
			names = append(names, f.Name)
			continue
		}
		names = append(names, event.Clean(f.Name+"="+f.Value, 256))
	}
	if !x.HasPassword {
		reply.HasPassword = true // the client's; it is not sent, as nothing logs in
	}
	x.Say("user", fmt.Sprintf("%s, fields: %s", Shown(c.user), strings.Join(names, " ")))
	return reply, nil
}

// explainRoute goes as far towards the backend as is asked for.
func (s *Server) explainRoute(ctx context.Context, c *Client, reply *auth.Reply, x Explanation) error {
	if x.Depth == ToLogin {
		up, err := s.reach(ctx, c, reply)
		if err != nil {
			return c.refused(x, c.unreached(err))
		}
		x.Say("backend", fmt.Sprintf("logged in at %s as %s: %s", up.Target.Addr, Shown(up.Target.User), event.Clean(up.Welcome.Line, 512)))
		return up.Conn.Close()
	}
	targets, err := s.targets(ctx, c, reply)
	if err != nil {
		return c.refused(x, c.unreached(err))
	}
	for _, t := range targets {
		// The words that follow are not the event's: what a backend is asked for beside its address.
		how := []string{"timeout " + t.Timeout.String()}
		if t.AnyCert {
			how = append(how, "any certificate is accepted")
		}
		if t.Mech != "" {
			how = append(how, "mechanism "+t.Mech)
		}
		for _, a := range t.Others {
			how = append(how, "else "+a.String())
		}
		if t.ProxyHeader > 0 {
			how = append(how, fmt.Sprintf("PROXY header v%d", t.ProxyHeader))
		}
		x.Say("target", strings.Join(how, ", "))
		if x.Depth != ToConnect {
			continue
		}
		conn, err := c.profile.dialer.Open(ctx, c.loginAt(t), c.event())
		if err != nil {
			var be *backend.Error
			if errors.As(err, &be) {
				x.Say("backend", event.Clean(be.LogText(), 512))
			}
			return c.refused(x, c.unreached(err))
		}
		_ = conn.Close()
	}
	return nil
}
