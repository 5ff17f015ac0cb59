package passwdfile

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"dproxy/conf"
	"dproxy/passdb"
)

// write makes a file whose time stamp is old enough to be trusted.
func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, args string) passdb.Driver {
	t.Helper()
	d, err := New(conf.Passdb{Args: args})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func ask(t testing.TB, d passdb.Driver, user string) (passdb.Result, error) {
	t.Helper()
	return d.Lookup(t.Context(), &passdb.Request{User: user, Mech: "PLAIN"})
}

func TestLookup_reads_every_form_of_a_line(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pw")
	write(t, path, strings.Join([]string{
		"# a comment", "", "short", "plain:secret", "u0:{PLAIN}secret",
		":{PLAIN}secret::::::proxy=y",
		`u2:{PLAIN}secret:1000:1000:gecos:/home/u2:/bin/sh:userdb_x=1 proxy=y host=192.0.2.1 destuser=a\sb`,
		"u2:{PLAIN}other", "colon:x::::::k:v=1 b=c:d", "old:x:::::::k=v", "crlf:x\r",
		"vars:x::::::destuser=%n-x  flag", "bad:x::::::host=%{nosuch}",
		"t13:abNANd1rDfiNc[13]", "t34:5ebe2294ecd0e0f08eab7690d2a6ee69[34]", "t56:aa[56]", "ta:{PLAIN}x[34]", "tb:$1$x[34]", "tc:[34]",
		"last:x",
	}, "\n"))
	d := open(t, "scheme=plain "+path)
	for _, c := range []struct {
		user, password string
		fields         []passdb.Field
		unknown        bool
		err            string
	}{
		{user: "short"},
		{user: "plain", password: "secret"},
		{user: "u0", password: "{PLAIN}secret"},
		{user: "u2", password: "{PLAIN}secret", fields: []passdb.Field{{Name: "userdb_x", Value: "1"}, {Name: "proxy", Value: "y"}, {Name: "host", Value: "192.0.2.1"}, {Name: "destuser", Value: `a\sb`}}},
		{user: "colon", password: "x", fields: []passdb.Field{{Name: "k:v", Value: "1"}, {Name: "b", Value: "c:d"}}},
		{user: "old", password: "x"},
		{user: "crlf", password: "x"},
		{user: "vars", password: "x", fields: []passdb.Field{{Name: "destuser", Value: "vars-x"}, {Name: "flag"}}},
		{user: "bad", err: "Failed to expand extra field host=%{nosuch}: Unknown variable '%nosuch'"},
		{user: "t13", password: "{CRYPT}abNANd1rDfiNc"},
		{user: "t34", password: "{PLAIN-MD5}5ebe2294ecd0e0f08eab7690d2a6ee69"},
		{user: "t56", password: "{DIGEST-MD5}aa"},
		{user: "ta", password: "{PLAIN}x[34]"},
		{user: "tb", password: "$1$x[34]"},
		{user: "tc", password: "[34]"},
		{user: "last", password: "x"},
		{user: "", unknown: true},
		{user: "# a comment", unknown: true},
		{user: "plain:secret", unknown: true},
		{user: "Plain", unknown: true},
		{user: "nobody", unknown: true},
	} {
		got, err := ask(t, d, c.user)
		switch {
		case c.err != "":
			if err == nil || err.Error() != c.err {
				t.Errorf("%q: error %v, want %s", c.user, err, c.err)
			}
		case err != nil:
			t.Errorf("%q: %v", c.user, err)
		case c.unknown:
			if got.Status != passdb.Unknown {
				t.Errorf("%q: status %v, want unknown", c.user, got.Status)
			}
		case got.Status != passdb.OK || !got.HasPassword || string(got.Password) != c.password || !slices.Equal(got.Fields, c.fields) || got.DefaultScheme != "PLAIN":
			t.Errorf("%q: %v %q %v %s, want %q %v", c.user, got.Status, string(got.Password), got.Fields, got.DefaultScheme, c.password, c.fields)
		}
	}
}

func TestNew_args(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ args, err string }{
		{"", "passdb passwd-file: Missing args"},
		{"scheme=plain", "passdb passwd-file: Missing args"},
		{"foo=bar /x", "passdb passwd-file: Unknown setting: foo"},
		{"relative", "passdb passwd-file: Unknown setting: relative"},
		{"scheme=plain username_format=%n /a path", ""},
	} {
		d, err := New(conf.Passdb{Args: c.args})
		if c.err == "" {
			if err != nil || d.(*driver).single.path != "/a path" {
				t.Errorf("%q: %v", c.args, err)
			}
		} else if err == nil || err.Error() != c.err {
			t.Errorf("%q: error %v, want %s", c.args, err, c.err)
		}
	}
}

