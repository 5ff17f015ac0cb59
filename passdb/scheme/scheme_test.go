package scheme

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

type vector struct {
	Scheme, Password, Hash, User, Note, Error string
	OK                                        bool
}

func vectors(t testing.TB) []vector {
	t.Helper()
	text, err := os.ReadFile("testdata/password-schemes.json")
	if err != nil {
		t.Fatal(err)
	}
	var out []vector
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// bare is the text of an error as doveadm pw -t prints it behind its own prefix.
func bare(err error) string {
	var e *Error
	switch {
	case err == nil:
		return "Password mismatch"
	case errors.As(err, &e):
		return e.Text
	case strings.Contains(err.Error(), "Missing {scheme} prefix"):
		return "Missing {scheme} prefix from hash"
	case errors.Is(err, ErrUnknown):
		return ErrUnknown.Error()
	}
	return err.Error()
}

func TestVerify_gives_the_recorded_answer_for_every_vector(t *testing.T) {
	t.Parallel()
	all := vectors(t)
	if len(all) != 259 {
		t.Fatalf("%d vectors, want 259", len(all))
	}
	for _, v := range all {
		ok, err := Verify(Split(v.Hash, ""), v.Password, v.User)
		if ok != v.OK {
			t.Errorf("%s with %q: %v, want %v (%s, %v)", v.Hash, v.Password, ok, v.OK, v.Note, err)
		}
		if !v.OK && bare(err) != v.Error {
			t.Errorf("%s with %q: error %q, want %q", v.Hash, v.Password, bare(err), v.Error)
		}
	}
}

func TestSplit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		stored, scheme string
		want           Hash
	}{
		{"{SHA256.hex}ab", "PLAIN", Hash{"SHA256", "HEX", "ab"}},
		{"{ssha}ab", "PLAIN", Hash{"SSHA", "", "ab"}},
		{"{PLAIN}{x}y", "CRYPT", Hash{"PLAIN", "", "{x}y"}},
		{"{abc}def", "PLAIN", Hash{"ABC", "", "def"}},
		{"{no", "PLAIN", Hash{"PLAIN", "", "{no"}},
		{"{}x", "PLAIN", Hash{"", "", "x"}},
		{"secret", "plain.b64", Hash{"PLAIN", "B64", "secret"}},
		{"", "CRYPT", Hash{"CRYPT", "", ""}},
		{"$1$salt$hash", "PLAIN", Hash{"MD5-CRYPT", "", "$1$salt$hash"}},
		{"$1$salt$hash$more", "PLAIN", Hash{"MD5-CRYPT", "", "$1$salt$hash"}},
		{"$1$salt", "PLAIN", Hash{"PLAIN", "", "$1$salt"}},
		{"$6$salt$hash", "CRYPT", Hash{"CRYPT", "", "$6$salt$hash"}},
		{"{A.B.C}x", "", Hash{"A", "B.C", "x"}},
	} {
		if got := Split(c.stored, c.scheme); got != c.want {
			t.Errorf("Split(%q, %q) = %+v, want %+v", c.stored, c.scheme, got, c.want)
		}
	}
	if got := Raw("{PLAIN}x", "md5"); got != (Hash{"MD5", "", "{PLAIN}x"}) {
		t.Errorf("Raw looked for a scheme: %+v", got)
	}
}

func TestGenerate_makes_what_Verify_and_doveadm_accept(t *testing.T) {
	t.Parallel()
	doveadm, missing := exec.LookPath("doveadm")
	if missing != nil && os.Getenv("DPROXY_TEST_REQUIRE") == "all" {
		t.Fatal("the program doveadm is not installed")
	}
	const password, user = "pa ss:w\xc3\xb6rd{x}", "user@example.com"
	for _, name := range append(Schemes(), "PLAIN.b64", "SHA256.hex", "SHA512-CRYPT.HEX", "cram-md5.base64") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hash, err := Generate(name, password, user, 0)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(hash, "{"+strings.ToUpper(name)+"}") {
				t.Errorf("%s lacks the prefix", hash)
			}
			if ok, err := Verify(Split(hash, ""), password, user); !ok || err != nil {
				t.Errorf("%s: %v %v", hash, ok, err)
			}
			if ok, err := Verify(Split(hash, ""), "x"+password, user); ok || err != nil {
				t.Errorf("%s with another password: %v %v", hash, ok, err)
			}
			if missing != nil {
				return
			}
			if out, err := exec.Command(doveadm, "pw", "-t", hash, "-p", password, "-u", user).CombinedOutput(); err != nil {
				t.Errorf("%s: doveadm says %s", hash, out)
			}
		})
	}
}

