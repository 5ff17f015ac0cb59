package auth

import (
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
	serverFirst bool // the server's challenge opens the dialogue, an initial response is ignored
	prompt      string
	// promptAgain: an empty initial response counts as none.
	promptAgain bool
	nul         bool // NUL bytes are part of the mechanism
	start       func() mechanism
}

// mechanismTable has a row for each mechanism.
var mechanismTable = map[string]mechanismKind{
	"PLAIN": {
		Mechanism: Mechanism{Plaintext: true}, need: needVerify, nul: true,
		start: func() mechanism { return plain{} },
	},
	"LOGIN": {
		Mechanism: Mechanism{Plaintext: true}, need: needVerify, prompt: "Username:", promptAgain: true,
		start: func() mechanism { return &login{} },
	},
	"XOAUTH2": {
		Mechanism: Mechanism{Plaintext: true}, start: xoauth2,
	},
	"OAUTHBEARER": {
		Mechanism: Mechanism{Plaintext: true}, start: oauthbearer,
	},
	"EXTERNAL":      {need: needVerify, start: func() mechanism { return external{} }},
	"ANONYMOUS":     {Mechanism: Mechanism{Anonymous: true}, start: func() mechanism { return anonymous{} }},
	"CRAM-MD5":      {Mechanism: Mechanism{Dictionary: true, Active: true}, need: needCredentials, serverFirst: true, start: func() mechanism { return &cramMD5{} }},
	"DIGEST-MD5":    {Mechanism: Mechanism{Dictionary: true, Active: true, Mutual: true}, need: needCredentials, serverFirst: true, start: func() mechanism { return &digestMD5{} }},
	"SCRAM-SHA-1":   {Mechanism: Mechanism{Mutual: true}, need: needCredentials, start: func() mechanism { return &scramSHA{name: "SCRAM-SHA-1"} }},
	"SCRAM-SHA-256": {Mechanism: Mechanism{Mutual: true}, need: needCredentials, start: func() mechanism { return &scramSHA{name: "SCRAM-SHA-256"} }},
	"SCRAM-SHA-1-PLUS": {
		Mechanism: Mechanism{Mutual: true, Binding: true}, need: needCredentials,
		start: func() mechanism { return &scramSHA{name: "SCRAM-SHA-1", plus: true} },
	},
	"SCRAM-SHA-256-PLUS": {
		Mechanism: Mechanism{Mutual: true, Binding: true}, need: needCredentials,
		start: func() mechanism { return &scramSHA{name: "SCRAM-SHA-256", plus: true} },
	},
	"APOP": {
		Mechanism: Mechanism{Private: true, Dictionary: true, Active: true}, need: needCredentials, nul: true,
		start: func() mechanism { return apop{} },
	},
}

// mechanisms reads auth_mechanisms.
func mechanisms(list string) ([]Mechanism, error) {
	var out []Mechanism
	for _, name := range fields(list, " ") {
		name = strings.ToUpper(name)
		if name == "OTP" {
			// It writes its state back to the passdb, which no driver of ours does.
			return nil, fault("OTP mechanism can't be supported with given passdbs")
		}
		kind, ok := mechanismTable[name]
		if !ok {
			return nil, fault("Unknown authentication mechanism '" + name + "'")
		}
		m := kind.Mechanism
		m.Name = name
		out = append(out, m)
	}
	if len(out) == 0 {
		return nil, fault("No authentication mechanisms configured")
	}
	return out, nil
}

// refuse ends a dialogue that cannot go on because of what the client sent.
func (t *attempt) refuse(text string) (challenge []byte, done bool, status passdb.Status) {
	t.mechInfo(text)
	return nil, true, passdb.Unknown
}

// proved ends a challenge dialogue: the client's proof was right or not.
func (t *attempt) proved(ok bool) (challenge []byte, done bool, status passdb.Status) {
	if ok {
		return nil, true, passdb.OK
	}
	t.mechInfo(mismatch)
	return nil, true, passdb.Mismatch
}
