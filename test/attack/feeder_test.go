package attack

import (
	"bytes"
	"encoding/base64"
	"io"
	"sync"
)

// feeder types R at s_client once the server has greeted, and NOOP after that; then it hangs up.
type feeder struct {
	in io.WriteCloser

	mu    sync.Mutex
	out   bytes.Buffer
	typed bool
}

// Write implements io.Writer.
func (f *feeder) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.out.Write(b)
	if !f.typed && bytes.Contains(f.out.Bytes(), []byte("* OK")) {
		f.typed = true
		_, _ = io.WriteString(f.in, "R\n")
	}
	if bytes.Contains(b, []byte("RENEGOTIATING")) {
		_, _ = io.WriteString(f.in, "n NOOP\r\n")
	}
	return len(b), nil
}

func (f *feeder) text() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.out.String()
}

// plain is a SASL PLAIN message in base64 (RFC 4616).
func plain(authzid, user, pass string) string {
	return base64.StdEncoding.EncodeToString([]byte(authzid + "\x00" + user + "\x00" + pass))
}