func TestGenerate_rounds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		rounds int
		want   string // start of the hash, or the error
	}{
		{"CRYPT", 0, "{CRYPT}$2y$05$"},
		{"CRYPT", 6, "{CRYPT}$2y$06$"},
		{"BLF-CRYPT", 3, "{BLF-CRYPT}$2y$04$"},
		{"BLF-CRYPT", 19, "19 rounds are too many; at most 18 can be verified again"},
		{"SHA512-CRYPT", 0, "{SHA512-CRYPT}$6$"},
		{"SHA512-CRYPT", 10, "{SHA512-CRYPT}$6$rounds=1000$"},
		{"SHA256-CRYPT", 1234, "{SHA256-CRYPT}$5$rounds=1234$"},
		{"SHA512-CRYPT", 10_000_001, "10000001 rounds are too many; at most 10000000 can be verified again"},
		{"PBKDF2", 100, "{PBKDF2}$1$"},
		{"PBKDF2", 10_000_001, "10000001 rounds are too many; at most 10000000 can be verified again"},
		{"ARGON2I", 3, "{ARGON2I}$argon2i$v=19$m=32768,t=3,p=1$"},
		{"ARGON2ID", 1, "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$"},
		{"ARGON2ID", 300, "300 rounds are too many; at most 256 can be verified again"},
		{"SCRAM-SHA-1", 5000, "{SCRAM-SHA-1}4096,"},
		{"NOPE", 0, "Unknown scheme: NOPE"},
		{"SHA256.foo", 0, "Unknown scheme: SHA256.FOO"},
	} {
		got, err := Generate(c.name, "secret", "", c.rounds)
		if err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, c.want) {
			t.Errorf("%s with %d rounds: %s, want %s", c.name, c.rounds, got, c.want)
		}
	}
	if _, err := Generate("DIGEST-MD5", "x", "", 0); err == nil || err.Error() != "digest_md5_generate(): username not given" {
		t.Errorf("DIGEST-MD5 without a user: %v", err)
	}
	if _, err := Generate("PLAIN", "a\x00b", "", 0); err == nil {
		t.Error("a NUL is hashed")
	}
	if _, err := Generate("SHA512-CRYPT", strings.Repeat("a", 512), "", 0); err == nil {
		t.Error("a password that can never be verified is hashed")
	}
}

func TestVerify_treats_odd_passwords_as_C_does(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		hash, password string
		ok             bool
	}{
		{"{PLAIN}secret", "secret\x00", false},
		{"{CRYPT}abNANd1rDfiNc", "secret\x00x", false},
		{"{CRYPT}abNANd1rDfiNc", "secret", true},
		{"{PLAIN}\xff\xfe", "\xff\xfe", true},
		{"{PLAIN-TRUNC}6-secret", "secre", false},
		{"{PLAIN-TRUNC}0-", "anything", true},
		{"{PLAIN-TRUNC}7-secret", "secret", true},
	} {
		if ok, err := Verify(Split(c.hash, ""), c.password, ""); ok != c.ok || err != nil {
			t.Errorf("%q with %q: %v %v, want %v", c.hash, c.password, ok, err, c.ok)
		}
	}
}

func TestErrors_have_the_words_of_the_auth_log(t *testing.T) {
	t.Parallel()
	for hash, want := range map[string]string{
		"{NOPE}x":             "Unknown scheme NOPE",
		"{SHA256.foo}x":       "Unknown scheme SHA256.FOO",
		"{SHA256}xx":          "Password data is not valid for scheme SHA256: Input isn't valid base64 encoded data",
		"{SHA256.HEX}K7gNU3s": "Password data is not valid for scheme SHA256.HEX: Input isn't valid HEX encoded data",
		"{MD5}notahash":       "Invalid password in passdb: Not a valid MD5-CRYPT or PLAIN-MD5 password",
	} {
		if _, err := Verify(Split(hash, ""), "x", ""); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", hash, err, want)
		}
	}
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	cram, err := Generate("CRAM-MD5", "secret", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, stored, want, user string
		hex                      string // of the answer; "" when it is random
		err                      string
	}{
		{name: "plain for plain", stored: "{CLEARTEXT}secret", want: "PLAIN", hex: hex.EncodeToString([]byte("secret"))},
		{name: "plain converts", stored: "{PLAIN.b64}c2VjcmV0", want: "CRAM-MD5", hex: strings.TrimPrefix(cram, "{CRAM-MD5}")},
		{name: "aliases are one scheme", stored: "{HMAC-MD5}" + strings.TrimPrefix(cram, "{CRAM-MD5}"), want: "CRAM-MD5", hex: strings.TrimPrefix(cram, "{CRAM-MD5}")},
		{name: "digest has the user in it", stored: "secret", want: "DIGEST-MD5", user: "user@example.com", hex: "30969131580e626606ce70ceaab77719"},
		{name: "stored digest", stored: "{DIGEST-MD5.B64}MJaRMVgOYmYGznDOqrd3GQ==", want: "DIGEST-MD5", hex: "30969131580e626606ce70ceaab77719"},
		{name: "plain becomes SCRAM", stored: "secret", want: "SCRAM-SHA-256"},
		{name: "another scheme", stored: "{SHA256.hex}2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b", want: "CRAM-MD5", err: "scheme not available: Requested CRAM-MD5 scheme, but we have only SHA256.HEX"},
		{name: "one SCRAM for the other", stored: "{SCRAM-SHA-1}4096,a,b,c", want: "SCRAM-SHA-256", err: "scheme not available: Requested SCRAM-SHA-256 scheme, but we have only SCRAM-SHA-1"},
		{name: "a hash for the text", stored: "{CRYPT}x", want: "PLAIN", err: "scheme not available: Requested PLAIN scheme, but we have only CRYPT"},
		{name: "a cut text", stored: "{PLAIN-TRUNC}6-secret", want: "CRAM-MD5", err: "scheme not available: Requested CRAM-MD5 scheme, but we have only PLAIN-TRUNC"},
		{name: "broken data", stored: "{CRAM-MD5}zz", want: "CRAM-MD5", err: "Password data is not valid for scheme CRAM-MD5: Input isn't valid base64 encoded data"},
		{name: "unknown", stored: "{NOPE}zz", want: "CRAM-MD5", err: "Unknown scheme NOPE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := Credentials(Split(c.stored, "PLAIN"), c.want, c.user)
			switch {
			case c.err != "":
				if err == nil || err.Error() != c.err {
					t.Errorf("error %v, want %s", err, c.err)
				}
			case err != nil:
				t.Error(err)
			case c.hex != "":
				if hex.EncodeToString(got) != c.hex {
					t.Errorf("%x, want %s", got, c.hex)
				}
			default:
				if ok, err := Verify(Hash{Name: c.want, Data: string(got)}, "secret", ""); !ok || err != nil {
					t.Errorf("%s does not verify: %v", got, err)
				}
			}
		})
	}
}

