package lmtp

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"dproxy/auth"
	"dproxy/backend"
	lmtpclient "dproxy/backend/lmtp"
	"dproxy/event"
	"dproxy/passdb"
	"dproxy/route"
	"dproxy/wire"
)

const (
	// connectTime bounds the way to a backend as far as its greeting and XCLIENT (Dovecot 2.3). A
	// shorter proxy_timeout bounds it too.
	connectTime = 30 * time.Second
	// lookupTime bounds everything that RCPT waits for; each of its parts has a bound of its own.
	lookupTime = 15 * time.Minute
	firstTTL   = 5 // how many hops may follow (Dovecot 2.3)
)

// candidate is a recipient while it is judged.
type candidate struct {
	at      address
	path    string
	orcpt   string
	forward []passdb.Field
	session string
	visited backend.Visited // once a backend has referred the recipient to another
}

// answer is a reply to RCPT.
type answer struct {
	code           int
	enhanced, text string
}

// rcpt judges one recipient: who it is, where its backend is, and what that says.
func (f *front) rcpt(args string) error {
	if f.tx == nil {
		return f.reply(503, "5.5.0", "MAIL needed first")
	}
	c, refused := f.parseRecipient(args)
	if refused != nil {
		return f.reply(refused.code, refused.enhanced, refused.text)
	}
	if len(f.tx.accepted) >= maxRecipients {
		return f.reply(452, "4.5.3", "<"+c.path+"> Too many recipients")
	}
	if err := f.c.Flush(); err != nil {
		return err
	}
	tx := f.tx
	tx.asked = true
	var r wire.Reply
	err := f.c.Work(lookupTime, func(ctx context.Context) {
		// Backend connections outlive the command, but not a client that has left meanwhile.
		stop := context.AfterFunc(ctx, tx.cancel)
		r = tx.judge(ctx, c)
		stop()
	})
	if err == nil {
		err = f.c.Idle(f.idle) // the command may have taken longer than a client may be idle
	}
	if err != nil {
		return err
	}
	f.bad = 0
	f.c.Send(r.Wire(), "\r\n")
	return nil
}

func (f *front) parseRecipient(args string) (c *candidate, refused *answer) {
	path, ok := cutPrefixFold(args, "TO:")
	if !ok {
		return nil, &answer{501, "5.5.4", "Invalid parameters"}
	}
	at, rest, fault := parsePath(path, f.leniency())
	if fault == "" && at == (address{}) {
		fault = "Null path not allowed"
	}
	if fault != "" {
		return nil, &answer{501, "5.5.4", "Invalid TO: " + fault}
	}
	params, fault := wire.SMTPParams(strings.TrimPrefix(rest, " "))
	if fault != "" {
		return nil, &answer{501, "5.5.4", "Invalid RCPT parameter: " + fault}
	}
	c = &candidate{at: at, path: at.path()}
	for _, p := range params {
		switch p.Name {
		case "ORCPT":
			kind, value, ok := strings.Cut(p.Value, ";")
			decoded, err := wire.DecodeXtext(value)
			switch {
			case !p.Set:
				return nil, &answer{501, "5.5.4", "Missing ORCPT= parameter value"}
			case !ok || !wire.IsSMTPKeyword(kind):
				return nil, &answer{501, "5.5.4", "Invalid addr-type for ORCPT= parameter"}
			case err != nil || wire.HasControl(decoded):
				return nil, &answer{501, "5.5.4", "Invalid address value for ORCPT= parameter"}
			}
			c.orcpt = p.Value
		case "XRCPTFORWARD":
			list, err := wire.DecodeXtext(p.Value)
			switch {
			case !f.c.Trusted():
				return nil, &answer{550, "5.7.14", "Unacceptable XRCPTFORWARD= parameter: You are not from trusted IP"}
			case !p.Set || err != nil:
				return nil, &answer{501, "5.5.4", "Invalid XRCPTFORWARD= parameter"}
			}
			c.forward = f.c.ForwardedFields(list)
		default:
			return nil, &answer{555, "5.5.4", "Unsupported parameters"}
		}
	}
	return c, nil
}

// refuse makes the reply that refuses a recipient.
func (c *candidate) refuse(code int, enhanced, text string) wire.Reply {
	return wire.Reply{Code: code, Lines: []string{enhanced + " <" + c.path + "> " + wire.Printable(text)}}
}

