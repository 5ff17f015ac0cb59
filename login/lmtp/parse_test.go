package lmtp

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"dproxy/wire"
)

func replaceAll(s, pattern, with string) string {
	return regexp.MustCompile(pattern).ReplaceAllString(s, with)
}

func TestPath(t *testing.T) {
	for _, tt := range []struct{ in, want, rest, fault string }{
		{"<>", "", "", ""},
		{"<a@x> P=1", "a@x", " P=1", ""},
		{"<a>", "a", "", ""},
		{`<"a b"@x>`, `"a b"@x`, "", ""},
		{`<"a"@x>`, "a@x", "", ""},
		{`<"a\"\\b"@x>`, `"a\"\\b"@x`, "", ""},
		{"<a@[192.0.2.1]>", "a@[192.0.2.1]", "", ""},
		{"<@r:a@x>", "a@x", "", ""},
		{"<.a.@x>", `".a."@x`, "", ""},
		{"a@x", "", "", "Missing '<' at beginning of path"},
		{" <a@x>", "", "", "Unexpected whitespace before path"},
		{"<a@x", "", "", openPath},
		{"<a b@x>", "", "", openPath},
		{"<a@x>b", "", "", "Invalid character in path"},
		{"<a@>", "", "", "Missing domain after '@'"},
		{"<@>", "", "", "Missing domain after '@' in source route"},
		{"<a@x..y>", "", "", "Empty sub-domain"},
		{"<@x>", "", "", "Missing ':' at end of source route"},
		{`<"a`, "", "", `Missing '"' at end of quoted string`},
		{`<"a\`, "", "", `Missing '"' at end of quoted string`},
		{"<a@[x>", "", "", "Invalid address literal"},
	} {
		t.Run(tt.in, func(t *testing.T) {
			a, rest, fault := parsePath(tt.in, leniency{})
			if fault != tt.fault || fault == "" && (a.path() != tt.want || rest != tt.rest) {
				t.Errorf("got %q, %q, %q", a.path(), rest, fault)
			}
		})
	}
}

// FuzzPath: what is taken for a path is one again when it is written, with nothing in it that could end the
// command or the path.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"<a@x>", `<"a b\"c"@x>`, "<@r,@s:a@[1.2.3.4]>", "<>", `<"\>"@x> A=b`, "a@x", " <a@x>", "<\"a\r\nb\"@x>"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, s string, lenient bool) {
		a, rest, fault := parsePath(s, leniency{lenient, lenient})
		if fault != "" {
			return
		}
		if !strings.HasSuffix(s, rest) {
			t.Fatalf("the rest %q is not what %q ends in", rest, s)
		}
		if wire.HasControl(a.user()) && !wire.HasControl(s) {
			t.Fatalf("%q has control bytes that %q has not", a.user(), s)
		}
		again, rest, fault := parsePath("<"+a.path()+">", leniency{})
		if again != a || rest != "" || fault != "" {
			t.Fatalf("%q was read as %q, which is read as %q, %q, %q", s, a, again, rest, fault)
		}
	})
}

// FuzzXClient: what is taken from a trusted client can stand in a header and in a command.
func FuzzXClient(f *testing.F) {
	for _, s := range []string{"", "HELO=a", "HELO=a!b PROTO=LMTP", "LOGIN=a+2Bb", "A==", "=", "TTL=1", "LOGIN=+0D"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		fields, _ := wire.XClient(s)
		var x stated
		for _, p := range fields {
			x.take(p)
		}
		if x.helo != "" && !wire.IsSMTPHost(x.helo) || x.ttl < 0 || wire.HasControl(x.login) || x.proto != "" && !wire.IsSMTPKeyword(x.proto) {
			t.Fatalf("%q gives %+v", s, x)
		}
	})
}

// strict is the message by the letter of RFC 5321 section 4.5.2, without regard to speed; ok is false without
// an end.
func strict(in []byte) (message []byte, rest []byte, ok bool) {
	var end int
	if bytes.HasPrefix(in, []byte(".\r\n")) {
		end = 0
	} else if i := bytes.Index(in, []byte("\r\n.\r\n")); i >= 0 {
		end = i + 2
	} else {
		return nil, nil, false
	}
	var out []byte
	for line := range bytes.SplitAfterSeq(in[:end], []byte("\r\n")) {
		line = bytes.TrimPrefix(line, []byte("."))
		text, crlf := bytes.CutSuffix(line, []byte("\r\n"))
		for i, b := range text {
			if b == '\n' && (i == 0 || text[i-1] != '\r') {
				out = append(out, '\r')
			}
			out = append(out, b)
		}
		if crlf {
			out = append(out, '\r', '\n')
		}
	}
	return out, in[end+3:], true
}

// FuzzDecoder compares with the letter of the RFC, however the input is cut.
func FuzzDecoder(f *testing.F) {
	for _, s := range []string{".\r\n", "a\r\n.\r\nb", "a\n.\n.\r\n\r\n.\r\n", "..\r\n.\r\n", ".\r\r\n.\r\n", "\r.\r\n.\r\n", ".\n\r\n.\r\n", "..\r\r\n\n.\r\n\r\n.\r\nQUIT\r\n"} {
		f.Add([]byte(s), uint8(1))
		f.Add([]byte(s), uint8(255))
	}
	f.Fuzz(func(t *testing.T, in []byte, step uint8) {
		want, rest, ok := strict(in)
		var d decoder
		var got []byte
		used, done := 0, false
		for at := 0; at < len(in) && !done; at = used {
			var n int
			got, n, done = d.decode(got, in[at:min(len(in), at+max(int(step), 1))])
			used += n
		}
		if done != ok {
			t.Fatalf("end of %q found: %v, want %v", in, done, ok)
		}
		if ok && (!bytes.Equal(got, want) || !bytes.Equal(in[used:], rest)) {
			t.Fatalf("%q is %q and %q, want %q and %q", in, got, in[used:], want, rest)
		}
	})
}
