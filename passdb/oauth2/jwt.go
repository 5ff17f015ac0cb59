package oauth2

import (
	"crypto/ecdsa"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// algorithms are the signatures that are accepted. "none" is not one.
var algorithms = []string{
	"HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
}

// types are the values of a token's "typ" in lower case: that of JWTs, and of access tokens (RFC 9068). It may be missing.
var types = []string{"jwt", "at+jwt", "application/at+jwt"}

// validate checks the token's signature and claims here. Its errors have Dovecot's wording.
func (l *lookup) validate() error {
	object, err := l.verified()
	if err != nil {
		return err
	}
	c, err := newClaims(object)
	if err != nil {
		return mismatch("%v", err)
	}
	if err := l.checkTimes(c); err != nil {
		return err
	}
	if err := l.checkOrigin(c); err != nil {
		return err
	}
	l.merge(c)
	return nil
}

// verified returns the claims of a token whose signature is right.
func (l *lookup) verified() (jwt.MapClaims, error) {
	parser := jwt.NewParser(jwt.WithValidMethods(algorithms), jwt.WithJSONNumber(), jwt.WithStrictDecoding(), jwt.WithoutClaimsValidation())
	object := jwt.MapClaims{}
	var fault error // ours, not the token's
	_, err := parser.ParseWithClaims(l.token, object, func(t *jwt.Token) (any, error) {
		key, err := l.key(t, object)
		var bad *refusal
		if err != nil && !errors.As(err, &bad) {
			fault = err
		}
		return key, err
	})
	var bad *refusal
	switch {
	case fault != nil:
		return nil, fault
	case err == nil:
		return object, nil
	case errors.As(err, &bad):
		return nil, bad
	case errors.Is(err, jwt.ErrTokenMalformed):
		return nil, mismatch("Not a JWT token")
	case errors.Is(err, jwt.ErrTokenSignatureInvalid), errors.Is(err, jwt.ErrTokenUnverifiable):
		if alg := l.algorithm(); !slices.Contains(algorithms, alg) {
			return nil, mismatch("Unsupported algorithm '%s'", printable(alg))
		}
		return nil, mismatch("Incorrect JWT signature")
	}
	return nil, mismatch("Incorrect JWT signature")
}

// algorithm is what the token says it is signed with.
func (l *lookup) algorithm() string {
	t, _, err := jwt.NewParser().ParseUnverified(l.token, jwt.MapClaims{})
	if t == nil || t.Header == nil {
		return ""
	}
	_ = err // an unknown algorithm is one, and the header has been read
	alg, _ := t.Header["alg"].(string)
	return alg
}

// key finds the key of a token by its header and its azp claim.
func (l *lookup) key(t *jwt.Token, object jwt.MapClaims) (any, error) {
	if typ, has := t.Header["typ"]; has {
		text, _ := typ.(string)
		if !slices.Contains(types, strings.ToLower(text)) {
			return nil, mismatch("Cannot find 'typ' field")
		}
	}
	if _, has := t.Header["crit"]; has {
		return nil, mismatch("the token has critical headers that are not understood") // RFC 7515 section 4.1.11
	}
	kid := ""
	if v, has := t.Header["kid"]; has {
		if kid, _ = v.(string); kid == "" {
			return nil, mismatch("'kid' field is empty")
		}
	}
	azp, _ := object["azp"].(string)
	found, err := l.keys.find(azp, t.Method.Alg(), kid)
	if err != nil {
		return nil, err
	}
	set := jwt.VerificationKeySet{}
	for _, k := range found {
		if !fits(t.Method, k) {
			continue
		}
		set.Keys = append(set.Keys, k)
	}
	if len(set.Keys) == 0 {
		return nil, mismatch("%s key '%s' is of another type", t.Method.Alg(), printable(orDefault(kid)))
	}
	return set, nil
}

// fits tells whether a key is of the algorithm's type. The library checks that too, but for the curve.
func fits(m jwt.SigningMethod, key any) bool {
	switch m := m.(type) {
	case *jwt.SigningMethodECDSA:
		k, ok := key.(*ecdsa.PublicKey)
		return ok && k.Curve.Params().BitSize == m.CurveBits
	case *jwt.SigningMethodHMAC:
		_, ok := key.([]byte)
		return ok
	}
	return keyKind(key) == kindOf(m.Alg())
}

// checkTimes judges exp, which has to be there, nbf and iat.
func (l *lookup) checkTimes(c claims) error {
	if c.get("sub") == "" {
		return mismatch("Missing 'sub' field")
	}
	grace := time.Duration(l.file.TokenExpireGrace) * time.Second
	now := l.now()
	exp, has, err := seconds(c, "exp")
	if err != nil {
		return mismatch("%v", err)
	}
	if !has {
		return mismatch("Missing 'exp' field")
	}
	for _, f := range []struct{ name, early string }{{"nbf", "Token is not valid yet"}, {"iat", "Token is issued in future"}} {
		at, has, err := seconds(c, f.name)
		switch {
		case err != nil:
			return mismatch("%v", err)
		case has && at.After(now.Add(grace)):
			return mismatch("%s", f.early)
		}
	}
	if !now.Before(exp.Add(grace)) {
		return mismatch("Token has expired")
	}
	l.until = exp.Add(grace)
	return nil
}

// checkOrigin judges who the token is from and for whom it is.
func (l *lookup) checkOrigin(c claims) error {
	if len(l.issuers) > 0 {
		iss := c.get("iss")
		switch {
		case iss == "":
			return mismatch("Token is missing 'iss' field")
		case len(c["iss"]) != 1 || !slices.Contains(l.issuers, iss):
			return mismatch("Issuer '%s' is not allowed", printable(iss))
		}
	}
	if id := l.file.ClientID; id != "" {
		switch {
		case c["aud"] == nil:
			return mismatch("client_id set but aud is missing")
		case !slices.Contains(c["aud"], id):
			return mismatch("client_id not found in aud field")
		}
	}
	if len(l.scope) == 0 {
		return nil
	}
	if c["scope"] == nil {
		return mismatch("scope set but not found in token")
	}
	for _, want := range l.scope {
		if !slices.Contains(c.words("scope"), want) {
			return mismatch("configured scope '%s' missing from token scope '%s'", l.file.Scope, printable(c.get("scope")))
		}
	}
	return nil
}
