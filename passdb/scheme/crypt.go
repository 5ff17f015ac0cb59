package scheme

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"hash"
	"regexp"
	"strconv"
	"strings"

	"github.com/go-crypt/x/crypt"
	"github.com/go-crypt/x/yescrypt"
	"golang.org/x/crypto/bcrypt"
	//lint:ignore SA1019 stored passwords are made with it
	"golang.org/x/crypto/md4"
	"golang.org/x/crypto/scrypt"
)

// itoa64 is the alphabet of crypt(3)'s salts and hashes.
const itoa64 = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// verifyCrypt serves every crypt(3) name: the $id$ of the data decides, not the scheme's name. Data that is no
// crypt string at all (*, !, x: a locked account) matches nothing; an id that is not known here is an error.
func verifyCrypt(raw []byte, password, user string) (bool, error) {
	stored := string(raw)
	if strings.HasPrefix(stored, "$2") {
		return verifyBcrypt(raw, password, user)
	}
	if stored == "" || len(password) > maxCryptPassword {
		return false, nil
	}
	out, err := cryptID(stored)(password, stored)
	return err == nil && out != "" && same([]byte(out), raw), err
}

// cryptFunc computes a crypt string for a password. It returns the whole string again, or "" when the setting
// cannot be used: then no password matches.
type cryptFunc func(password, setting string) (string, error)

// cryptIDs are the forms known here. The first prefix that fits decides.
var cryptIDs = []struct {
	prefix string
	crypt  cryptFunc
}{
	{"$1$", cryptMD5},
	{"$3$", cryptNT},
	{"$5$", cryptSHA256},
	{"$6$", cryptSHA512},
	{"$7$", cryptScrypt},
	{"$md5", cryptSunMD5},
	{"$sha1$", cryptSHA1},
	{"$y$", cryptYescrypt},
	{"$gy$", cryptGostYescrypt},
	{"$", cryptUnknown},
	{"_", cryptExtendedDES},
	{"", cryptDES},
}

func cryptID(stored string) cryptFunc {
	for _, id := range cryptIDs {
		if strings.HasPrefix(stored, id.prefix) {
			return id.crypt
		}
	}
	return cryptUnknown
}

func cryptUnknown(_, setting string) (string, error) {
	id, _, _ := strings.Cut(setting[1:], "$")
	return "", invalid("crypt() id $%s$ is not supported", id)
}

var bcryptForm = regexp.MustCompile(`^\$2([a-z])\$([0-9]{2})\$[./A-Za-z0-9]{53}$`)

// verifyBcrypt takes $2a$, $2b$ and $2y$. $2x$ marks hashes of the sign extension bug of crypt_blowfish before
// 1.1, under which different passwords match: it is refused. Only the first 72 bytes of a password count.
func verifyBcrypt(raw []byte, password, _ string) (bool, error) {
	m := bcryptForm.FindStringSubmatch(string(raw))
	if m == nil {
		return false, invalid("Password is not blowfish password")
	}
	if !strings.Contains("aby", m[1]) {
		return false, invalid("blowfish variant $2%s$ is refused; store the password again as $2y$", m[1])
	}
	if cost, err := strconv.Atoi(m[2]); err != nil || cost < bcrypt.MinCost || cost > maxBcryptCost {
		return false, invalid("blowfish cost %s is not in %d..%d", m[2], bcrypt.MinCost, maxBcryptCost)
	}
	return bcrypt.CompareHashAndPassword(raw, []byte(password)) == nil, nil
}

// generateBcrypt makes $2y$, doveadm pw's variant, with a cost of 5 by default.
func generateBcrypt(password, _ string, rounds int) ([]byte, error) {
	switch {
	case rounds <= 0:
		rounds = 5
	case rounds > maxBcryptCost:
		return nil, fmt.Errorf("%d rounds are too many; at most %d can be verified again", rounds, maxBcryptCost)
	}
	out, err := bcrypt.GenerateFromPassword([]byte(password[:min(len(password), 72)]), max(rounds, bcrypt.MinCost))
	if err != nil {
		return nil, fmt.Errorf("hash with bcrypt: %w", err)
	}
	return append([]byte("$2y$"), out[len("$2a$"):]...), nil
}

