package wire

import (
	"strings"
	"testing"
)

func TestQuote(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"plain text is quoted", "abc", `"abc"`},
		{"empty text is quoted", "", `""`},
		{"quotes and backslashes are escaped", `a"b\c`, `"a\"b\\c"`},
		{"8-bit text is a synchronising literal", "p\xc3\xa4", "{3}\r\np\xc3\xa4"},
		{"a line end is never written into a line", "a\r\nb", "{4}\r\na\r\nb"},
		{"a NUL is a literal", "a\x00", "{2}\r\na\x00"},
		{"a tab stays quoted", "a\tb", "\"a\tb\""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := Quote(tc.in); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestLiteral(t *testing.T) {
	const huge = int(^uint(0) >> 1)
	for _, tc := range []struct {
		name, line string
		before     string
		n          int
		sync       bool
		ok, bad    bool
	}{
		{"synchronising", "a LOGIN {5}", "a LOGIN ", 5, true, true, false},
		{"non-synchronising", "a LOGIN {5+}", "a LOGIN ", 5, false, true, false},
		{"the whole line", "{0}", "", 0, true, true, false},
		{"in a list", "a ID ({3}", "a ID (", 3, true, true, false},
		{"no digits are bad syntax", "a LOGIN {}", "a LOGIN {}", 0, true, false, true},
		{"a plus alone is bad syntax", "a LOGIN {+}", "a LOGIN {+}", 0, false, false, true},
		{"a negative number is none", "a LOGIN {-5}", "a LOGIN {-5}", 0, false, false, false},
		{"an overflow is huge, never small", "a LOGIN {99999999999999999999}", "a LOGIN ", huge, true, true, false},
		{"over 31 bits is huge", "a LOGIN {4294967297}", "a LOGIN ", huge, true, true, false},
		{"glued to a word it is text", "a LOGIN x{5}", "a LOGIN x{5}", 0, false, false, false},
		{"not at the end it is text", "a {5} b", "a {5} b", 0, false, false, false},
		{"an empty line has none", "", "", 0, false, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before, n, sync, ok, bad := Literal([]byte(tc.line))
			if ok != tc.ok || bad != tc.bad {
				t.Fatalf("ok=%t bad=%t, want %t %t", ok, bad, tc.ok, tc.bad)
			}
			if ok && (string(before) != tc.before || n != tc.n || sync != tc.sync) {
				t.Errorf("got %q %d %t, want %q %d %t", before, n, sync, tc.before, tc.n, tc.sync)
			}
		})
	}
}

func FuzzLiteral(f *testing.F) {
	for _, s := range []string{"a {5}", "a {5+}", "{", "}", "{}", "{+}", "a {00000000000000000000001}", "a({1}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		before, n, _, ok, bad := Literal(line)
		if ok && bad {
			t.Fatal("both a literal and bad syntax")
		}
		if ok && (n < 0 || len(before) >= len(line) || !strings.HasPrefix(string(line), string(before))) {
			t.Fatalf("%q: before %q, n %d", line, before, n)
		}
	})
}

func TestTabEscape(t *testing.T) {
	for _, tc := range []struct{ name, plain, escaped string }{
		{"plain text stays", "a=b", "a=b"},
		{"a tab cannot split a list", "a\tb", "a\x01tb"},
		{"line ends", "a\r\nb", "a\x01r\x01nb"},
		{"NUL and the escape itself", "\x00\x01", "\x010\x011"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := TabEscape(tc.plain); got != tc.escaped {
				t.Errorf("TabEscape = %q, want %q", got, tc.escaped)
			}
			if got := TabUnescape(tc.escaped); got != tc.plain {
				t.Errorf("TabUnescape = %q, want %q", got, tc.plain)
			}
		})
	}
	t.Run("an unknown escape is its second byte", func(t *testing.T) {
		if got := TabUnescape("a\x01zb"); got != "azb" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("a lone escape at the end is dropped", func(t *testing.T) {
		if got := TabUnescape("a\x01"); got != "a" {
			t.Errorf("got %q", got)
		}
	})
}

func FuzzTabEscape(f *testing.F) {
	f.Add("a\tb\x01\x00\r\n")
	f.Add("\x01t\x011")
	f.Fuzz(func(t *testing.T, s string) {
		e := TabEscape(s)
		if strings.ContainsAny(e, "\t\r\n\x00") {
			t.Fatalf("%q holds a separator", e)
		}
		if got := TabUnescape(e); got != s {
			t.Fatalf("%q came back as %q", s, got)
		}
		TabUnescape(s)
	})
}

func TestPrintable(t *testing.T) {
	if got, want := Printable("ok \x1b[1m b\xe4d\r\n\x00"), "ok ?[1m b?d???"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if s := "plain text"; Printable(s) != s {
		t.Error("plain text was changed")
	}
}

func TestHasControl(t *testing.T) {
	for s, want := range map[string]bool{"": false, "aä ~": false, "a\r": true, "\n": true, "\x00": true, "\t": true, "\x7f": true, "\x01": true} {
		if HasControl(s) != want {
			t.Errorf("HasControl(%q) = %t", s, !want)
		}
	}
}