// judge finds a recipient's backend and asks it.
func (t *transaction) judge(ctx context.Context, c *candidate) wire.Reply {
	c.session = t.session
	if n := len(t.accepted) + 1; n > 1 {
		c.session += ":R" + strconv.Itoa(n)
	}
	base, detail := c.at.split(t.f.c.Settings().RecipientDelimiter)
	reply, refused := t.lookup(ctx, c, base.user())
	if refused != nil {
		return *refused
	}
	targets, refused := t.targets(ctx, c, reply)
	if refused != nil {
		return *refused
	}
	to, ok := renamed(c.at, base.user(), targets[0].User, detail)
	if !ok {
		t.report(c, event.Error, "Failed to proxy to <"+event.Clean(targets[0].User, 256)+">: the user name is no mail address")
		return c.refuse(550, "5.3.5", "Internal user lookup failure")
	}
	if !t.claim(reply.User) {
		return c.refuse(451, "4.3.0", "Too many concurrent deliveries for user")
	}
	r := &recipient{path: c.path, to: to.path(), orcpt: c.orcpt, session: c.session}
	send := lmtpclient.Recipient{To: r.to, ORCPT: c.orcpt, Forward: targets[0].Forward}
	if to != c.at && c.orcpt == "" {
		send.ORCPT = lmtpclient.OriginalRecipient(c.path)
	}
	return t.ask(c, r, send, &targets[0])
}

// renamed is the address for the backend: with the user's name there, and the detail. ok is false when
// that name is no address.
func renamed(at address, user, there, detail string) (to address, ok bool) {
	if there == user {
		return at, true
	}
	to, rest, fault := parsePath("<"+there+">", leniency{})
	if fault != "" || rest != "" || to.local == "" {
		return to, false
	}
	to.local += detail
	return to, true
}

// lookup asks the passdbs.
func (t *transaction) lookup(ctx context.Context, c *candidate, user string) (*auth.Reply, *wire.Reply) {
	peer := t.f.c.Peer()
	peer.Session, peer.Forward = "", c.forward // lines of lookups have no session (Dovecot 2.3)
	reply := t.f.c.Lookup(ctx, peer, user)
	var refused wire.Reply
	switch {
	case !reply.OK && reply.Code == auth.CodeTempFail:
		text := reply.Reason
		if text == "" {
			text = "Temporary user lookup failure"
		}
		t.f.c.Report(event.Error, "auth-master: passdb lookup("+event.Clean(user, 80)+"): Auth PASS lookup failed")
		refused = c.refuse(451, "4.3.0", text)
	case !reply.OK:
		refused = c.refuse(550, "5.1.1", "User doesn't exist: "+user)
	case !t.f.c.Settings().LMTPProxy:
		t.report(c, event.Error, "lmtp_proxy is off, and dproxy keeps no mail itself; set lmtp_proxy = yes")
		refused = c.refuse(550, "5.3.5", "No mail is kept here, and lmtp_proxy is off")
	case !reply.Fields.Has("proxy") && !reply.Fields.Has("proxy_maybe"):
		t.report(c, event.Error, "the passdb answered without proxy, and dproxy keeps no mail itself; add proxy and host to its answer")
		refused = c.refuse(550, "5.3.5", "No mail is kept here, and the user has no other host")
	default:
		return &reply, nil
	}
	return nil, &refused
}

// targets asks the router.
func (t *transaction) targets(ctx context.Context, c *candidate, reply *auth.Reply) ([]route.Target, *wire.Reply) {
	peer := t.f.c.Peer()
	port := peer.RealLocal.Port()
	targets, err := t.f.c.Targets(ctx, route.Query{
		Peer: peer, User: reply.User, HasPassword: true, Fields: &reply.Fields, Ports: route.Ports{Plain: port, TLS: port},
	})
	if err == nil && t.f.identity.hasTTL && t.f.identity.ttl == 0 {
		t.f.c.Report(event.Error, t.f.prefix()+"rcpt "+c.path+": Proxying to <"+c.path+"> appears to be looping (TTL=0)")
		refused := c.refuse(554, "5.4.6", "Proxying appears to be looping (TTL=0)")
		return nil, &refused
	}
	if err == nil {
		return targets, nil
	}
	var e *route.Error
	refused := c.refuse(550, "5.3.5", "Internal user lookup failure")
	switch {
	case ctx.Err() != nil, errors.As(err, &e) && e.Kind == route.TempFail:
		refused = c.refuse(451, "4.3.0", "Temporary user lookup failure")
	case e != nil && e.Loops():
		t.report(c, event.Error, "Proxying to <"+c.path+"> loops to itself")
		refused = c.refuse(554, "5.4.6", "Proxying loops to itself")
	default:
		t.report(c, event.Error, "Failed to proxy: "+event.Clean(err.Error(), 300))
	}
	return nil, &refused
}

