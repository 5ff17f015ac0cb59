package auth

import (
	"context"
	"errors"
	"time"

	"dproxy/passdb"
)

var (
	errEmptyName   = errors.New("Empty username")
	errNoLoginUser = errors.New("Master user login attempted to use empty login username")
	errNoMasters   = errors.New("Master user login attempted without master passdbs")
)

// attempt is one authentication or lookup on its way through the chain. It is used by one
// goroutine.
type attempt struct {
	a      *Authenticator
	chain  *chain
	began  time.Time
	req    passdb.Request
	fields passdb.Fields
	named  bool // OrigUser is set
	// certUser: the name comes from the client's certificate and stays.
	certUser bool

	entry        *entry        // the passdb that is asked
	stored       stored        // the password it answered
	unlessFailed passdb.Fields // the fields before it was asked
	refused      bool          // a field refused the login
	success      bool          // the rules so far say yes
	passwordSeen bool          // a passdb has accepted the password: later ones do not check it
	noDelay      bool
	delayUntil   time.Time
	password     passdb.Secret // what the client sent, for the backend
	hasPassword  bool
	asked        bool // a password or a proof was judged: failures count as guesses
	final        []byte
}

// stored is a password as a passdb keeps it.
type stored struct {
	present    bool
	name, data string
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
	t.password, t.hasPassword, t.asked = password, true, true
	t.req.Password = password
	for i := range len(password) {
		switch password[i] {
		case 0, 1, '\t', '\n', '\r':
			t.bareInfo("Attempted login with password having illegal chars")
			return passdb.Unknown
		}
	}
	return t.run(func(e *entry) passdb.Status { return t.askVerify(ctx, e) })
}
