package login

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"dproxy/auth"
	"dproxy/backend"
	"dproxy/conf"
	"dproxy/event"
	"dproxy/fiber"
	"dproxy/listen"
	"dproxy/passdb"
	"dproxy/session"
	"dproxy/wire"
)

// times are the limits of a connection that has not logged in.
type times struct {
	login     time.Duration // from accept; nothing extends it
	handshake time.Duration // of TLS
	exchange  time.Duration // of one SASL exchange
	bye       time.Duration // to write a goodbye, and to read what a client still sends behind it
	look      time.Duration // how often a client is looked at that is not read
	word      time.Duration // when a client whose login is judged is told to be patient
}

// dovecotTimes are Dovecot 2.3's, where it has them.
func dovecotTimes() times {
	return times{
		login: 180 * time.Second, handshake: 30 * time.Second, exchange: 60 * time.Second,
		bye: time.Second, look: time.Second, word: 30 * time.Second,
	}
}

// firstTTL is how many proxies a login may pass (Dovecot 2.3).
const firstTTL = 5

// Client is one connection before it is handed over. It belongs to one goroutine; only End may be
// called from others.
type Client struct {
	// R reads what the client sends. What waits to be sent is written before R waits for input.
	R *wire.Reader

	server  *Server
	snap    *Snapshot
	profile *profile
	front   Front
	spec    listen.Spec
	entry   *session.Entry
	tcp     listen.Conn
	runner  fiber.Runner     // nil on a goroutine of its own
	nc      net.Conn         // tcp, or TLS over it
	up      *backend.Session // logged in, and not yet handed over
	claimed *userIP          // a place that is counted, and not yet handed over

	peer       passdb.Peer
	ttl        int
	proxied    bool // a PROXY header came
	proxiedSSL bool // and said that the client uses TLS
	trusted    bool // in login_trusted_networks
	secured    bool
	tls        tlsState
	tlsErr     string // why the handshake failed, for %c
	badCert    bool   // a client certificate came and is not valid

	out      []byte // waits to be written
	written  uint64
	received int

	began      time.Time
	firstAuth  time.Time // zero: no attempt yet
	loginBegan time.Time // the way to the backend
	attempts   int
	successes  int
	lastFail   auth.Code
	phase      phase
	waiting    bool // for the answer to a SASL challenge
	aborted    bool
	atBackend  bool // a backend refused
	user, mech string
	reply      *auth.Reply // of the last attempt, for the log
	elements   string      // of the log line
	elementsOK bool        // elements are up to date

	mu     sync.Mutex
	state  clientState
	why    session.Reason
	cancel context.CancelFunc // of what the client's goroutine waits for, beside input
	gone   bool               // the client left while nobody read
	busy   bool               // with what has to come to its end, see Finish
	about  *session.Info      // set while the backend is logged in to
}

// phase is what the client's goroutine is at, for the words of an end by time-out.
type phase int

const (
	talking phase = iota
	authenticating
	finishing
)

type clientState int

const (
	clientOpen   clientState = iota
	clientEnding             // End was called
	clientOver               // handed over or closed
)

type tlsState int

const (
	tlsOff tlsState = iota
	tlsHandshaking
	tlsOn
)

// errEnding ends a client because End was called.
var errEnding = errors.New("ending")

// accept makes the client of a connection; nil when it is not served.
func (s *Server) accept(nc listen.Conn, spec listen.Spec) *Client {
	snap := s.current()
	if snap == nil {
		_ = nc.Close()
		return nil
	}
	c := &Client{server: s, snap: snap, spec: spec, tcp: nc, nc: nc, began: time.Now(), ttl: firstTTL}
	c.runner = runnerOf(nc)
	c.peer = passdb.Peer{Service: spec.Protocol, Local: addrOf(nc.LocalAddr()), Remote: addrOf(nc.RemoteAddr())}
	c.peer.RealLocal, c.peer.RealRemote = c.peer.Local, c.peer.Remote
	c.R = wire.NewReader(source{c})
	c.configure()
	c.judge()
	// Behind a balancer the source is known once the header has come; trusted peers stand for many.
	count := c.peer.Remote.Addr()
	if spec.HAProxy || c.trusted {
		count = netip.Addr{}
	}
	entry, ok := s.Registry.Add(c, count)
	if !ok {
		c.refuseSource()
		return nil
	}
	c.entry = entry
	return c
}

