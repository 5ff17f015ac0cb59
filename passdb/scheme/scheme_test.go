package scheme

import (
	"encoding/json"
	"errors"
	"os"
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
		if strings.Contains(v.Hash, "$gy$") {
			if _, err := Verify(Split(v.Hash, ""), v.Password, v.User); err == nil {
				t.Errorf("%s: no error, though gost-yescrypt is not supported", v.Hash)
			}
			continue
		}
		ok, err := Verify(Split(v.Hash, ""), v.Password, v.User)
		if ok != v.OK {
			t.Errorf("%s with %q: %v, want %v (%s, %v)", v.Hash, v.Password, ok, v.OK, v.Note, err)
		}
		if !v.OK && bare(err) != v.Error {
			t.Errorf("%s with %q: error %q, want %q", v.Hash, v.Password, bare(err), v.Error)
		}
	}
}
