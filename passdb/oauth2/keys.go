package oauth2

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"dproxy/conf"
)

const (
	// maxKeyFile bounds a key file and a key set, in bytes.
	maxKeyFile = 1 << 20
	// maxKeys bounds how many parsed files are kept. A client chooses the names, but only of files that are there.
	maxKeys = 256
	// maxName bounds one part of a key's name.
	maxName = 255
	// unnamed stands for an azp or kid that a token does not have.
	unnamed = "default"
)

// keys finds the keys that tokens are signed with: in a directory by azp, algorithm and kid, as Dovecot has them, or in a
// JSON web key set (RFC 7517). Files are read again when they change. It is safe for concurrent use.
type keys struct {
	prefix string // "" without a directory
	jwks   string // path, "" without a set
	mu     sync.Mutex
	parsed map[string]keyFile
}

// keyFile is what a file was when it was parsed.
type keyFile struct {
	modified time.Time
	size     int64
	keys     []webKey
}

func newKeys(f *conf.OAuth2File) (*keys, error) {
	k := &keys{jwks: f.LocalValidationJWKS, parsed: map[string]keyFile{}}
	if dict := f.LocalValidationKeyDict; dict != "" {
		prefix, ok := strings.CutPrefix(dict, "fs:posix:prefix=")
		if !ok || !strings.HasPrefix(prefix, "/") {
			return nil, errors.New("local_validation_key_dict: only fs:posix:prefix=/PATH/ is supported")
		}
		k.prefix = prefix
	}
	if k.jwks != "" {
		if _, err := k.set(); err != nil {
			return nil, fmt.Errorf("local_validation_jwks: %w", err)
		}
	}
	return k, nil
}

// find returns the keys that a token may be signed with, at least one. A key that is not there is a *refusal.
func (k *keys) find(azp, alg, kid string) ([]any, error) {
	if k.prefix != "" {
		key, err := k.fromDirectory(orDefault(azp), alg, orDefault(kid))
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return []any{key}, err
		}
	}
	if k.jwks != "" {
		set, err := k.set()
		if err != nil {
			return nil, err
		}
		var found []any
		for _, w := range set {
			if w.matches(alg, kid) {
				found = append(found, w.key)
			}
		}
		if len(found) > 0 {
			return found, nil
		}
	}
	return nil, mismatch("%s key '%s' not found", alg, printable(orDefault(kid)))
}

func orDefault(name string) string {
	if name == "" {
		return unnamed
	}
	return name
}

// fromDirectory reads PREFIX/azp/ALG/kid. fs.ErrNotExist: there is no such key.
func (k *keys) fromDirectory(azp, alg, kid string) (any, error) {
	azp, okAZP := fileName(azp)
	kid, okKID := fileName(kid)
	if !okAZP || !okKID {
		return nil, fs.ErrNotExist
	}
	path := k.prefix + azp + "/" + strings.ToUpper(alg) + "/" + kid
	list, err := k.file(path, func(text []byte) ([]webKey, error) {
		key, err := parseKey(alg, text)
		return []webKey{{key: key}}, err
	})
	if err != nil {
		return nil, err
	}
	return list[0].key, nil
}

// fileName makes a name that cannot leave its directory (CVE-2021-29157), in Dovecot's way.
func fileName(name string) (string, bool) {
	out := strings.NewReplacer("/", "%2f", "%", "%25").Replace(name)
	ok := out != "." && out != ".." && len(out) <= maxName && !strings.ContainsFunc(out, func(r rune) bool { return r < ' ' || r == 0x7f })
	return out, ok
}

func (k *keys) set() ([]webKey, error) {
	return k.file(k.jwks, func(text []byte) ([]webKey, error) {
		var set webKeys
		if err := set.UnmarshalJSON(text); err != nil {
			return nil, err
		}
		return set, nil
	})
}

// file parses a file, once for each of its states.
func (k *keys) file(path string, parse func([]byte) ([]webKey, error)) ([]webKey, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, fs.ErrNotExist
	}
	k.mu.Lock()
	have, ok := k.parsed[path]
	k.mu.Unlock()
	if ok && have.modified.Equal(info.ModTime()) && have.size == info.Size() {
		return have.keys, nil
	}
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	list, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.parsed) >= maxKeys {
		clear(k.parsed)
	}
	k.parsed[path] = keyFile{info.ModTime(), info.Size(), list}
	return list, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err == nil && len(text) > maxKeyFile {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxKeyFile)
	}
	return text, err
}

// parseKey reads a key as Dovecot stores it: base64 of a secret for HS*, else a public key or certificate in PEM.
func parseKey(alg string, text []byte) (any, error) {
	if strings.HasPrefix(alg, "HS") {
		secret, err := base64.StdEncoding.DecodeString(string(bytes.Join(bytes.Fields(text), nil)))
		switch {
		case err != nil:
			return nil, errors.New("Invalid base64 encoded key")
		case len(secret) == 0:
			return nil, errors.New("the key is empty")
		}
		return secret, nil
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no key in PEM form found")
	}
	var key any
	var err error
	switch block.Type {
	case "CERTIFICATE":
		var cert *x509.Certificate
		if cert, err = x509.ParseCertificate(block.Bytes); err == nil {
			key = cert.PublicKey
		}
	case "RSA PUBLIC KEY":
		key, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	default:
		return nil, fmt.Errorf("a public key is needed, not %s", block.Type)
	}
	if err == nil && keyKind(key) == "" {
		err = fmt.Errorf("keys of the type %T are not supported", key)
	}
	return key, err
}

// keyKind is the family of algorithms that a key is for, "" for none.
func keyKind(key any) string {
	switch key.(type) {
	case []byte:
		return "HS"
	case *rsa.PublicKey:
		return "RS"
	case *ecdsa.PublicKey:
		return "ES"
	case ed25519.PublicKey:
		return "Ed"
	}
	return ""
}

// kindOf is the family of an algorithm.
func kindOf(alg string) string {
	if strings.HasPrefix(alg, "PS") {
		return "RS"
	}
	return alg[:2]
}