// current returns the snapshot in use, counted.
func (s *Server) current() *Snapshot {
	for {
		snap := s.snapshot.Load()
		if snap == nil || snap.acquire() {
			return snap
		}
	}
}

// Authenticator returns the one of the configuration in use, and what lets it go again. It is nil when
// there is none.
func (s *Server) Authenticator() (*auth.Authenticator, func()) {
	snap := s.current()
	if snap == nil {
		return nil, nil
	}
	if room, ok := snap.auth.(authRoom); ok {
		return room.Authenticator, snap.release
	}
	snap.release()
	return nil, nil
}

func addrOf(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// refuseSource ends a connection that its source, or a stop, has no place for.
func (c *Client) refuseSource() {
	c.server.Events.Emit(event.Disconnected{Client: c.event(), Text: "Disconnected: Too many connections from this address", Reason: "source_limit"})
	c.close()
}

// configure chooses the settings by what is known of the connection.
func (c *Client) configure() {
	c.profile, c.elementsOK = c.snap.profile(c.filter()), false
}

// judge decides once whether the peer is trusted and the connection secured: before a peer says
// anything about itself.
func (c *Client) judge() {
	c.trusted = c.profile.trusted.contain(c.peer.Remote.Addr())
	c.secured = c.trusted || c.proxiedSSL || !c.proxied && c.peer.RealRemote.Addr() == c.peer.RealLocal.Addr()
}

func (c *Client) filter() conf.Filter {
	return conf.Filter{Protocol: c.spec.Protocol, Local: c.peer.Local.Addr(), Remote: c.peer.Remote.Addr(), LocalName: c.peer.LocalName}
}

// open does what comes before the first command: PROXY header, implicit TLS, greeting.
func (c *Client) open() error {
	if err := c.limit(c.loginEnd()); err != nil {
		return err
	}
	if c.spec.HAProxy {
		if err := c.readProxy(); err != nil {
			return err
		}
	}
	if c.spec.SSL {
		if err := c.handshake(c.began.Add(c.server.times.handshake)); err != nil {
			return err
		}
	}
	c.front = c.server.Protocols[c.spec.Protocol].NewFront(c)
	if c.snap.authErr != nil {
		return &End{Bye: Bye{ByeClient, "Auth process broken"}, Log: "Auth process broken", Label: "auth_broken"}
	}
	if err := c.front.Greet(); err != nil {
		return err
	}
	if err := c.Flush(); err != nil {
		return err
	}
	accepted := c.spec.Accepted
	if accepted.IsZero() {
		accepted = c.began
	}
	c.server.Events.Emit(event.Greeted{Service: c.spec.Protocol, Queued: c.began.Sub(accepted), Took: time.Since(accepted)})
	return nil
}

// silent ends a connection without a line about it: the error has been reported.
type silent struct{ label string }

func (silent) Error() string { return "reported" }

// readProxy takes the PROXY header, from those who may send one.
func (c *Client) readProxy() error {
	balancer := c.peer.RealRemote.Addr()
	report := func(level event.Level, text string) {
		c.server.Events.Emit(event.Notice{Level: level, Source: event.LoginSource(c.spec.Protocol), Text: text})
	}
	if !c.profile.haproxy.contain(balancer) {
		report(event.Warning, "haproxy: Client not trusted (rip="+balancer.String()+")")
		return silent{"haproxy_untrusted"}
	}
	if err := c.limit(time.Now().Add(c.profile.Settings.HAProxyTimeout)); err != nil {
		return err
	}
	p, err := listen.ReadProxy(c.tcp)
	switch {
	case err == nil:
	case c.isEnding():
		return errEnding
	default:
		report(listen.ProxyLog(err, balancer))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return silent{"haproxy_timeout"}
		}
		return silent{"haproxy_invalid"}
	}
	if text := p.Notice(balancer); text != "" {
		report(event.Error, text)
	}
	c.proxied, c.proxiedSSL = true, p.SSL
	if p.Remote.IsValid() && p.Local.IsValid() {
		c.peer.Remote, c.peer.Local = p.Remote, p.Local
	}
	c.peer.LocalName, c.peer.CertName = event.Clean(p.LocalName, 255), p.CertName
	c.configure()
	c.judge()
	if !c.trusted && !c.server.Registry.Source(c.entry, c.peer.Remote.Addr()) {
		return &End{Log: "Too many connections from this address", Label: "source_limit"}
	}
	return c.limit(c.loginEnd())
}

