package auth

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	"dproxy/passdb"
	"dproxy/passdb/scheme"
)

// cramMD5 is RFC 2195.
type cramMD5 struct{ challenge []byte }

func (c *cramMD5) step(ctx context.Context, t *attempt, in []byte) ([]byte, bool, passdb.Status) {
	if c.challenge == nil {
		var r [8]byte
		_, _ = rand.Read(r[:]) // it cannot fail
		c.challenge = fmt.Appendf(nil, "<%016d.%d@%s>", binary.BigEndian.Uint64(r[:])%1e16, time.Now().Unix(), t.a.hostname)
		return c.challenge, false, 0
	}
	i := bytes.LastIndexByte(in, ' ')
	if i < 0 {
		return t.refuse("missing digest")
	}
	if err := t.setUser(string(in[:i])); err != nil {
		return t.refuse(err.Error())
	}
	s := t.proveChallenge(ctx, "CRAM-MD5", passdb.Challenge{Salt: string(c.challenge), Digest: string(in[i+1:])})
	if s != passdb.OK || t.proven {
		return nil, true, s
	}
	want, err := scheme.HMACMD5(t.credentials, c.challenge)
	if err != nil {
		return t.refuse("invalid credentials length")
	}
	return t.proved(subtle.ConstantTimeCompare(in[i+1:], []byte(hex.EncodeToString(want))) == 1)
}

// apop is RFC 1939 section 7. The front puts the challenge into the greeting; the initial response is
// challenge, NUL, user, NUL and the 16 bytes of the digest.
type apop struct{}

func (apop) step(ctx context.Context, t *attempt, in []byte) ([]byte, bool, passdb.Status) {
	if len(in) == 0 {
		return t.refuse("no initial response")
	}
	parts := bytes.SplitN(in, []byte{0}, 3)
	if len(parts) != 3 || len(parts[2]) != md5.Size || len(parts[0]) == 0 {
		return t.refuse("malformed data")
	}
	if err := t.setUser(string(parts[1])); err != nil {
		return t.refuse(err.Error())
	}
	s := t.proveChallenge(ctx, "PLAIN", passdb.Challenge{Salt: string(parts[0]), Digest: hex.EncodeToString(parts[2])})
	if s != passdb.OK || t.proven {
		return nil, true, s
	}
	if len(t.credentials) == 0 {
		return t.proved(false)
	}
	sum := md5.Sum(append(bytes.Clone(parts[0]), t.credentials...))
	return t.proved(subtle.ConstantTimeCompare(sum[:], parts[2]) == 1)
}
