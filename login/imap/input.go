package imap

import (
	"strings"

	"dproxy/login"
	"dproxy/wire"
)

const (
	maxTag  = 126  // bytes of a tag that is answered
	maxLine = 8192 // bytes of a command line with its literals
)

// syntaxError is what a BAD reply says about a command that cannot be read. It is not counted as a
// bad command (Dovecot 2.3).
type syntaxError string

// Error implements error.
func (e syntaxError) Error() string { return string(e) }

// input takes the pieces of a command. One piece has at most login.MaxInput bytes; a command may have
// many, and is never held as a whole.
type input struct {
	c     *login.Client
	line  int  // bytes of the command taken so far
	ended bool // its line end has been taken
}

// at returns the byte i places ahead.
func (in *input) at(i int) (byte, error) {
	for min(i, login.MaxInput) >= in.c.R.Buffered() {
		if err := in.c.R.Fill(); err != nil {
			return 0, err
		}
	}
	if i >= login.MaxInput {
		return 0, login.InputFull()
	}
	return in.c.R.Rest()[i], nil
}

func (in *input) take(n int) {
	in.c.R.Skip(n)
	in.line += n
}

// word reads up to a blank or line end and takes it; the blank is taken too. ok is false for a byte
// that valid refuses: nothing is taken then.
func (in *input) word(valid func(byte) bool) (w []byte, ok bool, err error) {
	for i := 0; ; i++ {
		b, err := in.at(i)
		switch {
		case err != nil:
			return nil, false, err
		case b == '\r' || b == '\n':
			w = in.c.R.Rest()[:i]
			in.take(i)
			return w, true, nil
		case b == ' ':
			w = in.c.R.Rest()[:i]
			in.take(i + 1)
			return w, true, nil
		case !valid(b):
			return nil, false, nil
		}
	}
}

// tagByte tells what a tag may have. Dovecot lets DEL pass; it is not worth an exception.
func tagByte(b byte) bool {
	return b > ' ' && b < 0x7f && strings.IndexByte(`+(){"%*\]`, b) < 0
}

// nameByte tells what a command's name may have.
func nameByte(b byte) bool { return b == '+' || tagByte(b) }

// anyByte is for words that are judged later.
func anyByte(byte) bool { return true }

// skipLine drops everything up to the next LF.
func (in *input) skipLine() error {
	for i := 0; ; i++ {
		b, err := in.at(i)
		if err != nil {
			return err
		}
		if b == '\n' {
			in.take(i + 1)
			in.ended = true
			return nil
		}
	}
}

// argument kinds.
type kind int

const (
	atom kind = iota
	str       // quoted, or a literal
	list
	nothing // the end of a line or list
)

// args are the arguments of a command that are kept.
type args struct {
	n      int // at the top level
	values [2]string
	lists  bool // a list was among them
}

// args reads the arguments up to the end of the line, which it takes. The values of the first ones
// are kept when keep is set. Lists have one level, and there is one of them.
func (in *input) args(keep bool) (a args, err error) {
	lists, open := 0, false
	for {
		k, value, err := in.next()
		switch {
		case err != nil:
			return a, err
		case k == nothing && value == ")":
			if !open {
				return a, errUnexpectedParen
			}
			open = false
			continue
		case k == nothing:
			if open {
				return a, errMissingParen
			}
			return a, nil
		case k == list:
			if lists++; lists > 1 {
				return a, errManyParens
			}
			open, a.lists = true, true
			a.n++
		case !open:
			if keep && a.n < len(a.values) {
				a.values[a.n] = value
			}
			a.n++
		}
		if in.line > maxLine {
			return a, syntaxError("IMAP command line too large")
		}
	}
}

// next reads one argument. Of a list it takes the opening parenthesis only. The value of nothing is
// ")" at the end of a list and "" at the end of the line.
func (in *input) next() (k kind, value string, err error) {
	for {
		b, err := in.at(0)
		if err != nil {
			return nothing, "", err
		}
		switch b {
		case ' ':
			in.take(1)
			continue
		case '\r':
			if b, err = in.at(1); err != nil {
				return nothing, "", err
			}
			if b != '\n' {
				return nothing, "", syntaxError("CR sent without LF")
			}
			in.take(2)
			in.ended = true
			return nothing, "", nil
		case '\n':
			in.take(1)
			in.ended = true
			return nothing, "", nil
		case '(':
			in.take(1)
			return list, "", nil
		case ')':
			in.take(1)
			return nothing, ")", nil
		case '"':
			value, err = in.quoted()
			return str, value, err
		case '{':
			value, err = in.literal()
			return str, value, err
		case '~':
			if b, err = in.at(1); err != nil {
				return nothing, "", err
			}
			if b == '{' {
				return nothing, "", syntaxError("literal8 not allowed here")
			}
		}
		value, err = in.atom()
		return atom, value, err
	}
}

