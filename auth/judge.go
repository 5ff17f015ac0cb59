package auth

import (
	"context"
	"errors"
	"strings"

	"dproxy/event"
	"dproxy/fiber"
	"dproxy/passdb"
	"dproxy/passdb/scheme"
)

// stored is a password as a passdb keeps it.
type stored struct {
	present bool
	hash    scheme.Hash
	// mac stands for the data of a password that the cache does not keep in the clear.
	mac *digest
	// empty: the data is the empty text.
	empty bool
}

func newStored(value, defaultScheme string, noScheme bool) stored {
	h := scheme.Raw(value, defaultScheme)
	if !noScheme {
		h = scheme.Split(value, defaultScheme)
	}
	return stored{present: true, hash: h, empty: h.Data == ""}
}

// plaintext tells whether the password itself is stored.
func (s *stored) plaintext() bool {
	switch s.hash.Name {
	case "PLAIN", "CLEAR", "CLEARTEXT":
		return true
	}
	return false
}

const (
	noPassword = "No password returned (and no nopassword)"
	mismatch   = "Password mismatch"
)

// verifies tells whether the driver of e has to judge the client's password.
func (t *attempt) verifies(e *entry) bool {
	return e.verifier != nil && t.hasPassword && t.req.CredentialsScheme == "" && !t.passwordSeen && !e.Deny
}

// challenges is what the driver of e has to judge in place of a password, nil when the stored one is asked for.
func (t *attempt) challenges(e *entry) *passdb.Challenge {
	if e.challenger == nil || t.passwordSeen || e.Deny {
		return nil
	}
	return t.challenge
}

// judgePassword decides on a client's password.
func (t *attempt) judgePassword(ctx context.Context, e *entry, ans *answer) (passdb.Status, outcome) {
	switch {
	case t.passwordSeen:
		return passdb.OK, outcome{}
	case e.Deny:
		return passdb.Mismatch, outcome{} // only the user's existence counts
	case t.fields.Has("nopassword") && (ans.rec == nil || !ans.rec.learned): // what a driver verified has a password
		if ans.rec != nil {
			t.entryInfo("Cached NULL password access")
		} else {
			t.debug("Allowing any password")
		}
		return passdb.OK, outcome{}
	case ans.verified:
		return passdb.OK, outcome{}
	case !t.stored.present:
		return passdb.Mismatch, info(noPassword)
	}
	return t.compare(ctx, e, ans)
}

// compare checks the client's password against the stored one.
func (t *attempt) compare(ctx context.Context, e *entry, ans *answer) (passdb.Status, outcome) {
	if t.stored.plaintext() && t.stored.empty {
		// Dovecot lets an empty password in here, also where the column was just never filled.
		o := info(mismatch)
		if t.password == "" {
			o = outcome{text: "The stored password is empty and is never accepted; set nopassword to allow any password", level: event.Warning}
		}
		return passdb.Mismatch, o
	}
	ok, err := t.matches(ctx, ans)
	switch {
	case errors.Is(err, scheme.ErrUnknown):
		return passdb.SchemeNotAvailable, failure(err.Error())
	case err != nil:
		// A broken row is the database's fault, not a wrong password (Dovecot 2.3.21).
		return passdb.InternalFailure, failure(err.Error())
	case ok:
		return passdb.OK, outcome{compared: true}
	}
	if t.chain.settings.AuthDebugPasswords && t.stored.mac == nil {
		t.debug(t.stored.hash.Scheme() + "(" + event.Clean(string(t.password), 256) + ") != '" + event.Clean(t.stored.hash.Data, 256) + "'")
	}
	o := info(mismatch)
	o.compared = true
	t.withPassword(&o, t.follows(e))
	return passdb.Mismatch, o
}

// matches verifies the password, quickly when the cache has seen it verified.
func (t *attempt) matches(ctx context.Context, ans *answer) (bool, error) {
	if ans.rec != nil && t.stored.mac != nil {
		return t.stored.mac.equal(t.a.macs.of(ans.rec.key, string(t.password))), nil
	}
	if !scheme.Expensive(t.stored.hash.Name) {
		return scheme.Verify(t.stored.hash, string(t.password), t.req.OrigUser)
	}
	var mac *digest
	if ans.rec != nil {
		mac = t.a.macs.of(ans.rec.key, string(t.password))
		if t.a.cache.isVerified(ans.rec, mac) {
			return true, nil
		}
	}
	fiber.Blocking(ctx)
	if err := t.a.hashes.Acquire(ctx, 1); err != nil {
		return false, err
	}
	defer t.a.hashes.Release(1)
	if ans.rec != nil && t.a.cache.isVerified(ans.rec, mac) {
		return true, nil // by the one we waited for
	}
	ok, err := scheme.Verify(t.stored.hash, string(t.password), t.req.OrigUser)
	if ok && ans.rec != nil {
		t.a.cache.setVerified(ans.rec, mac)
	}
	return ok, err
}

// judgeCredentials decides on a lookup for a challenge mechanism.
func (t *attempt) judgeCredentials(_ context.Context, e *entry, ans *answer) (passdb.Status, outcome) {
	want := t.req.CredentialsScheme
	switch {
	case ans.verified:
		t.proven = true
		return passdb.OK, outcome{}
	case e.Deny, t.req.MasterUser != "" && t.credentials != nil:
		// The master has to prove its own password. (Dovecot asks for the other user's then.)
		return passdb.OK, outcome{}
	case t.stored.present && !(t.stored.plaintext() && t.stored.empty):
		c, err := scheme.Credentials(t.stored.hash, want, t.req.OrigUser)
		switch {
		case errors.Is(err, scheme.ErrUnknown):
			return passdb.SchemeNotAvailable, failure(err.Error())
		case errors.Is(err, scheme.ErrUnavailable):
			return passdb.SchemeNotAvailable, info(strings.TrimPrefix(err.Error(), scheme.ErrUnavailable.Error()+": "))
		case err != nil:
			return passdb.InternalFailure, failure(err.Error())
		}
		t.credentials = c
		return passdb.OK, outcome{}
	case t.passwordSeen:
		return passdb.OK, outcome{} // an earlier passdb's credentials decide
	case t.fields.Has("nopassword") || t.stored.present:
		return passdb.SchemeNotAvailable, info("Requested " + want + " scheme, but we have a NULL password")
	}
	return passdb.Mismatch, info(noPassword)
}

// judgeExistence decides on a lookup without a password.
func (t *attempt) judgeExistence(_ context.Context, e *entry, _ *answer) (passdb.Status, outcome) {
	switch {
	case t.stored.present && t.stored.mac == nil && !e.Deny:
		if _, err := scheme.Credentials(t.stored.hash, t.stored.hash.Name, t.req.OrigUser); err != nil {
			return passdb.SchemeNotAvailable, failure(err.Error())
		}
	case t.stored.present || t.passwordSeen || t.fields.Has("nopassword") || e.verifier != nil || e.Deny:
	default:
		return passdb.Mismatch, info(noPassword)
	}
	return passdb.OK, outcome{}
}
