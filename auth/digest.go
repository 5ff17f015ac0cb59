package auth

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"

	"dproxy/passdb"
)

// digestMD5 is RFC 2831 with qop=auth.
type digestMD5 struct{ nonce string }

func (d *digestMD5) step(ctx context.Context, t *attempt, in []byte) ([]byte, bool, passdb.Status) {
	if d.nonce == "" {
		return d.challenge(t), false, 0
	}
	if len(in) == 0 {
		return t.refuse("Client sent no input")
	}
	r, text := parseDigest(string(in), d.nonce)
	if text != "" {
		return t.refuse(text)
	}
	user := r["username"]
	if realm := r["realm"]; realm != "" && !strings.Contains(user, "@") {
		user += "@" + realm
	}
	if err := t.setUser(user); err != nil {
		return t.refuse(err.Error())
	}
	if authzid, ok := r["authzid"]; ok && authzid != user {
		if err := t.setLoginUser(authzid); err != nil {
			return t.refuse("login user: " + err.Error())
		}
	}
	if s := t.lookupCredentials(ctx, "DIGEST-MD5"); s != passdb.OK {
		return nil, true, s
	}
	if len(t.credentials) != md5.Size {
		return t.refuse("invalid credentials length")
	}
	if subtle.ConstantTimeCompare(digestResponse(r, t.credentials, "AUTHENTICATE:"), []byte(r["response"])) != 1 {
		return t.proved(false)
	}
	t.final = append([]byte("rspauth="), digestResponse(r, t.credentials, ":")...)
	return t.proved(true)
}

func (d *digestMD5) challenge(t *attempt) []byte {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it cannot fail
	d.nonce = base64.StdEncoding.EncodeToString(b[:])
	var out bytes.Buffer
	realms := fields(t.chain.settings.AuthRealms, " ")
	if len(realms) == 0 {
		realms = []string{""}
	}
	for _, r := range realms {
		fmt.Fprintf(&out, `realm="%s",`, strings.ReplaceAll(r, `"`, `\"`))
	}
	fmt.Fprintf(&out, `nonce="%s",qop="auth",charset="utf-8",algorithm="md5-sess"`, d.nonce)
	return out.Bytes()
}

// digestResponse is the response-value of RFC 2831 section 2.1.2.1.
func digestResponse(r map[string]string, secret []byte, a2 string) []byte {
	a1 := append(bytes.Clone(secret), ":"+r["nonce"]+":"+r["cnonce"]...)
	if authzid, ok := r["authzid"]; ok {
		a1 = append(a1, ":"+authzid...)
	}
	return []byte(hexMD5(hexMD5(string(a1)) + ":" + r["nonce"] + ":" + r["nc"] + ":" + r["cnonce"] + ":" + r["qop"] + ":" + hexMD5(a2+r["digest-uri"])))
}

func hexMD5(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

// parseDigest reads a digest-response. The text says what is wrong with it, as Dovecot does.
func parseDigest(in, nonce string) (map[string]string, string) {
	r := map[string]string{}
	for in != "" {
		var name, value string
		var ok bool
		if name, value, in, ok = directive(in); !ok {
			return nil, "Invalid data from client"
		}
		if name == "" {
			continue
		}
		if _, again := r[name]; again && name != "auth-param" {
			return nil, name + " must not exist more than once"
		}
		r[name] = value
		switch {
		case name == "nonce" && value != nonce:
			return nil, "Invalid nonce"
		case name == "nc" && value != "00000001":
			return nil, "re-auth not supported currently"
		case name == "qop" && !strings.EqualFold(value, "auth"):
			return nil, "Nonallowed QoP requested"
		case name == "charset" && !strings.EqualFold(value, "utf-8"):
			return nil, "Only utf-8 charset is supported"
		case name == "response" && !isHexMD5(value):
			return nil, "Invalid response value"
		}
	}
	for _, name := range [...]string{"nonce", "cnonce", "username"} {
		if r[name] == "" {
			return nil, "Missing " + name + " parameter"
		}
	}
	if r["nc"] == "" {
		r["nc"] = "00000001"
	}
	r["qop"] = "auth"
	r["response"] = strings.ToLower(r["response"])
	return r, ""
}

func isHexMD5(s string) bool {
	raw, err := hex.DecodeString(s)
	return err == nil && len(raw) == md5.Size
}

// directive takes the first name=value of a list that commas separate. The value may be quoted.
func directive(in string) (name, value, rest string, ok bool) {
	in = strings.TrimLeft(in, " \t\r\n,")
	if in == "" {
		return "", "", "", true
	}
	name, in, ok = strings.Cut(in, "=")
	if !ok {
		return "", "", "", false
	}
	name = strings.ToLower(strings.TrimRight(name, " \t\r\n"))
	in = strings.TrimLeft(in, " \t\r\n")
	if !strings.HasPrefix(in, `"`) {
		value, rest, _ = strings.Cut(in, ",")
		return name, strings.TrimRight(value, " \t\r\n"), rest, name != ""
	}
	var b strings.Builder
	for i := 1; i < len(in); i++ {
		switch in[i] {
		case '"':
			return name, b.String(), in[i+1:], name != ""
		case '\\':
			if i++; i == len(in) {
				return "", "", "", false
			}
		}
		b.WriteByte(in[i])
	}
	return "", "", "", false
}
