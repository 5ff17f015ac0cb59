package conf

import (
	"crypto/md5"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"

	//lint:ignore SA1019 %{md4:variable} asks for it
	"golang.org/x/crypto/md4"
)

const (
	pkcs5 = "pkcs5"
	// pkcs5Length is how many bytes Dovecot 2.3 derives: the size of its largest HMAC context.
	pkcs5Length = 336
	// maxRounds bounds the work of one expansion.
	maxRounds = 10_000_000
)

type digest struct{ new func() hash.Hash }

// digests are the hashes of %{name;options:variable}.
var digests = map[string]digest{
	"md4":      {md4.New},
	"md5":      {md5.New},
	"sha1":     {sha1.New},
	"sha256":   {sha256.New},
	"sha384":   {sha512.New384},
	"sha512":   {sha512.New},
	"sha3-256": {func() hash.Hash { return sha3.New256() }},
	"sha3-512": {func() hash.Hash { return sha3.New512() }},
	"size":     {func() hash.Hash { return new(sizeHash) }},
}

// sizeHash "hashes" to the number of bytes, as Dovecot's method size does.
type sizeHash uint64

func (h *sizeHash) Write(b []byte) (int, error) { *h += sizeHash(len(b)); return len(b), nil }
func (h *sizeHash) Sum(b []byte) []byte         { return binary.BigEndian.AppendUint64(b, uint64(*h)) }
func (h *sizeHash) Reset()                      { *h = 0 }
func (h *sizeHash) Size() int                   { return 8 }
func (h *sizeHash) BlockSize() int              { return 1 }

// hashed is %{md5;rounds=N,truncate=BITS,format=F,salt=TEMPLATE:variable}.
type hashed struct {
	field    source
	digest   digest
	derive   bool // pkcs5
	rounds   int
	truncate int // bits; 0: all
	base64   bool
	salt     *Template
}

func (p *templateParser) hash(name, options, arg string) (source, error) {
	inner, err := p.below("")
	if err != nil {
		return nil, err
	}
	field, err := inner.long(arg)
	if err != nil {
		return nil, err
	}
	h := &hashed{field: field, digest: digests[name], rounds: 1, salt: &Template{}}
	if name == pkcs5 {
		h.digest, h.derive, h.rounds = digests["sha256"], true, 2048
		h.salt.literal(arg)
	}
	if h.digest.new == nil {
		// Dovecot finds the function in any case of letters, then not the hash.
		return &failure{err: &UnknownVariableError{Name: name}}, nil
	}
	return h, h.options(p, options)
}

// options reads the options of a hash. An error is one of nesting; mistakes become the field.
func (h *hashed) options(p *templateParser, text string) error {
	for option := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(option, "=")
		if !ok {
			continue
		}
		switch key {
		case "rounds":
			n, err := strconv.ParseUint(value, 10, 32)
			switch {
			case err != nil:
				h.fail("'%s' is not number for rounds", value)
			case n < 1:
				h.fail("rounds must be at least 1")
			case n > maxRounds:
				h.fail("rounds must be at most %d", maxRounds)
			}
			h.rounds = int(n)
		case "truncate":
			n, err := strconv.ParseUint(value, 10, 32)
			if err != nil {
				h.fail("'%s' is not number for truncbits", value)
			}
			h.truncate = min(int(n), h.digest.new().Size()*8)
		case "format":
			if value != "hex" && value != "hexuc" && value != "base64" {
				h.fail("'%s' is not supported format", value)
			}
			h.base64 = value == "base64"
		case "salt":
			var err error
			h.salt, err = p.sub(value)
			return err // what follows the salt is not read
		}
	}
	return nil
}

func (h *hashed) fail(format string, args ...any) {
	if _, failed := h.field.(*failure); failed {
		return
	}
	h.field = &failure{err: fmt.Errorf("Cannot parse hash arguments:"+format, args...)}
}

func (h *hashed) names(add func(string)) {
	h.field.names(add)
	h.salt.names(add)
}

func (h *hashed) value(v Vars) (string, error) {
	text, err := h.field.value(v)
	if err != nil {
		return "", err
	}
	salt, err := h.salt.Expand(v)
	if err != nil && !errors.As(err, new(*UnknownVariableError)) {
		return "", err
	}
	var sum []byte
	if h.derive {
		sum, err = pbkdf2.Key(h.digest.new, text, []byte(salt), h.rounds, pkcs5Length)
		if err != nil {
			return "", fmt.Errorf("cannot hash: %w", err)
		}
	} else {
		sum = []byte(text)
		d := h.digest.new()
		for range h.rounds {
			d.Reset()
			d.Write([]byte(salt))
			d.Write(sum)
			sum = d.Sum(sum[:0])
		}
	}
	sum = truncateBits(sum, h.truncate)
	if h.base64 {
		return base64.StdEncoding.EncodeToString(sum), nil
	}
	return hex.EncodeToString(sum), nil
}

// truncateBits keeps the first n bits, as a number in as few bytes as hold it. 0 keeps all.
func truncateBits(b []byte, n int) []byte {
	if n == 0 || len(b)*8 < n {
		return b
	}
	b = b[:(n+7)/8]
	if n %= 8; n != 0 {
		for i := len(b) - 1; i > 0; i-- {
			b[i] = b[i]>>(8-n) | b[i-1]<<n
		}
		b[0] >>= 8 - n
	}
	return b
}
