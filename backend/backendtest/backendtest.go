// Package backendtest plays backends for the tests of handshakes: scripted dialogues over loopback TCP
// and TLS. It imports backend, route, conf and event; only tests import it.
package backendtest

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// stepTime bounds a step of a script, so that a dialogue that hangs fails with its place.
const stepTime = 10 * time.Second

// Server plays a script for the connections it gets.
type Server struct {
	Addr netip.AddrPort

	t     *testing.T
	l     net.Listener
	certs *Certs
	done  chan struct{}

	mu       sync.Mutex
	failures []string
}

// Start serves the script on an address of this host, such as 127.0.0.1. Each line of it is a step:
//
//	S: TEXT      send TEXT and CRLF
//	R: "TEXT"    send exactly these bytes, with Go escapes
//	C: REGEXP    read a line that matches as a whole
//	N: COUNT     read COUNT bytes and ignore them
//	B: "TEXT"    read exactly these bytes, with Go escapes
//	TLS NAME     be the server of a TLS handshake, with the certificate NAME (good, rogue, other)
//	FAILTLS NAME the same, for a client that gives up
//	HEADER       read one PROXY header of version 1 or 2, checked by a C: step behind it
//	CLOSE, RESET end the connection
//	HANG         say nothing until the client goes
//	EOF          the client closes
//	--           the next connection begins
//
// Stop reports what did not go by the script.
func Start(t *testing.T, ip, script string) *Server {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Addr: l.Addr().(*net.TCPAddr).AddrPort(), t: t, l: l, certs: NewCerts(t), done: make(chan struct{})}
	var parts [][]string
	part := []string{}
	for line := range strings.SplitSeq(script, "\n") {
		switch line = strings.TrimLeft(line, " \t"); line {
		case "":
		case "--":
			parts = append(parts, part)
			part = []string{}
		default:
			part = append(part, line)
		}
	}
	parts = append(parts, part)
	go s.serve(parts)
	t.Cleanup(s.Stop)
	return s
}

// Stop ends the server and reports what did not go by the script.
func (s *Server) Stop() {
	_ = s.l.Close()
	<-s.done
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.failures {
		s.t.Error(f)
	}
	s.failures = nil
}

func (s *Server) fail(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures = append(s.failures, fmt.Sprintf(format, args...))
}

func (s *Server) serve(parts [][]string) {
	defer close(s.done)
	for i, part := range parts {
		nc, err := s.l.Accept()
		if err != nil {
			s.fail("connection %d never came", i+1)
			return
		}
		p := &player{conn: nc, r: bufio.NewReader(nc), tcp: nc.(*net.TCPConn), certs: s.certs}
		for _, step := range part {
			if err := p.step(step); err != nil {
				s.fail("connection %d, step %q: %v", i+1, step, err)
				break
			}
		}
		_ = p.conn.Close()
	}
}

// player plays one connection.
type player struct {
	conn  net.Conn
	r     *bufio.Reader
	tcp   *net.TCPConn
	certs *Certs
}

func (p *player) step(step string) error {
	if err := p.tcp.SetDeadline(time.Now().Add(stepTime)); err != nil {
		return err
	}
	word, arg, _ := strings.Cut(step, " ")
	switch word {
	case "S:":
		_, err := io.WriteString(p.conn, arg+"\r\n")
		return err
	case "R:":
		text, err := strconv.Unquote(arg)
		if err != nil {
			return err
		}
		_, err = io.WriteString(p.conn, text)
		return err
	case "C:":
		return p.expect(arg)
	case "B:":
		return p.exactly(arg)
	case "N:":
		n, err := strconv.Atoi(arg)
		if err != nil {
			return err
		}
		_, err = io.CopyN(io.Discard, p.r, int64(n))
		return err
	case "TLS":
		return p.tls(arg)
	case "FAILTLS":
		if p.tls(arg) == nil {
			// In TLS 1.3 the client judges the certificate behind the server's back.
			if _, err := p.r.ReadByte(); err == nil {
				return errors.New("the client went on")
			}
		}
		return nil
	case "HEADER":
		return p.header()
	case "CLOSE":
		return p.conn.Close()
	case "RESET":
		return errors.Join(p.tcp.SetLinger(0), p.tcp.Close())
	case "HANG":
		_, _ = io.Copy(io.Discard, p.r)
		return nil
	case "EOF":
		if b, err := p.r.ReadByte(); err == nil {
			return fmt.Errorf("the client sent %q", b)
		}
		return nil
	}
	return errors.New("unknown step")
}

// exactly reads the bytes of a quoted text.
func (p *player) exactly(quoted string) error {
	text, err := strconv.Unquote(quoted)
	if err != nil {
		return err
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(p.r, got); err != nil {
		return err
	}
	if string(got) != text {
		return fmt.Errorf("got %q", got)
	}
	return nil
}

func (p *player) expect(pattern string) error {
	line, err := p.r.ReadString('\n')
	if err != nil {
		return fmt.Errorf("got %q, %w", line, err)
	}
	text, ok := strings.CutSuffix(line, "\r\n")
	if !ok {
		return fmt.Errorf("got %q, which does not end in CRLF", line)
	}
	re, err := regexp.Compile("^(?:" + pattern + ")$")
	if err != nil {
		return err
	}
	if !re.MatchString(text) {
		return fmt.Errorf("got %q", text)
	}
	return nil
}

func (p *player) tls(name string) error {
	cert, ok := p.certs.byName[name]
	if !ok {
		return errors.New("unknown certificate")
	}
	c := tls.Server(readAhead{p.conn, p.r}, &tls.Config{Certificates: []tls.Certificate{cert}})
	if err := c.Handshake(); err != nil {
		return err
	}
	p.conn, p.r = c, bufio.NewReader(c)
	return nil
}

// readAhead is a connection of which a part has been read.
type readAhead struct {
	net.Conn
	r io.Reader
}

func (c readAhead) Read(b []byte) (int, error) { return c.r.Read(b) }

// header skips the binary part of a version 2 header, if it is one; a version 1 line is left to a C: step.
func (p *player) header() error {
	b, err := p.r.Peek(1)
	if err != nil || b[0] != '\r' {
		return err
	}
	head, err := p.r.Peek(16)
	if err != nil {
		return err
	}
	_, err = p.r.Discard(16 + int(head[14])<<8 + int(head[15]))
	return err
}
