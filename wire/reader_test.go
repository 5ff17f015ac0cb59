package wire

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestReaderLine(t *testing.T) {
	long := strings.Repeat("x", 3000)
	for _, tc := range []struct {
		name, in string
		limit    int
		want     []string
		err      error
	}{
		{"LF and CRLF both end a line", "a\nb\r\n", 100, []string{"a", "b"}, io.EOF},
		{"a bare CR does not end a line", "a\rb\r\n", 100, []string{"a\rb"}, io.EOF},
		{"an empty line is a line", "\r\n\n", 100, []string{"", ""}, io.EOF},
		{"NUL and 8-bit bytes pass", "a\x00\xff\n", 100, []string{"a\x00\xff"}, io.EOF},
		{"an end within a line is unexpected", "a\nb", 100, []string{"a"}, io.ErrUnexpectedEOF},
		{"a line of exactly the limit fits", "123456\r\n", 8, []string{"123456"}, io.EOF},
		{"one byte more does not", "1234567\r\n", 8, nil, ErrTooLong},
		{"a line without end stops at the limit", long, 1000, nil, ErrTooLong},
		{"a line longer than the first buffer fits a high limit", long + "\n", 4096, []string{long}, io.EOF},
	} {
		for _, wrap := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.DataErrReader} {
			t.Run(tc.name, func(t *testing.T) {
				r := NewReader(wrap(strings.NewReader(tc.in)))
				for _, want := range tc.want {
					got, err := r.Line(tc.limit)
					if err != nil || string(got) != want {
						t.Fatalf("Line: %q, %v; want %q", got, err, want)
					}
				}
				if got, err := r.Line(tc.limit); !errors.Is(err, tc.err) {
					t.Fatalf("last Line: %q, %v; want error %v", got, err, tc.err)
				}
			})
		}
	}
}

func TestReaderKeepsWhatFollows(t *testing.T) {
	r := NewReader(strings.NewReader("one\r\ntwo\r\nrest"))
	if _, err := r.Line(100); err != nil {
		t.Fatal(err)
	}
	if got := string(r.Take()); got != "two\r\nrest" {
		t.Errorf("Take = %q", got)
	}
	if r.Buffered() != 0 || r.Take() != nil {
		t.Error("Take did not empty the reader")
	}
}

func TestResetDropsClearText(t *testing.T) {
	r := NewReader(strings.NewReader("S OK\r\n* injected\r\n"))
	if _, err := r.Line(100); err != nil {
		t.Fatal(err)
	}
	r.Reset(strings.NewReader("clean\r\n"))
	if got, err := r.Line(100); err != nil || string(got) != "clean" {
		t.Errorf("after Reset: %q, %v", got, err)
	}
}

func TestReaderBytes(t *testing.T) {
	r := NewReader(iotest.OneByteReader(strings.NewReader("abcdef\nxy")))
	b, err := r.Bytes(3)
	if err != nil || string(b) != "abc" {
		t.Fatalf("Bytes: %q, %v", b, err)
	}
	if line, err := r.Line(10); err != nil || string(line) != "def" {
		t.Fatalf("Line: %q, %v", line, err)
	}
	if _, err := r.Bytes(3); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("short Bytes: %v", err)
	}
}

// TestReaderMemory: a buffer grows with what has come, not with what a peer announces.
func TestReaderMemory(t *testing.T) {
	r := NewReader(strings.NewReader("{1000000}"))
	if _, err := r.Bytes(1_000_000); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	if len(r.buf) > 4096 {
		t.Errorf("%d bytes held for 9 received", len(r.buf))
	}
}

func TestReaderNoProgress(t *testing.T) {
	if _, err := NewReader(stuck{}).Line(10); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("got %v", err)
	}
}

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

func FuzzReaderLine(f *testing.F) {
	f.Add([]byte("a\r\nb\nc"), 16)
	f.Add(bytes.Repeat([]byte("x"), 5000), 4096)
	f.Add([]byte("\r\n\r\n\x00\n"), 2)
	f.Fuzz(func(t *testing.T, in []byte, limit int) {
		if limit < 1 || limit > 1<<16 {
			return
		}
		r := NewReader(iotest.HalfReader(bytes.NewReader(in)))
		seen := 0
		for {
			line, err := r.Line(limit)
			if err != nil {
				break
			}
			if len(line) >= limit || bytes.IndexByte(line, '\n') >= 0 {
				t.Fatalf("line %q breaks the limit %d or holds a line end", line, limit)
			}
			seen += len(line) + 1
		}
		if seen > 2*len(in)+2 {
			t.Fatalf("%d bytes out of %d", seen, len(in))
		}
	})
}

func TestReaderFillAndSkip(t *testing.T) {
	r := NewReader(iotest.OneByteReader(strings.NewReader("abc\n")))
	for range 2 {
		if err := r.Fill(); err != nil {
			t.Fatal(err)
		}
	}
	if got := string(r.Rest()); got != "ab" {
		t.Fatalf("Rest = %q, want %q", got, "ab")
	}
	r.Skip(1)
	if line, err := r.Line(10); string(line) != "bc" || err != nil {
		t.Errorf("Line = %q, %v; want what was not skipped", line, err)
	}
	if err := r.Fill(); err != io.EOF {
		t.Errorf("Fill at the end: %v, want io.EOF", err)
	}
}
