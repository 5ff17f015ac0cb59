package scheme

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"hash"
	"strconv"
	"strings"

	//lint:ignore SA1019 stored passwords are made with it
	"golang.org/x/crypto/md4"
)

const otpSequence = 1024 // Dovecot's first sequence number

// verifyOTP compares with "algorithm sequence seed hash" (RFC 2289); the password is the secret pass-phrase.
func verifyOTP(raw []byte, password, _ string) (bool, error) {
	f := strings.Split(string(raw), " ")
	if len(f) != 4 {
		return false, invalid("Invalid OTP data in passdb")
	}
	n, err := strconv.ParseUint(f[1], 10, 31)
	stored, herr := hex.DecodeString(f[3])
	newHash := otpHash(f[0])
	if err != nil || herr != nil || newHash == nil || n > maxOTPSequence || len(stored) != 8 {
		return false, invalid("Invalid OTP data in passdb")
	}
	return same(stored, otpKey(newHash, f[2]+password, int(n))), nil
}

func generateOTP(password, _ string, _ int) ([]byte, error) {
	seed := make([]byte, 8)
	_, _ = rand.Read(seed)
	text := hex.EncodeToString(seed)
	return fmt.Appendf(nil, "sha1 %d %s %x", otpSequence, text, otpKey(sha1.New, text+password, otpSequence)), nil
}

func otpHash(name string) func() hash.Hash {
	switch name {
	case "md4":
		return md4.New
	case "md5":
		return md5.New
	case "sha1":
		return sha1.New
	}
	return nil
}

func otpKey(newHash func() hash.Hash, text string, sequence int) []byte {
	key := otpFold(sum(newHash, []byte(text)))
	for range sequence {
		key = otpFold(sum(newHash, key))
	}
	return key
}

// otpFold reduces a digest to 64 bits (RFC 2289 appendix A). SHA-1's words are folded in little-endian order.
func otpFold(d []byte) []byte {
	out := make([]byte, 8)
	if len(d) == sha1.Size {
		d = swapWords(d)
		for i := range 4 {
			out[i] = d[i] ^ d[8+i] ^ d[16+i]
			out[4+i] = d[4+i] ^ d[12+i]
		}
		return out
	}
	for i := range out {
		out[i] = d[i] ^ d[8+i]
	}
	return out
}
