package pop3

import (
	"bytes"
	"errors"
	"strings"

	"dproxy/login"
	"dproxy/wire"
)

// command runs with the rest of its line. ready tells that the client has asked to authenticate.
type command struct {
	run func(f *front, rest string) (ready bool, err error)
	// raw, when there is something behind the word, reads the rest of the line itself.
	raw func(f *front) (ready bool, err error)
}

// commands are those of RFC 1939's authorization state and its extensions. The TLS rules are the
// commands' own.
var commands = map[string]command{
	"APOP":    {run: (*front).apop},                                // RFC 1939 section 7
	"AUTH":    {run: (*front).mechanisms, raw: (*front).mechanism}, // RFC 5034
	"CAPA":    {run: (*front).capa},                                // RFC 2449
	"PASS":    {run: (*front).pass},                                // RFC 1939 section 7
	"QUIT":    {run: (*front).quit},                                // RFC 1939 section 4
	"STLS":    {run: (*front).startTLS},                            // RFC 2595
	"USER":    {run: (*front).setUser},                             // RFC 1939 section 7
	"XCLIENT": {run: (*front).xclient},                             // of Dovecot proxies
	"XOIP":    {run: (*front).xoip},                                // the same of older ones
}

const (
	longestCommand = 7 // XCLIENT
	maxWord        = 8 // what Dovecot 2.3 keeps of a command's name
)

// maxBad is how many bad commands in a row a client has (Dovecot 2.3).
const maxBad = 3

// errBad is an unknown command.
var errBad = errors.New("bad command")

// Credentials implements login.Front.
func (f *front) Credentials() (login.Credentials, error) {
	for {
		ready, err := f.command()
		switch {
		case errors.Is(err, errBad):
			if err = f.badCommand(); err != nil {
				return login.Credentials{}, err
			}
		case err != nil:
			return login.Credentials{}, err
		}
		if ready {
			cred := f.cred
			f.cred = login.Credentials{}
			return cred, nil
		}
	}
}

// command reads and executes one command. The word and the rest of its line each have the bound of
// the input buffer.
func (f *front) command() (ready bool, err error) {
	word, blank, err := f.word(maxWord)
	if err != nil {
		return false, err
	}
	name := string(word)
	cmd, known := lookup(word)
	if cmd.raw != nil && blank {
		return cmd.raw(f)
	}
	rest, err := f.line()
	switch {
	case err != nil:
		return false, err
	case login.IsHTTPMethod(name) && login.EndsAsHTTP([]byte(rest)):
		return false, login.HTTPRequest()
	case !known:
		return false, errBad
	case cmd.raw == nil:
		f.bad = 0 // AUTH does not count as a good command
	}
	return cmd.run(f, rest)
}

// word reads up to a blank, which it takes, or up to the line end, which it leaves. A CR is nothing. A
// word of more than limit bytes is cut there: what follows belongs to the rest of the line.
func (f *front) word(limit int) (w []byte, blank bool, err error) {
	r := f.c.R
	n := 0 // bytes that are not CR
	for i := 0; ; i++ {
		for min(i, login.MaxInput) >= r.Buffered() {
			if err := r.Fill(); err != nil {
				return nil, false, err
			}
		}
		if i >= login.MaxInput {
			return nil, false, login.InputFull()
		}
		switch b := r.Rest()[i]; {
		case b == ' ', b == '\n', n == limit:
			w = r.Rest()[:i]
			if bytes.IndexByte(w, '\r') >= 0 {
				w = bytes.ReplaceAll(w, []byte("\r"), nil)
			}
			r.Skip(i)
			if blank = b == ' '; blank {
				r.Skip(1)
			}
			return w, blank, nil
		case b != '\r':
			n++
		}
	}
}

// line takes the rest of the line.
func (f *front) line() (string, error) {
	line, err := f.c.R.Line(login.MaxInput)
	if errors.Is(err, wire.ErrTooLong) {
		return "", login.InputFull()
	}
	return string(line), err
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

// badCommand answers and counts the bad commands in a row.
func (f *front) badCommand() error {
	f.c.Send("-ERR Unknown command.\r\n")
	if f.bad++; f.bad < maxBad {
		return nil
	}
	// Dovecot's line really says it twice.
	return &login.End{Bye: login.Bye{Text: "Too many invalid bad commands."}, Log: "Disconnected: Too many bad commands", Label: "bad_commands", Linger: true}
}

func (f *front) capa(string) (bool, error) {
	f.c.Send(f.texts().capa[f.state()])
	return false, nil
}

func (f *front) quit(string) (bool, error) {
	f.c.Send("+OK Logging out\r\n")
	return false, login.LoggedOut()
}

func (f *front) setUser(user string) (bool, error) {
	if r := f.c.RefusePassword(user); r != nil {
		return false, f.Refuse(*r)
	}
	f.user, f.hasUser = user, true
	f.c.Send("+OK\r\n")
	return false, nil
}

func (f *front) pass(password string) (bool, error) {
	if !f.hasUser {
		if r := f.c.RefusePassword(""); r != nil {
			return false, f.Refuse(*r)
		}
		f.c.Send("-ERR No username given.\r\n")
		return false, nil
	}
	f.cred = login.Password(f.user, []byte(password))
	f.user, f.hasUser = "", false
	return true, nil
}

// xclient lets a trusted peer state whose connection it carries. Fields that can be read are taken
// even beside ones that cannot (Dovecot 2.3).
func (f *front) xclient(rest string) (bool, error) {
	if !f.c.Trusted() {
		f.c.Send("+OK You are not from trusted IP - ignoring\r\n")
		return false, nil
	}
	ok := true
	for word := range strings.SplitSeq(rest, " ") {
		if name, value, found := strings.Cut(word, "="); found && !strings.HasPrefix(strings.ToUpper(name), "DEST") {
			ok = f.c.Forward(name, value) && ok
		}
	}
	if ok {
		f.c.Send("+OK Updated\r\n")
	} else {
		f.c.Send("-ERR Invalid parameters\r\n")
	}
	return false, nil
}

func (f *front) xoip(rest string) (bool, error) { return f.xclient("ADDR=" + rest) }
