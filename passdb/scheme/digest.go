package scheme

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/subtle"
	"hash"
	"strconv"
	"strings"
)

func same(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }

func equal(raw []byte, password, _ string) (bool, error) { return same(raw, []byte(password)), nil }

func generatePlain(password, _ string, _ int) ([]byte, error) { return []byte(password), nil }

// verifyTruncated compares with "N-text": text of full length N is a prefix of the password that
// another system cut, a shorter one must be equal.
func verifyTruncated(raw []byte, password, _ string) (bool, error) {
	number, text, ok := strings.Cut(string(raw), "-")
	n, err := strconv.ParseUint(number, 10, 32)
	if !ok || err != nil {
		return false, invalid("PLAIN-TRUNC missing length: prefix")
	}
	if uint64(len(text)) == n && uint64(len(password)) >= n {
		password = password[:n]
	}
	return same([]byte(text), []byte(password)), nil
}

// generateTruncated names a length that the text does not reach, so that only the whole password matches.
func generateTruncated(password, _ string, _ int) ([]byte, error) {
	return []byte(strconv.Itoa(len(password)+1) + "-" + password), nil
}

func sum(newHash func() hash.Hash, parts ...[]byte) []byte {
	h := newHash()
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

// digest is an unsalted hash of the password.
func digest(newHash func() hash.Hash, e encoding) spec {
	return spec{
		encoding: e,
		size:     newHash().Size(),
		verify: func(raw []byte, password, _ string) (bool, error) {
			return same(raw, sum(newHash, []byte(password))), nil
		},
		generate: func(password, _ string, _ int) ([]byte, error) {
			return sum(newHash, []byte(password)), nil
		},
	}
}

// salted is hash(password + salt) + salt with a salt of any length.
func salted(name string, newHash func() hash.Hash) spec {
	size := newHash().Size()
	return spec{
		encoding: asBase64,
		verify: func(raw []byte, password, _ string) (bool, error) {
			if len(raw) <= size {
				return false, invalid("%s password is too short", name)
			}
			return same(raw[:size], sum(newHash, []byte(password), raw[size:])), nil
		},
		generate: func(password, _ string, _ int) ([]byte, error) {
			salt := make([]byte, 4)
			_, _ = rand.Read(salt) // never fails: crypto/rand ends the program instead
			return append(sum(newHash, []byte(password), salt), salt...), nil
		},
	}
}

// verifyMD5 serves the scheme that may hold either MD5-CRYPT or PLAIN-MD5.
func verifyMD5(raw []byte, password, user string) (bool, error) {
	if strings.HasPrefix(string(raw), "$1$") {
		return verifyMD5Crypt(raw, password, user)
	}
	d := digest(md5.New, asHex)
	sum, err := decode(Hash{Name: "PLAIN-MD5", Data: string(raw)}, d)
	if err != nil {
		return false, invalid("Not a valid MD5-CRYPT or PLAIN-MD5 password")
	}
	return d.verify(sum, password, user)
}
