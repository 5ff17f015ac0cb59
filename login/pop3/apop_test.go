package pop3_test

import (
	"crypto/md5"
	"encoding/hex"
)

// apopDigest is RFC 1939's.
func apopDigest(challenge, password string) string {
	sum := md5.Sum([]byte(challenge + password))
	return hex.EncodeToString(sum[:])
}
