package backend

import (
	"encoding/base64"

	"dproxy/route"
)

// SASL is the client side of a mechanism towards a backend: PLAIN, LOGIN, EXTERNAL, XOAUTH2 and
// OAUTHBEARER (proxy_mech of Dovecot 2.3).
type SASL struct {
	initial []byte
	later   [][]byte // answers to challenges after the initial response
	sent    bool
}

// NewSASL prepares the answers for a target's mechanism.
func NewSASL(t route.Target) *SASL {
	authcid := t.User
	if t.Master != "" {
		authcid = t.Master
	}
	pass := string(t.Password)
	switch t.Mech {
	case "LOGIN":
		return &SASL{later: [][]byte{[]byte(authcid), []byte(pass)}}
	case "EXTERNAL":
		return &SASL{initial: []byte(t.User)}
	case "XOAUTH2":
		return &SASL{initial: []byte("user=" + t.User + "\x01auth=Bearer " + pass + "\x01\x01"), later: [][]byte{nil}}
	case "OAUTHBEARER":
		return &SASL{initial: []byte("n,a=" + t.User + ",\x01auth=Bearer " + pass + "\x01\x01"), later: [][]byte{{1}}}
	}
	// The authorization identity is always present (Dovecot 2.3), RFC 4616.
	return &SASL{initial: []byte(t.User + "\x00" + authcid + "\x00" + pass)}
}

// Initial returns the initial response and marks it as sent.
func (s *SASL) Initial() []byte {
	s.sent = true
	return s.initial
}

// Next answers a challenge.
func (s *SASL) Next([]byte) ([]byte, error) {
	if !s.sent && s.initial != nil {
		return s.Initial(), nil
	}
	s.sent = true
	if len(s.later) == 0 {
		return nil, &Error{Kind: Protocol, Text: "Server sent an unexpected authentication challenge"}
	}
	out := s.later[0]
	s.later = s.later[1:]
	return out, nil
}

// InitialResponse is the encoded form of an initial response; an empty one is "=" (RFC 4959).
func InitialResponse(b []byte) string {
	if len(b) == 0 {
		return "="
	}
	return base64.StdEncoding.EncodeToString(b)
}
