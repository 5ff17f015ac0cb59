package scheme

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
)

// testdata/crypt.json was recorded from crypt(3) of libxcrypt 4.4.33 (Debian 12): each setting with each password,
// in hex. A hash of "*0" is crypt's refusal.
func TestCrypt_agrees_with_libxcrypt(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/crypt.json")
	if err != nil {
		t.Fatal(err)
	}
	var recorded struct {
		Passwords []string
		Hashes    map[string][]string
	}
	if err := json.Unmarshal(text, &recorded); err != nil {
		t.Fatal(err)
	}
	if len(recorded.Hashes) != 25 {
		t.Fatalf("%d settings, want 25", len(recorded.Hashes))
	}
	for setting, hashes := range recorded.Hashes {
		t.Run(setting, func(t *testing.T) {
			t.Parallel()
			for i, h := range hashes {
				raw, err := hex.DecodeString(recorded.Passwords[i])
				if err != nil {
					t.Fatal(err)
				}
				password := string(raw)
				if h == "*0" { // refused for its length: the setting must not match either
					if ok, _ := Verify(Hash{Name: "CRYPT", Data: setting}, password, ""); ok {
						t.Errorf("%q matches %d bytes", setting, len(password))
					}
					continue
				}
				// crypt_blowfish makes $2a$ differ from bcrypt where the bug of $2x$ would have gone unseen.
				want := !strings.HasPrefix(setting, "$2a$") || password != "\xff\xff\xa3"
				ok, err := Verify(Hash{Name: "CRYPT", Data: h}, password, "")
				if ok != want || err != nil {
					t.Errorf("%q with %d bytes %.20q: %v %v, want %v", h, len(password), password, ok, err, want)
				}
				if i > 2 {
					continue
				}
				if ok, _ := Verify(Hash{Name: "CRYPT", Data: h}, "y"+password, ""); ok {
					t.Errorf("%q also matches with y before %.20q", h, password)
				}
			}
		})
	}
}

func TestCrypt_refuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ hash, err string }{
		{"{CRYPT}$2x$05$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW", "blowfish variant $2x$ is refused; store the password again as $2y$"},
		{"{BLF-CRYPT}$2x$05$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW", "blowfish variant $2x$ is refused; store the password again as $2y$"},
		{"{CRYPT}$2y$31$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW", "blowfish cost 31 is not in 4..18"},
		{"{CRYPT}$2y$03$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW", "blowfish cost 03 is not in 4..18"},
		{"{CRYPT}$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrWx", "Password is not blowfish password"},
		{"{CRYPT}$2y$", "Password is not blowfish password"},
		{"{CRYPT}$nope$x", "crypt() id $nope$ is not supported"},
		{"{CRYPT}$argon2id$v=19$m=65536,t=3,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", "crypt() id $argon2id$ is not supported"},
		{"{CRYPT}$6$rounds=999999999$salt$x", "SHA-crypt rounds are over 10000000"},
		{"{CRYPT}$sha1$4294967295$salt$x", "sha1crypt rounds are over 10000000"},
		{"{CRYPT}$md5,rounds=4294967295$salt$$x", "Sun MD5 rounds are over 10000000"},
		{"{CRYPT}$md5$salt$x", "Sun MD5 hashes with one $ behind the salt are not supported; store the password again"},
		{"{CRYPT}$7$zzzzzzzzzzzsalt$x", "scrypt parameters N=2^63, r=1073741823, p=1073741823 are over the limit"},
		{"{CRYPT}$y$jzT$salt$x", "yescrypt: N out of supported range"},
		{"{CRYPT}$gy$jzT$salt$x", "yescrypt: N out of supported range"},
		{"{ARGON2ID}$argon2id$v=19$m=4194304,t=3,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", `ARGON2 parameters "m=4194304,t=3,p=1" are over the limit of m=1048576, m*t=16777216, p=16`},
		{"{ARGON2ID}$argon2id$v=19$m=65536,t=4294967295,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", `ARGON2 parameters "m=65536,t=4294967295,p=1" are over the limit of m=1048576, m*t=16777216, p=16`},
		{"{ARGON2ID}$argon2id$v=19$m=65536,t=1,p=255$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", `ARGON2 parameters "m=65536,t=1,p=255" are over the limit of m=1048576, m*t=16777216, p=16`},
		{"{ARGON2ID}$argon2id$v=19$m=1,t=0,p=0$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", `ARGON2 parameters "m=1,t=0,p=0" are below the minimum of m=8*p, t=1, p=1`},
		{"{ARGON2ID}$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$!!", "ARGON2 salt or hash has a bad length or encoding"},
		{"{ARGON2ID}garbage", "Not a valid ARGON2I or ARGON2ID password"},
		{"{PBKDF2}$1$salt$99999999$0000000000000000000000000000000000000000", "PBKDF2 rounds are over 10000000"},
		{"{PBKDF2}$1$salt$x$0000000000000000000000000000000000000000", "Invalid PBKDF2 passdb entry format"},
		{"{SCRAM-SHA-1}99999999,c2FsdA==,c2FsdA==,c2FsdA==", "SCRAM-SHA-1 iteration count in passdb is over 10000000"},
		{"{SCRAM-SHA-1}4096,c2FsdA==,c2FsdA==,y", "Invalid SCRAM-SHA-1 StoredKey in passdb"},
		{"{OTP}sha1 99999999 seed 264d25fa96c944f5", "Invalid OTP data in passdb"},
		{"{OTP}garbage", "Invalid OTP data in passdb"},
		{"{MD5-CRYPT}garbage", "Not a valid MD5-CRYPT password"},
	} {
		ok, err := Verify(Split(c.hash, ""), "secret", "")
		var e *Error
		if ok || !errors.As(err, &e) || e.Text != c.err {
			t.Errorf("%s: %v %v, want %s", c.hash, ok, err, c.err)
		}
	}
}