// limit sets when reading and writing give up.
func (c *Client) limit(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == clientEnding {
		return errEnding
	}
	return c.tcp.SetDeadline(t)
}

// End implements session.Session: the client's goroutine ends soon, with a goodbye.
func (c *Client) End(why session.Reason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != clientOpen {
		return
	}
	c.state, c.why = clientEnding, why
	if c.busy {
		return
	}
	_ = c.tcp.SetDeadline(time.Unix(1, 0)) // wakes the goroutine; a closed socket has none to wake
	if c.cancel != nil {
		c.cancel()
	}
}

// Describe implements session.Described: a client belongs to a user once it is on its way to a backend.
func (c *Client) Describe() (i session.Info, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.about == nil {
		return i, false
	}
	return *c.about, true
}

func (c *Client) setAbout(i *session.Info) {
	c.mu.Lock()
	c.about = i
	c.mu.Unlock()
}

func (c *Client) isEnding() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state == clientEnding
}

// leave makes the connection somebody else's; it fails when End came first.
func (c *Client) leave() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != clientOpen {
		return errEnding
	}
	c.state = clientOver
	return c.tcp.SetDeadline(time.Time{})
}

// close releases everything, once.
func (c *Client) close() {
	c.mu.Lock()
	over := c.state == clientOver
	c.state = clientOver
	c.mu.Unlock()
	if over {
		return
	}
	if t, ok := c.nc.(*tls.Conn); ok && c.tls == tlsOn {
		_ = c.tcp.SetDeadline(time.Now().Add(c.server.times.bye))
		_ = t.Close() // with a close_notify
	}
	_ = c.tcp.Close()
	if c.up != nil {
		_ = c.up.Conn.Close()
	}
	c.server.release(c.claimed)
	if c.entry != nil {
		c.server.Registry.Remove(c.entry)
	}
	c.snap.release()
}

// bounded returns a context that ends at a time. On an event loop that is left to the vigil.
func (c *Client) bounded(t time.Time) (context.Context, context.CancelFunc) {
	if c.runner == nil {
		return context.WithDeadline(c.snap.ctx, t)
	}
	ctx, cancel := context.WithCancel(c.snap.ctx)
	return fiber.With(ctx, c.runner, t), cancel
}

// within returns a context for waiting on something else than the client, until t or the end of the
// login time. The client is not read meanwhile, but its leaving is noticed. done ends the wait; its
// error says why the connection must end.
func (c *Client) within(t time.Time) (ctx context.Context, done func() error) {
	end := c.loginEnd()
	if t.After(end) {
		t = end
	}
	ctx, cancel := c.bounded(t)
	c.mu.Lock()
	c.cancel = cancel
	if c.state == clientEnding {
		cancel()
	}
	c.mu.Unlock()
	c.share(true)
	v := c.startVigil(cancel, t)
	return ctx, func() error {
		v.stop()
		c.share(false)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.cancel = nil
		cancel()
		switch {
		case c.state == clientEnding:
			return errEnding
		case c.gone:
			return errGone
		case !time.Now().Before(end):
			return os.ErrDeadlineExceeded
		case c.snap.ctx.Err() != nil:
			return c.snap.ctx.Err()
		}
		return nil
	}
}
