package passwdfile

import (
	"path/filepath"
	"testing"

	"dproxy/conf"
	"dproxy/passdb"
)

func TestSystemFiles(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "shadow")
	write(t, path, "root:*:19000:0:99999:7:::\nlocked:!$6$a$b:19000::::::\nempty::19000::::::\nbob:$6$a$b:19000:0:99999:7:::\nshort\n")
	d, err := newSystem(conf.Passdb{Args: "blocking=no"}, "shadow", path)
	if err != nil {
		t.Fatal(err)
	}
	for user, want := range map[string]passdb.Status{"root": passdb.Disabled, "locked": passdb.Disabled, "empty": passdb.Disabled, "short": passdb.Disabled, "bob": passdb.OK, "alice": passdb.Unknown} {
		got, err := ask(t, d, user)
		if err != nil || got.Status != want || got.HasPassword != (want == passdb.OK) {
			t.Errorf("%s: %+v %v, want %v", user, got, err, want)
		}
		if want == passdb.OK && (string(got.Password) != "$6$a$b" || got.DefaultScheme != "CRYPT" || got.Fields[0] != (passdb.Field{Name: "user", Value: "bob"})) {
			t.Errorf("%s: %q %s %v", user, string(got.Password), got.DefaultScheme, got.Fields)
		}
	}
	if d, err = newSystem(conf.Passdb{}, "shadow", path+".none"); err != nil {
		t.Fatal(err)
	}
	want := "passdb shadow: open(" + path + ".none) failed: No such file or directory"
	if _, err := ask(t, d, "bob"); err == nil || err.Error() != want {
		t.Errorf("missing file: %v, want %s", err, want)
	}
	if _, err := NewShadow(conf.Passdb{Args: "x=y"}); err == nil || err.Error() != "passdb shadow: Unknown setting: x=y" {
		t.Errorf("args: %v", err)
	}
	if d, err = NewPasswd(conf.Passdb{}); err != nil {
		t.Fatal(err)
	}
	if got, err := ask(t, d, "root"); err != nil || got.Status == passdb.Unknown {
		t.Errorf("root is not in /etc/passwd: %+v %v", got, err)
	}
}