// wrong is a syntax error i bytes ahead. What lies before it is taken, so that only the rest of the
// line has to be skipped.
func (in *input) wrong(i int, text string) error {
	in.take(i)
	return syntaxError(text)
}

func (in *input) atom() (string, error) {
	for i := 0; ; i++ {
		b, err := in.at(i)
		switch {
		case err != nil:
			return "", err
		case b == ' ' || b == '\r' || b == '\n' || b == ')':
			value := string(in.c.R.Rest()[:i])
			in.take(i)
			return value, nil
		case b < ' ' || b == 0x7f || b == '(' || b == '{' || b == '"':
			return "", in.wrong(i, "Invalid characters in atom")
		case b >= 0x80:
			return "", in.wrong(i, "8bit data in atom")
		}
	}
}

func (in *input) quoted() (string, error) {
	escaped := false
	for i := 1; ; i++ {
		b, err := in.at(i)
		if err != nil {
			return "", err
		}
		switch b {
		case '"':
			raw := in.c.R.Rest()[1:i]
			value := string(raw)
			if escaped {
				value = unescape(raw)
			}
			in.take(i + 1)
			return value, nil
		case '\\':
			// The byte behind it is taken as it is, unless it ends the line.
			escaped = true
			i++
			if b, err = in.at(i); err != nil {
				return "", err
			}
		}
		switch b {
		case '\r', '\n':
			return "", in.wrong(i, `Missing '"'`)
		case 0:
			return "", in.wrong(i, "NULs not allowed in strings")
		}
	}
}

func unescape(b []byte) string {
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] == '\\' {
			i++
		}
		out = append(out, b[i])
	}
	return string(out)
}

// literal reads {N} or {N+} and the bytes it announces. A size beyond the bound ends the connection
// before any of them is read.
func (in *input) literal() (string, error) {
	n, sync, err := in.literalSize()
	if err != nil {
		return "", err
	}
	if n > maxLine-in.line {
		const text = "Literal size too large"
		return "", &login.End{Bye: login.Bye{Text: text}, Log: text, Label: "literal_too_large", Linger: true}
	}
	if sync {
		in.c.Send("+ OK\r\n")
	}
	b, err := in.at(0)
	if err == nil && b == '\r' {
		in.take(1)
		b, err = in.at(0)
	}
	if err != nil {
		return "", err
	}
	if b != '\n' {
		return "", syntaxError("Missing LF after literal size")
	}
	in.take(1)
	if n > 0 {
		if _, err := in.at(n - 1); err != nil {
			return "", err
		}
	}
	value := string(in.c.R.Rest()[:n])
	in.take(n)
	if b, err = in.at(0); err != nil {
		return "", err
	}
	if b != ' ' && b != ')' && b != '\r' && b != '\n' {
		return "", syntaxError("Missing SP after literal")
	}
	return value, nil
}

// literalSize takes {N} or {N+}.
func (in *input) literalSize() (n int, sync bool, err error) {
	for i := 1; ; i++ {
		b, err := in.at(i)
		switch {
		case err != nil:
			return 0, false, err
		case b >= '0' && b <= '9':
			// Far beyond every bound a number grows no more.
			if n = n*10 + int(b-'0'); n > 1<<20 {
				n = 1 << 20
			}
		case b == '}' && i > 1:
			in.take(i + 1)
			return n, true, nil
		case b == '+':
			if b, err = in.at(i + 1); err != nil {
				return 0, false, err
			}
			if b != '}' {
				return 0, false, syntaxError("Expecting '}' after '+'")
			}
			if i == 1 {
				return 0, false, syntaxError("Invalid literal size")
			}
			in.take(i + 2)
			return n, false, nil
		default:
			return 0, false, syntaxError("Invalid literal size")
		}
	}
}

// httpRequest tells whether the line ahead is one of HTTP: a browser that was made to talk to a mail
// port. Nothing is taken.
func (in *input) httpRequest(tag []byte) (bool, error) {
	if !isHTTPMethod(tag) {
		return false, nil
	}
	for i := 0; ; i++ {
		b, err := in.at(i)
		if err != nil {
			return false, err
		}
		if b == '\n' {
			return login.EndsAsHTTP(in.c.R.Rest()[:i]), nil
		}
	}
}

func isHTTPMethod(word []byte) bool { return login.IsHTTPMethod(string(word)) }

// quote writes a value into an ID list; ok is false for what does not fit there.
func quote(s string) (string, bool) {
	if wire.HasControl(s) {
		return "", false
	}
	return wire.Quote(s), true
}