func TestUsernameFormat(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pw")
	write(t, path, "a:x\n"+`o\'b:y`)
	for _, c := range []struct{ user, password string }{{"a@any.org", "x"}, {"a", "x"}, {"o'b", "y"}} {
		got, err := ask(t, open(t, "username_format=%n "+path), c.user)
		if err != nil || string(got.Password) != c.password {
			t.Errorf("%s: %q %v", c.user, string(got.Password), err)
		}
	}
	if _, err := ask(t, open(t, "username_format=%z "+path), "a"); err == nil || err.Error() != "Failed to expand username_format=%z: Unknown variable '%z'" {
		t.Errorf("error %v", err)
	}
}

func TestMissingFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "none")
	d := open(t, path)
	var reports []string
	d.(passdb.Reporter).SetReport(func(s string) { reports = append(reports, s) })
	if want := "passwd-file " + path + ":open(" + path + ") failed: No such file or directory"; !slices.Equal(reports, []string{want}) {
		t.Errorf("reports %q, want %q", reports, want)
	}
	got, err := ask(t, d, "a")
	if err != nil || got.Status != passdb.Unknown || got.Detail != "missing passwd file: "+path {
		t.Errorf("login: %+v %v", got, err)
	}
	if _, err := d.Lookup(t.Context(), &passdb.Request{User: "a"}); err == nil || err.Error() != "missing passwd file: "+path {
		t.Errorf("lookup without a password: %v, want an internal failure", err)
	}
	write(t, path, "a:x\n")
	if got, err := ask(t, d, "a"); err != nil || string(got.Password) != "x" {
		t.Errorf("after the file came: %+v %v", got, err)
	}
}

func TestUnreadableFile_is_an_internal_failure(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := ask(t, open(t, dir), "a"); err == nil || !strings.Contains(err.Error(), "is not a regular file") {
		t.Errorf("directory: %v", err)
	}
	if _, err := ask(t, open(t, filepath.Join(dir, "pw")+"/x"), "a"); err != nil {
		t.Errorf("missing parent: %v", err)
	}
	write(t, filepath.Join(dir, "pw"), "a:x")
	if _, err := ask(t, open(t, filepath.Join(dir, "pw")+"/x"), "a"); err == nil || !strings.Contains(err.Error(), "failed: Not a directory") {
		t.Errorf("file as parent: %v", err)
	}
}

func TestPathVariables(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "pw.ex.org"), "a:secret\n")
	write(t, filepath.Join(dir, "secret"), "a:stolen\n")
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	perDomain := open(t, "username_format=%n "+dir+"/pw.%d")
	if got, err := ask(t, perDomain, "a@ex.org"); err != nil || string(got.Password) != "secret" {
		t.Errorf("%+v %v", got, err)
	}
	got, err := ask(t, perDomain, "a@other.org")
	if err != nil || got.Status != passdb.Unknown || got.Detail != "missing passwd file: "+dir+"/pw.other.org" {
		t.Errorf("other domain: %+v %v", got, err)
	}
	if n := len(perDomain.(*driver).files); n != 1 {
		t.Errorf("%d files are kept, want the one that exists", n)
	}
	below := open(t, "username_format=%n "+dir+"/sub/%d/secret")
	half := open(t, "username_format=a "+dir+"/sub/.%d/secret")
	for _, c := range []struct {
		d    passdb.Driver
		user string
	}{{below, "a@.."}, {below, "a@."}, {below, "a@../.."}, {below, "a@x\x00"}, {half, "a@."}, {perDomain, "a@/../secret"}} {
		got, err := ask(t, c.d, c.user)
		if err != nil || got.Status != passdb.Unknown || got.HasPassword {
			t.Errorf("%q: %+v %v, want an unknown user", c.user, got, err)
		}
	}
	if got, err := ask(t, open(t, "username_format=%n "+dir+"/sub/../pw.%d"), "a@ex.org"); err != nil || string(got.Password) != "secret" {
		t.Errorf("the template's own ..: %+v %v", got, err)
	}
	if _, err := ask(t, open(t, dir+"/pw.%z"), "a"); err == nil || err.Error() != "Failed to expand passwd-file path "+dir+"/pw.%z: Unknown variable '%z'" {
		t.Errorf("error %v", err)
	}
}

