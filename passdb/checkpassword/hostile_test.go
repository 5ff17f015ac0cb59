package checkpassword

import (
	"os"
	"path/filepath"
	"testing"

	"dproxy/conf"
	"dproxy/passdb"
)

// TestNamesAndPasswordsAreData: whatever a client sends reaches the program as it is, in one argument, one
// variable and one word of descriptor 3, and nothing runs.
func TestNamesAndPasswordsAreData(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "check")
	text := `#!/bin/sh
cat <&3 | tr '\000' '\n' > "` + dir + `/in"
printf '%s' "$1" > "` + dir + `/arg"
printf '%s' "$AUTH_USER" > "` + dir + `/env"
shift
exec "$@"
`
	if err := os.WriteFile(program, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	d, err := New(conf.Passdb{Args: program + " <%u>"})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{
		"$(touch x)", "`touch x`", "; touch x", "| touch x", "'", `"`, `\`, "a b", "-rf", "*", "%u", "%n%d", "../../x", "a=b", "$HOME", "ä", "{PLAIN}x",
	} {
		r := &passdb.Request{User: s, OrigUser: s, Mech: "PLAIN", Peer: passdb.Peer{Service: "imap"}}
		if res, err := d.(passdb.Verifier).Verify(t.Context(), r, passdb.Secret(s)); err != nil || res.Status != passdb.OK {
			t.Errorf("%q: %+v %v", s, res, err)
			continue
		}
		for name, want := range map[string]string{"in": s + "\n" + s + "\n", "arg": "<" + s + ">", "env": s} {
			got, err := os.ReadFile(filepath.Join(dir, name))
			if name == "in" && len(got) > len(want) {
				got = got[:len(want)]
			}
			if err != nil || string(got) != want {
				t.Errorf("%q: %s is %q, %v", s, name, got, err)
			}
		}
	}
	if found, _ := filepath.Glob(filepath.Join(dir, "x")); len(found) > 0 {
		t.Error("a name was run")
	}
}
