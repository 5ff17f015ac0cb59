package conf

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// loginNames are the long variables of login_log_format_elements beside those of LoginLetters.
var loginNames = map[string]bool{
	"session": true, "real_lip": true, "real_rip": true, "real_lport": true, "real_rport": true,
	"orig_user": true, "orig_username": true, "orig_domain": true,
	"auth_user": true, "auth_username": true, "auth_domain": true, "listener": true, "local_name": true,
	"local_ip": true, "remote_ip": true, "local_port": true, "remote_port": true,
	"real_local_ip": true, "real_remote_ip": true, "real_local_port": true, "real_remote_port": true,
	"mechanism": true, "original_user": true, "original_username": true, "original_domain": true,
}

// LogFormat makes the lines of the login processes from login_log_format and
// login_log_format_elements. It is safe for concurrent use.
type LogFormat struct {
	format   *Template
	elements []logElement
}

type logElement struct {
	text *Template
	// keep: the element uses %u, %n or a function and is shown even when they are empty.
	keep bool
	// empty is the element with all variables empty: it is left out when that is all it says.
	empty string
}

// NewLogElements parses the two settings. The format is good to use even when there is an error:
// that is the first line Dovecot would log about it, and UNSUPPORTED_VARIABLE_x stands in the lines.
func NewLogElements(format, elements string) (*LogFormat, error) {
	f := &LogFormat{format: &Template{}}
	var first error
	for word := range strings.SplitSeq(elements, " ") {
		if word == "" {
			continue
		}
		e, err := newLogElement(word)
		if err != nil && first == nil {
			first = fmt.Errorf("Failed to expand log_format_elements=%s: %w", word, err)
		}
		// An element without variables is the same as with all of them empty.
		if _, literal := e.text.Literal(); !literal {
			f.elements = append(f.elements, e)
		}
	}
	t, err := ParseTemplate(format, Letters{'s': logElements, '$': logMessage})
	if err == nil {
		f.format = t
		_, err = t.Expand(logLine{}.vars)
	}
	if err != nil && first == nil {
		first = fmt.Errorf("Failed to expand login_log_format=%s: %w", format, err)
	}
	return f, first
}

func newLogElement(word string) (logElement, error) {
	t, err := (&templateParser{letters: LoginLetters, known: loginVariable}).sub(word)
	if err != nil {
		return logElement{text: &Template{}}, err
	}
	e := logElement{text: t, keep: usesUsername(word) || strings.Contains(word, "%{|") && slices.Contains(t.Names(), "user")}
	var functions bool
	e.empty, err = t.Expand(func(name string) (string, bool) {
		if strings.Contains(name, ":") {
			functions = true
			return "", false
		}
		return "", loginVariable(name)
	})
	e.keep = e.keep || functions
	return e, err
}

func loginVariable(name string) bool {
	if loginNames[name] {
		return true
	}
	for _, long := range LoginLetters {
		if long == name {
			return true
		}
	}
	return false
}

// usesUsername finds %u and %n with any modifiers; %{user} does not count in Dovecot 2.3 either.
func usesUsername(word string) bool {
	for {
		_, after, found := strings.Cut(word, "%")
		if !found {
			return false
		}
		p := templateParser{rest: after}
		p.modifiers()
		if p.rest != "" && (p.rest[0] == 'u' || p.rest[0] == 'n') {
			return true
		}
		// Dovecot goes on behind the byte that follows the percent sign.
		if after == "" {
			return false
		}
		word = after[1:]
	}
}

// The names of %s and %$ within login_log_format.
const (
	logElements = "log_elements"
	logMessage  = "log_message"
)

type logLine struct{ elements, message string }

func (l logLine) vars(name string) (string, bool) {
	switch name {
	case logElements:
		return l.elements, true
	case logMessage:
		return l.message, true
	}
	return "", false
}

// Line makes one line of a message. v answers the login variables (LoginLetters, session,
// real_rip, passdb:field and so on); the caller has made the values fit for a log.
func (f *LogFormat) Line(v Vars, message string) string {
	var room [512]byte
	line := room[:0]
	for i := range f.format.pieces {
		p := &f.format.pieces[i]
		x, ok := p.source.(*variable)
		switch {
		case p.source == nil:
			line = append(line, p.text...)
		case ok && p.mods.none() && x.name == logMessage:
			line = append(line, message...)
		case ok && p.mods.none() && x.name == logElements:
			line = f.appendElements(line, v)
		default:
			s, _ := p.expand(logLine{string(f.appendElements(nil, v)), message}.vars)
			line = append(line, s...)
		}
	}
	return string(line)
}

// Elements expands the elements alone, for Join.
func (f *LogFormat) Elements(v Vars) string { return string(f.appendElements(nil, v)) }

// Join makes one line of a message from elements that were expanded before, so that whoever has to
// report a session's end need not keep all that its elements came from.
func (f *LogFormat) Join(elements, message string) string {
	line, _ := f.format.Expand(logLine{elements, message}.vars) // NewLogElements has reported the error
	return line
}

// appendElements adds the elements that say something, with ", " between them.
func (f *LogFormat) appendElements(dst []byte, v Vars) []byte {
	start := len(dst)
	for i := range f.elements {
		e := &f.elements[i]
		end := len(dst)
		if end > start {
			dst = append(dst, ", "...)
		}
		from := len(dst)
		dst, _ = e.text.Append(dst, v)
		if !e.keep && bytes.Equal(dst[from:], []byte(e.empty)) {
			dst = dst[:end]
		}
	}
	return dst
}
