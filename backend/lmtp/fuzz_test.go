package lmtp

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"dproxy/backend"
	"dproxy/backend/backendtest"
	"dproxy/conf"
	"dproxy/event"
)

// unstuff is the strict reader of RFC 5321 section 4.5.2: only CRLF.CRLF ends a message.
func unstuff(t *testing.T, b []byte) []byte {
	t.Helper()
	var out []byte
	for {
		i := bytes.Index(b, []byte("\r\n"))
		if i < 0 {
			t.Fatalf("no end before %q", b)
		}
		line := b[:i]
		b = b[i+2:]
		if string(line) == "." {
			if len(b) > 0 {
				t.Fatalf("%q follows the end", b)
			}
			return out
		}
		out = append(append(out, bytes.TrimPrefix(line, []byte("."))...), "\r\n"...)
	}
}

// FuzzStuffing: whatever a message holds, and however it is cut, a strict reader gets it back with its
// line ends made CRLF, and a reader that takes a bare LF for a line end finds the same end.
func FuzzStuffing(f *testing.F) {
	for _, s := range []string{"a\n.\nb", "\r.\r", "\n.\r\n", "\r\n.\n", "..\r\n", "a\r\r\n.\r\n", ".", "\r"} {
		f.Add([]byte(s), 1)
		f.Add([]byte(s), 3)
	}
	f.Fuzz(func(t *testing.T, in []byte, size int) {
		if size < 1 {
			return
		}
		var st stuffer
		var got []byte
		for b := range chunks(in, size) {
			got = st.append(got, b)
		}
		got = st.end(got)
		want := bytes.ReplaceAll(bytes.ReplaceAll(in, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
		if len(want) > 0 && !bytes.HasSuffix(want, []byte("\r\n")) {
			want = append(want, "\r\n"...)
		}
		if back := unstuff(t, got); !bytes.Equal(back, want) {
			t.Fatalf("%q came back as %q", in, back)
		}
		lines := strings.Split(strings.ReplaceAll(string(got), "\r\n", "\n"), "\n")
		for i, line := range lines {
			if line == "." && i != len(lines)-2 {
				t.Fatalf("a lax reader sees an end in line %d of %q", i, got)
			}
		}
	})
}

func chunks(b []byte, size int) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(b) > 0 {
			n := min(size, len(b))
			if !yield(b[:n]) {
				return
			}
			b = b[n:]
		}
	}
}

func FuzzPath(f *testing.F) {
	f.Add(`"a b"@x`)
	f.Add("a>")
	f.Fuzz(func(t *testing.T, s string) {
		if safePath(s) && strings.ContainsAny(s, "\r\n\x00") {
			t.Fatalf("%q", s)
		}
	})
}

// FuzzReplies lets a backend say anything during a whole delivery.
func FuzzReplies(f *testing.F) {
	for _, s := range []string{
		"220 x\r\n250-x\r\n250 PIPELINING\r\n250 ok\r\n250 ok\r\n354 go\r\n250 ok\r\n", "220 x\r\n250-x\r\n250 CHUNKING\r\n250 a\r\n250 b\r\n250 c\r\n250 d\r\n",
		"421 no\r\n", "220 x\r\n250-x\r\n250 XCLIENT ADDR\r\n500 x\r\n250 y\r\n", "220-\r\n", "220 x\r\n250 x\r\n550 x\r\n503 y\r\n",
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, in []byte, smtp bool) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Skip(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			nc, err := l.Accept()
			if err != nil {
				return
			}
			defer nc.Close()
			_, _ = nc.Write(in)
			_ = nc.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, nc)
		}()
		login := backendtest.NewLogin(l.Addr().(*net.TCPAddr).AddrPort())
		if smtp {
			login.Target.Protocol = "smtp"
		}
		s, err := Dial(t.Context(), backend.NewDialer(&conf.Settings{}, event.Discard{}, nil), login, event.Client{})
		if err == nil {
			_ = s.Mail(Mail{From: "a@b"})
			n := 0
			for range 2 {
				if r, err := s.Rcpt(Recipient{To: "u1"}); err == nil && r.OK() {
					n++
				}
			}
			if got := len(s.Data(strings.NewReader("x\r\n"), time.Second)); got != n {
				t.Errorf("%d results for %d recipients", got, n)
			}
			s.Abort()
		}
		_ = l.Close()
		<-done
	})
}