func TestCrypt_takes_a_locked_account_for_a_mismatch(t *testing.T) {
	t.Parallel()
	for _, hash := range []string{"*", "!", "x", "!!", "*LK*", "!$6$salt$x", "$6$salt", "$6$rounds=10$salt$x", "$1$x", "_", "_J9", "a", "..", "\xff\xff"} {
		for _, password := range []string{"", "x", hash} {
			if ok, err := Verify(Hash{Name: "CRYPT", Data: hash}, password, ""); ok || err != nil {
				t.Errorf("%q with %q: %v %v", hash, password, ok, err)
			}
		}
	}
}

func TestStreebog_RFC_6986(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ message, want string }{ // section 10, most significant byte first
		{
			"323130393837363534333231303938373635343332313039383736353433323130393837363534333231303938373635343332313039383736353433323130",
			"00557be5e584fd52a449b16b0251d05d27f94ab76cbaa6da890b59d8ef1e159d",
		},
		{
			"fbe2e5f0eee3c820fbeafaebef20fffbf0e1e0f0f520e0ed20e8ece0ebe5f0f2f120fff0eeec20f120faf2fee5e2202ce8f6f3ede220e8e6eee1e8f0f2d1202ce8f0f2e5e220e5d1",
			"508f7e553c06501d749a66fc28c6cac0b005746d97537fa85d9e40904efed29d",
		},
	} {
		m, err := hex.DecodeString(c.message)
		if err != nil {
			t.Fatal(err)
		}
		h := newStreebog256()
		for i := len(m) - 1; i >= 0; i-- {
			_, _ = h.Write(m[i : i+1])
		}
		d := h.Sum(nil)
		for i, j := 0, len(d)-1; i < j; i, j = i+1, j-1 {
			d[i], d[j] = d[j], d[i]
		}
		if got := hex.EncodeToString(d); got != c.want {
			t.Errorf("%s...: %s, want %s", c.message[:16], got, c.want)
		}
	}
}

func TestBigcrypt_does_not_match_a_cut_password(t *testing.T) {
	t.Parallel()
	const hash = "ab1iBa.N.U2C6L/YRXS3klt2" // of 123456789
	for password, want := range map[string]bool{"123456789": true, "12345678": false, "1234567890": false} {
		if ok, err := Verify(Hash{Name: "CRYPT", Data: hash}, password, ""); ok != want || err != nil {
			t.Errorf("%s: %v %v, want %v", password, ok, err, want)
		}
	}
	if ok, _ := Verify(Hash{Name: "DES-CRYPT", Data: hash[:13]}, strings.Repeat("12345678", 2), ""); !ok {
		t.Error("traditional DES counts more than eight characters")
	}
}
