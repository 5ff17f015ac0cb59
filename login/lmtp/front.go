// Package lmtp is the LMTP server side of a proxy (RFC 2033, 5321, 3030, 1870, 3461, 2034, 3207, and
// Postfix's XCLIENT), with the commands, texts and bounds of Dovecot 2.3's lmtp. Every recipient is looked
// up by itself; those with one destination share a backend connection for the transaction; the message is
// copied to all of them and each recipient gets the answer of its own backend. It imports login,
// backend, backend/lmtp, auth, passdb, route, wire and event.
package lmtp

import (
	"errors"
	"strings"
	"time"

	"dproxy/backend"
	"dproxy/event"
	"dproxy/login"
	"dproxy/wire"
)

const (
	idleTime   = 5 * time.Minute // between commands, and between parts of a message (Dovecot 2.3)
	maxCommand = 4096            // bytes of a command line
	maxBad     = 10              // bad commands in a row
	readSize   = 32 << 10        // what of a message is read at once
)

// New makes the front of one connection.
func New(c *login.Client) login.Front { return &front{c: c, idle: idleTime} }

// front is one connection. It belongs to the client's goroutine.
type front struct {
	c       *login.Client
	began   string // the address that the line about the connection's begin had
	helo    string // LHLO's argument
	greeted bool   // since the last (re)start of the session
	idle    time.Duration
	bad     int  // bad commands in a row
	first   bool // the first line has come

	identity     stated // by XCLIENT
	session      string // of the connection
	transactions int
	tx           *transaction
}

// Greet implements login.Front.
func (f *front) Greet() error {
	f.began = f.address()
	f.c.Report(event.Info, "Connect from "+f.began)
	f.greet()
	return nil
}

func (f *front) greet() {
	f.c.Send("220 ", f.c.Terms().Hostname, " ", f.c.Greeting(), "\r\n")
}

// address is the client's address for log lines.
func (f *front) address() string { return f.c.Peer().Remote.Addr().String() }

// Serve implements login.Standalone.
func (f *front) Serve() error {
	err := f.serve()
	if f.tx != nil {
		f.tx.drop(!f.tx.data)
	}
	return err
}

func (f *front) serve() error {
	for {
		if err := f.c.Idle(f.idle); err != nil {
			return err
		}
		line, err := f.c.R.Line(maxCommand)
		if errors.Is(err, wire.ErrTooLong) {
			f.c.Send("500 5.5.2 Line too long\r\n")
			return &login.End{Log: "Line too long", Label: "input_full", Linger: true}
		}
		if err != nil {
			return err
		}
		if err := f.command(string(line)); err != nil {
			return err
		}
	}
}

// command runs one command line.
func (f *front) command(line string) error {
	name, args, ok := wire.SMTPCommand(line)
	if !f.first {
		f.first = true
		if login.IsHTTPMethod(name) && login.EndsAsHTTP([]byte(line)) {
			return login.HTTPRequest()
		}
	}
	if !ok {
		return f.reply(500, "5.5.2", "Invalid command syntax")
	}
	c, ok := commands[strings.ToUpper(name)]
	if !ok {
		return f.reply(500, "5.5.1", "Unknown command")
	}
	if c.bare && args != "" {
		return f.reply(501, "5.5.4", "Invalid parameters")
	}
	return c.run(f, args)
}

// reply answers a command. Too many bad commands in a row end the connection instead (Dovecot 2.3).
func (f *front) reply(code int, enhanced, text string) error {
	switch code {
	case 500, 501, 503:
		if f.bad++; f.bad > maxBad {
			return &login.End{
				Bye: login.Bye{Why: login.ByeClient, Text: "Too many invalid commands."},
				Log: "Too many invalid commands.", Label: "bad_commands", Linger: true,
			}
		}
	default:
		f.bad = 0
	}
	r := wire.Reply{Code: code, Lines: []string{text}}
	if enhanced != "" {
		r.Lines[0] = enhanced + " " + text
	}
	f.c.Send(r.Wire(), "\r\n")
	return nil
}

// restart forgets what was said, as after STARTTLS and XCLIENT.
func (f *front) restart() {
	f.reset()
	f.helo, f.greeted = "", false
}

// reset ends the transaction.
func (f *front) reset() {
	if f.tx != nil {
		f.tx.drop(true)
		f.tx = nil
	}
}

// state is the word for how far the connection has come in Dovecot's log line.
func (f *front) state() string {
	switch {
	case f.tx != nil && f.tx.data:
		return "DATA"
	case f.tx != nil && f.tx.asked:
		return "RCPT TO"
	case f.tx != nil:
		return "MAIL FROM"
	case f.greeted:
		return "READY"
	}
	return "GREETING"
}

// Bye implements login.Front.
func (f *front) Bye(b login.Bye) {
	code := map[login.ByeCause]string{
		login.ByeClient: "421 4.7.0 ", login.ByeTimeout: "421 4.4.2 ", login.ByeShutdown: "421 4.3.2 ",
	}[b.Why]
	if code == "" {
		code = "421 4.3.0 "
	}
	text := b.Text
	if b.Why == login.ByeTimeout {
		text = inactive
	}
	f.c.Send(code, f.c.Terms().Hostname, " ", text, "\r\n")
}

const inactive = "Disconnected for inactivity"

// Ended implements login.Standalone.
func (f *front) Ended(e *login.End) string {
	text := e.Log
	switch e.Label {
	case "logout":
		text = "Logged out"
	case "timeout":
		text = inactive
	}
	return "Disconnect from " + f.address() + ": " + text + " (state=" + f.state() + ")"
}

// errNoLogin is what the methods of a login give that is never asked for.
var errNoLogin = errors.New("LMTP has no login")

// Credentials implements login.Front.
func (f *front) Credentials() (login.Credentials, error) { return login.Credentials{}, errNoLogin }

// Continue implements login.Front.
func (f *front) Continue([]byte) ([]byte, error) { return nil, errNoLogin }

// Refuse implements login.Front.
func (f *front) Refuse(login.Refusal) error { return errNoLogin }

// Welcome implements login.Front.
func (f *front) Welcome(backend.Welcome) error { return errNoLogin }
