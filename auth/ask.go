package auth

import (
	"context"
	"errors"
	"strings"
	"time"

	"dproxy/event"
	"dproxy/passdb"
)

// lookupTimeout bounds one question to a passdb.
const lookupTimeout = 10 * time.Second

// outcome goes with a passdb's status into its report.
type outcome struct {
	text     string
	level    event.Level
	forced   bool // logged even when auth_verbose is off
	cached   bool
	compared bool // a password was compared with a stored one
	began    time.Time
}

func info(text string) outcome    { return outcome{text: text, level: event.Info} }
func failure(text string) outcome { return outcome{text: event.Clean(text, 1024), level: event.Error} }

// judge decides on a passdb's answer whose fields have been set.
type judge func(ctx context.Context, e *entry, ans *answer) (passdb.Status, outcome)

// answer is what a driver or the cache said about a user.
type answer struct {
	status   passdb.Status
	stored   stored
	fields   []passdb.Field
	scheme   string // default scheme of passwords in fields
	detail   string
	verified bool // the driver has judged the client's password
	twice    bool // it held more than one password
	warnings []string
	reason   string
	wait     time.Duration
	until    time.Time
	noCache  bool // it depends on more than the cache's key says
	// rec is the record it comes from, nil for a fresh answer.
	rec *record
}

func newAnswer(r *passdb.Result, verified bool) *answer {
	a := &answer{
		status: r.Status, scheme: r.DefaultScheme, detail: r.Detail, verified: verified, warnings: r.Warnings,
		reason: r.Reason, wait: r.Wait, until: r.Until, noCache: r.NoCache,
	}
	if r.HasPassword {
		a.stored = newStored(string(r.Password), r.DefaultScheme, r.NoScheme)
	}
	a.fields = r.Fields
	for i, f := range r.Fields {
		if f.Name != "password" && f.Name != "password_noscheme" {
			continue
		}
		// Passwords are kept apart from the fields, for the cache's sake.
		a.fields = append([]passdb.Field(nil), r.Fields[:i]...)
		for _, f := range r.Fields[i:] {
			switch {
			case f.Name != "password" && f.Name != "password_noscheme":
				a.fields = append(a.fields, f)
			case a.stored.present:
				a.twice = true
			default:
				a.stored = newStored(f.Value, r.DefaultScheme, f.Name == "password_noscheme")
			}
		}
		break
	}
	return a
}

// ask puts one question to a passdb and has j decide on its answer.
func (t *attempt) ask(ctx context.Context, e *entry, j judge) passdb.Status {
	began := time.Now()
	t.a.events.Emit(event.PassdbAsked{Session: t.req.Session, Passdb: e.Name, User: t.req.User, Remote: t.req.Remote.Addr()})
	t.debug("Performing passdb lookup")
	var status passdb.Status
	var o outcome
	if err := t.setTemplates(e.defaults); err != nil {
		status, o = passdb.InternalFailure, failure("Failed to expand default_fields: "+err.Error())
	} else {
		status, o = t.consult(ctx, e, j)
	}
	o.began = began
	t.answered(status, o)
	if err := t.setTemplates(e.overrides); err != nil {
		status = passdb.InternalFailure
		t.entryError("Failed to expand override_fields: " + event.Clean(err.Error(), 256))
	}
	t.debug("Finished passdb lookup")
	return status
}

