package lmtp

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// fake is an LMTP backend that says what it is told to.
type fake struct {
	addr netip.AddrPort
	caps []string
	// rules are tried in order for each command, and for "DATAEND <rcpt>" after a message. What has none
	// gets the usual answer.
	rules []rule
	cert  *tls.Certificate // for STARTTLS
	keep  bool             // messages; otherwise only their size is kept

	ln       net.Listener
	release  chan struct{} // closed at the end: ends what hangs
	running  sync.WaitGroup
	mu       sync.Mutex
	peers    []string
	commands []string
	messages []string
	bytes    int
}

// rule answers what matches from its start. "!close" closes, "!hang" never answers.
type rule struct{ match, answer string }

func newFake(t *testing.T, rules ...rule) *fake {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{addr: netip.MustParseAddrPort(ln.Addr().String()), rules: rules, keep: true, ln: ln, release: make(chan struct{})}
	f.caps = []string{"PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME"}
	f.running.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			f.running.Go(func() { f.serve(nc) })
		}
	})
	t.Cleanup(f.stop)
	return f
}

func (f *fake) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.release:
	default:
		close(f.release)
		_ = f.ln.Close()
	}
}

func (f *fake) note(list *[]string, what string) {
	f.mu.Lock()
	*list = append(*list, what)
	f.mu.Unlock()
}

func (f *fake) heard() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.commands)
}

// count is how many messages came whole.
func (f *fake) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.messages)
}

// message is the n-th message, with CRLF shown as LF.
func (f *fake) message(t *testing.T, n int) string {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if n >= len(f.messages) {
		t.Fatalf("the backend has %d messages", len(f.messages))
	}
	return strings.ReplaceAll(f.messages[n], "\r\n", "\n")
}

type fakeConn struct {
	*fake
	nc    net.Conn
	r     *bufio.Reader
	rcpts []string
}

func (f *fake) serve(nc net.Conn) {
	c := &fakeConn{fake: f, nc: nc, r: bufio.NewReader(nc)}
	defer func() { _ = c.nc.Close() }()
	gone := make(chan struct{})
	defer close(gone)
	f.running.Go(func() {
		select {
		case <-f.release:
			_ = nc.Close()
		case <-gone:
		}
	})
	f.note(&f.peers, nc.RemoteAddr().(*net.TCPAddr).IP.String())
	if !c.say("CONNECT", "220 fake ready") {
		return
	}
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		f.note(&f.commands, line)
		if !c.answer(line) {
			return
		}
	}
}

// say answers by rule or as usual; false ends the connection.
func (c *fakeConn) say(what, usual string) bool {
	answer := usual
	for _, r := range c.rules {
		if regexp.MustCompile("^(?:" + r.match + ")").MatchString(what) {
			answer = r.answer
			break
		}
	}
	switch answer {
	case "!close":
		return false
	case "!hang":
		<-c.release
		return false
	}
	_, err := io.WriteString(c.nc, strings.ReplaceAll(answer, "\n", "\r\n")+"\r\n")
	return err == nil
}

func (c *fakeConn) answer(line string) bool {
	verb, args, _ := strings.Cut(line, " ")
	switch strings.ToUpper(verb) {
	case "LHLO", "EHLO":
		lines := append([]string{"fake"}, c.caps...)
		for i := range lines[:len(lines)-1] {
			lines[i] = "250-" + lines[i]
		}
		lines[len(lines)-1] = "250 " + lines[len(lines)-1]
		return c.say(line, strings.Join(lines, "\n"))
	case "MAIL":
		c.rcpts = nil
		return c.say(line, "250 2.1.0 OK")
	case "RCPT":
		path := args[strings.Index(args, "<") : strings.Index(args, ">")+1]
		c.rcpts = append(c.rcpts, path)
		return c.say(line, "250 2.1.5 OK")
	case "STARTTLS":
		if !c.say(line, "220 go") {
			return false
		}
		conn := tls.Server(c.nc, &tls.Config{Certificates: []tls.Certificate{*c.cert}})
		c.nc, c.r = conn, bufio.NewReader(conn)
		return true
	case "DATA":
		return c.say(line, "354 go") && c.data() && c.end()
	case "BDAT":
		fields := strings.Fields(args)
		n, _ := strconv.Atoi(fields[0])
		b := make([]byte, n)
		if _, err := io.ReadFull(c.r, b); err != nil {
			return false
		}
		c.mu.Lock()
		if len(c.messages) == 0 {
			c.messages = []string{""}
		}
		c.messages[0] += string(b)
		c.mu.Unlock()
		if len(fields) < 2 {
			return c.say(line, "250 2.0.0 chunk")
		}
		return c.end()
	case "QUIT":
		return c.say(line, "221 2.0.0 Bye") && false
	}
	return c.say(line, "250 2.0.0 OK")
}

// data reads a message as a strict server does.
func (c *fakeConn) data() bool {
	var b strings.Builder
	if !c.keep {
		return c.measure()
	}
	for {
		line, err := c.r.ReadString('\n')
		for err == nil && !strings.HasSuffix(line, "\r\n") {
			var more string
			more, err = c.r.ReadString('\n')
			line += more
		}
		if err != nil {
			return false
		}
		if line == ".\r\n" {
			break
		}
		b.WriteString(strings.TrimPrefix(line, "."))
	}
	c.note(&c.messages, b.String())
	return true
}

// measure reads a message of lines that fit the reader's buffer and keeps only its size, stuffed dots
// included.
func (c *fakeConn) measure() bool {
	n := 0
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return false
		}
		if string(line) == ".\r\n" {
			break
		}
		n += len(line)
	}
	c.mu.Lock()
	c.bytes += n
	c.mu.Unlock()
	return true
}

func (c *fakeConn) end() bool {
	for _, r := range c.rcpts {
		if !c.say("DATAEND "+r, "250 2.0.0 "+r+" Saved") {
			return false
		}
	}
	return true
}
