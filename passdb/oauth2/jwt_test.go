package oauth2

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// signers are made once: an RSA key takes its time.
var signers = sync.OnceValue(func() map[string]any {
	must := func(k any, err error) any {
		if err != nil {
			panic(err)
		}
		return k
	}
	curve := func(c elliptic.Curve) any { return must(ecdsa.GenerateKey(c, rand.Reader)) }
	r := must(rsa.GenerateKey(rand.Reader, 2048))
	secret := []byte("a secret of at least thirty-two bytes")
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	return map[string]any{
		"HS256": secret, "HS384": secret, "HS512": secret, "RS256": r, "RS384": r, "RS512": r, "PS256": r, "PS384": r, "PS512": r,
		"ES256": curve(elliptic.P256()), "ES384": curve(elliptic.P384()), "ES512": curve(elliptic.P521()), "EdDSA": must(ed, err),
	}
})

// publicPEM is the public half of a signer as Dovecot stores it.
func publicPEM(t *testing.T, key any) string {
	t.Helper()
	if secret, ok := key.([]byte); ok {
		return base64.StdEncoding.EncodeToString(secret) + "\n"
	}
	der, err := x509.MarshalPKIXPublicKey(key.(crypto.Signer).Public())
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

type object = map[string]any

// body are the claims of a good token, with changes: nil removes one.
func body(now time.Time, changes object) jwt.MapClaims {
	c := jwt.MapClaims{"sub": "1", "email": "bob", "iss": "https://i", "exp": now.Add(10 * time.Minute).Unix()}
	for k, v := range changes {
		c[k] = v
		if v == nil {
			delete(c, k)
		}
	}
	return c
}

func sign(t *testing.T, alg string, claims jwt.MapClaims, header object) string {
	t.Helper()
	return signWith(t, alg, signers()[alg], claims, header)
}

func signWith(t *testing.T, alg string, key any, claims jwt.MapClaims, header object) string {
	t.Helper()
	token := jwt.NewWithClaims(jwt.GetSigningMethod(alg), claims)
	for k, v := range header {
		token.Header[k] = v
		if v == nil {
			delete(token.Header, k)
		}
	}
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// keyDir writes keys as Dovecot's documentation lays them out.
func keyDir(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir + "/"
}

const local = "introspection_mode = local\n"

func TestLocalValidation_algorithms(t *testing.T) {
	t.Parallel()
	now := time.Now()
	files := map[string]string{}
	for alg, key := range signers() {
		files["default/"+strings.ToUpper(alg)+"/default"] = publicPEM(t, key)
	}
	d := openText(t, nil, local+"local_validation_key_dict = fs:posix:prefix="+keyDir(t, files)+"\n")
	for alg := range signers() {
		token := sign(t, alg, body(now, nil), nil)
		if got, res := ask(t, d, "XOAUTH2", "bob", token); got != "ok" || res.Until.Unix() != now.Add(10*time.Minute).Unix() {
			t.Errorf("%s: %s, until %s", alg, got, res.Until)
		}
		parts := strings.Split(token, ".")
		forged := base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"1","email":"alice","exp":9999999999}`))
		if got, _ := ask(t, d, "XOAUTH2", "alice", parts[0]+"."+forged+"."+parts[2]); got != "password_mismatch: oauth2 failed: Local validation failed: Incorrect JWT signature" {
			t.Errorf("%s: other claims: %s", alg, got)
		}
	}
}

// The texts are those of Dovecot 2.3.19 where it has one for the case.
func TestLocalValidation_claims(t *testing.T) {
	t.Parallel()
	now := time.Now()
	in := func(d time.Duration) int64 { return now.Add(d).Unix() }
	secret := publicPEM(t, signers()["HS256"])
	dir := keyDir(t, map[string]string{
		"default/HS256/default": secret, "default/HS256/k1": secret, "default/HS256/a%2fb%25": secret, "cid/HS256/default": secret, "a%2fb%25c/HS256/default": secret,
	})
	for _, c := range []struct {
		name         string
		file         string
		header, body object
		want         string
	}{
		{"all is well", "", nil, nil, "ok"},
		{"no exp", "", nil, object{"exp": nil}, "Missing 'exp' field"},
		{"expired", "", nil, object{"exp": in(-10 * time.Second)}, "Token has expired"},
		{"expired within the grace", "token_expire_grace = 60\n", nil, object{"exp": in(-10 * time.Second)}, "ok"},
		{"expired beyond the grace", "token_expire_grace = 60\n", nil, object{"exp": in(-70 * time.Second)}, "Token has expired"},
		{"exp as text", "", nil, object{"exp": fmt.Sprint(in(time.Hour))}, "ok"},
		{"exp with a fraction", "", nil, object{"exp": float64(in(time.Hour)) + .5}, "ok"},
		{"exp is a word", "", nil, object{"exp": "x"}, "Malformed 'exp' field"},
		{"exp is an object", "", nil, object{"exp": object{}}, "Missing 'exp' field"},
		{"exp is a list", "", nil, object{"exp": []int64{in(-time.Hour), in(time.Hour)}}, "Malformed 'exp' field"},
		{"exp is endless", "", nil, object{"exp": "1e300"}, "Malformed 'exp' field"},
		{"exp is no number", "", nil, object{"exp": "NaN"}, "Malformed 'exp' field"},
		{"not yet valid", "", nil, object{"nbf": in(time.Minute)}, "Token is not valid yet"},
		{"valid since now", "", nil, object{"nbf": in(-time.Minute), "iat": in(-time.Minute)}, "ok"},
		{"issued in the future", "", nil, object{"iat": in(time.Minute)}, "Token is issued in future"},
		{"iat is a word", "", nil, object{"iat": "x"}, "Malformed 'iat' field"},
		{"no sub", "", nil, object{"sub": nil}, "Missing 'sub' field"},
		{"no user", "", nil, object{"email": nil}, "error: oauth2 failed: Local validation failed: No username returned"},
		{"another user", "", nil, object{"email": "alice"}, "Username 'bob' did not match 'alice'"},
		{"not active", "", nil, object{"active": false}, "Provided token is not valid"},
		{"the right issuer", "issuers = https://h https://i\n", nil, nil, "ok"},
		{"another issuer", "issuers = https://h\n", nil, nil, "Issuer 'https://i' is not allowed"},
		{"no issuer", "issuers = https://h\n", nil, object{"iss": nil}, "Token is missing 'iss' field"},
		{"two issuers", "issuers = https://i\n", nil, object{"iss": []string{"https://i", "https://x"}}, "Issuer 'https://i https://x' is not allowed"},
		{"no audience", "client_id = cid\n", nil, nil, "client_id set but aud is missing"},
		{"another audience", "client_id = cid\n", nil, object{"aud": "cid2"}, "client_id not found in aud field"},
		{"the audience", "client_id = cid\n", nil, object{"aud": "cid"}, "ok"},
		{"one audience of two", "client_id = cid\n", nil, object{"aud": []string{"x", "cid"}}, "ok"},
		{"no scope", "scope = mail\n", nil, object{"aud": "mail"}, "scope set but not found in token"},
		{"the scope", "scope = mail\n", nil, object{"scope": "imap mail"}, "ok"},
		{"one scope of two", "scope = mail imap\n", nil, object{"scope": "mail"}, "configured scope 'mail imap' missing from token scope 'mail'"},
		{"an unknown audience", "audience = x\n", nil, nil, "user_disabled: oauth2 failed: Local validation failed: Token audience does not include 'x'"},
		{"a kid", "", object{"kid": "k1"}, nil, "ok"},
		{"a kid that is not there", "", object{"kid": "k2"}, nil, "HS256 key 'k2' not found"},
		{"a kid with a slash", "", object{"kid": "a/b%"}, nil, "ok"},
		{"a kid that climbs", "", object{"kid": ".."}, nil, "HS256 key '..' not found"},
		{"a kid that climbs further", "", object{"kid": "../../cid/HS256/default"}, nil, "HS256 key '../../cid/HS256/default' not found"},
		{"a kid with a NUL", "", object{"kid": "default\x00"}, nil, "HS256 key 'default?' not found"},
		{"a long kid", "", object{"kid": strings.Repeat("x", 300)}, nil, "HS256 key '" + strings.Repeat("x", 200) + "...' not found"},
		{"an empty kid", "", object{"kid": ""}, nil, "'kid' field is empty"},
		{"a kid that is a number", "", object{"kid": 1}, nil, "'kid' field is empty"},
		{"an azp", "", nil, object{"azp": "cid"}, "ok"},
		{"an azp with a slash", "", nil, object{"azp": "a/b%c"}, "ok"},
		{"an azp that climbs", "", nil, object{"azp": "../default"}, "HS256 key 'default' not found"},
		{"an azp without keys", "", nil, object{"azp": "nosuch"}, "HS256 key 'default' not found"},
		{"an access token by RFC 9068", "", object{"typ": "at+JWT"}, nil, "ok"},
		{"no typ", "", object{"typ": nil}, nil, "ok"},
		{"another typ", "", object{"typ": "JWE"}, nil, "Cannot find 'typ' field"},
		{"a typ that is a number", "", object{"typ": 1}, nil, "Cannot find 'typ' field"},
		{"critical headers", "", object{"crit": []string{"x"}, "x": 1}, nil, "the token has critical headers that are not understood"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := openText(t, nil, local+"local_validation_key_dict = fs:posix:prefix="+dir+"\n"+c.file)
			d.now = func() time.Time { return now }
			want := c.want
			if want != "ok" && !strings.Contains(want, ": oauth2 failed") {
				want = "password_mismatch: oauth2 failed: Local validation failed: " + want
			}
			if got, _ := ask(t, d, "XOAUTH2", "bob", sign(t, "HS256", body(now, c.body), c.header)); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func TestLocalValidation_forgeries(t *testing.T) {
	t.Parallel()
	now := time.Now()
	rsaPEM := publicPEM(t, signers()["RS256"])
	dir := keyDir(t, map[string]string{
		"default/RS256/default": rsaPEM,
		"default/ES256/default": publicPEM(t, signers()["ES256"]),
		"default/ES384/default": publicPEM(t, signers()["ES256"]), // in the wrong place
		"default/HS512/default": rsaPEM,                           // in the wrong place
		"default/HS384/default": "\n",
		"default/PS256/default": "no PEM",
		"default/PS384/default": string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(signers()["RS256"].(*rsa.PrivateKey))})),
	})
	d := openText(t, nil, local+"local_validation_key_dict = fs:posix:prefix="+dir+"\n")
	good := sign(t, "RS256", body(now, nil), nil)
	parts := strings.Split(good, ".")
	rewrite := func(header string) string {
		return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + parts[1] + "." + parts[2]
	}
	const no = "password_mismatch: oauth2 failed: Local validation failed: "
	for _, c := range []struct{ name, token, want string }{
		{"the good one", good, "ok"},
		{"alg none", signWith(t, "none", jwt.UnsafeAllowNoneSignatureType, body(now, nil), nil), no + "Unsupported algorithm 'none'"},
		{"alg None", rewrite(`{"alg":"None","typ":"JWT"}`), no + "Unsupported algorithm 'None'"},
		{"no alg", rewrite(`{"typ":"JWT"}`), no + "Unsupported algorithm ''"},
		{"alg is a list", rewrite(`{"alg":["RS256"],"typ":"JWT"}`), no + "Unsupported algorithm ''"},
		{"the public key as a secret", signWith(t, "HS256", []byte(rsaPEM), body(now, nil), nil), no + "HS256 key 'default' not found"},
		{"another family with the same signature", rewrite(`{"alg":"ES256","typ":"JWT"}`), no + "Incorrect JWT signature"},
		{"no signature", parts[0] + "." + parts[1] + ".", no + "Incorrect JWT signature"},
		{"another key", signWith(t, "RS256", must(rsa.GenerateKey(rand.Reader, 2048)), body(now, nil), nil), no + "Incorrect JWT signature"},
		{"opaque", "abc", no + "Not a JWT token"},
		{"two parts", "a.b", no + "Not a JWT token"},
		{"four parts", good + ".x", no + "Not a JWT token"},
		{"padding", good + "=", no + "Not a JWT token"},
		{"bad base64", "!." + parts[1] + "." + parts[2], no + "Not a JWT token"},
		{"no JSON", base64.RawURLEncoding.EncodeToString([]byte("x")) + "." + parts[1] + "." + parts[2], no + "Not a JWT token"},
		{"dots", strings.Repeat(".", 8000), no + "Not a JWT token"},
		// What is wrong with our files is no fault of the token.
		{"PEM where a secret should be", signWith(t, "HS512", []byte(rsaPEM), body(now, nil), nil), "error: oauth2 failed: Local validation failed: " + dir + "default/HS512/default: Invalid base64 encoded key"},
		{"an empty secret", signWith(t, "HS384", []byte("x"), body(now, nil), nil), "error: oauth2 failed: Local validation failed: " + dir + "default/HS384/default: the key is empty"},
		{"no PEM", sign(t, "PS256", body(now, nil), nil), "error: oauth2 failed: Local validation failed: " + dir + "default/PS256/default: no key in PEM form found"},
		{"a private key", sign(t, "PS384", body(now, nil), nil), "error: oauth2 failed: Local validation failed: " + dir + "default/PS384/default: a public key is needed, not RSA PRIVATE KEY"},
		{"a key of another curve", sign(t, "ES384", body(now, nil), nil), no + "ES384 key 'default' is of another type"},
	} {
		if got, _ := ask(t, d, "XOAUTH2", "bob", c.token); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.name, got, c.want)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// webKeySet writes a JSON web key set.
func webKeySet(t *testing.T, path string, keys ...object) {
	t.Helper()
	text, err := json.Marshal(object{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func rsaWebKey(key any, more object) object {
	k := key.(*rsa.PrivateKey)
	out := object{"kty": "RSA", "n": b64(k.N.Bytes()), "e": "AQAB"}
	for name, v := range more {
		out[name] = v
	}
	return out
}

func TestLocalValidation_web_keys(t *testing.T) {
	t.Parallel()
	now := time.Now()
	path := filepath.Join(t.TempDir(), "jwks.json")
	ec := signers()["ES256"].(*ecdsa.PrivateKey)
	point, err := ec.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	ed := signers()["EdDSA"].(ed25519.PrivateKey)
	webKeySet(
		t, path,
		rsaWebKey(signers()["RS256"], object{"kid": "r", "alg": "RS256", "use": "sig"}),
		rsaWebKey(signers()["RS256"], object{"kid": "enc", "use": "enc"}),
		object{"kty": "EC", "kid": "e", "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:])},
		object{"kty": "EC", "kid": "k", "crv": "secp256k1", "x": "AA", "y": "AA"},
		object{"kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": b64(ed.Public().(ed25519.PublicKey))},
		object{"kty": "oct", "kid": "s", "k": b64(signers()["HS256"].([]byte))},
		object{"kty": "new", "kid": "n"},
	)
	d := openText(t, nil, local+"local_validation_jwks = "+path+"\n")
	const no = "password_mismatch: oauth2 failed: Local validation failed: "
	for _, c := range []struct{ alg, kid, want string }{
		{"RS256", "r", "ok"},
		{"RS256", "", "ok"},
		{"ES256", "e", "ok"},
		{"EdDSA", "ed", "ok"},
		{"HS256", "s", "ok"},
		{"RS256", "e", no + "RS256 key 'e' not found"},
		{"RS256", "enc", no + "RS256 key 'enc' not found"},
		{"RS512", "r", no + "RS512 key 'r' not found"}, // the key is for RS256 only
		{"HS256", "r", no + "HS256 key 'r' not found"},
		{"ES384", "e", no + "ES384 key 'e' is of another type"},
	} {
		header := object{"kid": c.kid}
		if c.kid == "" {
			header["kid"] = nil
		}
		if got, _ := ask(t, d, "OAUTHBEARER", "bob", sign(t, c.alg, body(now, nil), header)); got != c.want {
			t.Errorf("%s with kid %q:\ngot  %s\nwant %s", c.alg, c.kid, got, c.want)
		}
	}

	// A rotated key is found without a reload; a broken file is a fault of ours.
	fresh := must(rsa.GenerateKey(rand.Reader, 2048))
	token := signWith(t, "RS256", fresh, body(now, nil), object{"kid": "new"})
	if got, _ := ask(t, d, "XOAUTH2", "bob", token); got != no+"RS256 key 'new' not found" {
		t.Error(got)
	}
	webKeySet(t, path, rsaWebKey(fresh, object{"kid": "new"}))
	if got, _ := ask(t, d, "XOAUTH2", "bob", token); got != "ok" {
		t.Error(got)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, _ := ask(t, d, "XOAUTH2", "bob", token); !strings.HasPrefix(got, "error: oauth2 failed: Local validation failed: "+path+": ") {
		t.Error(got)
	}
}

func TestWebKeys_mistakes(t *testing.T) {
	for text, want := range map[string]string{
		`{`:           "no JSON web key set",
		`[]`:          "no JSON web key set",
		`{}`:          "no key for signatures in it",
		`{"keys":[]}`: "no key for signatures in it",
		`{"keys":[{"kty":"RSA","kid":"a","n":"","e":"AQAB"}]}`:                     `key "a": a part of it is missing`,
		`{"keys":[{"kty":"RSA","kid":"a","n":"!","e":"AQAB"}]}`:                    `key "a": illegal base64`,
		`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQ"}]}`:                             "the exponent is out of range",
		`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`:                  "a coordinate has the wrong length",
		`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA"}]}`:                        "the key has the wrong length",
		`{"keys":[` + strings.Repeat(`{"kty":"x"},`, maxWebKeys) + `{"kty":"x"}]}`: "more than 100 keys",
	} {
		var w webKeys
		if err := w.UnmarshalJSON([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %s", text, err, want)
		}
	}
}

// FuzzLocalValidation: no token without our signature is ever good, and none is a fault of ours.
func FuzzLocalValidation(f *testing.F) {
	f.Add("a.b.c")
	f.Add("eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.")
	f.Add("eyJhbGciOiJIUzI1NiIsImtpZCI6Ii4uLy4uIn0.eyJhenAiOiIuLiIsImV4cCI6MX0.AAAA")
	dir := f.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "default/HS256"), 0o700); err != nil {
		f.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "default/HS256/default"), []byte(base64.StdEncoding.EncodeToString([]byte("never guessed"))), 0o600); err != nil {
		f.Fatal(err)
	}
	path := filepath.Join(dir, "conf")
	if err := os.WriteFile(path, []byte(local+"local_validation_key_dict = fs:posix:prefix="+dir+"/\n"), 0o600); err != nil {
		f.Fatal(err)
	}
	d := must(New(fuzzBlock(path))).(*driver)
	f.Fuzz(func(t *testing.T, token string) {
		if got, _ := ask(t, d, "XOAUTH2", "bob", token); !strings.HasPrefix(got, "password_mismatch: ") {
			t.Errorf("%q: %s", token, got)
		}
	})
}
