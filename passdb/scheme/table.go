package scheme

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"

	//lint:ignore SA1019 stored passwords are made with it
	"golang.org/x/crypto/md4"
)

// kind groups names that mean the same stored form, for Credentials.
type kind int

const (
	other kind = iota
	plain
	cramMD5
	digestMD5
	scramSHA1
	scramSHA256
	otp
)

type encoding int

const (
	asText encoding = iota
	asHex
	asBase64
)

// spec is one row of the scheme table.
type spec struct {
	kind      kind
	encoding  encoding // of the stored text when no suffix says otherwise
	size      int      // bytes of the decoded data; 0: any
	expensive bool
	verify    func(raw []byte, password, user string) (bool, error)
	generate  func(password, user string, rounds int) ([]byte, error) // rounds 0: default
}

// table is never written.
var table = map[string]spec{
	"PLAIN":         {kind: plain, verify: equal, generate: generatePlain},
	"CLEAR":         {kind: plain, verify: equal, generate: generatePlain},
	"CLEARTEXT":     {kind: plain, verify: equal, generate: generatePlain},
	"PLAIN-TRUNC":   {verify: verifyTruncated, generate: generateTruncated},
	"CRYPT":         {expensive: true, verify: verifyCrypt, generate: generateBcrypt},
	"DES-CRYPT":     {expensive: true, verify: verifyCrypt, generate: generateDES},
	"MD5-CRYPT":     {expensive: true, verify: verifyMD5Crypt, generate: generateMD5Crypt},
	"SHA256-CRYPT":  {expensive: true, verify: verifyCrypt, generate: generateSHA256Crypt},
	"SHA512-CRYPT":  {expensive: true, verify: verifyCrypt, generate: generateSHA512Crypt},
	"BLF-CRYPT":     {expensive: true, verify: verifyBcrypt, generate: generateBcrypt},
	"MD5":           {expensive: true, verify: verifyMD5, generate: generateMD5Crypt},
	"PLAIN-MD4":     digest(md4.New, asHex),
	"PLAIN-MD5":     digest(md5.New, asHex),
	"LDAP-MD5":      digest(md5.New, asBase64),
	"SMD5":          salted("SMD5", md5.New),
	"SHA":           digest(sha1.New, asBase64),
	"SHA1":          digest(sha1.New, asBase64),
	"SHA256":        digest(sha256.New, asBase64),
	"SHA512":        digest(sha512.New, asBase64),
	"SSHA":          salted("SSHA", sha1.New),
	"SSHA256":       salted("SSHA256", sha256.New),
	"SSHA512":       salted("SSHA512", sha512.New),
	"ARGON2I":       {expensive: true, verify: verifyArgon2, generate: generateArgon2i},
	"ARGON2ID":      {expensive: true, verify: verifyArgon2, generate: generateArgon2id},
	"PBKDF2":        {expensive: true, verify: verifyPBKDF2, generate: generatePBKDF2},
	"CRAM-MD5":      {kind: cramMD5, encoding: asHex, size: 32, verify: verifyCRAMMD5, generate: generateCRAMMD5},
	"HMAC-MD5":      {kind: cramMD5, encoding: asHex, size: 32, verify: verifyCRAMMD5, generate: generateCRAMMD5},
	"DIGEST-MD5":    {kind: digestMD5, encoding: asHex, size: md5.Size, verify: verifyDigestMD5, generate: generateDigestMD5},
	"SCRAM-SHA-1":   scram("SCRAM-SHA-1", scramSHA1, sha1.New),
	"SCRAM-SHA-256": scram("SCRAM-SHA-256", scramSHA256, sha256.New),
	"OTP":           {kind: otp, expensive: true, verify: verifyOTP, generate: generateOTP},
}

func lookup(h Hash) (spec, error) {
	if h.Name == "" {
		return spec{}, fmt.Errorf("%w: Missing {scheme} prefix from hash", ErrUnknown)
	}
	s, ok := table[h.Name]
	if !ok || !knownEncoding(h.Encoding) {
		return spec{}, fmt.Errorf("%w %s", ErrUnknown, h.Scheme())
	}
	return s, nil
}

func knownEncoding(name string) bool {
	return name == "" || name == "HEX" || name == "B64" || name == "BASE64"
}

// decode undoes the text encoding. Without a suffix, data of exactly twice the digest's length is
// hex and any other is base64 (password_decode() of Dovecot 2.3).
func decode(h Hash, s spec) ([]byte, error) {
	enc, guessed := s.encoding, false
	switch {
	case h.Encoding == "HEX":
		enc = asHex
	case h.Encoding != "":
		enc = asBase64
	case enc != asText && s.size > 0:
		enc, guessed = asBase64, len(h.Data) == 2*s.size
		if guessed {
			enc = asHex
		}
	}
	raw, err := unpack(h.Data, enc)
	if err != "" && guessed {
		raw, err = unpack(h.Data, asBase64)
	}
	if err == "" && s.size > 0 && len(raw) != s.size {
		err = fmt.Sprintf("Input length isn't valid (%d instead of %d)", len(raw), s.size)
	}
	if err != "" {
		return nil, &Error{Scheme: h.Scheme(), Decode: true, Text: err}
	}
	return raw, nil
}

func unpack(data string, e encoding) ([]byte, string) {
	switch e {
	case asHex:
		raw, err := hex.DecodeString(data)
		if err != nil {
			return nil, "Input isn't valid HEX encoded data"
		}
		return raw, ""
	case asBase64:
		raw, err := base64.StdEncoding.DecodeString(data)
		if err != nil {
			return nil, "Input isn't valid base64 encoded data"
		}
		return raw, ""
	}
	return []byte(data), ""
}

func encode(raw []byte, h Hash, s spec) string {
	enc := s.encoding
	switch h.Encoding {
	case "HEX":
		enc = asHex
	case "B64", "BASE64":
		enc = asBase64
	}
	switch enc {
	case asHex:
		return hex.EncodeToString(raw)
	case asBase64:
		return base64.StdEncoding.EncodeToString(raw)
	}
	return string(raw)
}
