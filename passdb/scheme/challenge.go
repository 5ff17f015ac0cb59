package scheme

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/pbkdf2"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"
)

const md5Magic = "md5\x01" // opens the state that crypto/md5 marshals

// generateCRAMMD5 keeps the MD5 chaining values after the outer and after the inner padded key block of
// HMAC-MD5 (RFC 2104), each as four little-endian words.
func generateCRAMMD5(password, _ string, _ int) ([]byte, error) {
	key := make([]byte, md5.BlockSize)
	if len(password) > md5.BlockSize {
		s := md5.Sum([]byte(password))
		copy(key, s[:])
	} else {
		copy(key, password)
	}
	out := make([]byte, 0, 2*md5.Size)
	for _, pad := range []byte{0x5c, 0x36} {
		block := make([]byte, md5.BlockSize)
		for i := range block {
			block[i] = key[i] ^ pad
		}
		h := md5.New()
		h.Write(block)
		m, ok := h.(interface{ AppendBinary([]byte) ([]byte, error) })
		if !ok {
			return nil, errors.New("crypto/md5 cannot save its state")
		}
		state, err := m.AppendBinary(nil)
		if err != nil {
			return nil, fmt.Errorf("save the MD5 state: %w", err)
		}
		out = append(out, swapWords(state[len(md5Magic):len(md5Magic)+md5.Size])...)
	}
	return out, nil
}

func verifyCRAMMD5(raw []byte, password, user string) (bool, error) {
	want, err := generateCRAMMD5(password, user, 0)
	return err == nil && same(raw, want), err
}

// swapWords changes the byte order of each 32-bit word.
func swapWords(b []byte) []byte {
	out := make([]byte, len(b))
	for i := 0; i+4 <= len(b); i += 4 {
		binary.LittleEndian.PutUint32(out[i:], binary.BigEndian.Uint32(b[i:]))
	}
	return out
}

// HMACMD5 computes the keyed hash of a message from the 32 bytes that Credentials returns for
// CRAM-MD5.
func HMACMD5(state []byte, message []byte) ([]byte, error) {
	if len(state) != 2*md5.Size {
		return nil, fmt.Errorf("the CRAM-MD5 state has %d bytes instead of %d", len(state), 2*md5.Size)
	}
	inner, err := resume(state[md5.Size:])
	if err != nil {
		return nil, err
	}
	inner.Write(message)
	outer, err := resume(state[:md5.Size])
	if err != nil {
		return nil, err
	}
	outer.Write(inner.Sum(nil))
	return outer.Sum(nil), nil
}

// resume continues an MD5 that has taken in one block.
func resume(words []byte) (hash.Hash, error) {
	h := md5.New()
	state := append([]byte(md5Magic), swapWords(words)...)
	state = append(state, make([]byte, md5.BlockSize)...)
	state = binary.BigEndian.AppendUint64(state, md5.BlockSize)
	u, ok := h.(interface{ UnmarshalBinary([]byte) error })
	if !ok {
		return nil, errors.New("crypto/md5 cannot load a state")
	}
	if err := u.UnmarshalBinary(state); err != nil {
		return nil, fmt.Errorf("load the MD5 state: %w", err)
	}
	return h, nil
}

// generateDigestMD5 is H(user:realm:password) of RFC 2831 section 2.1.2.1; the realm follows the last @.
func generateDigestMD5(password, user string, _ int) ([]byte, error) {
	if user == "" {
		return nil, errors.New("digest_md5_generate(): username not given")
	}
	realm := ""
	if i := strings.LastIndexByte(user, '@'); i >= 0 {
		user, realm = user[:i], user[i+1:]
	}
	s := md5.Sum([]byte(user + ":" + realm + ":" + password))
	return s[:], nil
}

func verifyDigestMD5(raw []byte, password, user string) (bool, error) {
	want, err := generateDigestMD5(password, user, 0)
	return err == nil && same(raw, want), err
}

const (
	scramMinIterations = 4096 // RFC 7677 section 4
	scramSaltSize      = 16
)

// scram is "iterations,salt,StoredKey,ServerKey" (RFC 5802 section 3) without SASLprep, as in Dovecot.
func scram(name string, k kind, newHash func() hash.Hash) spec {
	return spec{
		kind:      k,
		expensive: true,
		verify: func(raw []byte, password, _ string) (bool, error) {
			s, err := parseSCRAM(name, string(raw), newHash().Size())
			if err != nil {
				return false, err
			}
			stored, _, err := scramKeys(newHash, password, s.salt, s.iterations)
			return err == nil && same(s.storedKey, stored), err
		},
		generate: func(password, _ string, _ int) ([]byte, error) {
			salt := make([]byte, scramSaltSize)
			_, _ = rand.Read(salt)
			stored, server, err := scramKeys(newHash, password, salt, scramMinIterations)
			if err != nil {
				return nil, err
			}
			b64 := base64.StdEncoding.EncodeToString
			return []byte(fmt.Sprintf("%d,%s,%s,%s", scramMinIterations, b64(salt), b64(stored), b64(server))), nil
		},
	}
}

type scramEntry struct {
	iterations      int
	salt, storedKey []byte
}

func parseSCRAM(name, text string, size int) (scramEntry, error) {
	f := strings.Split(text, ",")
	if len(f) != 4 {
		return scramEntry{}, invalid("Invalid %s passdb entry format", name)
	}
	n, err := strconv.ParseUint(f[0], 10, 31)
	if err != nil || n < scramMinIterations {
		return scramEntry{}, invalid("Invalid %s iteration count in passdb", name)
	}
	if n > maxRounds {
		return scramEntry{}, invalid("%s iteration count in passdb is over %d", name, maxRounds)
	}
	salt, err := base64.StdEncoding.DecodeString(f[1])
	if err != nil {
		return scramEntry{}, invalid("Invalid %s salt in passdb", name)
	}
	key, err := base64.StdEncoding.DecodeString(f[2])
	if err != nil || len(key) != size {
		return scramEntry{}, invalid("Invalid %s StoredKey in passdb", name)
	}
	return scramEntry{int(n), salt, key}, nil
}

func scramKeys(newHash func() hash.Hash, password string, salt []byte, iterations int) (stored, server []byte, err error) {
	saltedPassword, err := pbkdf2.Key(newHash, password, salt, iterations, newHash().Size())
	if err != nil {
		return nil, nil, fmt.Errorf("derive the SCRAM key: %w", err)
	}
	mac := func(text string) []byte {
		m := hmac.New(newHash, saltedPassword)
		m.Write([]byte(text))
		return m.Sum(nil)
	}
	return sum(newHash, mac("Client Key")), mac("Server Key"), nil
}
