package auth

import (
	"context"
	"time"

	"dproxy/event"
	"dproxy/passdb"
)

// lookupTimeout bounds one question to a passdb.
const lookupTimeout = 10 * time.Second

// askVerify asks one passdb about the client's password.
func (t *attempt) askVerify(ctx context.Context, e *entry) passdb.Status {
	return t.ask(ctx, e, t.judgePassword)
}

// ask puts one question to a passdb, and has judge decide on its answer.
func (t *attempt) ask(ctx context.Context, e *entry, judge func(context.Context, *entry, passdb.Result) (passdb.Status, outcome)) passdb.Status {
	began := time.Now()
	t.a.events.Emit(event.PassdbAsked{Session: t.req.Session, Passdb: e.Name, User: t.req.User, Remote: t.req.Remote.Addr()})
	var status passdb.Status
	var o outcome
	if err := t.setTemplates(e.defaults); err != nil {
		status, o = passdb.InternalFailure, failure("Failed to expand default_fields: "+err.Error())
	} else {
		var res passdb.Result
		res, err = t.question(ctx, e)
		if err != nil {
			status, o = passdb.InternalFailure, failure(err.Error())
		} else {
			status, o = t.take(ctx, e, res, judge)
		}
	}
	if err := t.setTemplates(e.overrides); err != nil && status != passdb.InternalFailure {
		status, o = passdb.InternalFailure, failure("Failed to expand override_fields: "+err.Error())
	}
	o.began = began
	t.answered(status, o)
	return status
}

func failure(text string) outcome { return outcome{text: event.Clean(text, 1024), level: event.Error} }

// question asks the driver. A Verifier judges the password itself unless that has been done.
func (t *attempt) question(ctx context.Context, e *entry) (passdb.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	if t.verifies(e) {
		return e.verifier.Verify(ctx, &t.req, t.password)
	}
	return e.driver.Lookup(ctx, &t.req)
}

// verifies tells whether the driver of e has to judge the client's password.
func (t *attempt) verifies(e *entry) bool {
	return e.verifier != nil && t.asked && t.req.CredentialsScheme == "" && !t.passwordSeen && !e.Deny
}

// take sets an answer's fields and judges it.
func (t *attempt) take(ctx context.Context, e *entry, res passdb.Result, judge func(context.Context, *entry, passdb.Result) (passdb.Status, outcome)) (passdb.Status, outcome) {
	if res.HasPassword {
		t.setPassword(string(res.Password), res.DefaultScheme, res.NoScheme)
	}
	for _, f := range res.Fields {
		t.setField(f.Name, f.Value, res.DefaultScheme)
	}
	switch res.Status {
	case passdb.OK:
		if t.fields.Has("noauthenticate") {
			t.debug("Not performing authentication (noauthenticate set)")
			return passdb.Next, outcome{}
		}
		return judge(ctx, e, res)
	case passdb.Unknown:
		return passdb.Unknown, t.said(e, res, "unknown user")
	case passdb.Mismatch:
		return passdb.Mismatch, t.said(e, res, "Password mismatch")
	case passdb.InternalFailure:
		return passdb.InternalFailure, failure(orElse(res.Detail, "internal failure"))
	default:
		return res.Status, outcome{text: res.Detail, level: event.Info}
	}
}

// said is the line of a failure: the driver's own words, or the usual ones.
func (t *attempt) said(e *entry, res passdb.Result, usual string) outcome {
	if res.Detail != "" {
		return outcome{text: res.Detail, level: event.Info}
	}
	o := outcome{text: usual, level: event.Info}
	t.withPassword(&o, t.follows(e))
	return o
}

// judgePassword decides on a client's password.
func (t *attempt) judgePassword(ctx context.Context, e *entry, res passdb.Result) (passdb.Status, outcome) {
	switch {
	case t.passwordSeen:
		return passdb.OK, outcome{}
	case e.Deny:
		return passdb.Mismatch, outcome{} // only the user's existence counts
	case t.fields.Has("nopassword"):
		t.debug("Allowing any password")
		return passdb.OK, outcome{}
	case t.verifies(e):
		return passdb.OK, outcome{}
	case !t.stored.present:
		return passdb.Mismatch, outcome{text: "No password returned (and no nopassword)", level: event.Info}
	}
	return t.compare(ctx, e)
}

// follows tells whether another passdb is there to be asked.
func (t *attempt) follows(e *entry) bool {
	list := t.chain.normal
	if e.Master {
		list = t.chain.masters
	}
	for i, x := range list {
		if x == e {
			return t.skip(list, i+1) < len(list)
		}
	}
	return false
}
