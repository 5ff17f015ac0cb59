package policy

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"sort"
	"strings"

	//lint:ignore SA1019 auth_policy_hash_mech has it
	"golang.org/x/crypto/md4"

	"dproxy/conf"
)

// attribute is one "name=template"; a "/" in the name makes objects inside each other.
type attribute struct {
	path  []string
	value *conf.Template
}

func parseAttributes(list string) ([]attribute, error) {
	var out []attribute
	for f := range strings.FieldsSeq(list) {
		name, text, ok := strings.Cut(f, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("%q is not name=template", f)
		}
		t, err := conf.ParseTemplate(text, conf.AuthLetters)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out = append(out, attribute{strings.Split(name, "/"), t})
	}
	sort.SliceStable(out, func(i, j int) bool { return strings.Join(out[i].path, "/") < strings.Join(out[j].path, "/") })
	return out, nil
}

// body is a request's JSON object. Outcome stands before its last member, which is always "tls".
func (p *Server) body(l Login, outcome string) ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	var open []string
	first := true
	for _, a := range p.attributes {
		v, err := a.value.Expand(func(name string) (string, bool) {
			switch name {
			case "requested_username":
				return l.User, true
			case "hashed_password":
				return p.hash.of(l.User, l.Password), true
			}
			return l.Var(name)
		})
		if err != nil {
			return nil, fmt.Errorf("Failed to expand auth_policy_request_attributes: %w", err)
		}
		dir := a.path[:len(a.path)-1]
		same := 0
		for same < len(dir) && same < len(open) && dir[same] == open[same] {
			same++
		}
		b.WriteString(strings.Repeat("}", len(open)-same))
		if !first {
			b.WriteByte(',')
		}
		for _, name := range dir[same:] {
			b.WriteString(quoted(name) + ":{")
		}
		open, first = dir, false
		b.WriteString(quoted(a.path[len(dir)]) + ":" + quoted(v))
	}
	b.WriteString(strings.Repeat("}", len(open)))
	rest := outcome + fmt.Sprintf(`,"tls":%t}`, l.TLS)
	if first {
		rest = rest[1:]
	}
	b.WriteString(rest)
	return b.Bytes(), nil
}

func quoted(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string can be encoded
	return strings.TrimSuffix(b.String(), "\n")
}

// hasher makes the value that stands for a password: enough of it to tell guesses apart, not enough to guess it.
type hasher struct {
	new   func() hash.Hash
	nonce string
	bits  uint // 0: all
}

func newHasher(s *conf.Settings) (h hasher, err error) {
	h.nonce, h.bits = s.AuthPolicyHashNonce, s.AuthPolicyHashTruncate
	h.new = map[string]func() hash.Hash{
		"md4": md4.New, "md5": md5.New, "sha1": sha1.New, "sha256": sha256.New, "sha384": sha512.New384, "sha512": sha512.New,
		"sha3-256": func() hash.Hash { return sha3.New256() }, "sha3-512": func() hash.Hash { return sha3.New512() },
	}[s.AuthPolicyHashMech]
	switch {
	case h.nonce == "":
		return h, errors.New("auth_policy_hash_nonce must be set when policy server is used")
	case h.new == nil:
		return h, errors.New("invalid auth_policy_hash_mech given")
	}
	return h, nil
}

// of hashes nonce, user, NUL and password and keeps the first bits as a number in hexadecimal.
func (h hasher) of(user, password string) string {
	d := h.new()
	d.Write([]byte(h.nonce + user + "\x00" + password))
	sum := d.Sum(nil)
	if h.bits > 0 && h.bits < uint(len(sum))*8 {
		sum = sum[:(h.bits+7)/8]
		if shift := uint(len(sum))*8 - h.bits; shift > 0 {
			for i := len(sum) - 1; i > 0; i-- {
				sum[i] = sum[i]>>shift | sum[i-1]<<(8-shift)
			}
			sum[0] >>= shift
		}
	}
	return hex.EncodeToString(sum)
}
