package auth

import (
	"context"
	"errors"
	"strings"

	"dproxy/passdb"
)

// bearer is XOAUTH2 (Google) or OAUTHBEARER (RFC 7628). The token is judged by a passdb.
type bearer struct {
	// parse finds the token, and calls user with the name on the way. failed is what a client is
	// told before the failure; it has to answer once more (RFC 7628 section 3.2.3).
	parse  func(in string, user func(string) error) (token, failed string, err error)
	status passdb.Status
	failed bool
}

func (b *bearer) step(ctx context.Context, t *attempt, in []byte) ([]byte, bool, passdb.Status) {
	if b.failed {
		return nil, true, b.status
	}
	token, text, err := b.parse(string(in), t.setUser)
	if err != nil {
		return t.refuse(err.Error())
	}
	status := t.verifyPlain(ctx, passdb.Secret(token))
	if status == passdb.OK && t.success || status == passdb.InternalFailure {
		return nil, true, status
	}
	b.failed, b.status = true, status
	return []byte(text), false, 0
}

var (
	errContinued      = errors.New("Invalid continued data")
	errUserOrToken    = errors.New("Username or token missing")
	errMissingUser    = errors.New("Missing username or token")
	errGS2            = errors.New("Invalid gs2-header in request")
	errChannelBinding = errors.New("Client requested and used channel-binding")
	errNonStandard    = errors.New("Client requested non-standard mechanism")
	errEscaping       = errors.New("Invalid username escaping")
)

func parseXOAUTH2(in string, user func(string) error) (token, failed string, err error) {
	named := false
	for _, f := range strings.Split(in, "\x01") {
		switch name, value, _ := strings.Cut(f, "="); strings.ToLower(name) {
		case "user":
			if err := user(value); err != nil {
				return "", "", err
			}
			named = true
		case "auth":
			if token, err = bearerToken(value); err != nil {
				return "", "", err
			}
		}
	}
	if !named || token == "" {
		return "", "", errUserOrToken
	}
	return token, `{"status":"401","schemes":"bearer","scope":"mail"}`, nil
}

func parseOAUTHBEARER(in string, user func(string) error) (token, failed string, err error) {
	parts := strings.Split(in, "\x01")
	if parts[0] == "" {
		return "", "", errContinued
	}
	named := false
	for _, p := range strings.Split(parts[0], ",") {
		switch {
		case p == "", p[0] == 'n', p[0] == 'y':
		case p[0] == 'f':
			return "", "", errNonStandard
		case p[0] == 'p':
			return "", "", errChannelBinding
		case p[0] == 'a':
			name, ok := unescapeName(strings.TrimPrefix(p, "a="))
			if !ok || !strings.HasPrefix(p, "a=") {
				return "", "", errEscaping
			}
			if err := user(name); err != nil {
				return "", "", err
			}
			named = true
		default:
			return "", "", errGS2
		}
	}
	for _, f := range parts[1:] {
		name, value, _ := strings.Cut(f, "=")
		if strings.EqualFold(name, "auth") {
			if token, err = bearerToken(value); err != nil {
				return "", "", err
			}
		}
	}
	if !named || token == "" {
		return "", "", errMissingUser
	}
	return token, `{"status":"invalid_token"}`, nil
}

func bearerToken(value string) (string, error) {
	kind, token, ok := strings.Cut(value, " ")
	if !ok || !strings.EqualFold(kind, "bearer") {
		return "", errContinued
	}
	return token, nil
}

// unescapeName undoes the =2C and =3D of a saslname (RFC 5801 section 4).
func unescapeName(s string) (string, bool) {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "=")
		b.WriteString(before)
		switch {
		case !found:
			return b.String(), true
		case strings.HasPrefix(after, "2C"):
			b.WriteByte(',')
		case strings.HasPrefix(after, "3D"):
			b.WriteByte('=')
		default:
			return "", false
		}
		s = after[2:]
	}
}
