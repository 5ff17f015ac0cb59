package wire

import (
	"strings"
	"testing"
)

func TestSMTPCommand(t *testing.T) {
	for in, want := range map[string]string{
		"":                        "|",
		"NOOP":                    "NOOP|",
		"mail FROM:<a@b> X=y \t ": "mail|FROM:<a@b> X=y",
		" NOOP":                   "|NOOP",
		"NOOP ":                   "NOOP|",
		"NOOP \t":                 "NOOP|",
		"NOOP a\tb\u00e4":         "NOOP|a\tb\u00e4",
		strings.Repeat("X", 32):   strings.Repeat("X", 32) + "|",
		strings.Repeat("X", 33):   "no",
		"NOOP  x":                 "no",
		"NOOP\t":                  "no",
		"N0OP":                    "no",
		"NOOP a\x00":              "no",
		"NOOP a\rb":               "no",
		"NOOP a\x7f":              "no",
		"NOOP \xff":               "no",
	} {
		got := "no"
		if name, args, ok := SMTPCommand(in); ok {
			got = name + "|" + args
		}
		if got != want {
			t.Errorf("SMTPCommand(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestSMTPParams(t *testing.T) {
	for in, want := range map[string]string{
		"":           "",
		"a=b C-1 D=": "A=b;C-1;D=;",
		"A=b  C=d":   "Parameter is empty",
		"=x":         "Unexpected character in parameter keyword",
		"-A=x":       "Unexpected character in parameter keyword",
		"A_B=x":      "Unexpected character in parameter keyword",
		"A=b=c":      "Unexpected character in parameter value",
		"A=b\tc":     "Unexpected character in parameter value",
		"A=\u00e4":   "Unexpected character in parameter value",
	} {
		params, got := SMTPParams(in)
		for _, p := range params {
			got += p.Name
			if p.Set {
				got += "=" + p.Value
			}
			got += ";"
		}
		if got != want {
			t.Errorf("SMTPParams(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestSMTPString(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "!#$%&'*+-/=?^_`{|}~": "", `""`: "", `"a b"`: "", `"a\"b\\"`: "",
		"a b": "Invalid character in string", "a.b": "Invalid character in string", `"a"b`: "Invalid character in string",
		`"abc`: "Premature end of quoted string", `"abc\"`: "Premature end of quoted string", "\"\u00e4\"": "Invalid character in quoted string",
	} {
		if got := SMTPString(in); got != want {
			t.Errorf("SMTPString(%q) = %q, want %q", in, got, want)
		}
	}
}

// FuzzSMTPCommand holds what is read to what it may be, and reads it once more.
func FuzzSMTPCommand(f *testing.F) {
	for _, seed := range []string{"NOOP", "XCLIENT ADDR=192.0.2.1 HELO=a+20b", "NOOP \"a\\\"b\"", "MAIL  x", "A B=c=d", "\x00", "A \xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		name, args, ok := SMTPCommand(in)
		if !ok {
			return
		}
		if strings.ContainsAny(name+args, "\r\n\x00") || len(name) > maxSMTPName || strings.TrimRight(args, " \t") != args {
			t.Fatalf("%q, %q", name, args)
		}
		if n, a, ok := SMTPCommand(name + " " + args); !ok || n != name || a != args {
			t.Fatalf("%q, %q, %v of %q, %q", n, a, ok, name, args)
		}
		params, fault := SMTPParams(args)
		for _, p := range params {
			if fault != "" || p.Name == "" || strings.ContainsAny(p.Name+p.Value, "= \t") {
				t.Fatalf("%+v, %s", p, fault)
			}
		}
		_ = SMTPString(args)
	})
}
