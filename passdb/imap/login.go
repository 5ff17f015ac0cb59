package imap

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"dproxy/wire"
)

const (
	maxLine  = 8192 // bytes of one response line
	maxLines = 200  // of responses in one login
)

// session is one connection to the server until the answer to the login.
type session struct {
	net   net.Conn
	lines *wire.Reader
	tags  int
	read  int // lines so far
	caps  map[string]bool
}

// answer is the tagged response to the login.
type answer struct {
	ok   bool
	code string // response code, upper case, without its arguments
	text string // the response without its tag
}

func (d *driver) login(ctx context.Context, user, password string) (answer, error) {
	nc, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(d.host, d.port))
	if err != nil {
		return answer{}, err
	}
	defer nc.Close()
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	s := &session{net: nc}
	s.lines = wire.NewReader(nc)
	a, err := s.run(ctx, d, user, password)
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return a, err
}

func (s *session) run(ctx context.Context, d *driver, user, password string) (answer, error) {
	if d.implicitTLS {
		if err := s.secure(ctx, d.tls); err != nil {
			return answer{}, err
		}
	}
	if err := s.greeting(); err != nil {
		return answer{}, err
	}
	if d.startTLS {
		a, err := s.command("STARTTLS")
		if err != nil {
			return answer{}, err
		}
		if !a.ok {
			return answer{}, fmt.Errorf("STARTTLS refused: %s", a.text)
		}
		if s.lines.Buffered() > 0 {
			return answer{}, errors.New("the server sent more before TLS")
		}
		if err := s.secure(ctx, d.tls); err != nil {
			return answer{}, err
		}
		s.caps = nil // told in clear text (RFC 9051 section 6.2.1)
	}
	if s.caps == nil {
		if _, err := s.command("CAPABILITY"); err != nil {
			return answer{}, err
		}
	}
	a, err := s.authenticate(user, password)
	if err == nil {
		_, _ = io.WriteString(s.net, "Z LOGOUT\r\n") // nobody waits for its answer
	}
	return a, err
}

func (s *session) secure(ctx context.Context, c *tls.Config) error {
	tc := tls.Client(s.net, c)
	if err := tc.HandshakeContext(ctx); err != nil {
		return err
	}
	s.net = tc
	s.lines.Reset(tc)
	return nil
}

func (s *session) greeting() error {
	line, err := s.line()
	if err != nil {
		return err
	}
	status, text, _ := strings.Cut(line, " ")
	kind, _, _ := strings.Cut(text, " ")
	if status != "*" || !strings.EqualFold(kind, "OK") {
		return fmt.Errorf("the greeting is %q", clip(line))
	}
	s.note(line)
	return nil
}

// authenticate uses AUTHENTICATE PLAIN where the server has it.
func (s *session) authenticate(user, password string) (answer, error) {
	if strings.Contains(user+password, "\x00") {
		return answer{}, errors.New("a NUL cannot be sent")
	}
	if !s.caps["AUTH=PLAIN"] {
		if s.caps["LOGINDISABLED"] {
			return answer{}, errors.New("the server does not allow LOGIN (LOGINDISABLED); set ssl")
		}
		return s.command(loginCommand(user, password)...)
	}
	plain := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
	if s.caps["SASL-IR"] {
		return s.command("AUTHENTICATE PLAIN " + plain)
	}
	return s.command("AUTHENTICATE PLAIN", plain)
}

// loginCommand is cut where the server has to ask for a literal.
func loginCommand(arguments ...string) []string {
	parts := []string{"LOGIN"}
	for _, a := range arguments {
		text, literal, ok := wire.Quote(a), "", false
		if strings.HasPrefix(text, "{") {
			text, literal, ok = strings.Cut(text, "\r\n")
		}
		parts[len(parts)-1] += " " + text
		if ok {
			parts = append(parts, literal)
		}
	}
	return parts
}

// command sends a command and reads up to its tagged response. Each part but the first waits for the server's
// continuation request.
func (s *session) command(parts ...string) (answer, error) {
	s.tags++
	tag := fmt.Sprintf("A%d", s.tags)
	if _, err := io.WriteString(s.net, tag+" "+parts[0]+"\r\n"); err != nil {
		return answer{}, err
	}
	parts = parts[1:]
	for {
		line, err := s.line()
		if err != nil {
			return answer{}, err
		}
		first, rest, _ := strings.Cut(line, " ")
		switch first {
		case "+":
			if len(parts) == 0 {
				return answer{}, errors.New("the server asks for more than there is")
			}
			if _, err := io.WriteString(s.net, parts[0]+"\r\n"); err != nil {
				return answer{}, err
			}
			parts = parts[1:]
		case "*":
			s.note(line)
		case tag:
			s.note(line)
			return parseAnswer(rest)
		default:
			return answer{}, fmt.Errorf("unexpected response %q", clip(line))
		}
	}
}

func parseAnswer(rest string) (answer, error) {
	status, text, _ := strings.Cut(rest, " ")
	a := answer{text: clip(rest)}
	if strings.HasPrefix(text, "[") {
		code, _, _ := strings.Cut(text[1:], "]")
		code, _, _ = strings.Cut(code, " ")
		a.code = strings.ToUpper(code)
	}
	switch strings.ToUpper(status) {
	case "OK":
		a.ok = true
		return a, nil
	case "NO":
		return a, nil
	}
	return answer{}, fmt.Errorf("the server answers %q", a.text)
}

// note keeps the capabilities that a response carries.
func (s *session) note(line string) {
	list, ok := cutFold(line, "* CAPABILITY ")
	if !ok {
		_, code, found := strings.Cut(line, "[")
		if list, ok = cutFold(code, "CAPABILITY "); !found || !ok {
			return
		}
		list, _, _ = strings.Cut(list, "]")
	}
	s.caps = map[string]bool{}
	for _, c := range strings.Fields(strings.ToUpper(list)) {
		s.caps[c] = true
	}
}

func cutFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return "", false
	}
	return s[len(prefix):], true
}

func (s *session) line() (string, error) {
	s.read++
	if s.read > maxLines {
		return "", errors.New("the server sends too many lines")
	}
	line, err := s.lines.Line(maxLine)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "", errors.New("Disconnected from server")
	}
	return string(line), err
}

// clip makes a server's text fit for the log.
func clip(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return '?'
		}
		return r
	}, text)
	return text[:min(len(text), 200)]
}
