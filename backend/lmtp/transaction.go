package lmtp

import (
	"strconv"
	"strings"
	"time"

	"dproxy/backend"
	"dproxy/passdb"
	"dproxy/wire"
)

// Mail is the beginning of a transaction. Parameters are sent only to backends that list what they
// belong to.
type Mail struct {
	From       string // path without angle brackets, "" for the null sender
	Body       string // 7BIT, 8BITMIME or BINARYMIME; "" when the client gave none
	Size       uint64 // bytes as the client announced them, 0 for none
	Auth       string // AUTH parameter as the client encoded it
	Envid, Ret string // as the client encoded them (RFC 3461)
}

// Recipient is one recipient.
type Recipient struct {
	To     string // path without angle brackets
	ORCPT  string // as the client encoded it, or made by OriginalRecipient
	Notify string // as the client sent it
	// Forward are forward_ fields for a backend that lists XRCPTFORWARD.
	Forward []passdb.Field
}

// OriginalRecipient is an ORCPT for a recipient whose address the passdb changed.
func OriginalRecipient(path string) string { return "rfc822;" + wire.Xtext(path) }

// Mail begins the transaction. The command leaves with the first recipient; what the backend says to it
// is every recipient's answer when it is a refusal.
func (s *Session) Mail(m Mail) error {
	if !safePath(m.From) && (wire.HasControl(m.From) || strings.ContainsAny(m.From, "<> ")) || wire.HasControl(m.Body+m.Auth+m.Envid+m.Ret) || strings.Contains(m.Body+m.Auth+m.Envid+m.Ret, " ") {
		return s.fail(Aborted, "the sender can't be put into a command")
	}
	var b strings.Builder
	b.WriteString("MAIL FROM:<" + m.From + ">")
	param := func(capability, name, value string) {
		if value != "" && s.Offers(capability) {
			b.WriteString(" " + name + "=" + value)
		}
	}
	param("AUTH", "AUTH", m.Auth)
	switch strings.ToUpper(m.Body) {
	case "BINARYMIME":
		if s.Offers("CHUNKING") {
			param("BINARYMIME", "BODY", m.Body)
		}
	default:
		param("8BITMIME", "BODY", m.Body)
	}
	param("DSN", "ENVID", m.Envid)
	param("DSN", "RET", m.Ret)
	if m.Size > 0 {
		param("SIZE", "SIZE", strconv.FormatUint(m.Size, 10))
	}
	s.mail = b.String()
	return nil
}

// Rcpt names a recipient and returns the backend's answer. The error is an *Error, and the session is of
// no use after it.
func (s *Session) Rcpt(r Recipient) (wire.Reply, error) {
	if s.refused != nil {
		return *s.refused, nil
	}
	line, err := s.rcpt(r)
	if err == nil {
		err = s.limit(s.Patience)
	}
	if err != nil {
		return wire.Reply{}, err
	}
	pipelined := !s.mailed && s.Offers("PIPELINING")
	if pipelined {
		err = s.send(s.mail + "\r\n" + line + "\r\n")
	} else if !s.mailed {
		err = s.send(s.mail + "\r\n")
	}
	if err != nil {
		return wire.Reply{}, err
	}
	if !s.mailed {
		refused, err := s.mailReply(pipelined)
		if err != nil {
			return wire.Reply{}, err
		}
		if refused {
			return *s.refused, nil
		}
	}
	if !pipelined {
		if err := s.send(line + "\r\n"); err != nil {
			return wire.Reply{}, err
		}
	}
	reply, err := s.reply()
	if err != nil {
		return wire.Reply{}, err
	}
	if reply.OK() {
		s.accepted++
	}
	return reply, nil
}

// mailReply reads the answer to MAIL, and after a refusal the one to the RCPT that was sent behind it.
func (s *Session) mailReply(pipelined bool) (refused bool, err *Error) {
	r, err := s.reply()
	if err != nil {
		return false, err
	}
	if r.OK() {
		s.mailed = true
		return false, nil
	}
	s.refused = &r
	if pipelined {
		if _, err := s.reply(); err != nil {
			return false, err
		}
	}
	return true, nil
}

func (s *Session) limit(d time.Duration) *Error {
	if s.broken != nil {
		return s.broken
	}
	if err := s.c.Limit(d); err != nil {
		return s.lost(err)
	}
	return nil
}

// rcpt makes the RCPT command.
func (s *Session) rcpt(r Recipient) (string, *Error) {
	if !safePath(r.To) || r.To == "" || wire.HasControl(r.ORCPT+r.Notify) || strings.Contains(r.ORCPT+r.Notify, " ") {
		return "", s.fail(Aborted, "the recipient can't be put into a command")
	}
	line := "RCPT TO:<" + r.To + ">"
	if r.Notify != "" && s.Offers("DSN") {
		line += " NOTIFY=" + r.Notify
	}
	if r.ORCPT != "" { // sent whether or not DSN is listed (Dovecot 2.3)
		line += " ORCPT=" + r.ORCPT
	}
	if list := backend.ForwardList(r.Forward); list != "" && s.Offers("XRCPTFORWARD") {
		line += " XRCPTFORWARD=" + wire.Xtext(list)
	}
	return line, nil
}

// safePath tells whether a path stays one within angle brackets: no control bytes, and no bracket or
// blank outside of a quoted local part.
func safePath(path string) bool {
	quoted := false
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case c < 0x20 || c == 0x7f:
			return false
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted:
			i++
			if i == len(path) || path[i] < 0x20 || path[i] == 0x7f {
				return false
			}
		case !quoted && (c == '<' || c == '>' || c == ' '):
			return false
		}
	}
	return !quoted
}
