package lmtp

import (
	"strings"

	"dproxy/login"
	"dproxy/wire"
)

// command is a row of the command table.
type command struct {
	bare bool // takes no argument
	run  func(f *front, args string) error
}

// commands are those of Dovecot 2.3's LMTP server. HELO and EHLO are none (RFC 2033 section 4.1).
var commands = map[string]command{
	"LHLO":     {run: (*front).lhlo},                 // RFC 2033 4.1
	"MAIL":     {run: (*front).mail},                 // RFC 5321 4.1.1.2
	"RCPT":     {run: (*front).rcpt},                 // RFC 5321 4.1.1.3
	"DATA":     {bare: true, run: (*front).dataLine}, // RFC 5321 4.1.1.4
	"BDAT":     {run: (*front).bdat},                 // RFC 3030 2
	"RSET":     {bare: true, run: (*front).rset},     // RFC 5321 4.1.1.5
	"VRFY":     {run: (*front).vrfy},                 // RFC 5321 4.1.1.6
	"NOOP":     {run: (*front).noop},                 // RFC 5321 4.1.1.9
	"QUIT":     {bare: true, run: (*front).quit},     // RFC 5321 4.1.1.10
	"AUTH":     {run: (*front).auth},                 // RFC 4954: there is none
	"STARTTLS": {bare: true, run: (*front).startTLS}, // RFC 3207 4
	"XCLIENT":  {run: (*front).xclient},              // Postfix
}

func (f *front) lhlo(args string) error {
	if args == "" {
		return f.reply(501, "", "Missing hostname")
	}
	f.reset()
	if f.helo, _, _ = strings.Cut(args, " "); !wire.IsSMTPHost(f.helo) {
		f.helo = "" // not handed on
	}
	f.greeted, f.bad = true, 0
	lines := []string{f.c.Terms().Hostname, "8BITMIME", "CHUNKING", "ENHANCEDSTATUSCODES", "PIPELINING"}
	if f.c.Terms().OfferTLS && !f.c.TLS() {
		lines = append(lines, "STARTTLS")
	}
	if f.c.Trusted() {
		lines = append(lines, "XCLIENT ADDR PORT PROTO HELO LOGIN SESSION TTL TIMEOUT", "XRCPTFORWARD")
	}
	for i, l := range lines {
		separator := "-"
		if i == len(lines)-1 {
			separator = " "
		}
		f.c.Send("250", separator, l, "\r\n")
	}
	return nil
}

func (f *front) rset(string) error {
	f.reset()
	return f.reply(250, "2.0.0", "OK")
}

func (f *front) noop(args string) error {
	if fault := wire.SMTPString(args); fault != "" {
		return f.reply(501, "5.5.4", "Invalid string parameter: "+fault)
	}
	return f.reply(250, "2.0.0", "OK")
}

func (f *front) vrfy(args string) error {
	if args == "" {
		return f.reply(501, "5.5.4", "Invalid parameters")
	}
	if fault := wire.SMTPString(args); fault != "" {
		return f.reply(501, "5.5.4", "Invalid string parameter: "+fault)
	}
	return f.reply(252, "2.3.3", "Try RCPT instead")
}

func (f *front) auth(string) error { return f.reply(502, "5.5.1", "Unsupported command") }

func (f *front) quit(string) error {
	f.c.Send("221 2.0.0 Bye\r\n")
	return login.LoggedOut()
}

func (f *front) startTLS(string) error {
	switch {
	case f.c.TLS():
		return f.reply(502, "5.5.1", "TLS is already active.")
	case !f.c.Terms().OfferTLS:
		return f.reply(502, "5.5.1", "TLS support is not enabled.")
	}
	f.restart()
	f.bad = 0
	f.c.Send("220 2.0.0 Begin TLS negotiation now.\r\n")
	return f.c.StartTLS()
}
