package conf

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestLimits(t *testing.T) {
	nested := func(head string, n int) string { return strings.Repeat(head+" {\n", n) }
	for _, tt := range []struct{ name, text, want string }{
		{"10,000 nested blocks", nested("local 10.0.0.0/8", 10_000), "line 1000: More than 1000 sections inside each other"},
		{"10,000 nested protocol blocks", nested("protocol imap", 10_000), "line 2: Nested protocol"},
		{"10,000 nested old blocks", nested("auth x", 10_000), "line 2: Unknown setting"},
		{"a line of 2 MB", "login_greeting = " + strings.Repeat("x", 2<<20), "line 1: Line is larger than 1048576 bytes"},
		{"2 MB of continued lines", "login_greeting = " + strings.Repeat(strings.Repeat("x", 100)+"\\\n", 20_000), "Line is larger than 1048576 bytes"},
		{"a braced include", "!include " + strings.Repeat("{a,b,c,d,e,f,g,h,i,j}", 9), "line 1: More than 10000 files match"},
		{"a file that is no text", strings.Repeat("\x7fELF\x02\x01\x01\x00\x00", 1000), "line 1: Expecting '{'"},
		{"a value that grows", "login_greeting = xxxxxxxxxxxxxxxx\n" + strings.Repeat("login_greeting = $login_greeting $login_greeting\n", 40), "Line is larger than 1048576 bytes"},
		{"a stack of open parentheses", "log_debug = " + strings.Repeat("(", 100_000), "event filter: memory exhausted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := load(t, tt.text, Options{})
			if err == nil {
				err = c.Check()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %.200v, want %q", err, tt.want)
			}
		})
	}
}

// endless is a file that would never end: many settings, or many blocks.
func writeLarge(t *testing.T, size int, line func(i int) string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "large.conf")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b bytes.Buffer
	for i, n := 0, 0; n < size; i++ {
		b.WriteString(line(i))
		if b.Len() > 1<<20 || n+b.Len() >= size {
			n += b.Len()
			if _, err := f.Write(b.Bytes()); err != nil {
				t.Fatal(err)
			}
			b.Reset()
		}
	}
	return path
}

func TestFileOf100MB(t *testing.T) {
	path := writeLarge(t, 100<<20, func(i int) string { return "login_greeting = a long text that is set again and again # x\n" })
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	_, err := Load(path, Options{})
	runtime.ReadMemStats(&after)
	if err == nil || !strings.Contains(err.Error(), "larger than 67108864 bytes") {
		t.Errorf("error %v", err)
	}
	if kept := int64(after.HeapSys) - int64(before.HeapSys); kept > 64<<20 {
		t.Errorf("the heap grew by %d MB", kept>>20)
	}
}

func TestIncludesWithoutEnd(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 200 {
		write(fmt.Sprintf("deep%d.conf", i), fmt.Sprintf("!include deep%d.conf\n", i+1))
	}
	_, err := Load(filepath.Join(dir, "deep0.conf"), Options{})
	if err == nil || !strings.Contains(err.Error(), "more than 100 files include each other") {
		t.Errorf("a long chain: %v", err)
	}
	for i := range 40 {
		write(fmt.Sprintf("wide%d.conf", i), strings.Repeat(fmt.Sprintf("!include wide%d.conf\n", i+1), 2)+strings.Repeat("# filler\n", 5000))
	}
	write("wide40.conf", "")
	_, err = Load(filepath.Join(dir, "wide0.conf"), Options{})
	if err == nil || !strings.Contains(err.Error(), "larger than 67108864 bytes") {
		t.Errorf("a wide tree: %v", err)
	}
	if err := os.Symlink("/dev/zero", filepath.Join(dir, "zero.conf")); err != nil {
		t.Fatal(err)
	}
	if _, err = Load(filepath.Join(dir, "zero.conf"), Options{}); err == nil || !strings.Contains(err.Error(), "Line is larger") {
		t.Errorf("a device: %v", err)
	}
}

func TestManyIncludedFilesNeedFewDescriptors(t *testing.T) {
	dir := t.TempDir()
	for i := range 3000 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%04d.conf", i)), fmt.Appendf(nil, "login_greeting = %d\n", i), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := mustLoad(t, "!include "+dir+"/*.conf\n", Options{})
	if got := c.Settings(Filter{}).LoginGreeting; got != "2999" {
		t.Errorf("login_greeting = %q", got)
	}
}

func TestRandomBytesNeverPanic(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	path := filepath.Join(t.TempDir(), "x.conf")
	for range 300 {
		data := make([]byte, 4096)
		for i := range data {
			data[i] = byte(r.Uint32())
			if r.Uint32()%7 == 0 {
				data[i] = "\n{}=$<\"' !#\\"[r.Uint32()%12]
			}
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path, Options{Lenient: true, Lookup: noLookup}); err != nil {
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("%v is no *Error", err)
			}
		}
	}
}

func noLookup(string) ([]netip.Addr, error) { return nil, errors.New("no look-ups here") }

func TestOpenFailures(t *testing.T) {
	if _, err := Load("/no/such/file", Options{}); err == nil || err.Error() != "open(/no/such/file) failed: No such file or directory" {
		t.Errorf("missing: %v", err)
	}
	if _, err := Load(t.TempDir(), Options{}); err != nil {
		t.Errorf("a directory is an empty file to Dovecot: %v", err)
	}
}