func TestHMACMD5_equals_the_keyed_hash(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"", "secret", strings.Repeat("k", 64), strings.Repeat("k", 65)} {
		for _, message := range []string{"", "<1896.697170952@postoffice.reston.mci.net>", strings.Repeat("m", 200)} {
			state, err := Credentials(Hash{Name: "PLAIN", Data: key}, "CRAM-MD5", "")
			if err != nil {
				t.Fatal(err)
			}
			got, err := HMACMD5(state, []byte(message))
			if err != nil {
				t.Fatal(err)
			}
			m := hmac.New(md5.New, []byte(key))
			m.Write([]byte(message))
			if !bytes.Equal(got, m.Sum(nil)) {
				t.Errorf("key of %d, message of %d bytes differ", len(key), len(message))
			}
		}
	}
	if _, err := HMACMD5(make([]byte, 31), nil); err == nil {
		t.Error("a short state is taken")
	}
}

func TestSchemes_lists_every_scheme_once(t *testing.T) {
	t.Parallel()
	names := Schemes()
	if len(names) != len(table) {
		t.Errorf("%d names, %d schemes", len(names), len(table))
	}
	for _, n := range names {
		if _, ok := table[n]; !ok {
			t.Errorf("%s is not in the table", n)
		}
	}
	slices.Sort(names)
	if len(slices.Compact(names)) != len(table) {
		t.Error("a name is listed twice")
	}
}

func TestExpensive_and_Weak(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{"CRYPT": true, "argon2id.b64": true, "SCRAM-SHA-1": true, "PLAIN": false, "SSHA512": false, "NOPE": false} {
		if Expensive(name) != want {
			t.Errorf("Expensive(%s) = %v", name, !want)
		}
	}
	for hash, want := range map[string]bool{"{CRYPT}$1$a$b": true, "{CRYPT}abNANd1rDfiNc": true, "{CRYPT}$6$a$b": false, "{MD5}x": true, "{SSHA}x": false} {
		if Weak(Split(hash, "")) != want {
			t.Errorf("Weak(%s) = %v", hash, !want)
		}
	}
}

func FuzzVerify(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v.Hash, v.Password, v.User)
	}
	f.Fuzz(func(t *testing.T, stored, password, user string) {
		h := Split(stored, "PLAIN")
		if s, err := lookup(h); err != nil || s.expensive && costly(h, s) {
			t.Skip()
		}
		ok, err := Verify(h, password, user)
		if ok && err != nil {
			t.Errorf("%q matches %q with the error %v", stored, password, err)
		}
		if raw, err := Credentials(h, h.Name, user); err == nil && h.Name == "PLAIN" && h.Encoding == "" && string(raw) != h.Data {
			t.Errorf("%q became %q", h.Data, raw)
		}
	})
}

// costly keeps the fuzzer away from hashes that are slow on purpose: they are allowed to be.
func costly(h Hash, s spec) bool {
	raw, err := decode(h, s)
	if err != nil {
		return false
	}
	text := string(raw)
	return strings.ContainsAny(text, "0123456789") && (strings.HasPrefix(text, "$") || strings.Contains(text, ",")) || strings.HasPrefix(text, "_")
}
