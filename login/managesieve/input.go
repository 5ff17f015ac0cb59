package managesieve

import (
	"math"
	"unicode/utf8"

	"dproxy/login"
)

const (
	maxLine     = 8192 // bytes of a command line with its literals
	maxResponse = 8192 // bytes of a SASL response in base64
)

// syntaxError is what a NO says about a command that cannot be read. It is not counted as a bad command
// (Pigeonhole 0.5).
type syntaxError string

// Error implements error.
func (e syntaxError) Error() string { return string(e) }

// input takes the pieces of a command. One piece has at most login.MaxInput bytes; only a SASL response
// may have more.
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

// word reads up to a blank, which it takes, or up to the line end, which it leaves.
func (in *input) word() (string, error) {
	for i := 0; ; i++ {
		switch b, err := in.at(i); {
		case err != nil:
			return "", err
		case b == ' ' || b == '\r' || b == '\n':
			w := string(in.c.R.Rest()[:i])
			if b == ' ' {
				i++
			}
			in.take(i)
			return w, nil
		}
	}
}

// skipLine drops everything up to the next LF.
func (in *input) skipLine() error {
	for {
		b, err := in.at(0)
		if err != nil {
			return err
		}
		in.take(1)
		if b == '\n' {
			in.ended = true
			return nil
		}
	}
}

// kind is the form of an argument.
type kind int

const (
	end kind = iota // of the line; it is not taken
	atom
	str // quoted, or a literal
)

type arg struct {
	kind kind
	text string
}

// args reads the arguments up to the end of the line, and takes that.
func (in *input) args() (out []arg, err error) {
	for {
		a, err := in.next()
		switch {
		case err != nil:
			return nil, err
		case a.kind == end:
			return out, in.skipLine()
		case in.line > maxLine:
			return nil, syntaxError("MANAGESIEVE command line too large")
		}
		out = append(out, a)
	}
}

// start skips blanks and tells how an argument begins: with a quote, a brace, or neither. 0 is the end of
// the line.
func (in *input) start() (byte, error) {
	for {
		b, err := in.at(0)
		switch {
		case err != nil:
			return 0, err
		case b == '\n':
			return 0, nil
		case b == '\r':
			if b, err = in.at(1); err == nil && b != '\n' {
				err = syntaxError("CR sent without LF")
			}
			return 0, err
		case b != ' ':
			return b, nil
		}
		in.take(1)
	}
}

// next reads one argument.
func (in *input) next() (arg, error) {
	b, err := in.start()
	if err != nil || b == 0 {
		return arg{}, err
	}
	switch b {
	case '"':
		text, err := in.quoted()
		return arg{str, text}, err
	case '{':
		text, err := in.literal()
		return arg{str, text}, err
	}
	text, err := in.atom()
	return arg{atom, text}, err
}

func (in *input) atom() (string, error) {
	for i := 0; ; i++ {
		b, err := in.at(i)
		switch {
		case err != nil:
			return "", err
		case b == ' ' || b == '\r' || b == '\n' || b == ')' && i > 0:
			text := string(in.c.R.Rest()[:i])
			in.take(i)
			return text, nil
		case b < ' ' || b == 0x7f || b == '(' || b == ')' || b == '{' || b == '"' || b == '\\':
			return "", syntaxError("Invalid characters in atom")
		case b >= 0x80:
			return "", syntaxError("8bit data in atom")
		}
	}
}

func (in *input) quoted() (string, error) {
	var out []byte
	for i := 1; ; i++ {
		b, err := in.at(i)
		if err != nil {
			return "", err
		}
		switch b {
		case '"':
			if !utf8.Valid(out) {
				return "", syntaxError("Invalid UTF-8 character in quoted-string.")
			}
			in.take(i + 1)
			return string(out), nil
		case 0:
			return "", syntaxError("NULs not allowed in strings")
		case '\\':
			i++
			if b, err = in.at(i); err != nil {
				return "", err
			}
			if b != '"' && b != '\\' {
				return "", syntaxError("Escaped quoted-string character is not a QUOTED-SPECIAL.")
			}
		case '\r', '\n':
			return "", syntaxError("String contains invalid character.")
		}
		out = append(out, b)
	}
}

// literal reads {N} or {N+} and the bytes it announces. A size beyond the bound ends the connection before
// any of them is read.
func (in *input) literal() (string, error) {
	n, err := in.literalSize()
	if err != nil {
		return "", err
	}
	if n > maxLine-in.line {
		const text = "Literal size too large"
		return "", &login.End{Bye: login.Bye{Text: text}, Log: text, Label: "literal_too_large", Linger: true}
	}
	if err := in.literalStart(); err != nil {
		return "", err
	}
	if n > 0 {
		if _, err := in.at(n - 1); err != nil {
			return "", err
		}
	}
	text := in.c.R.Rest()[:n]
	if !utf8.Valid(text) {
		return "", syntaxError("Invalid UTF-8 character in literal string.")
	}
	in.take(n)
	return string(text), nil
}

// literalSize takes {N} or {N+}. No literal is prompted for, as RFC 5804 has only the latter from clients.
func (in *input) literalSize() (n int, err error) {
	plus, digits, size := false, false, uint64(0)
	for i := 1; ; i++ {
		b, err := in.at(i)
		switch {
		case err != nil:
			return 0, err
		case (b == '}' || b == '+') && !digits:
			return 0, syntaxError("Invalid literal size") // Pigeonhole takes it for 0
		case b == '}':
			in.take(i + 1)
			return int(min(size, 1<<20)), nil // far beyond every bound
		case plus:
			return 0, syntaxError("Expecting '}' after '+'")
		case b == '+':
			plus = true
		case b >= '0' && b <= '9':
			d := uint64(b - '0')
			if size > (math.MaxUint64-d)/10 {
				return 0, syntaxError("Literal size too large")
			}
			digits, size = true, size*10+d
		default:
			return 0, syntaxError("Invalid literal size")
		}
	}
}

// literalStart takes the line end behind a literal's size.
func (in *input) literalStart() error {
	b, err := in.at(0)
	if err == nil && b == '\r' {
		in.take(1)
		b, err = in.at(0)
	}
	if err != nil {
		return err
	}
	if b != '\n' {
		return syntaxError("Missing LF after literal size")
	}
	in.take(1)
	return nil
}