func TestReload(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pw")
	write(t, path, "a:one\na:two\n")
	d := open(t, path)
	var mu sync.Mutex
	var reports []string
	d.(passdb.Reporter).SetReport(func(s string) {
		mu.Lock()
		defer mu.Unlock()
		reports = append(reports, s)
	})
	expect := func(step, password string) {
		t.Helper()
		got, err := ask(t, d, "a")
		if err != nil || string(got.Password) != password {
			t.Errorf("%s: %q %v, want %q", step, string(got.Password), err, password)
		}
	}
	expect("first", "one")
	expect("again", "one")
	if want := "passwd-file " + path + ":User a exists more than once"; !slices.Equal(reports, []string{want}) {
		t.Errorf("reports %q, want %q once", reports, want)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path+".new", "a:six\na:two\n")
	if err := os.Chtimes(path+".new", info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	expect("replaced by a file of equal size and time", "six")
	write(t, path, "a:longer\n")
	expect("rewritten in place", "longer")
	for i := range 20 { // within one step of the file system's clock
		text := fmt.Sprintf("a:p%02d\n", i)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		expect("fresh time stamp", fmt.Sprintf("p%02d", i))
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if got, err := ask(t, d, "a"); err != nil || got.Status != passdb.Unknown {
		t.Errorf("removed: %+v %v", got, err)
	}
}

func TestManyUsers_are_found_in_parallel_while_the_file_is_replaced(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pw")
	const n = 100_000
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "user%d@example.org:{PLAIN}p%d::::::proxy=y host=192.0.2.%d\n", i, i, i%250)
	}
	write(t, path, text.String())
	d := open(t, path)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := w; i < n; i += 997 {
				got, err := ask(t, d, fmt.Sprintf("user%d@example.org", i))
				if err != nil || string(got.Password) != fmt.Sprintf("{PLAIN}p%d", i) {
					t.Errorf("user%d: %q %v", i, string(got.Password), err)
					return
				}
			}
		})
	}
	for range 2 {
		write(t, path+".new", text.String())
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	u := d.(*driver).single.users
	if per := float64(4*len(u.slots)) / n; per > 16 {
		t.Errorf("the index takes %.1f bytes for each user", per)
	}
}

func BenchmarkLookup_of_100000_users(b *testing.B) {
	path := filepath.Join(b.TempDir(), "pw")
	var text strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&text, "user%d@example.org:{PLAIN}p%d::::::proxy=y host=192.0.2.%d\n", i, i, i%250)
	}
	write(b, path, text.String())
	d := open(b, path)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		got, err := ask(b, d, "user77777@example.org")
		if err != nil || got.Status != passdb.OK {
			b.Fatal(got, err)
		}
	}
}

func FuzzLine(f *testing.F) {
	f.Add("u:p:1:1:g:/h:/s:x=1 y=%n", "u")
	f.Add("a\nb:\n#c\n:d\nb:x", "b")
	f.Add("a:x[34]\r\n", "a")
	f.Fuzz(func(t *testing.T, text, user string) {
		dups := 0
		u := index(text, func(string) { dups++ })
		line, ok := u.find(user)
		if ok && (nameOf(line) != user || user == "" || user[0] == '#') {
			t.Errorf("%q found in the line %q", user, line)
		}
		parseLine(line)
	})
}
