package auth

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"

	"github.com/xdg-go/scram"

	"dproxy/passdb"
)

const (
	nonceLength      = 64
	minSCRAMRounds   = 4096 // RFC 7677 section 4
	maxSCRAMMessages = 8192
)

// scramSHA is RFC 5802, with channel binding when plus is set.
type scramSHA struct {
	name string // without -PLUS
	plus bool
	conv *scram.ServerConversation
	size int // bytes of a proof
}

func (s *scramSHA) step(ctx context.Context, t *attempt, in []byte) ([]byte, bool, passdb.Status) {
	if len(in) > maxSCRAMMessages {
		return t.refuse("Message is too long")
	}
	if s.conv == nil {
		return s.first(ctx, t, string(in))
	}
	if text := s.finalFault(string(in)); text != "" {
		return t.refuse(text)
	}
	out, err := s.conv.Step(string(in))
	if err != nil || !s.conv.Valid() {
		switch {
		case strings.HasPrefix(out, scram.ErrInvalidProof):
			return t.proved(false)
		case strings.HasPrefix(out, scram.ErrChannelBindingsDontMatch):
			return t.refuse("Invalid channel binding data")
		case err != nil && strings.Contains(err.Error(), "nonce"):
			return t.refuse("Wrong nonce")
		}
		return t.refuse("Invalid final client message")
	}
	t.final = []byte(out)
	return t.proved(true)
}

// first takes the client-first-message: the user is looked up on the way.
func (s *scramSHA) first(ctx context.Context, t *attempt, in string) ([]byte, bool, passdb.Status) {
	if text := firstFault(in, s.plus); text != "" {
		return t.refuse(text)
	}
	binding, text := s.binding(t, in)
	if text != "" {
		return t.refuse(text)
	}
	status, fault := passdb.OK, ""
	hash := scram.SHA256
	s.size = 32
	if s.name == "SCRAM-SHA-1" {
		hash, s.size = scram.SHA1, 20
	}
	server, err := hash.NewServer(func(user string) (scram.StoredCredentials, error) {
		var stored scram.StoredCredentials
		if err := t.scramUser(user, s.conv.AuthzID(), in); err != nil {
			fault = err.Error()
			return stored, err
		}
		if status = t.lookupCredentials(ctx, s.name); status != passdb.OK {
			return stored, errors.New("no credentials")
		}
		stored, err := scramCredentials(s.name, string(t.credentials), s.size)
		if err != nil {
			fault = err.Error()
		}
		return stored, err
	})
	if err != nil {
		return t.refuse(err.Error())
	}
	s.conv = server.WithNonceGenerator(newNonce).NewConversationWithChannelBinding(binding)
	out, err := s.conv.Step(in)
	switch {
	case fault != "":
		return t.refuse(fault)
	case status != passdb.OK:
		return nil, true, status
	case err != nil:
		return t.refuse("Invalid initial client message: " + err.Error())
	}
	return []byte(out), false, 0
}

// scramUser sets the names of a client-first-message.
func (t *attempt) scramUser(user, authzid, message string) error {
	if err := t.setUser(user); err != nil {
		return err
	}
	_, rest, _ := strings.Cut(message, ",")
	if strings.HasPrefix(rest, "a=") && authzid != user {
		return t.setLoginUser(authzid)
	}
	return nil
}

// newNonce makes the server's part of the nonce: printable characters without a comma.
func newNonce() string {
	var b [nonceLength]byte
	_, _ = rand.Read(b[:]) // it cannot fail
	for i, c := range b {
		if b[i] = 0x21 + c%0x5e; b[i] == ',' {
			b[i] = '~'
		}
	}
	return string(b[:])
}

// scramCredentials reads "iterations,salt,StoredKey,ServerKey".
func scramCredentials(name, text string, size int) (c scram.StoredCredentials, err error) {
	f := strings.Split(text, ",")
	if len(f) != 4 {
		return c, fault("Invalid " + name + " passdb entry format")
	}
	if c.Iters, err = strconv.Atoi(f[0]); err != nil || c.Iters < minSCRAMRounds {
		return c, fault("Invalid " + name + " iteration count in passdb")
	}
	salt, err := base64.StdEncoding.DecodeString(f[1])
	if err != nil || len(salt) == 0 {
		return c, fault("Invalid " + name + " salt in passdb")
	}
	c.Salt = string(salt)
	if c.StoredKey, err = base64.StdEncoding.DecodeString(f[2]); err != nil || len(c.StoredKey) != size {
		return c, fault("Invalid " + name + " StoredKey in passdb")
	}
	if c.ServerKey, err = base64.StdEncoding.DecodeString(f[3]); err != nil || len(c.ServerKey) != size {
		return c, fault("Invalid " + name + " ServerKey in passdb")
	}
	return c, nil
}

// firstFault names what is wrong with a client-first-message, in Dovecot's words and order. The
// library's parser has the last word.
func firstFault(in string, plus bool) string {
	const invalid = "Invalid initial client message: "
	flag, rest, ok := strings.Cut(in, ",")
	if !ok {
		return invalid + "Missing first ',' in GS2 header"
	}
	authzid, bare, ok := strings.Cut(rest, ",")
	if !ok {
		return invalid + "Missing second ',' in GS2 header"
	}
	f := strings.Split(bare, ",")
	if len(f) < 2 {
		return invalid + "Missing nonce field"
	}
	switch {
	case plus && strings.HasPrefix(flag, "p="):
	case plus:
		return "Channel binding required"
	case flag == "n", flag == "y":
	case strings.HasPrefix(flag, "p="):
		return "Channel binding not supported"
	default:
		return "Invalid GS2 header"
	}
	if a, ok := strings.CutPrefix(authzid, "a="); ok {
		if _, ok := unescapeName(a); !ok {
			return "authzid escaping is invalid"
		}
	} else if authzid != "" {
		return "Invalid authzid field"
	}
	if strings.HasPrefix(f[0], "m=") {
		return "Mandatory extension(s) not supported"
	}
	name, ok := strings.CutPrefix(f[0], "n=")
	if !ok {
		return "Invalid username field"
	}
	if _, ok := unescapeName(name); !ok {
		return "Username escaping is invalid"
	}
	if name == "" {
		return errEmptyName.Error()
	}
	if !strings.HasPrefix(f[1], "r=") {
		return "Invalid nonce field"
	}
	return ""
}

// finalFault names what is wrong with a client-final-message.
func (s *scramSHA) finalFault(in string) string {
	f := strings.Split(in, ",")
	if len(f) < 3 {
		return "Invalid final client message"
	}
	if !strings.HasPrefix(f[0], "c=") {
		return "Invalid channel binding data"
	}
	if _, err := base64.StdEncoding.DecodeString(f[0][2:]); err != nil {
		return "Invalid channel binding data"
	}
	proof, ok := strings.CutPrefix(f[len(f)-1], "p=")
	if !ok {
		return "Invalid ClientProof"
	}
	raw, err := base64.StdEncoding.DecodeString(proof)
	switch {
	case err != nil:
		return "Invalid base64 encoding"
	case len(raw) != s.size:
		return "Invalid ClientProof length"
	}
	return ""
}
