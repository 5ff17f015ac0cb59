package auth

import (
	"bytes"
	"context"
	"strings"
	"time"

	"dproxy/event"
	"dproxy/fiber"
	"dproxy/passdb"
)

// Exchange is one SASL dialogue. It is used by one goroutine.
type Exchange struct {
	t    *attempt
	kind mechanismKind
	mech mechanism
	over bool
}

// mechanism is the server's side of one SASL dialogue. step returns a challenge or, with done, the
// passdb status that ends it.
type mechanism interface {
	step(ctx context.Context, t *attempt, in []byte) (challenge []byte, done bool, status passdb.Status)
}

// Start begins an exchange. It returns a challenge for the client, or the verdict: exactly one of
// challenge != nil, reply != nil holds. An unknown mechanism is a Reply with CodeMechInvalid.
func (a *Authenticator) Start(ctx context.Context, r Request) (x *Exchange, challenge []byte, reply *Reply) {
	name := strings.ToUpper(r.Mech)
	if !a.offers(name) {
		return nil, nil, &Reply{Code: CodeMechInvalid, Reason: "Unsupported authentication mechanism.", NoDelay: true}
	}
	c, err := a.chain(r.Service)
	if err != nil {
		a.events.Emit(event.Notice{Level: event.Error, Source: "auth", Text: err.Error()})
		return nil, nil, &Reply{Code: CodeTempFail}
	}
	kind := mechanismTable[name]
	if kind.Binding && r.TLS == nil {
		return nil, nil, &Reply{Code: CodeMechInvalid, Reason: "Unsupported authentication mechanism.", NoDelay: true}
	}
	x = &Exchange{t: a.attempt(c, r.Peer, name), kind: kind, mech: kind.start()}
	x.t.noPenalty = r.NoPenalty
	if reason := x.t.takeCertificate(); reason != "" {
		x.t.mechInfo(reason)
		x.t.concluded("", "client_cert")
		return nil, nil, &Reply{Reason: reason, NoDelay: true}
	}
	challenge, reply = x.begin(ctx, r)
	return x, challenge, reply
}

func (x *Exchange) begin(ctx context.Context, r Request) ([]byte, *Reply) {
	if !r.NoPenalty {
		wait := x.t.a.penalties.delay(r.Remote.Addr())
		x.t.tracePenalty(wait)
		sleep(ctx, wait)
	}
	switch {
	case x.kind.serverFirst:
		return x.Step(ctx, nil)
	case r.HasInitial && !(x.kind.promptAgain && len(r.Initial) == 0):
		return x.Step(ctx, r.Initial)
	case x.t.req.Mech == "APOP": // it has no challenge of its own
		return x.Step(ctx, nil)
	}
	return []byte(x.kind.prompt), nil
}

// Step feeds a decoded client response. Failed verdicts are held back for auth_failure_delay
// unless the passdb said nodelay; ctx ends the wait.
func (x *Exchange) Step(ctx context.Context, response []byte) (challenge []byte, reply *Reply) {
	began := time.Now()
	if x.over {
		return nil, &Reply{Reason: "Unexpected continuation", NoDelay: true}
	}
	var done bool
	status := passdb.Unknown
	if !x.kind.nul && bytes.IndexByte(response, 0) >= 0 {
		x.t.debug("Unexpected NUL in auth data")
		done = true
	} else {
		challenge, done, status = x.mech.step(ctx, x.t, response)
	}
	if !done {
		if challenge == nil {
			challenge = []byte{}
		}
		return challenge, nil
	}
	x.over = true
	if status == passdb.OK && x.t.success {
		status = x.t.allowed(ctx, true)
	}
	reply = x.t.reply(status)
	x.t.told(ctx, reply)
	x.t.hold(ctx, reply, began)
	return nil, reply
}

func (a *Authenticator) offers(name string) bool {
	for _, m := range a.mechs {
		if m.Name == name {
			return true
		}
	}
	return false
}

// takeCertificate applies the settings about client certificates. A reason refuses the login before
// its mechanism starts.
func (t *attempt) takeCertificate() (reason string) {
	s := t.chain.settings
	if s.AuthSSLRequireClientCert && !t.req.CertValid {
		return "Client didn't present valid SSL certificate"
	}
	if !s.AuthSSLUsernameFromCert {
		return ""
	}
	if t.req.CertName == "" || !t.req.CertValid {
		if s.AuthSSLRequireClientCert {
			return "SSL certificate didn't contain username"
		}
		return ""
	}
	user, err := t.chain.names.normalise(&t.req, t.req.CertName)
	if err != nil {
		return err.Error()
	}
	t.req.User, t.certUser = user, true
	return ""
}

// reply makes the verdict of a status.
func (t *attempt) reply(status passdb.Status) *Reply {
	ok := status == passdb.OK && t.success
	r := &Reply{
		OK: ok, User: t.req.User, OrigUser: t.req.OrigUser, MasterUser: t.req.MasterUser,
		Fields: t.visible(ok), NoDelay: t.noDelay,
	}
	if ok {
		r.Password, r.HasPassword, r.Final = t.password, t.hasPassword, t.final
	}
	if r.User == "" {
		r.User = r.OrigUser
	}
	if v, has := r.Fields.Get("original_user"); has {
		r.OrigUser = v
	}
	r.AuthUser = orElse(r.MasterUser, r.OrigUser)
	if v, has := r.Fields.Get("auth_user"); has {
		r.AuthUser = v
	}
	result := "ok"
	if !ok {
		if r.Reason, _ = r.Fields.Get("reason"); r.Reason == "" {
			r.Reason = t.reason
		}
		switch {
		case status == passdb.InternalFailure:
			r.Code = CodeTempFail
		case t.req.MasterUser != "":
			r.Code = CodeAuthzFail
		case status == passdb.Disabled:
			r.Code = CodeUserDisabled
		case status == passdb.Expired:
			r.Code = CodePassExpired
		}
		result = orElse(r.Code.String(), "fail")
	} else if t.req.User == t.chain.settings.AuthAnonymousUsername {
		r.Fields.Set("anonymous", "")
	}
	t.concluded(r.User, result)
	return r
}

// concluded reports the end of the chain.
func (t *attempt) concluded(user, result string) {
	t.line("auth", event.Debug, "Auth request finished")
	t.a.events.Emit(event.Authenticated{
		Service: t.req.Service, Session: t.req.Session, User: user, Mech: t.req.Mech, Result: result, Took: time.Since(t.began),
	})
}

// hold keeps a failure back, or a success until its delay_until, and keeps the penalties. A temporary
// failure is nobody's guess: it raises no penalty and waits for half the time.
func (t *attempt) hold(ctx context.Context, r *Reply, began time.Time) {
	addr := t.req.Remote.Addr()
	delay := t.chain.settings.AuthFailureDelay
	switch {
	case r.OK:
		if !t.noPenalty {
			t.a.penalties.succeeded(addr)
		}
		sleep(ctx, time.Until(t.delayUntil))
		return
	case r.NoDelay:
		return
	case r.Code == CodeTempFail:
		delay /= 2
	case !t.noPenalty:
		t.a.penalties.failed(addr, t.req.User, string(t.password))
	}
	// Counted from the client's message on, so that a slow hash and a fast "no such user" are
	// answered at the same moment.
	sleep(ctx, time.Until(began.Add(max(delay, t.wait))))
}

func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	fiber.Blocking(ctx)
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
