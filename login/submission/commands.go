package submission

import (
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

// maxBad is how many bad commands in a row a client has (Dovecot 2.3).
const maxBad = 10

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
	raw, err := f.c.R.Line(login.MaxInput)
	if errors.Is(err, wire.ErrTooLong) {
		return false, login.InputFull()
	}
	if err != nil {
		return false, err
	}
	line := string(raw)
	name, args, _ := strings.Cut(line, " ")
	if login.IsHTTPMethod(name) && login.EndsAsHTTP(raw) {
		return false, login.HTTPRequest()
	}
	cmd, ok := commands[strings.ToUpper(name)]
	switch {
	case wire.HasControl(strings.ReplaceAll(line, "\t", " ")):
		return false, f.reply("500 5.5.2 Invalid command syntax")
	case !ok:
		return false, f.reply("500 5.5.1 Unknown command")
	case !cmd.clear && !f.c.Secured() && f.c.Terms().Settings.SSL == "required":
		return false, f.reply("530 5.7.0 TLS required.")
	case cmd.bare && args != "":
		return false, f.reply("501 5.5.4 Invalid parameters")
	}
	return cmd.run(f, args)
}

// reply answers a command. Too many bad ones in a row end the connection.
func (f *front) reply(line string) error {
	f.c.Send(line, "\r\n")
	switch line[:3] {
	case "500", "501", "503":
		if f.bad++; f.bad > maxBad {
			const text = "Too many invalid commands."
			return &login.End{Bye: login.Bye{Text: text}, Log: text, Label: "bad_commands", Linger: true}
		}
	default:
		f.bad = 0
	}
	return nil
}

func (f *front) needsLogin(string) (bool, error) {
	return false, f.reply("530 5.7.0 Authentication required.")
}

func (f *front) noop(string) (bool, error) { return false, f.reply("250 2.0.0 OK") }

func (f *front) rset(string) (bool, error) { return false, f.reply("250 2.0.0 OK") }

func (f *front) quit(string) (bool, error) {
	f.c.Send("221 2.0.0 Bye\r\n")
	return false, login.LoggedOut()
}
