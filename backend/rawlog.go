package backend

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"dproxy/event"
)

// rawlog is what login_proxy_rawlog_dir keeps of a connection: what the backend said (.in) and what it was told
// (.out), each line with the time, inside of TLS, as far as the hand-over. From where credentials begin nothing
// that was sent is shown. It is as bounded as a login's dialogue is.
type rawlog struct {
	in, out *os.File
	hidden  bool // credentials have begun
}

// rawlogs numbers the files of this process.
var rawlogs atomic.Uint64

// openRawlog makes the files of one connection, in a directory that has to exist.
func openRawlog(dir string) (*rawlog, error) {
	name := filepath.Join(dir, fmt.Sprintf("%s.%d.%d", time.Now().Format("20060102-150405"), os.Getpid(), rawlogs.Add(1)))
	create := func(suffix string) (*os.File, error) {
		return os.OpenFile(name+suffix, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	}
	in, err := create(".in")
	if err != nil {
		return nil, err
	}
	out, err := create(".out")
	if err != nil {
		_ = in.Close()
		return nil, err
	}
	return &rawlog{in: in, out: out}, nil
}

// rawlog opens the raw log of a connection, when the settings ask for one. It is not worth a login.
func (r *run) rawlog() *rawlog {
	set := r.dialer.settings
	dir := set.LoginProxyRawlogDir
	if dir == "" {
		return nil
	}
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(set.BaseDir, "login", dir)
	}
	l, err := openRawlog(dir)
	if err != nil {
		r.dialer.events.Emit(event.Notice{Level: event.Error, Source: event.LoginSource(r.client.Service), Text: "login_proxy_rawlog_dir: " + event.Clean(err.Error(), 300)})
		return nil
	}
	return l
}

// stamped writes text with the time in front of each of its lines.
func stamped(f *os.File, text string) {
	now := time.Now()
	stamp := fmt.Sprintf("%d.%06d ", now.Unix(), now.Nanosecond()/1000)
	var b bytes.Buffer
	for line := range strings.Lines(text) {
		b.WriteString(stamp + line)
		if !strings.HasSuffix(line, "\n") {
			b.WriteByte('\n')
		}
	}
	_, _ = f.Write(b.Bytes()) // a full disk does not end a login
}

// received keeps a line of the backend.
func (l *rawlog) received(line string) {
	if l != nil {
		stamped(l.in, line+"\r\n")
	}
}

// sent keeps what the backend was told.
func (l *rawlog) sent(text string) {
	if l == nil {
		return
	}
	if !l.hidden {
		var shown string
		shown, l.hidden = credentials(text)
		if shown != "" {
			stamped(l.out, shown)
		}
		text = text[len(shown):]
	}
	if text != "" {
		stamped(l.out, fmt.Sprintf("<%d bytes with credentials>\n", len(text)))
	}
}

// credentials cuts a text behind the words that credentials follow in any of the protocols.
func credentials(text string) (shown string, found bool) {
	at := 0
	for line := range strings.Lines(text) {
		words := strings.TrimPrefix(line, "L ") // the login's tag in IMAP
		for _, word := range []string{"LOGIN ", "AUTHENTICATE ", "AUTH ", "PASS "} {
			if strings.HasPrefix(words, word) {
				return text[:at+len(line)-len(words)+len(word)], true
			}
		}
		at += len(line)
	}
	return text, false
}

func (l *rawlog) close() {
	if l != nil {
		_ = l.in.Close()
		_ = l.out.Close()
	}
}