// fields cuts "$id$a$b..." behind the id into exactly n parts.
func fields(setting, prefix string, n int) ([]string, bool) {
	f := strings.Split(setting[len(prefix):], "$")
	return f, len(f) == n
}

func cryptMD5(password, setting string) (string, error) {
	f, ok := fields(setting, "$1$", 2)
	if !ok || len(f[0]) > 8 {
		return "", nil
	}
	return "$1$" + f[0] + "$" + string(crypt.KeyMD5Crypt([]byte(password), []byte(f[0]))), nil
}

func verifyMD5Crypt(raw []byte, password, _ string) (bool, error) {
	if !strings.HasPrefix(string(raw), "$1$") {
		return false, invalid("Not a valid MD5-CRYPT password")
	}
	out, err := cryptMD5(password, string(raw))
	return err == nil && out != "" && same([]byte(out), raw), err
}

func generateMD5Crypt(password, _ string, _ int) ([]byte, error) {
	out, err := cryptMD5(password, "$1$"+saltText(8)+"$")
	return []byte(out), err
}

// cryptNT is MD4 of the password's bytes widened to 16 bits: $3$$hex.
func cryptNT(password, setting string) (string, error) {
	f, ok := fields(setting, "$3$", 2)
	if !ok || f[0] != "" {
		return "", nil
	}
	wide := make([]byte, 0, 2*len(password))
	for i := range len(password) {
		wide = append(wide, password[i], 0)
	}
	return "$3$$" + hex.EncodeToString(sum(md4.New, wide)), nil
}

func cryptSHA256(password, setting string) (string, error) {
	return cryptSHA(sha256.New, password, setting)
}

func cryptSHA512(password, setting string) (string, error) {
	return cryptSHA(sha512.New, password, setting)
}

const shaCryptRounds, shaCryptMinRounds = 5000, 1000

// cryptSHA reads $5$[rounds=N$]salt$hash.
func cryptSHA(newHash func() hash.Hash, password, setting string) (string, error) {
	id, rest := setting[:len("$5$")], setting[len("$5$"):]
	rounds := shaCryptRounds
	if tail, ok := strings.CutPrefix(rest, "rounds="); ok {
		number, tail, ok := strings.Cut(tail, "$")
		n, err := strconv.ParseUint(number, 10, 31)
		if !ok || err != nil || n < shaCryptMinRounds {
			return "", nil
		}
		if n > maxRounds {
			return "", invalid("SHA-crypt rounds are over %d", maxRounds)
		}
		id, rest, rounds = id+"rounds="+number+"$", tail, int(n)
	}
	salt, _, ok := strings.Cut(rest, "$")
	if !ok || len(salt) > 16 {
		return "", nil
	}
	return id + salt + "$" + string(crypt.KeySHACrypt(newHash, []byte(password), []byte(salt), rounds)), nil
}

func generateSHA256Crypt(password, _ string, rounds int) ([]byte, error) {
	return generateSHACrypt("$5$", password, rounds)
}

func generateSHA512Crypt(password, _ string, rounds int) ([]byte, error) {
	return generateSHACrypt("$6$", password, rounds)
}

func generateSHACrypt(id, password string, rounds int) ([]byte, error) {
	if len(password) > maxCryptPassword {
		return nil, fmt.Errorf("the password is longer than %d bytes", maxCryptPassword)
	}
	if rounds > maxRounds {
		return nil, fmt.Errorf("%d rounds are too many; at most %d can be verified again", rounds, maxRounds)
	}
	if rounds > 0 && rounds != shaCryptRounds {
		id += fmt.Sprintf("rounds=%d$", max(rounds, shaCryptMinRounds))
	}
	setting := id + saltText(16) + "$"
	out, err := cryptID(setting)(password, setting)
	return []byte(out), err
}

