package login

import (
	"sync"
	"time"

	"dproxy/backend"
	"dproxy/event"
	"dproxy/passdb"
	"dproxy/relay"
	"dproxy/session"
)

// handOver gives both connections to the relay. The client's goroutine ends with it; the session's
// end is reported by the relay's callback.
func (s *Server) handOver(c *Client, up *backend.Session) {
	err := c.front.Welcome(up.Welcome)
	r := s.relayed(c, up)
	if err == nil {
		s.Registry.LoggedIn(c.entry, r) // before the client can know
		err = c.Flush()
	}
	if err == nil {
		err = c.leave()
	}
	if err != nil {
		c.end(err)
		return
	}
	c.up, c.claimed, r.written = nil, nil, c.written
	r.keepNotifying(c, up)
	s.Events.Emit(event.Started{Client: r.client, Target: r.target, Took: time.Since(c.loginBegan), Reconnects: up.Reconnects})
	c.snap.release()
	r.start(s.Relay, relay.Pair{Client: c.nc, Backend: up.Conn.Conn, ToBackend: c.R.Take(), ToClient: up.Conn.R.Take(), Hold: r.hold(c)})
}

// relayed keeps of a client what its session still needs.
func (s *Server) relayed(c *Client, up *backend.Session) *relayed {
	return &relayed{
		client: c.event(), target: up.Target.Event(), sent: up.Conn.Sent,
		entry: c.entry, server: s, claimed: c.claimed, names: userNames(&c.reply.Fields), began: time.Now().Unix(),
	}
}

// userNames are the passdb's user_* fields; nil for the users that have none, which are most.
func userNames(f *passdb.Fields) []session.Name {
	var out []session.Name
	for _, x := range f.WithPrefix("user_") {
		out = append(out, session.Name{Field: x.Name, Value: x.Value})
	}
	return out
}

// relayed is a session in the relay, as the registry sees it, with what its last line needs. It holds
// no more than it must: there may be a hundred thousand.
type relayed struct {
	client  event.Client
	target  event.Target
	sent    uint64 // to the backend, before the relay
	written uint64 // to the client, before the relay
	entry   *session.Entry
	names   []session.Name
	began   int64 // Unix time
	server  *Server
	claimed *userIP     // nil: not counted
	refresh *time.Timer // of proxy_refresh; nil: none

	mu     sync.Mutex
	s      *relay.Session
	why    session.Reason
	ending bool
	over   bool
	spread bool          // counted for login_proxy_max_disconnect_delay
	lost   bool          // and its backend ended it
	waits  time.Duration // that the client was kept waiting behind the backend's end
}

// hold counts a session for login_proxy_max_disconnect_delay, and says later how long its client is kept waiting.
func (r *relayed) hold(c *Client) func() time.Duration {
	most := c.profile.Settings.LoginProxyMaxDisconnectDelay
	if most < time.Second {
		return nil
	}
	r.spread = true
	r.server.spreads.begin(r.target.Addr)
	return func() time.Duration {
		d := r.server.spreads.delay(r.target.Addr, most)
		r.mu.Lock()
		r.lost, r.waits = true, d
		r.mu.Unlock()
		return d
	}
}

func (r *relayed) start(e *relay.Engine, p relay.Pair) {
	s := e.Start(p, r.ended)
	r.mu.Lock()
	r.s = s
	ending := r.ending
	r.mu.Unlock()
	if ending {
		s.Close()
	}
}

// Describe implements session.Described.
func (r *relayed) Describe() (session.Info, bool) {
	i := describe(&r.client, r.target)
	i.Names, i.Began, i.Relayed = r.names, time.Unix(r.began, 0), true
	return i, true
}

func describe(c *event.Client, t event.Target) session.Info {
	return session.Info{User: c.User, Service: c.Service, ID: c.Session, Remote: c.Remote, Local: c.Local, Host: t.Host, Backend: t.Addr}
}

// End implements session.Session.
func (r *relayed) End(why session.Reason) {
	r.mu.Lock()
	if !r.ending {
		r.why, r.ending = why, true
	}
	s := r.s
	r.mu.Unlock()
	if s != nil {
		s.Close()
	}
}

// ended reports the session's end.
func (r *relayed) ended(st relay.Stats) {
	r.server.Registry.Remove(r.entry)
	r.server.release(r.claimed)
	r.stopNotifying()
	if r.spread {
		r.server.spreads.end(r.target.Addr, r.lost, r.waits > 0)
	}
	e := event.Ended{Client: r.client, Target: r.target, Idle: st.Idle, In: st.In + r.sent, Out: st.Out + r.written, Delay: r.waits}
	switch st.Side {
	case relay.ByClient:
		e.Side = "client"
	case relay.ByServer:
		e.Side = "server"
	default:
		e.Side, e.Reason = "proxy", r.reason()
	}
	if st.Err != nil && e.Reason == "" {
		e.Reason = st.Err.Error()
	}
	r.server.Events.Emit(e)
}

// reason is why the session was ended from here.
func (r *relayed) reason() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !r.ending:
		return ""
	case r.why == session.Kicked:
		return "Kicked by admin"
	}
	return "Process shutting down"
}
