package auth

import (
	"bytes"
	"context"
	"errors"
	"strings"

	"dproxy/passdb"
)

// need is what a mechanism asks of the passdbs.
type need int

const (
	needNothing     need = iota
	needVerify           // somebody who judges a password
	needCredentials      // the stored password
)

type mechanismKind struct {
	Mechanism
	need        need
	serverFirst bool   // the server's challenge opens the dialogue
	prompt      string // sent for a missing initial response
	start       func() mechanism
}

// mechanismTable has a row for each mechanism that Dovecot 2.3 and we know.
var mechanismTable = map[string]mechanismKind{
	"PLAIN": {
		Mechanism: Mechanism{Plaintext: true}, need: needVerify,
		start: func() mechanism { return plain{} },
	},
	"LOGIN": {
		Mechanism: Mechanism{Plaintext: true}, need: needVerify, prompt: "Username:",
		start: func() mechanism { return &login{} },
	},
}

// mechanisms reads auth_mechanisms.
func mechanisms(list string) ([]Mechanism, error) {
	var out []Mechanism
	for _, name := range fields(list, " ") {
		name = strings.ToUpper(name)
		kind, ok := mechanismTable[name]
		if !ok {
			return nil, errors.New("Unknown authentication mechanism '" + name + "'")
		}
		m := kind.Mechanism
		m.Name = name
		out = append(out, m)
	}
	if len(out) == 0 {
		return nil, errors.New("No authentication mechanisms configured")
	}
	return out, nil
}

// refuse ends a dialogue that cannot go on because of what the client sent.
func (t *attempt) refuse(text string) (challenge []byte, done bool, status passdb.Status) {
	t.mechInfo(text)
	return nil, true, passdb.Unknown
}

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

// login is the LOGIN mechanism, draft-murchison-sasl-login.
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
