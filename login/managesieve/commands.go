package managesieve

import (
	"errors"
	"strings"

	"dproxy/login"
	"dproxy/wire"
)

// command runs with its arguments. ready tells that the client has asked to authenticate.
type command struct {
	run  func(f *front, a []arg) (ready bool, err error)
	raw  bool // reads its arguments itself
	bare bool // takes no argument
}

// commands are those of RFC 5804 before authentication. The TLS rules are the commands' own.
var commands = map[string]command{
	"AUTHENTICATE": {run: (*front).authenticate, raw: true}, // RFC 5804 2.1
	"CAPABILITY":   {run: (*front).capability, bare: true},  // RFC 5804 2.4
	"LOGOUT":       {run: (*front).logout, bare: true},      // RFC 5804 2.3
	"NOOP":         {run: (*front).noop},                    // RFC 5804 2.13
	"STARTTLS":     {run: (*front).startTLS, bare: true},    // RFC 5804 2.2
	"XCLIENT":      {run: (*front).xclient},                 // of Dovecot proxies
}

// maxBad is how many bad commands a client has, all in all (Pigeonhole 0.5).
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
		f.reply("NO", string(syntax))
		return false, nil
	}
	return ready, err
}

// run reads a command and executes it. What stands behind an unknown one is skipped before the next.
func (f *front) run() (ready bool, err error) {
	name, err := f.in.word()
	if err != nil {
		return false, err
	}
	cmd, known := commands[strings.ToUpper(name)]
	switch {
	case login.IsHTTPMethod(name):
		line, err := f.c.R.Line(login.MaxInput)
		if errors.Is(err, wire.ErrTooLong) {
			return false, login.InputFull()
		}
		if err == nil && login.EndsAsHTTP(line) {
			err = login.HTTPRequest()
		}
		f.in.ended = true
		return false, orBad(err)
	case !known:
		return false, errBad
	case cmd.raw:
		return cmd.run(f, nil)
	}
	a, err := f.in.args()
	if err != nil {
		return false, err
	}
	if cmd.bare && len(a) > 0 {
		return false, errBad
	}
	return cmd.run(f, a)
}

func orBad(err error) error {
	if err != nil {
		return err
	}
	return errBad
}

// badCommand counts and answers.
func (f *front) badCommand() error {
	if f.bad++; f.bad >= maxBad {
		return &login.End{Bye: login.Bye{Text: "Too many invalid MANAGESIEVE commands."}, Log: "Too many invalid commands.", Label: "bad_commands", Linger: true}
	}
	f.reply("NO", "Error in MANAGESIEVE command received by server.")
	return nil
}

func (f *front) capability([]arg) (bool, error) {
	f.capabilities("Capability completed.")
	return false, nil
}

func (f *front) logout([]arg) (bool, error) {
	f.reply("OK", "Logout completed.")
	return false, login.LoggedOut()
}

// noop echoes a tag, which tells clients that have lost count where they are.
func (f *front) noop(a []arg) (bool, error) {
	switch {
	case len(a) == 0:
		f.reply("OK", "NOOP Completed")
	case len(a) > 1:
		return false, errBad
	case a[0].kind != str:
		f.reply("NO", "Invalid echo tag.")
	default:
		f.reply("OK (TAG "+quote(a[0].text)+")", "Done")
	}
	return false, nil
}

// xclient lets a trusted peer state whose connection it carries. Fields that can be read are taken even
// beside ones that cannot (Pigeonhole 0.5).
func (f *front) xclient(a []arg) (bool, error) {
	if !f.c.Trusted() {
		f.reply("NO", "You are not from trusted IP")
		return false, nil
	}
	ok := true
	for _, field := range a {
		if field.kind != atom {
			return false, errBad
		}
		if name, value, found := strings.Cut(field.text, "="); found && !strings.HasPrefix(strings.ToUpper(name), "DEST") {
			ok = f.c.Forward(name, value) && ok
		}
	}
	if !ok {
		return false, errBad
	}
	f.reply("OK", "Updated")
	return false, nil
}
