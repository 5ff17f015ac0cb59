package scheme

import (
	"crypto/pbkdf2"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

const pbkdf2Rounds = 5000

// verifyPBKDF2 compares with $1$salt$rounds$hex: PBKDF2-HMAC-SHA1 of 20 bytes; the salt is its text.
func verifyPBKDF2(raw []byte, password, _ string) (bool, error) {
	rest, ok := strings.CutPrefix(string(raw), "$1$")
	if !ok {
		return false, invalid("Invalid PBKDF2 passdb entry prefix")
	}
	f := strings.Split(rest, "$")
	if len(f) != 3 {
		return false, invalid("Invalid PBKDF2 passdb entry format")
	}
	rounds, err := strconv.ParseUint(f[1], 10, 31)
	if err != nil || rounds < 1 {
		return false, invalid("Invalid PBKDF2 passdb entry format")
	}
	if rounds > maxRounds {
		return false, invalid("PBKDF2 rounds are over %d", maxRounds)
	}
	key, err := hex.DecodeString(f[2])
	if err != nil || len(key) != sha1.Size {
		return false, invalid("PBKDF2 hash not 160bit hex-encoded")
	}
	derived, err := pbkdf2.Key(sha1.New, password, []byte(f[0]), int(rounds), sha1.Size)
	return err == nil && same(key, derived), err
}

func generatePBKDF2(password, _ string, rounds int) ([]byte, error) {
	if rounds <= 0 {
		rounds = pbkdf2Rounds
	}
	if rounds > maxRounds {
		return nil, fmt.Errorf("%d rounds are too many; at most %d can be verified again", rounds, maxRounds)
	}
	salt := saltText(16)
	key, err := pbkdf2.Key(sha1.New, password, []byte(salt), rounds, sha1.Size)
	if err != nil {
		return nil, fmt.Errorf("derive the PBKDF2 key: %w", err)
	}
	return fmt.Appendf(nil, "$1$%s$%d$%x", salt, rounds, key), nil
}
