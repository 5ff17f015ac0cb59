package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"

	"dproxy/passdb"
)

// bearer is XOAUTH2 (Google) or OAUTHBEARER (RFC 7628). The token is judged by a passdb.
type bearer struct {
	parse   func(in string) (credential, error)
	missing string // the fault of a message without user or token
	// refusal is what a client is told before the failure; it has to answer once more (RFC 7628
	// section 3.2.3).
	refusal string
	status  passdb.Status
	failed  bool
}

// credential is what a client says to own.
type credential struct {
	user, token string
	named       bool
}

func (b *bearer) step(ctx context.Context, t *attempt, in []byte) ([]byte, bool, passdb.Status) {
	if b.failed {
		return nil, true, b.status
	}
	c, err := b.parse(string(in))
	if err == nil && c.named {
		err = t.setUser(c.user)
	}
	if err != nil {
		return t.refuse(err.Error())
	}
	if !c.named || c.token == "" {
		return t.refuse(b.missing)
	}
	status := t.verifyPlain(ctx, passdb.Secret(c.token))
	if status == passdb.OK && t.success || status == passdb.InternalFailure {
		return nil, true, status
	}
	b.failed, b.status = true, status
	return t.withDiscovery(b.refusal), false, 0
}

// withDiscovery adds where the client can learn about the identity provider, if the passdb that refused the token says so.
func (t *attempt) withDiscovery(refusal string) []byte {
	if t.entry == nil {
		return []byte(refusal) // the token was refused before any passdb
	}
	d, ok := t.entry.driver.(passdb.Discoverer)
	if !ok || d.OpenIDConfigurationURL() == "" {
		return []byte(refusal)
	}
	var url bytes.Buffer
	e := json.NewEncoder(&url)
	e.SetEscapeHTML(false) // "&" stays as it is, as in Dovecot
	if err := e.Encode(d.OpenIDConfigurationURL()); err != nil {
		return []byte(refusal)
	}
	return []byte(strings.TrimSuffix(refusal, "}") + `,"openid-configuration":` + strings.TrimSpace(url.String()) + "}")
}

func xoauth2() mechanism {
	return &bearer{parse: parseXOAUTH2, missing: "Username or token missing", refusal: `{"status":"401","schemes":"bearer","scope":"mail"}`}
}

func oauthbearer() mechanism {
	return &bearer{parse: parseOAUTHBEARER, missing: "Missing username or token", refusal: `{"status":"invalid_token"}`}
}

const (
	errContinued      = fault("Invalid continued data")
	errGS2            = fault("Invalid gs2-header in request")
	errChannelBinding = fault("Client requested and used channel-binding")
	errNonStandard    = fault("Client requested non-standard mechanism")
	errEscaping       = fault("Invalid username escaping")
)

func parseXOAUTH2(in string) (c credential, err error) {
	for _, f := range strings.Split(in, "\x01") {
		switch name, value, _ := strings.Cut(f, "="); strings.ToLower(name) {
		case "user":
			c.user, c.named = value, true
		case "auth":
			if c.token, err = bearerToken(value); err != nil {
				return c, err
			}
		}
	}
	return c, nil
}

func parseOAUTHBEARER(in string) (c credential, err error) {
	parts := strings.Split(in, "\x01")
	if parts[0] == "" {
		return c, errContinued
	}
	for _, p := range strings.Split(parts[0], ",") {
		switch {
		case p == "", p[0] == 'n', p[0] == 'y':
		case p[0] == 'f':
			return c, errNonStandard
		case p[0] == 'p':
			return c, errChannelBinding
		case p[0] == 'a':
			name, ok := strings.CutPrefix(p, "a=")
			if c.user, c.named = unescapeName(name); !ok || !c.named {
				return c, errEscaping
			}
		default:
			return c, errGS2
		}
	}
	for _, f := range parts[1:] {
		name, value, _ := strings.Cut(f, "=")
		if strings.EqualFold(name, "auth") {
			if c.token, err = bearerToken(value); err != nil {
				return c, err
			}
		}
	}
	return c, nil
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
