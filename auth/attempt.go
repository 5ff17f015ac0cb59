package auth

import (
	"context"
	"time"

	"dproxy/passdb"
)

// fault is an error in the words of Dovecot's log.
type fault string

// Error implements error.
func (f fault) Error() string { return string(f) }

const (
	errEmptyName   = fault("Empty username")
	errNoLoginUser = fault("Master user login attempted to use empty login username")
	errImpatient   = fault("Lookup is not answered")
	errUnanswered  = fault("no answer")
	errClosed      = fault("the configuration is being replaced")
	errNoMasters   = fault("Master user login attempted without master passdbs")
)

// attempt is one authentication or lookup on its way through the chain. It is used by one
// goroutine.
type attempt struct {
	a     *Authenticator
	chain *chain
	began time.Time

	req      passdb.Request
	fields   passdb.Fields
	named    bool // OrigUser is set
	certUser bool // the name comes from the client's certificate and stays

	entry        *entry        // the passdb that is asked
	userAsked    string        // the name at that moment
	stored       stored        // the password it answered
	unlessFailed passdb.Fields // the fields before it was asked
	refused      bool          // a field refused the login
	success      bool          // the rules so far say yes
	passwordSeen bool          // a passdb has accepted the user: later ones do not check the password
	noDelay      bool
	// refusedByPolicy: the policy server did.
	refusedByPolicy bool
	noPenalty       bool // the address's penalty does not concern it
	delayUntil      time.Time

	password    passdb.Secret // what the client sent, for the backend
	hasPassword bool
	credentials []byte            // the stored password in the form that a challenge mechanism needs
	challenge   *passdb.Challenge // the client's answer to a challenge that a server may judge
	proven      bool              // a passdb has judged it right
	final       []byte            // success data for the client

	reason string        // what the client is told if the passdb asked last has refused it
	wait   time.Duration // and how long it waits for that at least
}

func (a *Authenticator) attempt(c *chain, p passdb.Peer, mech string) *attempt {
	t := &attempt{a: a, chain: c, began: time.Now(), req: passdb.Request{Peer: p, Mech: mech}}
	t.req.Fields = &t.fields
	for _, f := range p.Forward {
		t.fields.Set(forwardName(f.Name), f.Value)
	}
	return t
}

// verifyPlain asks the chain about the client's password.
func (t *attempt) verifyPlain(ctx context.Context, password passdb.Secret) passdb.Status {
	t.password, t.hasPassword = password, true
	t.req.Password = password
	for i := range len(password) {
		switch password[i] {
		case 0, 1, '\t', '\n', '\r':
			t.bareInfo("Attempted login with password having illegal chars")
			return passdb.Unknown
		}
	}
	if s := t.allowed(ctx, false); s != passdb.OK {
		return s
	}
	return t.run(func(e *entry) passdb.Status { return t.ask(ctx, e, t.judgePassword) })
}

// lookupCredentials asks the chain for the stored password in the form that a mechanism needs. It is
// t.credentials when the status is OK, and may be missing even then: the rules of a chain can make a
// success of a failure.
func (t *attempt) lookupCredentials(ctx context.Context, scheme string) passdb.Status {
	if s := t.allowed(ctx, false); s != passdb.OK {
		return s
	}
	t.req.CredentialsScheme = scheme
	return t.run(func(e *entry) passdb.Status { return t.ask(ctx, e, t.judgeCredentials) })
}

// proveChallenge asks the chain whether the client's answer to a challenge is right. Without a passdb that judges it
// itself, t.credentials is for the mechanism to judge by, as after lookupCredentials.
func (t *attempt) proveChallenge(ctx context.Context, scheme string, c passdb.Challenge) passdb.Status {
	t.challenge = &c
	return t.lookupCredentials(ctx, scheme)
}

// memento is the part of an attempt that a passdb's answer changes.
type memento struct {
	user, loginUser  string
	fields           passdb.Fields
	stored           stored
	refused, noDelay bool
	delayUntil       time.Time
	credentials      []byte
}

func (t *attempt) save() memento {
	return memento{
		t.req.User, t.req.LoginUser, t.fields.Clone(), t.stored, t.refused, t.noDelay, t.delayUntil, t.credentials,
	}
}

func (t *attempt) restore(m memento) {
	t.req.User, t.req.LoginUser, t.fields, t.stored = m.user, m.loginUser, m.fields.Clone(), m.stored
	t.refused, t.noDelay, t.delayUntil, t.credentials = m.refused, m.noDelay, m.delayUntil, m.credentials
}
