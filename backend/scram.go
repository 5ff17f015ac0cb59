package backend

import (
	"strconv"
	"strings"

	"github.com/xdg-go/scram"

	"dproxy/route"
)

// maxRounds bounds the work that a backend can ask for with one login.
const maxRounds = 200_000

// scramClient is the client side of RFC 5802, without channel binding.
type scramClient struct {
	conv *scram.ClientConversation
	done bool // the server has proved that it knows the password
}

func newSCRAM(t route.Target, authcid, pass string) *SASL {
	hash := scram.SHA256
	if t.Mech == "SCRAM-SHA-1" {
		hash = scram.SHA1
	}
	authzid := ""
	if authcid != t.User {
		authzid = t.User
	}
	// Names and passwords go out as they are, as with the other mechanisms.
	client, err := hash.NewClientUnprepped(authcid, pass, authzid)
	if err != nil {
		return &SASL{} // the login fails at the first challenge
	}
	s := &scramClient{conv: client.NewConversation()}
	first, err := s.conv.Step("")
	if err != nil {
		return &SASL{}
	}
	return &SASL{initial: []byte(first), scram: s}
}

// next answers the server's first message with the proof and its last one with nothing.
func (s *scramClient) next(challenge string) ([]byte, error) {
	if s.done {
		return nil, &Error{Kind: Protocol, Text: "Server didn't finish authentication"}
	}
	for _, f := range strings.Split(challenge, ",") {
		if n, ok := strings.CutPrefix(f, "i="); ok {
			if rounds, err := strconv.Atoi(n); err != nil || rounds > maxRounds {
				return nil, &Error{Kind: Protocol, Text: "Server asks for too many rounds"}
			}
		}
	}
	out, err := s.conv.Step(challenge)
	switch {
	case err != nil && s.conv.Done():
		return nil, &Error{Kind: Protocol, Text: "Invalid server signature"}
	case err != nil:
		return nil, &Error{Kind: Protocol, Text: "Invalid SCRAM message"}
	}
	s.done = s.conv.Valid()
	return []byte(out), nil
}
