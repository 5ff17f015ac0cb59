package dialog

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
)

// smtpSession is a connection of an SMTP or LMTP backend.
type smtpSession struct {
	*backendConn
	rcpts []string // as in <address>
	bdat  strings.Builder
}

func serveSMTP(c *backendConn) error {
	s := &smtpSession{backendConn: c}
	if err := c.greet("220 " + s.hostname() + " ready"); err != nil {
		return err
	}
	for {
		text, err := c.readLine()
		if err != nil {
			return err
		}
		if err := s.answer(text); err != nil {
			return err
		}
	}
}

func (s *smtpSession) hostname() string { return strings.ToLower(s.b.name) + ".example.net" }

func (s *smtpSession) lmtp() bool { return s.b.protocol == "lmtp" }

func (s *smtpSession) answer(text string) error {
	name, args, _ := strings.Cut(text, " ")
	name = strings.ToUpper(name)
	say := func(answer string) func() error { return func() error { return s.send(answer) } }
	switch name {
	case "EHLO", "LHLO":
		return s.command(line([]byte(text)), "", s.hello)
	case "XCLIENT":
		return s.command(xclient(args), "", say("220 "+s.hostname()+" ready"))
	case "STARTTLS":
		return s.command(name, "", func() error { return s.starttls("220 2.0.0 Begin TLS negotiation now.", "502 5.5.1 not supported") })
	case "AUTH":
		return s.auth(args)
	case "MAIL":
		s.rcpts = nil
		return s.command(line([]byte(text)), "", say("250 2.1.0 OK"))
	case "RCPT":
		return s.command(line([]byte(text)), "", func() error { return s.rcpt(args) })
	case "DATA":
		return s.command(name, "", s.data)
	case "BDAT":
		return s.chunk(args)
	case "QUIT":
		return s.command(name, "", func() error {
			if err := s.send("221 2.0.0 Bye"); err != nil {
				return err
			}
			return errDone
		})
	}
	return s.command(line([]byte(text)), "", say("250 2.0.0 OK"))
}

func (s *smtpSession) hello() error {
	usual := "PIPELINING|SIZE 10240000|ENHANCEDSTATUSCODES|8BITMIME"
	if !s.lmtp() {
		usual += "|AUTH PLAIN LOGIN"
	}
	lines := append([]string{s.hostname()}, strings.Split(s.b.options.capabilities(usual, "|", s.secured), "|")...)
	for i := range lines {
		separator := "-"
		if i == len(lines)-1 {
			separator = " "
		}
		lines[i] = "250" + separator + lines[i]
	}
	return s.send(lines...)
}

func (s *smtpSession) auth(args string) error {
	mechanism, initial, _ := strings.Cut(args, " ")
	return s.command(saslCommand("AUTH", mechanism, initial), "", func() error {
		err := s.sasl(mechanism, initial, saslDialog{
			challenge: func(b64 string) error { return s.send("334 " + b64) },
			response:  s.readLine,
		})
		if err != nil {
			return err
		}
		s.loggedIn = true
		return s.send(fmt.Sprintf("235 2.7.0 Logged in to %s.", s.b.name))
	})
}

var angleAddress = regexp.MustCompile(`<[^>]*>`)

func (s *smtpSession) rcpt(args string) error {
	s.rcpts = append(s.rcpts, angleAddress.FindString(args))
	return s.send("250 2.1.5 OK " + s.b.name)
}

func (s *smtpSession) data() error {
	if err := s.send("354 OK"); err != nil {
		return err
	}
	for {
		text, err := s.readLine()
		if err != nil {
			return err
		}
		if text == "." {
			return s.endOfMessage()
		}
		s.record("  | %s", messageLine([]byte(text)))
	}
}

// chunk reads a part of a message that comes by BDAT (RFC 3030). The parts are noted together behind the last.
func (s *smtpSession) chunk(args string) error {
	fields := strings.Fields(args)
	if len(fields) == 0 {
		return errors.New("BDAT without a size")
	}
	n, err := strconv.Atoi(fields[0])
	if err != nil {
		return err
	}
	if _, err := io.CopyN(&s.bdat, s.r, int64(n)); err != nil {
		return err
	}
	if len(fields) < 2 {
		return s.send("250 2.0.0 OK")
	}
	text := s.bdat.String()
	s.bdat.Reset()
	s.record("BDAT")
	for l := range strings.Lines(text) {
		s.record("  | %s", messageLine([]byte(strings.TrimSuffix(strings.TrimSuffix(l, "\n"), "\r"))))
	}
	return s.endOfMessage()
}

// endOfMessage answers a message: LMTP once for each recipient, which is its difference from SMTP (RFC 2033 section 4.2).
func (s *smtpSession) endOfMessage() error {
	if !s.lmtp() {
		return s.byRule("DATAEND", "", func() error { return s.send("250 2.0.0 OK queued on " + s.b.name) })
	}
	for _, r := range s.rcpts {
		err := s.byRule("DATAEND "+r, "", func() error { return s.send(fmt.Sprintf("250 2.0.0 %s Saved by %s", r, s.b.name)) })
		if err != nil {
			return err
		}
	}
	return nil
}
