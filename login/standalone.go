package login

import (
	"context"
	"strings"
	"time"

	"dproxy/auth"
	"dproxy/backend"
	"dproxy/conf"
	"dproxy/event"
	"dproxy/passdb"
	"dproxy/route"
	"dproxy/wire"
)

// Standalone is a Front of a protocol that has no login and no hand-over (LMTP): it serves its
// connection to the end itself. Its Credentials, Continue, Refuse and Welcome are not called, there is no
// bound on the connection's whole input and time, and its lines do not have login_log_format.
type Standalone interface {
	// Serve talks to the client until the connection ends, after Greet. Errors are those of Credentials.
	Serve() error
	// Ended is the line about the connection's end.
	Ended(*End) string
}

// standalone tells whether the connection's front is one.
func (c *Client) standalone() bool {
	_, ok := c.front.(Standalone)
	return ok
}

// loginEnd is when the time ends that a connection may take before it is handed over. A front that stands
// alone hands nothing over and sets its limits itself.
func (c *Client) loginEnd() time.Time {
	if c.standalone() {
		return time.Now().Add(24 * time.Hour)
	}
	return c.began.Add(c.server.times.login)
}

// Idle gives reading and writing a time limit from now on.
func (c *Client) Idle(d time.Duration) error { return c.limit(time.Now().Add(d)) }

// Work runs what may take its time while the client is not read. Its context ends after d, when the
// client leaves, or when the connection is to end; the error says so.
func (c *Client) Work(d time.Duration, run func(context.Context)) error {
	return c.blocking(time.Now().Add(d), run)
}

// Finish runs what has to come to its end whatever becomes of the client, as the delivery of a message
// does. Answers can be sent meanwhile, for d, even if the connection is told to end.
func (c *Client) Finish(d time.Duration, run func(context.Context)) {
	c.mu.Lock()
	c.busy = true
	_ = c.tcp.SetDeadline(time.Now().Add(d))
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(c.snap.ctx, d)
	run(ctx)
	cancel()
	c.mu.Lock()
	c.busy = false
	_ = c.tcp.SetDeadline(time.Now().Add(c.server.times.bye))
	c.mu.Unlock()
}

// Established takes the connection out of those that make room for new ones when there are too many.
func (c *Client) Established() { c.server.Registry.LoggedIn(c.entry, c) }

// Go runs what may outlast the connection for a moment, such as a goodbye to a backend. The server waits for
// it when it stops, and a fault in it ends the connection.
func (c *Client) Go(run func()) {
	c.server.clients.Go(func() {
		defer func() {
			if fault := recover(); fault != nil {
				c.server.recovered(nil, c.tcp, c.spec)
			}
		}()
		run()
	})
}

// Peer is the connection as passdbs see it.
func (c *Client) Peer() passdb.Peer { return c.peerNow() }

// Context lasts at least as long as the connection.
func (c *Client) Context() context.Context { return c.snap.ctx }

// Event is the connection as reports show it, without login_log_format.
func (c *Client) Event() event.Client { return c.quietEvent() }

// Report logs a line without login_log_format.
func (c *Client) Report(level event.Level, text string) {
	c.server.Events.Emit(event.ClientLine{Client: c.quietEvent(), Level: level, Text: text})
}

// Security describes the connection's TLS as in "TLSv1.3 with cipher NAME (256/256 bits)"; "" without.
func (c *Client) Security() string { return c.tlsText() }

// Dialer connects to backends under the connection's settings.
func (c *Client) Dialer() *backend.Dialer { return c.profile.dialer }

// looker is an authenticator that answers about users without their passwords.
type looker interface {
	Lookup(context.Context, passdb.Peer, string) auth.Reply
}

// Lookup asks the passdbs about a user without a password.
func (c *Client) Lookup(ctx context.Context, p passdb.Peer, user string) auth.Reply {
	l, ok := c.snap.auth.(looker)
	if !ok {
		return auth.Reply{Code: auth.CodeTempFail}
	}
	return l.Lookup(ctx, p, user)
}

// Targets asks the router where a user's passdb answer leads. The errors are *route.Error.
func (c *Client) Targets(ctx context.Context, q route.Query) ([]route.Target, error) {
	q.Settings, q.Client, q.Local = c.profile.Settings, c.quietEvent(), c.profile.local
	return c.server.router.Targets(ctx, q)
}

// Settings are those of the connection.
func (c *Client) Settings() *conf.Settings { return c.profile.Settings }

// ForwardedFields reads a list of forward_ fields as Dovecot writes it: tab-escaped NAME=VALUE, separated
// by tabs. What could not be handed on as it is is dropped.
func (c *Client) ForwardedFields(list string) []passdb.Field {
	keep := c.peer.Forward
	c.peer.Forward = nil
	for item := range strings.SplitSeq(list, "\t") {
		name, value, _ := strings.Cut(item, "=")
		c.ForwardField(wire.TabUnescape(name), wire.TabUnescape(value))
	}
	out := c.peer.Forward
	c.peer.Forward = keep
	return out
}
