package imap

import (
	"bytes"
	"os"
	"runtime"
	"strings"

	"dproxy/event"
	"dproxy/login"
)

const (
	maxIDKey    = 30      // RFC 2971 section 3.3
	maxRetained = 256     // bytes of the list kept for the backend (Dovecot 2.3)
	maxIDLine   = 2 << 10 // of a log line
)

// id answers ID. What it says is logged for the first one, kept for the backend for the last one, and
// from a trusted peer the first one states whose connection this is (Dovecot 2.3). What stands behind
// the list is skipped.
func (f *front) id(args) (bool, error) {
	s := idState{front: f, first: !f.idSeen}
	f.idSeen = true
	if err := s.read(); err != nil {
		return false, err
	}
	s.finish()
	f.c.Send(f.texts().id)
	f.reply("OK ID completed.")
	return false, nil
}

const errInvalidID = syntaxError("Invalid ID parameters")

// idState collects one ID command.
type idState struct {
	front    *front
	first    bool
	listed   bool            // a list came, if only an empty one
	line     strings.Builder // for the log
	retained strings.Builder // for the backend
}

// read takes the arguments.
func (s *idState) read() error {
	switch k, value, err := s.front.in.next(); {
	case err != nil:
		return err
	case k == nothing && value == ")":
		return errUnexpectedParen
	case k == nothing, k == atom && equalFold(value, "NIL"):
		return nil
	case k != list:
		return errInvalidID
	}
	s.listed = true
	for {
		key, end, err := s.item()
		if err != nil || end {
			return err
		}
		if key.isNil || len(key.text) > maxIDKey {
			return errInvalidID
		}
		value, end, err := s.item()
		if err != nil || end {
			return err
		}
		s.pair(key.text, value)
	}
}

type idItem struct {
	text  string
	isNil bool
}

// item reads a string or NIL; end is the list's. Each has its own bound, the whole has the one on all
// that comes before login.
func (s *idState) item() (v idItem, end bool, err error) {
	s.front.in.line = 0
	k, value, err := s.front.in.next()
	switch {
	case err != nil:
		return v, false, err
	case k == nothing && value == ")":
		return v, true, nil
	case k == nothing:
		return v, false, errMissingParen
	case k == list:
		return v, false, s.nested()
	case k == atom:
		if !equalFold(value, "NIL") {
			return v, false, errInvalidID
		}
		return idItem{isNil: true}, false, nil
	}
	return idItem{text: value}, false, nil
}

// What is wrong with parentheses.
const (
	errMissingParen    = syntaxError("Missing ')'")
	errUnexpectedParen = syntaxError("Unexpected ')'")
	errManyParens      = syntaxError("Too many '('")
)

// nested reads a list that has no place here, to know what to say about it.
func (s *idState) nested() error {
	for {
		k, value, err := s.front.in.next()
		switch {
		case err != nil:
			return err
		case k == list:
			return errManyParens
		case k == nothing && value == "":
			return errMissingParen
		case k == nothing:
			return errInvalidID
		}
	}
}

// reserved are the keys that only a proxy in front of us sends, with the attribute they stand for.
var reserved = map[string]string{
	"x-originating-ip": "ADDR", "x-originating-port": "PORT", "x-connected-ip": "DESTADDR", "x-connected-port": "DESTPORT",
	"x-session-id": "SESSION", "x-session-ext-id": "SESSION", "x-proxy-ttl": "TTL",
}

const forwardPrefix = "x-forward-"

func (s *idState) pair(key string, value idItem) {
	f := s.front
	t := f.texts()
	if s.first && t.logs(key) && s.line.Len() < maxIDLine {
		shown := login.Shown(value.text)
		if value.isNil {
			shown = "NIL"
		}
		if s.line.Len() > 0 {
			s.line.WriteString(", ")
		}
		s.line.WriteString(login.Shown(key) + "=" + shown)
	}
	name, isForward := cutFold(key, forwardPrefix)
	attribute := reserved[strings.ToLower(key)]
	switch {
	case attribute == "" && !isForward:
		if t.retain {
			s.retain(key, value)
		}
	case !s.first || value.isNil || !f.c.Trusted():
	case isForward:
		f.c.ForwardField(name, value.text)
	default:
		f.c.Forward(attribute, value.text) // an invalid value is ignored
	}
}

func (s *idState) retain(key string, value idItem) {
	text, ok := quote(key)
	second := "NIL"
	if !value.isNil {
		var fits bool
		second, fits = quote(value.text)
		ok = ok && fits
	}
	if text += " " + second; ok && s.retained.Len()+1+len(text) < maxRetained {
		if s.retained.Len() > 0 {
			s.retained.WriteByte(' ')
		}
		s.retained.WriteString(text)
	}
}

func (s *idState) finish() {
	f := s.front
	if t := f.texts(); s.first && s.listed && (t.logAll || len(t.logKeys) > 0) { // even of nothing (Dovecot 2.3)
		f.c.Log(event.Info, "ID sent: "+s.line.String())
	}
	if f.texts().retain {
		f.c.SetClientID(s.retained.String())
	}
}

// idReply makes the reply of imap_id_send: keys and values, where * stands for what we say of
// ourselves: we pass for a Dovecot 2.3.
func idReply(setting string) string {
	words := strings.Fields(setting)
	if len(words) == 0 {
		return "* ID NIL\r\n"
	}
	own := map[string]string{
		"name": "Dovecot", "version": "2.3.21.1", "support-url": "http://www.dovecot.org/", "support-email": "dovecot@dovecot.org",
		"os": osName(), "os-version": osVersion(),
	}
	var b strings.Builder
	for i := 0; i < len(words); i += 2 {
		value := ""
		if i+1 < len(words) {
			value = words[i+1]
		}
		if value == "*" {
			value = own[strings.ToLower(words[i])]
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		key, _ := quote(words[i])
		text, ok := quote(value)
		if value == "" || !ok {
			text = "NIL"
		}
		b.WriteString(key + " " + text)
	}
	return "* ID (" + b.String() + ")\r\n"
}

func osName() string {
	if runtime.GOOS == "linux" {
		return "Linux"
	}
	return runtime.GOOS
}

// osVersion is the kernel's release where it can be read.
func osVersion() string {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(b))
}
