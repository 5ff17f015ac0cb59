package wire

import (
	"errors"
	"strings"
	"testing"
)

func TestParseReplyLine(t *testing.T) {
	for _, tc := range []struct {
		name, line string
		code       int
		text       string
		more       bool
		err        error
	}{
		{"last line", "250 OK", 250, "OK", false, nil},
		{"line before others", "250-SIZE 10", 250, "SIZE 10", true, nil},
		{"a bare code is a last line", "354", 354, "", false, nil},
		{"a code and a blank", "334 ", 334, "", false, nil},
		{"two digits", "25 OK", 0, "", false, ErrReplyCode},
		{"four digits", "2500 OK", 0, "", false, ErrReplyCode},
		{"out of range", "199 OK", 0, "", false, ErrReplyCode},
		{"second digit out of range", "260 OK", 0, "", false, ErrReplyCode},
		{"another separator", "250_OK", 0, "", false, ErrReplySeparator},
		{"empty", "", 0, "", false, ErrReplyCode},
		{"words", "hello there", 0, "", false, ErrReplyCode},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, text, more, err := ParseReplyLine(tc.line)
			if code != tc.code || text != tc.text || more != tc.more || !errors.Is(err, tc.err) {
				t.Errorf("got %d %q %t %v", code, text, more, err)
			}
		})
	}
}

func TestReplyAdd(t *testing.T) {
	var r Reply
	for i, line := range []string{"250-one", "250-two", "250 three"} {
		done, err := r.Add(line)
		if err != nil || done != (i == 2) {
			t.Fatalf("%q: %t %v", line, done, err)
		}
	}
	if !r.OK() || r.Text() != "one two three" {
		t.Errorf("got %+v", r)
	}
	if got, want := r.Wire(), "250-one\r\n250-two\r\n250 three"; got != want {
		t.Errorf("Wire = %q, want %q", got, want)
	}
	r = Reply{}
	if _, err := r.Add("250-one"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Add("550 no"); !errors.Is(err, ErrReplyMixed) {
		t.Errorf("mixed codes: %v", err)
	}
}

func TestEnhanced(t *testing.T) {
	for _, tc := range []struct {
		name, text     string
		code           int
		enhanced, rest string
	}{
		{"a code is split off", "2.1.5 fine", 250, "2.1.5", "fine"},
		{"three digits each", "5.123.456 x", 550, "5.123.456", "x"},
		{"a code alone", "2.0.0", 250, "2.0.0", ""},
		{"no code", "fine", 250, "", "fine"},
		{"of another class it is text", "4.2.2 x", 550, "", "4.2.2 x"},
		{"four digits are text", "2.1234.5 x", 250, "", "2.1234.5 x"},
		{"a version number is text", "3.1.4 x", 250, "", "3.1.4 x"},
		{"missing detail", "2.1. x", 250, "", "2.1. x"},
		{"four parts are text", "2.1.5.6 x", 250, "", "2.1.5.6 x"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e, rest := Enhanced(tc.code, tc.text)
			if e != tc.enhanced || rest != tc.rest {
				t.Errorf("got %q %q", e, rest)
			}
		})
	}
}

func TestXtext(t *testing.T) {
	if got, want := Xtext("a+b=c d\r\n\xe4~"), "a+2Bb+3Dc+20d+0D+0A+E4~"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, bad := range []string{"a=b", "a b", "+", "+2", "+2b", "+G0", "\x00", "\x7f"} {
		if _, err := DecodeXtext(bad); !errors.Is(err, ErrXtext) {
			t.Errorf("DecodeXtext(%q): %v", bad, err)
		}
	}
}

func FuzzXtext(f *testing.F) {
	f.Add("a+b=c\r\n")
	f.Add("+2B+")
	f.Add("\x00")
	f.Fuzz(func(t *testing.T, s string) {
		e := Xtext(s)
		if HasControl(e) || strings.ContainsAny(e, " =") {
			t.Fatalf("%q is no parameter value", e)
		}
		got, err := DecodeXtext(e)
		if strings.Contains(s, "\x00") {
			if !errors.Is(err, ErrXtext) {
				t.Fatalf("%q with a NUL came back as %q, %v", s, got, err)
			}
		} else if err != nil || got != s {
			t.Fatalf("%q came back as %q, %v", s, got, err)
		}
		_, _ = DecodeXtext(s)
	})
}

func FuzzReply(f *testing.F) {
	f.Add("250-a\n250 b\n")
	f.Add("220\n")
	f.Add("354 go\n99\n")
	f.Fuzz(func(t *testing.T, in string) {
		var r Reply
		for line := range strings.SplitSeq(in, "\n") {
			done, err := r.Add(line)
			if err != nil {
				return
			}
			if done {
				break
			}
		}
		if r.Code < 200 || r.Code > 559 {
			t.Fatalf("code %d from %q", r.Code, in)
		}
		e, rest := Enhanced(r.Code, r.Lines[0])
		if e != "" && e+" "+rest != r.Lines[0] && e != r.Lines[0] {
			t.Fatalf("%q became %q %q", r.Lines[0], e, rest)
		}
		_ = r.Wire()
	})
}
