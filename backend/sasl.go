package backend

import (
	"encoding/base64"

	"dproxy/route"
)

// SASL is the client side of a mechanism towards a backend: PLAIN, LOGIN, EXTERNAL, XOAUTH2 and
// OAUTHBEARER (proxy_mech of Dovecot 2.3), SCRAM-SHA-1 and SCRAM-SHA-256 (2.4).
type SASL struct {
	scram   *scramClient // nil for the other mechanisms
	initial []byte
	later   [][]byte // answers to challenges after the initial response
	sent    bool
	// serverFirst: the mechanism begins with a challenge (LOGIN).
	serverFirst bool
}

// NewSASL prepares the answers for a target's mechanism, PLAIN when it has none.
func NewSASL(t route.Target) *SASL {
	authcid := t.User
	if t.Master != "" {
		authcid = t.Master
	}
	pass := string(t.Password)
	switch t.Mech {
	case "LOGIN":
		return &SASL{later: [][]byte{[]byte(authcid), []byte(pass)}, serverFirst: true}
	case "SCRAM-SHA-1", "SCRAM-SHA-256":
		return newSCRAM(t, authcid, pass)
	case "EXTERNAL":
		return &SASL{initial: []byte(t.User)}
	case "XOAUTH2":
		// The challenge of a refusal is answered with nothing; the refusal follows.
		return &SASL{initial: []byte("user=" + authcid + "\x01auth=Bearer " + pass + "\x01\x01"), later: [][]byte{nil}}
	case "OAUTHBEARER":
		// RFC 7628 section 3.2.3: a refusal is acknowledged with one 0x01.
		return &SASL{initial: []byte("n,a=" + authcid + ",\x01auth=Bearer " + pass + "\x01\x01"), later: [][]byte{{1}}}
	}
	// The authorization identity is always present (Dovecot 2.3), RFC 4616.
	return &SASL{initial: []byte(t.User + "\x00" + authcid + "\x00" + pass)}
}

// Initial returns the initial response and marks it as sent.
func (s *SASL) Initial() []byte {
	s.sent = true
	return s.initial
}

// Next answers a challenge. An error is a *Error with the text that Dovecot has behind the protocol's own
// words.
func (s *SASL) Next(challenge []byte) ([]byte, error) {
	if !s.sent && !s.serverFirst {
		if len(challenge) > 0 {
			return nil, &Error{Kind: Protocol, Text: "Server sent non-empty initial response"}
		}
		return s.Initial(), nil
	}
	s.sent = true
	if s.scram != nil {
		return s.scram.next(string(challenge))
	}
	if len(s.later) == 0 {
		return nil, &Error{Kind: Protocol, Text: "Server didn't finish authentication"}
	}
	out := s.later[0]
	s.later = s.later[1:]
	return out, nil
}

// Answer decodes a challenge in base64 and returns the encoded answer. invalid is the protocol's text for
// a challenge that is no base64.
func (s *SASL) Answer(challenge, invalid string) (string, error) {
	in, err := base64.StdEncoding.DecodeString(challenge)
	if err != nil {
		return "", &Error{Kind: Protocol, Text: invalid}
	}
	out, err := s.Next(in)
	if err != nil {
		return "", &Error{Kind: Protocol, Text: "Invalid authentication data: " + err.Error()}
	}
	return base64.StdEncoding.EncodeToString(out), nil
}

// InitialResponse is the encoded form of an initial response; an empty one is "=" (RFC 4959).
func InitialResponse(b []byte) string {
	if len(b) == 0 {
		return "="
	}
	return base64.StdEncoding.EncodeToString(b)
}

// Base64 encodes a value for a command.
func Base64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
