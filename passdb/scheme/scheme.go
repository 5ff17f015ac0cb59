// Package scheme verifies and generates stored passwords of the form {SCHEME}hash. It imports
// none of our rooms; auth, the passdb drivers and the pw command import it.
//
// The formats are those of Dovecot 2.3.21 and of crypt(3) in libxcrypt 4.4. Hashes that one row of
// a database could use to exhaust memory or time are refused: see the limits in limits.go.
package scheme

import (
	"errors"
	"fmt"
	"strings"
)

// ErrUnknown is wrapped by errors about a scheme or encoding name that does not exist.
var ErrUnknown = errors.New("Unknown scheme")

// ErrUnavailable is wrapped by errors about a stored password that cannot be turned into what a
// SASL mechanism needs.
var ErrUnavailable = errors.New("scheme not available")

// Error says that stored data cannot be used. It is the database's fault and never means that
// the client's password is wrong.
type Error struct {
	Scheme string // upper case, with encoding suffix
	Decode bool   // the text encoding is broken, not the hash in it
	Text   string // without context, as doveadm pw -t prints it
}

// Error has the wording of Dovecot 2.3.21's auth log.
func (e *Error) Error() string {
	if e.Decode {
		return fmt.Sprintf("Password data is not valid for scheme %s: %s", e.Scheme, e.Text)
	}
	return fmt.Sprintf("Invalid password in passdb: %s", e.Text)
}

// invalid is what the verifiers return; Verify adds the scheme's name.
func invalid(format string, args ...any) error {
	return &Error{Text: fmt.Sprintf(format, args...)}
}

// Hash is a stored password taken apart.
type Hash struct {
	Name     string // upper case, without encoding: "SSHA256"; empty when there is no scheme at all
	Encoding string // upper case suffix without dot: "", "HEX", "B64", "BASE64", or an unknown one
	Data     string
}

// Scheme is the name with its encoding suffix, as Dovecot logs it.
func (h Hash) Scheme() string {
	if h.Encoding == "" {
		return h.Name
	}
	return h.Name + "." + h.Encoding
}

// Split takes a stored password apart. A value without {SCHEME} has the default scheme, except
// that $1$salt$hash is always MD5-CRYPT. A { without } is data.
func Split(stored, defaultScheme string) Hash {
	if rest, ok := strings.CutPrefix(stored, "$1$"); ok {
		if salt, tail, ok := strings.Cut(rest, "$"); ok {
			hash, _, _ := strings.Cut(tail, "$") // anything after the hash is ignored
			return Hash{Name: "MD5-CRYPT", Data: "$1$" + salt + "$" + hash}
		}
	}
	if strings.HasPrefix(stored, "{") {
		if name, data, ok := strings.Cut(stored[1:], "}"); ok {
			return named(name, data)
		}
	}
	return named(defaultScheme, stored)
}

// Raw makes a Hash of data that must not be searched for a {SCHEME} prefix (password_noscheme).
func Raw(data, scheme string) Hash { return named(scheme, data) }

func named(name, data string) Hash {
	name, encoding, _ := strings.Cut(strings.ToUpper(name), ".")
	return Hash{Name: name, Encoding: encoding, Data: data}
}

// Verify tells whether the password is the stored one. User is the name the client sent, which
// DIGEST-MD5 hashes include. An error wraps ErrUnknown or is an *Error; it always comes with false.
func Verify(h Hash, password, user string) (bool, error) {
	s, err := lookup(h)
	if err != nil {
		return false, err
	}
	raw, err := decode(h, s)
	if err != nil {
		return false, err
	}
	if strings.IndexByte(password, 0) >= 0 {
		return false, nil // C's crypt would compare only what precedes the NUL
	}
	ok, err := s.verify(raw, password, user)
	var e *Error
	if errors.As(err, &e) {
		e.Scheme = h.Scheme()
	}
	return ok && err == nil, err
}

// Credentials returns the stored password in the form that a challenge mechanism needs: the text
// for PLAIN, 32 bytes of HMAC state for CRAM-MD5 (see HMACMD5), MD5(user:realm:password) for
// DIGEST-MD5, "iterations,salt,StoredKey,ServerKey" for SCRAM-SHA-1 and SCRAM-SHA-256. A plain
// stored password is converted; any other stored scheme must be the wanted one.
func Credentials(h Hash, want, user string) ([]byte, error) {
	s, err := lookup(h)
	if err != nil {
		return nil, err
	}
	w, err := lookup(Hash{Name: strings.ToUpper(want)})
	if err != nil {
		return nil, err
	}
	if s.kind != w.kind && s.kind != plain {
		return nil, fmt.Errorf("%w: Requested %s scheme, but we have only %s", ErrUnavailable, strings.ToUpper(want), h.Scheme())
	}
	raw, err := decode(h, s)
	if err != nil || s.kind == w.kind {
		return raw, err
	}
	if w.generate == nil {
		return nil, fmt.Errorf("%w: %s cannot be made from a plain password", ErrUnavailable, strings.ToUpper(want))
	}
	return w.generate(string(raw), user, 0)
}

// Generate hashes a password for storage and returns {NAME}hash. The name may carry an encoding
// suffix. Rounds 0 is the scheme's default; other values are raised to the scheme's minimum. User
// is needed by DIGEST-MD5 only.
func Generate(name, password, user string, rounds int) (string, error) {
	h := named(name, "")
	s, err := lookup(h)
	if err != nil {
		return "", fmt.Errorf("Unknown scheme: %s", h.Scheme())
	}
	if strings.IndexByte(password, 0) >= 0 {
		return "", errors.New("the password contains a NUL byte")
	}
	if s.generate == nil {
		return "", fmt.Errorf("scheme %s cannot be generated", h.Name)
	}
	raw, err := s.generate(password, user, rounds)
	if err != nil {
		return "", err
	}
	return "{" + h.Scheme() + "}" + encode(raw, h, s), nil
}

// Schemes lists the scheme names in the order of doveadm pw -l (2.3.19).
func Schemes() []string {
	return []string{
		"SHA1", "SSHA512", "SCRAM-SHA-256", "BLF-CRYPT", "PLAIN", "HMAC-MD5", "OTP", "SHA512", "SHA", "DES-CRYPT", "CRYPT",
		"SSHA", "MD5-CRYPT", "PLAIN-MD4", "PLAIN-MD5", "SCRAM-SHA-1", "SHA512-CRYPT", "CLEAR", "CLEARTEXT", "ARGON2I",
		"ARGON2ID", "SSHA256", "MD5", "PBKDF2", "SHA256", "CRAM-MD5", "PLAIN-TRUNC", "SHA256-CRYPT", "SMD5", "DIGEST-MD5",
		"LDAP-MD5",
	}
}

// Expensive tells whether verifying the scheme takes long enough (more than about 0.1 ms) that
// the caller should bound how many run at once.
func Expensive(name string) bool {
	s, err := lookup(named(name, ""))
	return err == nil && s.expensive
}

// Weak tells whether Dovecot 2.4 refuses the stored password unless auth_allow_weak_schemes is set.
func Weak(h Hash) bool {
	switch h.Name {
	case "MD5", "MD5-CRYPT", "SMD5", "HMAC-MD5", "CRAM-MD5", "PLAIN-MD4", "PLAIN-MD5", "LDAP-MD5", "DES-CRYPT":
		return true
	case "CRYPT":
		return strings.HasPrefix(h.Data, "$1$") || strings.HasPrefix(h.Data, "_") || len(h.Data) == 13
	}
	return false
}
