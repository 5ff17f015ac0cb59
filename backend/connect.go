package backend

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"dproxy/conf"
	"dproxy/event"
	"dproxy/fiber"
	"dproxy/route"
	"dproxy/wire"
)

// Dialer connects to backends under one set of settings.
type Dialer struct {
	shared *Shared
	// Loops makes the connections of logins that run on an event loop; it may be nil.
	Loops Connector

	settings *conf.Settings
	events   event.Sink
	pause    time.Duration // between attempts

	mu    sync.Mutex
	bases map[bool]*tls.Config // by whether certificates are verified
}

// Connector connects, until a time, on the event loop that ctx runs on; ok is false when it runs on none. With an error
// local is the address that the connect had, or invalid.
type Connector interface {
	Dial(ctx context.Context, until time.Time, source netip.Addr, to netip.AddrPort) (nc net.Conn, local netip.AddrPort, ok bool, err error)
}

// NewDialer returns a Dialer for s. Without shared it has one of its own.
func NewDialer(s *conf.Settings, events event.Sink, shared *Shared) *Dialer {
	if shared == nil {
		shared = NewShared()
	}
	return &Dialer{shared: shared, settings: s, events: events, pause: retryDelay, bases: map[bool]*tls.Config{}}
}

// Session is a logged-in connection.
type Session struct {
	Conn       *Conn
	Welcome    Welcome
	Target     route.Target
	Reconnects int
}

const (
	retryDelay = time.Second
	// retryFloor is the time that must be left for another attempt to make sense (Dovecot 2.3).
	retryFloor = 1100 * time.Millisecond
	maxTTL     = 1 // a hop count at or below it is not sent on
)

// Connect logs in at the target, with login_proxy_max_reconnects further attempts for failures
// that may pass. Each attempt has the target's timeout for connect, TLS and login together. A failure
// has been logged when Connect returns it, and is an *Error.
func (d *Dialer) Connect(ctx context.Context, hs Handshake, l *Login, client event.Client) (*Session, error) {
	r := newRun(ctx, d, l, client)
	for ; ; r.reconnects++ {
		c, w, err := r.attempt(hs)
		if err == nil {
			return &Session{Conn: c, Welcome: w, Target: r.target, Reconnects: r.reconnects}, nil
		}
		err.Target = r.target
		if err = r.follow(err); err == nil {
			r.reconnects--
			continue
		}
		again := r.again(err)
		r.report(err, again)
		if !again {
			return nil, err
		}
		fiber.Blocking(ctx)
		pause := time.NewTimer(d.pause)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			gone := canceled()
			gone.Target = r.target
			return nil, gone
		}
	}
}

// run is one login with all its attempts.
type run struct {
	dialer     *Dialer
	login      *Login
	target     route.Target // the login's, with the address and the source in use
	client     event.Client
	ctx        context.Context
	began      time.Time
	reconnects int
	visited    Visited // once a backend has referred the user to another
}

func newRun(ctx context.Context, d *Dialer, l *Login, client event.Client) *run {
	return &run{dialer: d, login: l, target: l.Target, client: client, ctx: ctx, began: time.Now()}
}

// again tells whether another attempt follows a failure. A backend that others have found to refuse
// connections is tried only once.
func (r *run) again(err *Error) bool {
	again := err.Kind.retried() && !err.final && r.reconnects < int(r.dialer.settings.LoginProxyMaxReconnects) &&
		r.login.Target.Timeout-time.Since(r.began) > retryFloor && r.ctx.Err() == nil
	if !err.dial || err.ours || err.canceled {
		return again
	}
	if again = again && !r.dialer.shared.Hosts.refusing(r.target.Addr); !again {
		r.dialer.shared.Hosts.giveUp(r.target.Addr)
	}
	return again
}

