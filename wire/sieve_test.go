package wire

import (
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
)

func TestSieveArgs(t *testing.T) {
	for _, tc := range []struct {
		name, line string
		want       []SieveArg
	}{
		{"capability", `"SASL" "PLAIN LOGIN"`, []SieveArg{{SieveString, "SASL"}, {SieveString, "PLAIN LOGIN"}}},
		{"response with a text", `OK "done"`, []SieveArg{{SieveAtom, "OK"}, {SieveString, "done"}}},
		{"response code", `NO (TRYLATER) "later"`, []SieveArg{{SieveAtom, "NO"}, {SieveList, "TRYLATER"}, {SieveString, "later"}}},
		{"parentheses in a string of a code", `NO (TAG "a)b") "x"`, []SieveArg{{SieveAtom, "NO"}, {SieveList, `TAG "a)b"`}, {SieveString, "x"}}},
		{"escapes", `"a\"b\\c"`, []SieveArg{{SieveString, `a"b\c`}}},
		{"a literal holds anything", "OK {6}\r\na\r\n\"b)", []SieveArg{{SieveAtom, "OK"}, {SieveString, "a\r\n\"b)"}}},
		{"no argument", "", nil},
		{"several blanks", `  OK   "x" `, []SieveArg{{SieveAtom, "OK"}, {SieveString, "x"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := SieveArgs(tc.line)
			if err != nil || !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got %+v, %v; want %+v", got, err, tc.want)
			}
		})
	}
	for _, bad := range []string{`"open`, `"a\`, `"a"b`, `(open`, `)`, `((a)`, "{5}\r\nabc", "{5}", "{}\r\n", "a\x00b", strings.Repeat("x ", 33)} {
		if got, err := SieveArgs(bad); !errors.Is(err, ErrSieveSyntax) {
			t.Errorf("%q: %+v, %v", bad, got, err)
		}
	}
}

func TestSieveLine(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		want     string
		err      error
	}{
		{"a plain line", "OK \"x\"\r\n", `OK "x"`, nil},
		{"a literal belongs to its line", "NO {4}\r\nab\r\n\r\n", "NO {4}\r\nab\r\n", nil},
		{"a literal in the middle", "NO {1+}\r\nx \"y\"\r\n", "NO {1+}\r\nx \"y\"", nil},
		{"a brace in a string announces nothing", "OK \"x {4}\"\r\n", "OK \"x {4}\"", nil},
		{"a literal above the limit is not read", "NO {100}\r\n" + strings.Repeat("x", 100) + "\r\n", "", ErrTooLong},
		{"an announced overflow is not read", "NO {99999999999999999999}\r\n", "", ErrTooLong},
		{"many small literals reach the limit too", strings.Repeat("{1}\r\nx ", 30) + "\r\n", "", ErrTooLong},
		{"a cut-off literal", "NO {4}\r\nab", "", io.ErrUnexpectedEOF},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := NewReader(strings.NewReader(tc.in)).SieveLine(64)
			if got != tc.want || !errors.Is(err, tc.err) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestSieveQuote(t *testing.T) {
	for in, want := range map[string]string{"": `""`, `a"\`: `"a\"\\"`, "a\r\nb": "{4+}\r\na\r\nb", strings.Repeat("x", 1025): "{1025+}\r\n" + strings.Repeat("x", 1025)} {
		if got := SieveQuote(in); got != want {
			t.Errorf("SieveQuote(%q) = %q", in, got)
		}
	}
}

func FuzzSieve(f *testing.F) {
	for _, s := range []string{`OK (TAG "x") "y"`, "NO {3}\r\nabc", `"SIEVE" "a b"`, `"`, "(", "{1}\r\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		line, err := NewReader(strings.NewReader(in)).SieveLine(4096)
		if err != nil {
			return
		}
		if len(line) >= 4096 {
			t.Fatalf("%d bytes", len(line))
		}
		args, err := SieveArgs(line)
		if err != nil {
			return
		}
		for _, a := range args {
			again, err := SieveArgs(SieveQuote(a.Text))
			if err != nil || len(again) != 1 || again[0].Text != a.Text {
				t.Fatalf("%q came back as %+v, %v", a.Text, again, err)
			}
		}
	})
}
