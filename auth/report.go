package auth

import (
	"crypto/sha1"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"dproxy/event"
	"dproxy/passdb"
)

// verbose tells whether failures of the passdb that is asked are logged.
func (t *attempt) verbose() bool {
	if t.entry != nil {
		switch t.entry.AuthVerbose {
		case "yes":
			return true
		case "no":
			return false
		}
	}
	return t.chain.settings.AuthVerbose || t.chain.settings.AuthDebug
}

// line reports a line. Debug lines nobody asked for are not even made into events; quiet ones at other
// levels are, for listeners other than the log.
func (t *attempt) line(db string, level event.Level, text string) {
	if level == event.Debug && !t.chain.settings.AuthDebug {
		return
	}
	t.a.events.Emit(event.AuthLine{
		Session: t.req.Session, DB: db, User: t.req.User, Remote: t.req.Remote.Addr(),
		Master: t.req.LoginUser != "" && t.entry != nil, Level: level, Text: text, Quiet: level == event.Info && !t.verbose(),
	})
}

// logger gives a driver a way to write lines about the question at hand. It may outlive the attempt, so
// it holds copies.
func (t *attempt) logger(e *entry) func(passdb.Level, string) {
	line := event.AuthLine{
		Session: t.req.Session, DB: e.Name, User: t.req.User, Remote: t.req.Remote.Addr(), Master: t.req.LoginUser != "",
	}
	events, verbose, debug := t.a.events, t.verbose(), t.chain.settings.AuthDebug
	return func(level passdb.Level, text string) {
		line := line
		line.Level = levels[level]
		if line.Level == event.Debug && !debug {
			return
		}
		line.Text, line.Quiet = event.Clean(text, 1024), line.Level == event.Info && !verbose
		events.Emit(line)
	}
}

// bareInfo is a line that Dovecot writes without the "db(user,ip): " prefix.
func (t *attempt) bareInfo(text string) { t.line("", event.Info, text) }

func (t *attempt) entryInfo(text string)  { t.line(t.entry.Name, event.Info, text) }
func (t *attempt) entryError(text string) { t.line(t.entry.Name, event.Error, text) }

// mechInfo is a line about the client's side of the exchange.
func (t *attempt) mechInfo(text string) { t.line(strings.ToLower(t.req.Mech), event.Info, text) }

// chainError is an error that no single passdb is to blame for.
func (t *attempt) chainError(text string) { t.line(strings.ToLower(t.req.Mech), event.Error, text) }

func (t *attempt) debug(text string) {
	db := strings.ToLower(t.req.Mech)
	if t.entry != nil {
		db = t.entry.Name
	}
	t.line(db, event.Debug, text)
}

// answered reports what a passdb said. A text at level Info is logged when failures are.
func (t *attempt) answered(status passdb.Status, o outcome) {
	if o.level == event.Info && !t.verbose() && !o.forced || o.level == event.Debug && !t.chain.settings.AuthDebug {
		o.text = ""
	}
	t.a.events.Emit(event.PassdbAnswered{
		Session: t.req.Session, Passdb: t.entry.Name, User: t.req.User, Remote: t.req.Remote.Addr(),
		Master: t.req.LoginUser != "", Result: status.String(), Cached: o.cached, Took: time.Since(o.began),
		Level: o.level, Text: o.text,
	})
}

// withPassword adds the given password to a failure's text as auth_verbose_passwords asks.
func (t *attempt) withPassword(o *outcome, next bool) {
	how, cut, _ := strings.Cut(t.chain.settings.AuthVerbosePasswords, ":")
	if how == "no" || how == "" || !t.hasPassword {
		return
	}
	given := string(t.password)
	label := " (given password: "
	if how == "sha1" {
		sum := sha1.Sum([]byte(given))
		given, label = hex.EncodeToString(sum[:]), " (SHA1 of given password: "
	}
	if n, err := strconv.Atoi(cut); err == nil && n >= 0 && n < len(given) {
		given = given[:n]
	}
	o.forced = true
	o.text += label + event.Clean(given, 256) + ")"
	if next {
		o.text += " - trying the next passdb"
	}
}
