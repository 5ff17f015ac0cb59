package wire

import (
	"errors"
	"fmt"
	"strings"
)

// Reply is a reply of an SMTP or LMTP server (RFC 5321 section 4.2).
type Reply struct {
	Code int
	// Lines are the texts of its lines, without the code and the separator. There is at least one.
	Lines []string
}

// Class is the first digit of the code.
func (r Reply) Class() int { return r.Code / 100 }

// OK tells whether the reply is a positive completion (2yz).
func (r Reply) OK() bool { return r.Class() == 2 }

// Text is the reply's text on one line.
func (r Reply) Text() string { return strings.Join(r.Lines, " ") }

// Wire is the reply as it stands on the wire, with CRLF between its lines and none at its end.
func (r Reply) Wire() string {
	var b strings.Builder
	for i, line := range r.Lines {
		if i < len(r.Lines)-1 {
			fmt.Fprintf(&b, "%03d-%s\r\n", r.Code, line)
		} else {
			fmt.Fprintf(&b, "%03d %s", r.Code, line)
		}
	}
	return b.String()
}

// Errors of ParseReplyLine.
var (
	ErrReplyCode      = errors.New("Invalid status code in reply")
	ErrReplySeparator = errors.New("Encountered unexpected character after reply status code")
	ErrReplyMixed     = errors.New("Inconsistent status codes in reply")
)

// ParseReplyLine reads one line of a reply. more tells that another line follows. A code without
// anything behind it is a last line without text, which RFC 5321 section 4.2 asks clients to accept.
func ParseReplyLine(line string) (code int, text string, more bool, err error) {
	if len(line) < 3 {
		return 0, "", false, ErrReplyCode
	}
	for i := range 3 {
		if line[i] < '0' || line[i] > '9' {
			return 0, "", false, ErrReplyCode
		}
		code = code*10 + int(line[i]-'0')
	}
	if line[0] < '2' || line[0] > '5' || line[1] > '5' {
		return 0, "", false, ErrReplyCode
	}
	switch {
	case len(line) == 3:
		return code, "", false, nil
	case line[3] == ' ':
		return code, line[4:], false, nil
	case line[3] == '-':
		return code, line[4:], true, nil
	case line[3] >= '0' && line[3] <= '9':
		return 0, "", false, ErrReplyCode
	}
	return 0, "", false, ErrReplySeparator
}

// Add appends a line to the reply. done tells that it was the last one.
func (r *Reply) Add(line string) (done bool, err error) {
	code, text, more, err := ParseReplyLine(line)
	if err != nil {
		return false, err
	}
	if len(r.Lines) > 0 && code != r.Code {
		return false, ErrReplyMixed
	}
	r.Code = code
	r.Lines = append(r.Lines, text)
	return !more, nil
}

// Enhanced splits an enhanced status code (RFC 3463) off a reply's text. The code is empty when there
// is none or when its class is not that of the reply.
func Enhanced(code int, text string) (enhanced, rest string) {
	word, rest := Word(text)
	class, subject, ok := strings.Cut(word, ".")
	subject, detail, ok2 := strings.Cut(subject, ".")
	if !ok || !ok2 || len(class) != 1 || class[0] != '2' && class[0] != '4' && class[0] != '5' || !digits(subject) || !digits(detail) {
		return "", text
	}
	if int(class[0]-'0') != code/100 {
		return "", text
	}
	return word, rest
}

// digits tells whether s is one to three digits.
func digits(s string) bool {
	if len(s) == 0 || len(s) > 3 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// Xtext encodes a value for an SMTP parameter (RFC 3461 section 4).
func Xtext(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if c := s[i]; c >= 33 && c <= 126 && c != '+' && c != '=' {
			b.WriteByte(c)
		} else {
			b.WriteByte('+')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
	return b.String()
}

// ErrXtext reports a value that is no xtext.
var ErrXtext = errors.New("Invalid character in xtext")

// xtextError is an ErrXtext in Dovecot's words.
type xtextError string

func (e xtextError) Error() string   { return string(e) }
func (e xtextError) Is(t error) bool { return t == ErrXtext }

const (
	errHexchar = xtextError("Invalid hexchar after '+' in xtext")
	errNUL     = xtextError("Encountered NUL character in xtext")
)

// DecodeXtext undoes Xtext. Lower case hexadecimal digits are no xtext (RFC 3461).
func DecodeXtext(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '+':
			if i+2 >= len(s) {
				return "", errHexchar
			}
			hi, ok1 := hexDigit(s[i+1])
			lo, ok2 := hexDigit(s[i+2])
			switch {
			case !ok1 || !ok2:
				return "", errHexchar
			case hi|lo == 0:
				return "", errNUL
			}
			b.WriteByte(hi<<4 | lo)
			i += 2
		case c < 33 || c > 126 || c == '=':
			return "", ErrXtext
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), nil
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