// after is "after N secs[, N reconnects][, local=A]", the tail of Dovecot's failure lines.
func (r *run) after(local string) string {
	text := fmt.Sprintf("after %d secs", int(time.Since(r.began)/time.Second))
	if r.reconnects > 0 {
		text += fmt.Sprintf(", %d reconnects", r.reconnects)
	}
	if local != "" {
		text += ", local=" + local
	}
	return text
}

// report tells of a failure: the last one at its level, earlier ones at debug.
func (r *run) report(err *Error, again bool) {
	e := event.BackendFailed{Client: r.client, Target: r.target.Event(), Kind: err.label(), Level: event.Error, Final: !again, Attempt: r.reconnects}
	set := r.dialer.settings
	switch {
	case err.canceled:
	case again:
		if set.AuthDebug {
			e.Level = event.Debug
			e.Text = fmt.Sprintf("%s - reconnecting (attempt #%d)", event.Clean(err.LogText(), 1024), r.reconnects+1)
		}
	case err.Kind == Auth || err.Kind == AuthTempFail:
		// Dovecot logs refused logins under auth_verbose only.
		if set.AuthVerbose {
			e.Level = event.Info
			e.Text = "Login failed" + event.AccountText(r.client.User, e.Target) + ": " + event.Clean(err.Text, 512)
		}
	default:
		e.Text = event.Clean(err.LogText(), 1024)
	}
	r.dialer.events.Emit(e)
}

// attempt makes one connection and runs the handshake on it.
func (r *run) attempt(hs Handshake) (*Conn, Welcome, *Error) {
	if r.login.Identity.TTL <= maxTTL {
		return nil, Welcome{}, &Error{Kind: RemoteConfig, Text: "TTL reached zero - proxies appear to be looping?"}
	}
	c, failure := r.open(time.Now().Add(r.login.Target.Timeout))
	if failure != nil {
		return nil, Welcome{}, failure
	}
	c.raw = r.rawlog()
	w, err := hs.Login(c, r.login)
	c.raw.close()
	c.raw = nil
	if err == nil && c.stop() {
		// Nobody watches over the connection any more: it belongs to the caller.
		if err = c.tcp.SetDeadline(time.Time{}); err == nil {
			return c, w, nil
		}
	}
	if failure = canceled(); err != nil {
		failure = c.Failure(err)
	}
	_ = c.Close()
	return nil, w, failure
}

// open makes a connection as far as the protocol's first line: PROXY header and implicit TLS included.
func (r *run) open(deadline time.Time) (*Conn, *Error) {
	if err := r.login.check(); err != nil {
		return nil, err
	}
	header, err := r.header()
	if err != nil {
		return nil, &Error{Kind: Internal, Text: err.Error()}
	}
	tcp, failure := r.dial(deadline)
	if failure != nil {
		return nil, failure
	}
	c := &Conn{Conn: tcp, R: wire.NewReader(tcp), tcp: tcp, run: r, ctx: r.ctx}
	c.State = func() string { return "/none" }
	err = tcp.SetDeadline(deadline)
	c.stop = context.AfterFunc(r.ctx, func() { _ = tcp.SetDeadline(time.Unix(1, 0)) })
	if err == nil && len(header) > 0 {
		err = c.Send(string(header))
	}
	if err == nil && r.target.TLS == route.Implicit {
		err = c.startTLS()
	}
	if err != nil {
		failure := c.Failure(err)
		_ = c.Close()
		return nil, failure
	}
	return c, nil
}

// Open makes one connection without a login, for a protocol that has none (LMTP). The target's timeout
// has been set as the connection's deadline; Limit sets others. A canceled ctx ends what is read and
// written. The error is an *Error and has not been logged.
func (d *Dialer) Open(ctx context.Context, l *Login, client event.Client) (*Conn, error) {
	r := newRun(ctx, d, l, client)
	c, err := r.open(time.Now().Add(l.Target.Timeout))
	if err == nil {
		return c, nil
	}
	err.Target = r.target
	d.events.Emit(event.BackendFailed{Client: client, Target: r.target.Event(), Kind: err.label(), Level: event.Error, Final: true})
	return nil, err
}
