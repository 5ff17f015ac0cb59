package oauth2

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
)

// maxWebKeys bounds a key set.
const maxWebKeys = 100

// webKey is one key of a set, or of a file of its own.
type webKey struct {
	kid, alg string // empty: any
	key      any
}

// webKeys is a JSON web key set (RFC 7517 section 5). Keys that are not for signatures or of an unknown type are left out.
type webKeys []webKey

// matches tells whether a token with an algorithm and a kid may be signed with the key. A token without kid may be signed
// with any; a key with an alg signs by that only.
func (w *webKey) matches(alg, kid string) bool {
	return (kid == "" || w.kid == kid) && (w.alg == "" || w.alg == alg) && keyKind(w.key) == kindOf(alg)
}

// UnmarshalJSON implements json.Unmarshaler.
func (w *webKeys) UnmarshalJSON(text []byte) error {
	var set struct {
		Keys []struct {
			Kty, Use, Kid, Alg, Crv string
			N, E, X, Y, K           string
		}
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return fmt.Errorf("no JSON web key set: %w", err)
	}
	if len(set.Keys) > maxWebKeys {
		return fmt.Errorf("more than %d keys", maxWebKeys)
	}
	for _, k := range set.Keys {
		if k.Use != "" && k.Use != "sig" {
			continue
		}
		var key any
		var err error
		switch k.Kty {
		case "RSA":
			key, err = rsaKey(k.N, k.E)
		case "EC":
			key, err = ecKey(k.Crv, k.X, k.Y)
		case "OKP":
			key, err = edKey(k.Crv, k.X)
		case "oct":
			var secret []byte
			if secret, err = bits(k.K); err == nil {
				key = secret
			}
		default:
			continue
		}
		if err != nil {
			return fmt.Errorf("key %q: %w", printable(k.Kid), err)
		}
		if key != nil {
			*w = append(*w, webKey{k.Kid, k.Alg, key})
		}
	}
	if len(*w) == 0 {
		return errors.New("no key for signatures in it")
	}
	return nil
}

// bits decodes base64url, not empty.
func bits(text string) ([]byte, error) {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil && len(b) == 0 {
		err = errors.New("a part of it is missing")
	}
	return b, err
}

func rsaKey(n, e string) (any, error) {
	modulus, err := bits(n)
	if err != nil {
		return nil, err
	}
	exponent, err := bits(e)
	if err != nil {
		return nil, err
	}
	x := new(big.Int).SetBytes(exponent)
	if !x.IsInt64() || x.Int64() > math.MaxInt32 || x.Int64() < 3 {
		return nil, errors.New("the exponent is out of range")
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: int(x.Int64())}, nil
}

func ecKey(name, x, y string) (any, error) {
	curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[name]
	if curve == nil {
		return nil, nil // such as secp256k1
	}
	bx, err := bits(x)
	if err != nil {
		return nil, err
	}
	by, err := bits(y)
	if err != nil {
		return nil, err
	}
	size := (curve.Params().BitSize + 7) / 8
	if len(bx) != size || len(by) != size {
		return nil, errors.New("a coordinate has the wrong length")
	}
	// The uncompressed form (SEC 1 section 2.3.3); parsing checks that the point is on the curve.
	return ecdsa.ParseUncompressedPublicKey(curve, append(append([]byte{4}, bx...), by...))
}

func edKey(name, x string) (any, error) {
	if name != "Ed25519" {
		return nil, nil
	}
	b, err := bits(x)
	if err == nil && len(b) != ed25519.PublicKeySize {
		err = errors.New("the key has the wrong length")
	}
	return ed25519.PublicKey(b), err
}
