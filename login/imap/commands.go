package imap

import (
	"errors"

	"dproxy/login"
)

// A command runs with its arguments read, unless it is raw and reads them itself. ready tells that
// the client has asked to authenticate.
type command struct {
	run  func(f *front, a args) (ready bool, err error)
	raw  bool
	keep bool // the values of the arguments matter
}

// commands are those of RFC 9051 and its extensions that are known before login. All of them are in
// the not authenticated state; the TLS rules are the commands' own.
var commands = map[string]command{
	"AUTHENTICATE": {run: (*front).authenticate, raw: true}, // RFC 9051 6.2.2
	"CAPABILITY":   {run: (*front).capability},              // RFC 9051 6.1.1
	"ENABLE":       {run: (*front).enable},                  // RFC 5161, answered without effect
	"ID":           {run: (*front).id, raw: true},           // RFC 2971
	"LOGIN":        {run: (*front).login, keep: true},       // RFC 9051 6.2.3
	"LOGOUT":       {run: (*front).logout},                  // RFC 9051 6.1.3
	"NOOP":         {run: (*front).noop},                    // RFC 9051 6.1.2
	"STARTTLS":     {run: (*front).startTLS},                // RFC 9051 6.2.1
}

// longestCommand is the length of AUTHENTICATE.
const longestCommand = 12

// maxBad is how many bad commands a client has, all in all (Dovecot 2.3).
const maxBad = 3

// errBad is a command that is unknown or has the wrong arguments.
var errBad = errors.New("bad command")

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
	if !f.in.ended {
		if err := f.in.skipLine(); err != nil {
			return false, err
		}
	}
	f.in.line, f.in.ended = 0, false
	ready, err = f.run()
	var syntax syntaxError
	switch {
	case errors.Is(err, errBad):
		return false, f.badCommand()
	case errors.As(err, &syntax):
		f.reply("BAD " + string(syntax))
		return false, nil
	}
	return ready, err
}

// run reads a command and executes it. Without a tag that may be answered it is bad at once: in case
// somebody speaks another protocol here, nothing of it is sent back.
func (f *front) run() (ready bool, err error) {
	f.tag = "*"
	tag, ok, err := f.in.word(tagByte)
	if err != nil {
		return false, err
	}
	if !ok || len(tag) == 0 || len(tag) > maxTag {
		return false, errBad
	}
	f.tag = string(tag)
	if http, err := f.in.httpRequest(tag); err != nil || http {
		return false, orHTTP(err)
	}
	name, ok, err := f.in.word(nameByte)
	if err != nil {
		return false, err
	}
	if !ok || len(name) == 0 {
		return false, errBad
	}
	cmd, known := lookup(name)
	var a args
	if !cmd.raw {
		if a, err = f.in.args(cmd.keep); err != nil {
			return false, err
		}
	}
	if !known {
		f.unknown = true
		return false, errBad
	}
	return cmd.run(f, a)
}

func orHTTP(err error) error {
	if err != nil {
		return err
	}
	return login.HTTPRequest()
}

// lookup finds a command without regard to case.
func lookup(name []byte) (command, bool) {
	if len(name) > longestCommand {
		return command{}, false
	}
	var upper [longestCommand]byte
	for i, b := range name {
		if b >= 'a' && b <= 'z' {
			b -= 'a' - 'A'
		}
		upper[i] = b
	}
	cmd, ok := commands[string(upper[:len(name)])]
	return cmd, ok
}

// badCommand counts and answers. A beginner who leaves the tag out is helped, and not counted.
func (f *front) badCommand() error {
	unknown := f.unknown
	f.unknown = false
	if unknown && equalFold(f.tag, "LOGIN") {
		f.reply("BAD First parameter in line is IMAP's command tag, not the command name. Add that before the command, like: a login user pass")
		return nil
	}
	if f.bad++; f.bad >= maxBad {
		return &login.End{Bye: login.Bye{Text: "Too many invalid IMAP commands."}, Log: "Too many invalid commands", Label: "bad_commands", Linger: true}
	}
	f.reply("BAD Error in IMAP command received by server.")
	return nil
}

func (f *front) capability(args) (bool, error) {
	// A client that asks has to hear the list again after login; after STARTTLS everybody asks.
	f.asked = f.asked || !f.startedTLS
	f.c.Send("* CAPABILITY ", f.texts().capability[f.state()], "\r\n")
	f.reply("OK Pre-login capabilities listed, post-login capabilities have more.")
	return false, nil
}

func (f *front) enable(args) (bool, error) {
	f.c.Send("* ENABLED\r\n")
	f.reply("OK ENABLE ignored in non-authenticated state.")
	return false, nil
}

func (f *front) noop(args) (bool, error) {
	f.reply("OK NOOP completed.")
	return false, nil
}

func (f *front) logout(args) (bool, error) {
	f.c.Send("* BYE Logging out\r\n")
	f.reply("OK Logout completed.")
	return false, login.LoggedOut()
}

func (f *front) login(a args) (bool, error) {
	if a.n != 2 || a.lists {
		return false, errBad
	}
	if r := f.c.RefusePassword(a.values[0]); r != nil {
		f.c.Send("* BAD [ALERT] Plaintext authentication not allowed without SSL/TLS, but your client did it anyway. If anyone was listening, the password was exposed.\r\n")
		return false, f.Refuse(*r)
	}
	f.cred = login.Password(a.values[0], []byte(a.values[1]))
	return true, nil
}
