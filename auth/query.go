package auth

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"runtime/debug"
	"strconv"
	"strings"

	"dproxy/event"
	"dproxy/fiber"
	"dproxy/passdb"
	"dproxy/passdb/scheme"
)

// question identifies what a driver is asked: equal keys mean equal answers.
type question struct {
	key       string // "" when the driver does not say what its answers depend on
	cacheable bool
	verify    bool
	challenge *passdb.Challenge // what the driver has to judge; such answers are nobody else's
	// generation is the cache's when the question was asked.
	generation uint64
}

// once are the variables that are different in each login, so that caching what depends on them
// would only fill memory.
var once = [...]string{"session", "session_pid", "rport", "remote_port", "real_rport", "real_remote_port"}

// key describes the question that a passdb is about to be asked. The user's name and the entry are
// part of it whatever the query uses: no record can be found by another user or another entry.
func (t *attempt) key(e *entry) question {
	q := question{verify: t.verifies(e), challenge: t.challenges(e)}
	if e.vars == nil || q.challenge != nil {
		return q
	}
	q.cacheable = true
	b := make([]byte, 0, 96)
	b = strconv.AppendInt(b, int64(e.Index), 10)
	b = append(b, map[bool]byte{true: 'V', false: 'L'}[q.verify])
	for _, s := range [...]string{t.req.User, t.req.MasterUser, t.req.CredentialsScheme} {
		b = appendPart(b, s)
	}
	if t.req.CredentialsScheme != "" {
		b = appendPart(b, t.req.OrigUser) // DIGEST-MD5 hashes it
	}
	for _, name := range e.vars {
		v, _ := t.req.Var(name)
		if name == "password" {
			v = t.a.macs.of("", v).text()
		}
		b = appendPart(b, v)
		q.cacheable = q.cacheable && !contains(once[:], name)
	}
	q.key = string(b)
	return q
}

// appendPart writes s so that no two lists of parts look alike.
func appendPart(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// query asks the driver. Equal questions that are asked at the same time are asked once.
func (t *attempt) query(ctx context.Context, e *entry, q question) (*answer, error) {
	fiber.Blocking(ctx)
	req := t.req
	req.Log, req.SkipPassword = t.logger(e), t.passwordSeen
	if q.key == "" || e.unshared {
		ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
		defer cancel()
		return e.lookup(ctx, &req, q)
	}
	flight := q.key
	if q.verify {
		flight += t.a.macs.of("", string(t.password)).text()
	}
	fields := t.fields.Clone()
	req.Fields = &fields
	done := t.a.flights.DoChan(flight, func() (ans any, err error) {
		ctx, end, err := t.a.detach(ctx)
		if err != nil {
			return nil, err
		}
		defer end()
		// The driver runs on a goroutine of its own: a fault in it must not end the process.
		defer func() {
			if r := recover(); r != nil {
				err = fmt.Errorf("panic: %v: %s", r, event.Clean(string(debug.Stack()), 768))
			}
		}()
		return e.lookup(ctx, &req, q)
	})
	select {
	case r := <-done:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*answer), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// lookup asks the driver itself.
func (e *entry) lookup(ctx context.Context, r *passdb.Request, q question) (*answer, error) {
	var res passdb.Result
	var err error = errUnanswered
	e.health.asked()
	defer func() { e.health.answered(err == nil && res.Status != passdb.InternalFailure) }()
	switch {
	case q.challenge != nil:
		res, err = e.challenger.VerifyChallenge(ctx, r, *q.challenge)
	case q.verify:
		res, err = e.verifier.Verify(ctx, r, r.Password)
	default:
		res, err = e.driver.Lookup(ctx, r)
	}
	if err == nil && res.Status == passdb.OK && (len(e.answers) > 0 || e.OnlyAnswers) {
		err = e.shape(&res, r)
	}
	if err != nil {
		return nil, err
	}
	return newAnswer(&res, q.verify || q.challenge != nil), nil
}

// detach makes a context that outlives the client who asked first: others may be waiting for the
// same answer. It ends with the lookup's time-out or with the Authenticator.
func (a *Authenticator) detach(ctx context.Context) (context.Context, func(), error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookupTimeout)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		cancel()
		return nil, nil, errClosed
	}
	a.flying.Add(1)
	n := a.nextFlight
	a.nextFlight++
	a.cancels[n] = cancel
	return ctx, func() {
		cancel()
		a.mu.Lock()
		delete(a.cancels, n)
		a.mu.Unlock()
		a.flying.Done()
	}, nil
}

// remember stores a fresh answer. Status and compared are what became of it.
func (t *attempt) remember(q question, ans *answer, status passdb.Status, compared bool) {
	c := t.a.cache
	if c == nil || !q.cacheable || ans.noCache {
		return
	}
	rec := &record{key: q.key, user: t.userAsked}
	if ans.status == passdb.Unknown && ans.detail == "" {
		rec.negative = true
	} else if !t.keep(rec, ans, status, compared) {
		return
	}
	c.put(rec, q.generation)
}

// keep copies an answer into a record, without a password in the clear. It tells whether there is
// something to keep.
func (t *attempt) keep(rec *record, ans *answer, status passdb.Status, compared bool) bool {
	if ans.status != passdb.OK || status != passdb.OK && status != passdb.Mismatch {
		return false
	}
	for _, f := range ans.fields {
		if f.Name == "passdb_import" && strings.Contains(f.Value, "password") {
			return false
		}
	}
	rec.fields, rec.scheme, rec.stored, rec.until = ans.fields, ans.scheme, ans.stored, ans.until
	rec.lastSuccess = status == passdb.OK
	switch {
	case ans.verified:
		rec.stored = stored{present: true, mac: t.a.macs.of(rec.key, string(t.password))}
		rec.learned = true
	case !ans.stored.present:
		return status == passdb.OK || t.entry.Deny
	case ans.stored.plaintext() && !ans.stored.empty:
		return t.keepPlain(rec, ans)
	case ans.stored.hash.Name == "PLAIN-TRUNC":
		return false
	case rec.lastSuccess && compared:
		rec.verified = t.a.macs.of(rec.key, string(t.password))
	}
	return true
}

// keepPlain keeps what a plain password is good for: the comparison with another, or what the
// mechanism at hand needs.
func (t *attempt) keepPlain(rec *record, ans *answer) bool {
	h := ans.stored.hash
	switch want := t.req.CredentialsScheme; want {
	case "":
		text, err := scheme.Credentials(h, "PLAIN", "")
		if err != nil {
			return false
		}
		rec.stored.mac = t.a.macs.of(rec.key, string(text))
		rec.stored.hash = scheme.Hash{Name: h.Name}
	case "PLAIN":
		return false
	case "SCRAM-SHA-1", "SCRAM-SHA-256":
		rec.stored = stored{present: true, hash: scheme.Hash{Name: want, Data: string(t.credentials)}}
	default:
		rec.stored = stored{present: true, hash: scheme.Hash{Name: want, Encoding: "HEX", Data: hex.EncodeToString(t.credentials)}}
	}
	return true
}
