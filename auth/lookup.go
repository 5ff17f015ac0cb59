package auth

import (
	"context"

	"dproxy/event"
	"dproxy/passdb"
)

// Lookup asks the chain about a user without a password, as LMTP and the administration do. A reply
// that is not OK says with CodeTempFail that the answer is not known now, and with any other code
// that there is no such user. No failure delay applies.
func (a *Authenticator) Lookup(ctx context.Context, p passdb.Peer, user string) Reply {
	c, err := a.chain(p.Service)
	if err != nil {
		a.events.Emit(event.Notice{Level: event.Error, Source: "auth", Text: err.Error()})
		return Reply{Code: CodeTempFail}
	}
	t := a.attempt(c, p, "")
	if err := t.setUser(user); err != nil {
		t.bareInfo(err.Error())
		return *t.reply(passdb.Unknown)
	}
	status := t.run(func(e *entry) passdb.Status { return t.ask(ctx, e, t.judgeExistence) })
	r := t.reply(status)
	switch {
	case r.OK:
	case status == passdb.SchemeNotAvailable:
		r.Code, r.Reason = CodeTempFail, "Configured passdbs don't support credentials lookups"
	case status != passdb.Unknown && status != passdb.Disabled && status != passdb.Expired:
		// Not a word about the user's existence: the chain could not or would not say.
		r.Code = CodeTempFail
	}
	return *r
}
