package backend

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"dproxy/conf"
	"dproxy/event"
	"dproxy/route"
	"dproxy/tlsconf"
	"dproxy/wire"
)

// Dialer connects to backends under one set of settings.
type Dialer struct {
	settings *conf.Settings
	events   event.Sink

	mu      sync.Mutex
	configs map[tlsKey]*tls.Config
}

type tlsKey struct {
	host   string
	verify bool
}

// maxTLSConfigs bounds the configurations kept for backend names, which come from a database.
const maxTLSConfigs = 4096

// NewDialer returns a Dialer for s.
func NewDialer(s *conf.Settings, events event.Sink) *Dialer {
	return &Dialer{settings: s, events: events, configs: map[tlsKey]*tls.Config{}}
}

// TLS returns the configuration for a target. The certificate must carry the host as the passdb wrote
// it; hostip never changes the name that is verified.
func (d *Dialer) TLS(t route.Target) (*tls.Config, error) {
	key := tlsKey{t.Host, !t.AnyCert}
	d.mu.Lock()
	defer d.mu.Unlock()
	if c := d.configs[key]; c != nil {
		return c, nil
	}
	c, err := tlsconf.Client(d.settings, key.verify)
	if err != nil {
		return nil, err
	}
	c.ServerName = t.Host
	if len(d.configs) >= maxTLSConfigs {
		clear(d.configs)
	}
	d.configs[key] = c
	return c, nil
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
// that may pass. Each attempt has the target's timeout for connect, TLS and login together.
func (d *Dialer) Connect(ctx context.Context, hs Handshake, l *Login, client event.Client) (*Session, error) {
	r := run{dialer: d, hs: hs, login: l, client: client, began: time.Now()}
	for ; ; r.reconnects++ {
		c, w, err := r.attempt(ctx)
		if err == nil {
			return &Session{Conn: c, Welcome: w, Target: l.Target, Reconnects: r.reconnects}, nil
		}
		err.Target = l.Target
		again := err.Kind.retried() && !err.final && r.reconnects < int(d.settings.LoginProxyMaxReconnects) &&
			l.Target.Timeout-time.Since(r.began) > retryFloor && ctx.Err() == nil
		r.report(err, !again)
		if !again {
			return nil, err
		}
		select {
		case <-time.After(retryDelay):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// run is one login with all its attempts.
type run struct {
	dialer     *Dialer
	hs         Handshake
	login      *Login
	client     event.Client
	began      time.Time
	reconnects int
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

// report tells of a failure: the last one at its level, earlier ones without a line.
func (r *run) report(err *Error, final bool) {
	e := event.BackendFailed{Client: r.client, Target: err.Target.Event(), Kind: err.Kind.String(), Level: event.Error, Final: final, Attempt: r.reconnects}
	switch {
	case !final:
	case err.Kind == Auth || err.Kind == AuthTempFail:
		// Dovecot logs refused logins under auth_verbose only.
		if r.dialer.settings.AuthVerbose {
			e.Level = event.Info
			e.Text = "Login failed" + event.AccountText(r.client.User, e.Target) + ": " + event.Clean(err.Text, 512)
		}
	default:
		e.Text = event.Clean(err.LogText(), 1024)
	}
	r.dialer.events.Emit(e)
}

// attempt makes one connection and runs the handshake on it.
func (r *run) attempt(ctx context.Context) (*Conn, Welcome, *Error) {
	d, l := r.dialer, r.login
	if l.Identity.TTL <= maxTTL {
		return nil, Welcome{}, &Error{Kind: RemoteConfig, Text: "TTL reached zero - proxies appear to be looping?"}
	}
	began := time.Now()
	deadline := began.Add(l.Target.Timeout)
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	tcp, err := d.dial(ctx, l.Target)
	e := event.Dialed{Client: r.client, Attempt: r.reconnects, Target: l.Target.Event(), Took: time.Since(began), Err: err}
	if err == nil {
		e.Local = tcp.LocalAddr().(*net.TCPAddr).AddrPort()
	}
	d.events.Emit(e)
	if err != nil {
		return nil, Welcome{}, r.dialError(err)
	}
	c := &Conn{Conn: tcp, R: wire.NewReader(tcp), tcp: tcp, run: r, ctx: ctx}
	if err := tcp.SetDeadline(deadline); err != nil {
		_ = tcp.Close()
		return nil, Welcome{}, c.failure(err)
	}
	stop := context.AfterFunc(ctx, func() { _ = tcp.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	c.State = func() string { return "/none" }
	if l.Target.TLS == route.Implicit {
		err = c.startTLS()
	}
	var w Welcome
	if err == nil {
		w, err = r.hs.Login(c, l)
	}
	if err != nil {
		f := c.failure(err)
		_ = c.Close()
		return nil, w, f
	}
	if !stop() {
		_ = c.Close()
		return nil, w, c.failure(context.DeadlineExceeded)
	}
	if err := tcp.SetDeadline(time.Time{}); err != nil {
		_ = c.Close()
		return nil, w, c.failure(err)
	}
	return c, w, nil
}

func (d *Dialer) dial(ctx context.Context, t route.Target) (*net.TCPConn, error) {
	nd := net.Dialer{KeepAlive: -1} // the relay sets keepalive on what is handed over
	if t.Source.IsValid() {
		nd.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(t.Source, 0))
		nd.Control = bindWithoutPort
	}
	nc, err := nd.DialContext(ctx, "tcp", t.Addr.String())
	if err != nil {
		return nil, err
	}
	return nc.(*net.TCPConn), nil
}

// dialError words a failed connect as Dovecot does.
func (r *run) dialError(err error) *Error {
	t := r.login.Target
	text := err.Error()
	var errno syscall.Errno
	var ne net.Error
	switch {
	case errors.As(err, &errno):
		text = sentence(errno.Error())
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &ne) && ne.Timeout():
		text = "Connection timed out"
	}
	local := ""
	if t.Source.IsValid() {
		local = t.Source.String()
	}
	return &Error{Kind: Connect, Text: fmt.Sprintf("connect(%s, %d) failed: %s (%s)", t.Addr.Addr(), t.Addr.Port(), text, r.after(local))}
}