// ask gives a recipient to its backend, over the transaction's connection there or a new one.
func (t *transaction) ask(c *candidate, r *recipient, send lmtpclient.Recipient, to *route.Target) wire.Reply {
	g := t.groups[targetOf(to)]
	if g == nil {
		if len(t.groups) >= maxBackends {
			return c.refuse(452, "4.5.3", "Too many backends for one message")
		}
		g = t.connect(to)
		t.groups[targetOf(to)] = g
	}
	g.wait = max(g.wait, messageTime(to, t.f.c.Settings().LoginProxyTimeout))
	if g.err != nil {
		return t.lost(c.path, c.session, g.err)
	}
	said, err := g.up.Rcpt(send)
	if err != nil {
		g.err = err
		t.failed(err)
		return t.lost(c.path, c.session, err)
	}
	if where := backend.SMTPRedirect(said); where != "" && t.f.c.Settings().LoginProxyFollowReferrals {
		return t.redirect(c, r, send, to, where)
	}
	if !said.OK() {
		return forwarded(said, c.path)
	}
	r.group, r.index = g, len(g.recipients)
	g.recipients = append(g.recipients, r)
	t.accepted = append(t.accepted, r)
	t.f.c.Established()
	return accepted(said)
}

// redirect asks the backend that another refers a recipient to (Dovecot 2.4).
func (t *transaction) redirect(c *candidate, r *recipient, send lmtpclient.Recipient, from *route.Target, where string) wire.Reply {
	if c.visited == nil {
		c.visited = backend.Visited{}
	}
	addr, err := c.visited.Follow(where, from.Addr)
	if err != nil {
		t.report(c, event.Error, err.Error())
		return c.refuse(554, "5.4.6", "Proxying loops to itself")
	}
	to := *from
	to.Host, to.Addr, to.Others = addr.Addr().String(), addr, nil
	return t.ask(c, r, send, &to)
}

// messageTime is how long the answer to a message may take. The target's timeout is login_proxy_timeout
// when the passdb gave no proxy_timeout; that one has no meaning here.
func messageTime(t *route.Target, unset time.Duration) time.Duration {
	if t.Timeout == unset {
		return lmtpclient.DataTime
	}
	return t.Timeout
}

// connect makes the connection to a backend.
func (t *transaction) connect(to *route.Target) *group {
	f := t.f
	target := *to
	target.Timeout = connectTime
	if to.Timeout != f.c.Settings().LoginProxyTimeout {
		target.Timeout = min(to.Timeout, connectTime)
	}
	// Memory of failing hosts and proxy_not_trusted are not for LMTP (Dovecot 2.3).
	target.FailAfter, target.NotTrusted = 0, false
	t.backends++
	id := backend.Identity{
		Session: t.session + ":P" + strconv.Itoa(t.backends), TTL: firstTTL + 1, Remote: f.c.Peer().Remote, Local: f.c.Peer().Local,
		Hostname: f.c.Terms().Hostname, Helo: f.helo, Proto: "LMTP", Login: f.identity.login,
	}
	if f.identity.helo != "" {
		id.Helo = f.identity.helo
	}
	if f.identity.proto != "" {
		id.Proto = f.identity.proto
	}
	if f.identity.hasTTL {
		id.TTL = f.identity.ttl
	}
	client := f.c.Event()
	client.User = to.User
	g := &group{done: make(chan struct{})}
	up, err := lmtpclient.Dial(t.ctx, f.c.Dialer(), &backend.Login{Target: target, Identity: id}, client)
	if err == nil {
		if to.Timeout != f.c.Settings().LoginProxyTimeout {
			up.Patience = min(up.Patience, to.Timeout)
		}
		err = up.Mail(t.mail)
	}
	if err != nil {
		g.err = err
		t.failed(err)
	}
	g.up = up
	return g
}

// report logs a line about a recipient.
func (t *transaction) report(c *candidate, level event.Level, text string) {
	t.f.c.Report(level, t.f.prefix()+"rcpt "+c.path+": <"+c.session+">: "+text)
}

// prefix begins Dovecot's lines about a client's commands. Each connection is the first of its process here.
func (f *front) prefix() string { return "lmtp-server: conn " + f.c.Peer().Remote.String() + " [1]: " }

// failed logs a backend connection that is lost.
func (t *transaction) failed(err error) {
	var e *lmtpclient.Error
	if errors.As(err, &e) && e.Kind != lmtpclient.Refused && e.Kind != lmtpclient.Aborted {
		t.f.c.Report(event.Error, "lmtp-client: "+e.LogText())
	}
}