// consult gets an answer from the cache or from the database.
func (t *attempt) consult(ctx context.Context, e *entry, j judge) (passdb.Status, outcome) {
	key := t.key(e)
	t.userAsked = t.req.User
	before := t.save()
	rec := t.a.cache.get(key)
	if rec != nil && t.a.cache.fresh(rec) {
		t.debug("cache hit")
		t.traceCache("hit", rec)
		status, o := t.take(ctx, e, t.a.cache.answer(rec), j)
		o.cached = true
		if !t.a.cache.doubt(rec, status, o.compared) {
			return status, o
		}
		// The password may have changed since the record was made.
		t.restore(before)
	} else if t.a.cache != nil && key.cacheable {
		t.debug(map[bool]string{true: "cache miss", false: "cache expired"}[rec == nil])
		t.traceCache(map[bool]string{true: "miss", false: "expired"}[rec == nil], rec)
	}
	key.generation = t.a.cache.currentGeneration()
	ans, err := t.queryFor(ctx, e, key, rec)
	if (err != nil || ans.status == passdb.InternalFailure) && rec != nil && !rec.over() {
		if status, o, ok := t.fallBack(ctx, e, rec, j); ok {
			t.entryError(event.Clean(errorText(ctx, err, ans), 1024))
			t.bareInfo("Falling back to expired data from cache")
			return status, o
		}
		t.restore(before)
		if errors.Is(err, errImpatient) {
			ans, err = t.query(ctx, e, key)
		}
	}
	if err != nil {
		o := failure(errorText(ctx, err, ans))
		if errors.Is(err, context.Canceled) && ctx.Err() != nil {
			o.level = event.Debug // nobody waits for the answer any more
		}
		return passdb.InternalFailure, o
	}
	t.traceAnswer(ans)
	status, o := t.take(ctx, e, ans, j)
	t.remember(key, ans, status, o.compared)
	return status, o
}

// queryFor asks the driver. With a record to fall back to, a database that is down is not waited for.
func (t *attempt) queryFor(ctx context.Context, e *entry, q question, rec *record) (*answer, error) {
	if rec == nil || rec.negative || !e.health.down() {
		return t.query(ctx, e, q)
	}
	short, cancel := context.WithTimeoutCause(ctx, patience, errImpatient)
	defer cancel()
	ans, err := t.query(short, e, q)
	if err != nil && context.Cause(short) == errImpatient {
		err = errImpatient
	}
	return ans, err
}

// fallBack serves an expired record while the database is down. It only ever says yes: that a
// password is wrong or a user does not exist is for the database to say.
func (t *attempt) fallBack(ctx context.Context, e *entry, rec *record, j judge) (passdb.Status, outcome, bool) {
	status, o := t.take(ctx, e, t.a.cache.answer(rec), j)
	o.cached = true
	return status, o, status == passdb.OK
}

func errorText(ctx context.Context, err error, ans *answer) string {
	switch {
	case err == nil:
		return orElse(ans.detail, "internal failure")
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		return "Lookup timed out after " + lookupTimeout.String()
	}
	return err.Error()
}

// take sets an answer's fields and judges it.
func (t *attempt) take(ctx context.Context, e *entry, ans *answer, j judge) (passdb.Status, outcome) {
	if ans.twice || ans.stored.present && t.stored.present {
		t.entryError("Multiple password values not supported")
	}
	// What a driver verified is never replaced by a password of default_fields.
	if ans.stored.present && (!t.stored.present || ans.rec != nil && ans.rec.learned) {
		t.stored = ans.stored
	}
	t.reason, t.wait = ans.reason, ans.wait
	for _, w := range ans.warnings {
		t.line(e.Name, event.Warning, event.Clean(w, 1024))
	}
	for _, f := range ans.fields {
		t.setField(f.Name, f.Value, ans.scheme)
	}
	switch ans.status {
	case passdb.OK:
		if t.fields.Has("noauthenticate") {
			t.debug("Not performing authentication (noauthenticate set)")
			return passdb.Next, outcome{}
		}
		return j(ctx, e, ans)
	case passdb.Unknown:
		if ans.detail != "" && !e.Deny {
			t.bareInfo(ans.detail) // "missing passwd file: ..." has no prefix in Dovecot
			return passdb.Unknown, outcome{}
		}
		return passdb.Unknown, t.said(e, ans, "unknown user")
	case passdb.Mismatch:
		return passdb.Mismatch, t.said(e, ans, "Password mismatch")
	case passdb.InternalFailure:
		return passdb.InternalFailure, failure(orElse(ans.detail, "internal failure"))
	}
	return ans.status, info(ans.detail)
}

// said is the line of a failure: the driver's own words, or the usual ones.
func (t *attempt) said(e *entry, ans *answer, usual string) outcome {
	if e.Deny {
		return info(orElse(ans.detail, usual))
	}
	o := info(orElse(ans.detail, usual))
	if ans.detail == "" || strings.HasPrefix(ans.detail, usual) {
		t.withPassword(&o, t.follows(e))
	}
	return o
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
