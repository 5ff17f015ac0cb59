package auth

import (
	"bytes"
	"context"

	"dproxy/passdb"
)

// plain is RFC 4616.
type plain struct{}

func (plain) step(ctx context.Context, t *attempt, in []byte) ([]byte, bool, passdb.Status) {
	parts := bytes.Split(in, []byte{0})
	if len(parts) != 3 {
		return t.refuse("invalid input")
	}
	authzid, authcid, password := string(parts[0]), string(parts[1]), passdb.Secret(parts[2])
	if err := t.setUser(authcid); err != nil {
		return t.refuse(err.Error())
	}
	if authzid != "" && authzid != authcid {
		if err := t.setLoginUser(authzid); err != nil {
			return t.refuse("login user: " + err.Error())
		}
	}
	return nil, true, t.verifyPlain(ctx, password)
}

// login is the LOGIN mechanism (draft-murchison-sasl-login).
type login struct{ named bool }

func (l *login) step(ctx context.Context, t *attempt, in []byte) ([]byte, bool, passdb.Status) {
	if !l.named {
		l.named = true
		if err := t.setUser(string(in)); err != nil {
			return t.refuse(err.Error())
		}
		return []byte("Password:"), false, 0
	}
	return nil, true, t.verifyPlain(ctx, passdb.Secret(in))
}

// external is RFC 4422 appendix A: the client certificate's name logs in.
type external struct{}

func (external) step(ctx context.Context, t *attempt, in []byte) ([]byte, bool, passdb.Status) {
	if !t.certUser {
		return t.refuse("username not known")
	}
	if err := t.setUser(""); err != nil {
		return t.refuse("Invalid username")
	}
	if authzid := string(in); authzid != "" {
		if err := t.setLoginUser(authzid); err != nil {
			return t.refuse("login user: " + err.Error())
		}
	}
	return nil, true, t.verifyPlain(ctx, "")
}

// anonymous is RFC 4505. No passdb is asked.
type anonymous struct{}

func (anonymous) step(_ context.Context, t *attempt, in []byte) ([]byte, bool, passdb.Status) {
	t.req.User = string(in) // who it says it is, for this line only
	t.mechInfo("login")
	t.req.User = t.chain.settings.AuthAnonymousUsername
	t.req.OrigUser, t.named = t.req.User, true
	t.success = true
	return nil, true, passdb.OK
}
