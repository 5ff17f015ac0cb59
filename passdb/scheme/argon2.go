package scheme

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
)

type argon2Hash struct {
	id             bool
	memory, passes uint32 // memory in KiB
	threads        uint8
	salt, key      []byte
}

// verifyArgon2 accepts both variants under either name, as libsodium does.
func verifyArgon2(raw []byte, password, _ string) (bool, error) {
	h, err := parseArgon2(string(raw))
	if err != nil {
		return false, err
	}
	return same(h.key, h.derive(password)), nil
}

// parseArgon2 reads $argon2id$v=19$m=65536,t=3,p=1$salt$key (RFC 9106's parameters in the PHC string format).
func parseArgon2(text string) (h argon2Hash, err error) {
	f := strings.Split(text, "$")
	if len(f) != 6 || f[0] != "" || (f[1] != "argon2i" && f[1] != "argon2id") || f[2] != "v=19" {
		return h, invalid("Not a valid ARGON2I or ARGON2ID password")
	}
	h.id = f[1] == "argon2id"
	var lanes uint32
	if n, err := fmt.Sscanf(f[3], "m=%d,t=%d,p=%d", &h.memory, &h.passes, &lanes); n != 3 || err != nil ||
		f[3] != fmt.Sprintf("m=%d,t=%d,p=%d", h.memory, h.passes, lanes) {
		return h, invalid("ARGON2 parameters %q are not m=N,t=N,p=N", f[3])
	}
	if h.memory > maxArgon2Memory || uint64(h.memory)*uint64(h.passes) > maxArgon2Work || lanes > maxArgon2Threads {
		return h, invalid("ARGON2 parameters %q are over the limit of m=%d, m*t=%d, p=%d", f[3], maxArgon2Memory, maxArgon2Work, maxArgon2Threads)
	}
	if lanes < 1 || h.passes < 1 || h.memory < 8*lanes {
		return h, invalid("ARGON2 parameters %q are below the minimum of m=8*p, t=1, p=1", f[3])
	}
	h.threads = uint8(lanes)
	b64 := base64.RawStdEncoding.Strict()
	salt, serr := b64.DecodeString(f[4])
	key, kerr := b64.DecodeString(f[5])
	if serr != nil || kerr != nil || len(salt) < 8 || len(key) < 16 || len(key) > 512 {
		return h, invalid("ARGON2 salt or hash has a bad length or encoding")
	}
	h.salt, h.key = salt, key
	return h, nil
}

func (h argon2Hash) derive(password string) []byte {
	if h.id {
		return argon2.IDKey([]byte(password), h.salt, h.passes, h.memory, h.threads, uint32(len(h.key)))
	}
	return argon2.Key([]byte(password), h.salt, h.passes, h.memory, h.threads, uint32(len(h.key)))
}

func (h argon2Hash) generate(password string) ([]byte, error) {
	h.salt, h.key, h.threads = make([]byte, 16), make([]byte, 32), 1
	if uint64(h.memory)*uint64(h.passes) > maxArgon2Work {
		return nil, fmt.Errorf("%d rounds are too many; at most %d can be verified again", h.passes, maxArgon2Work/h.memory)
	}
	_, _ = rand.Read(h.salt)
	name := "argon2i"
	if h.id {
		name = "argon2id"
	}
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Appendf(nil, "$%s$v=19$m=%d,t=%d,p=1$%s$%s", name, h.memory, h.passes, b64(h.salt), b64(h.derive(password))), nil
}

// The defaults are libsodium's interactive limits; 3 passes are its minimum for Argon2i.
const (
	argon2iMemory, argon2iPasses   = 32 << 10, 4
	argon2idMemory, argon2idPasses = 64 << 10, 3
	argon2MinPasses                = 3
)

func generateArgon2i(password, _ string, rounds int) ([]byte, error) {
	return argon2Hash{memory: argon2iMemory, passes: passes(rounds, argon2iPasses)}.generate(password)
}

func generateArgon2id(password, _ string, rounds int) ([]byte, error) {
	return argon2Hash{id: true, memory: argon2idMemory, passes: passes(rounds, argon2idPasses)}.generate(password)
}

func passes(rounds, byDefault int) uint32 {
	if rounds <= 0 {
		return uint32(byDefault)
	}
	return uint32(min(max(rounds, argon2MinPasses), maxArgon2Work))
}