// cryptScrypt reads $7$ + log2(N) + r + p + salt$hash, the numbers in crypt's alphabet.
func cryptScrypt(password, setting string) (string, error) {
	rest := setting[len("$7$"):]
	if len(rest) < 11 {
		return "", nil
	}
	logN := strings.IndexByte(itoa64, rest[0])
	r, p := unpack64(rest[1:6]), unpack64(rest[6:11])
	salt, _, ok := strings.Cut(rest[11:], "$")
	if !ok || logN < 1 || r < 1 || p < 1 {
		return "", nil
	}
	if logN > 30 || p > 16 || r > 1<<20 || uint64(128*r)<<logN > maxScryptMemory {
		return "", invalid("scrypt parameters N=2^%d, r=%d, p=%d are over the limit", logN, r, p)
	}
	key, err := scrypt.Key([]byte(password), []byte(salt), 1<<logN, r, p, 32)
	if err != nil {
		return "", invalid("scrypt: %v", err)
	}
	return setting[:len("$7$")+11] + salt + "$" + string(yescrypt.Encode64(key)), nil
}

// unpack64 reads a number of six bits a character, lowest first; -1 when a character is not in the alphabet.
func unpack64(text string) int {
	n := 0
	for i := range len(text) {
		v := strings.IndexByte(itoa64, text[i])
		if v < 0 {
			return -1
		}
		n |= v << (6 * i)
	}
	return n
}

// cryptSunMD5 reads $md5[,rounds=N]$salt$$hash.
func cryptSunMD5(password, setting string) (string, error) {
	head, rest, _ := strings.Cut(setting[1:], "$")
	rounds := uint64(0)
	if number, ok := strings.CutPrefix(head, "md5,rounds="); ok {
		n, err := strconv.ParseUint(number, 10, 32)
		if err != nil || n == 0 {
			return "", nil
		}
		if n > maxRounds {
			return "", invalid("Sun MD5 rounds are over %d", maxRounds)
		}
		rounds = n
	} else if head != "md5" {
		return "", nil
	}
	f := strings.Split(rest, "$")
	if len(f) == 2 {
		return "", invalid("Sun MD5 hashes with one $ behind the salt are not supported; store the password again")
	}
	if len(f) != 3 || f[1] != "" {
		return "", nil
	}
	key := crypt.KeyMD5CryptSun([]byte(password), []byte(f[0]), uint32(rounds))
	return "$" + head + "$" + f[0] + "$$" + string(key), nil
}

// cryptSHA1 reads NetBSD's $sha1$rounds$salt$hash.
func cryptSHA1(password, setting string) (string, error) {
	f, ok := fields(setting, "$sha1$", 3)
	if !ok {
		return "", nil
	}
	n, err := strconv.ParseUint(f[0], 10, 32)
	if err != nil || n == 0 {
		return "", nil
	}
	if n > maxRounds {
		return "", invalid("sha1crypt rounds are over %d", maxRounds)
	}
	return "$sha1$" + f[0] + "$" + f[1] + "$" + string(crypt.KeySHA1Crypt([]byte(password), []byte(f[1]), uint32(n))), nil
}

// cryptYescrypt serves the parameters that libxcrypt generates; the library bounds the memory to 1 GiB.
func cryptYescrypt(password, setting string) (string, error) {
	out, err := yescrypt.Hash([]byte(password), []byte(setting))
	if err != nil {
		return "", invalid("%v", err)
	}
	return string(out), nil
}

// cryptGostYescrypt is HMAC(HMAC(H(password), setting), yescrypt) with GOST R 34.11-2012 as H. The setting
// is the text up to the salt.
func cryptGostYescrypt(password, setting string) (string, error) {
	f, ok := fields(setting, "$gy$", 3)
	if !ok {
		return "", nil
	}
	setting = "$gy$" + f[0] + "$" + f[1]
	out, err := cryptYescrypt(password, "$y$"+f[0]+"$"+f[1]+"$")
	if err != nil {
		return "", err
	}
	mac := func(key, message []byte) []byte {
		m := hmac.New(newStreebog256, key)
		m.Write(message)
		return m.Sum(nil)
	}
	key := mac(sum(newStreebog256, []byte(password)), []byte(setting))
	inner := yescrypt.Decode64([]byte(out[strings.LastIndexByte(out, '$')+1:]))
	return setting + "$" + string(yescrypt.Encode64(mac(key, inner))), nil
}

// saltText draws n characters of crypt's alphabet.
func saltText(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the program instead
	for i := range b {
		b[i] = itoa64[b[i]&63]
	}
	return string(b)
}
