package submission

import (
	"bytes"
	"errors"
	"strings"

	"dproxy/login"
	"dproxy/wire"
)

// command runs with its argument. ready tells that the client has asked to authenticate.
type command struct {
	run func(f *front, args string) (ready bool, err error)
	// clear: allowed under ssl = required without TLS.
	clear bool
	bare  bool // takes no argument
}

// commands are those of Dovecot 2.3's SMTP server, where the transaction's need a login (RFC 6409 section
// 4.3). Not being a relay for anybody rests on this table: no command leads anywhere but AUTH.
var commands = map[string]command{
	"EHLO":     {run: (*front).ehlo, clear: true},             // RFC 5321 4.1.1.1
	"HELO":     {run: (*front).oldHelo},                       // RFC 5321 4.1.1.1
	"AUTH":     {run: (*front).auth},                          // RFC 4954 4
	"STARTTLS": {run: (*front).startTLS, clear: true},         // RFC 3207 4
	"XCLIENT":  {run: (*front).xclient},                       // Postfix
	"NOOP":     {run: (*front).noop, clear: true},             // RFC 5321 4.1.1.9
	"RSET":     {run: (*front).rset, bare: true},              // RFC 5321 4.1.1.5
	"QUIT":     {run: (*front).quit, clear: true, bare: true}, // RFC 5321 4.1.1.10
	"MAIL":     {run: (*front).needsLogin},                    // RFC 5321 4.1.1.2
	"RCPT":     {run: (*front).needsLogin},                    // RFC 5321 4.1.1.3
	"DATA":     {run: (*front).needsLogin},                    // RFC 5321 4.1.1.4
	"BDAT":     {run: (*front).needsLogin},                    // RFC 3030 2
	"VRFY":     {run: (*front).needsLogin},                    // RFC 5321 4.1.1.6
}

// The bounds of Dovecot 2.3.
const (
	maxBad      = 10                      // bad commands in a row
	maxArgs     = login.MaxInput - 1      // bytes of a command's arguments
	maxCommand  = maxArgs + len(" ") + 32 // of its line, whose name has at most 32
	maxResponse = 8192                    // of a SASL response in base64
)

// Credentials implements login.Front.
func (f *front) Credentials() (login.Credentials, error) {
	for {
		ready, err := f.command()
		if err != nil {
			return login.Credentials{}, err
		}
		if ready {
			cred := f.cred
			f.cred = login.Credentials{}
			return cred, nil
		}
	}
}

// command reads and answers one command.
func (f *front) command() (ready bool, err error) {
	line, long, err := f.line(maxCommand)
	if err != nil {
		return false, err
	}
	name, args, ok := wire.SMTPCommand(line)
	switch {
	case !ok:
		return false, f.reply("500 5.5.2 Invalid command syntax")
	case long || len(line)-len(name)-1 > maxArgs:
		return false, f.reply("500 5.5.2 Line too long")
	case login.IsHTTPMethod(name) && login.EndsAsHTTP([]byte(line)):
		return false, login.HTTPRequest()
	}
	cmd, ok := commands[strings.ToUpper(name)]
	switch {
	case !ok:
		return false, f.reply("500 5.5.1 Unknown command")
	case !cmd.clear && !f.c.Secured() && f.c.Terms().Settings.SSL == "required":
		return false, f.reply("530 5.7.0 TLS required.")
	case cmd.bare && args != "":
		return false, f.reply("501 5.5.4 Invalid parameters")
	}
	return cmd.run(f, args)
}

// line reads a line of at most limit bytes. Of a longer one it takes them all and returns the first.
func (f *front) line(limit int) (line string, long bool, err error) {
	r := f.c.R
	raw, err := r.Line(limit + len("\r\n"))
	if !errors.Is(err, wire.ErrTooLong) {
		return string(raw), false, err
	}
	line = string(r.Rest()[:limit])
	for {
		if i := bytes.IndexByte(r.Rest(), '\n'); i >= 0 {
			r.Skip(i + 1)
			return line, true, nil
		}
		r.Skip(r.Buffered())
		if err := r.Fill(); err != nil {
			return "", true, err
		}
	}
}

// reply answers a command. Too many bad ones in a row end the connection instead.
func (f *front) reply(line string) error {
	switch line[:3] {
	case "500", "501", "503":
		if f.bad++; f.bad > maxBad {
			const text = "Too many invalid commands."
			return &login.End{Bye: login.Bye{Text: text}, Log: text, Label: "bad_commands", Linger: true}
		}
	default:
		f.bad = 0
	}
	f.c.Send(line, "\r\n")
	return nil
}

func (f *front) needsLogin(string) (bool, error) {
	return false, f.reply("530 5.7.0 Authentication required.")
}

func (f *front) noop(args string) (bool, error) {
	if fault := wire.SMTPString(args); fault != "" {
		return false, f.reply("501 5.5.4 Invalid string parameter: " + fault)
	}
	return false, f.reply("250 2.0.0 OK")
}

func (f *front) rset(string) (bool, error) { return false, f.reply("250 2.0.0 OK") }

func (f *front) quit(string) (bool, error) {
	f.c.Send("221 2.0.0 Bye\r\n")
	return false, login.LoggedOut()
}
