package event

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxUser is how much of a user name a log line shows (Dovecot 2.3 cuts at 80).
const maxUser = 80

// maxDestUser is how much of the name at the backend it shows. Dovecot 2.3 does not cut this one.
const maxDestUser = 256

// Clean makes a peer's bytes fit for a log line: control bytes, broken UTF-8, and characters that
// are not printable, among them those that reorder or hide text on a terminal, become '?'. The text is
// cut at limit bytes.
func Clean(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit]
		for i := len(s) - 1; i >= 0 && i >= len(s)-utf8.UTFMax; i-- {
			if utf8.RuneStart(s[i]) {
				if !utf8.FullRuneInString(s[i:]) {
					s = s[:i]
				}
				break
			}
		}
	}
	return strings.Map(func(c rune) rune {
		if c == utf8.RuneError || !unicode.IsPrint(c) {
			return '?'
		}
		return c
	}, s)
}

// Line is one log line before its timestamp.
type Line struct {
	Source string // the process name in Dovecot's lines: imap-login, auth, master
	Level  Level
	Text   string
}

// LineOf makes the log line of an event. ok is false for events that are not logged by default.
func LineOf(e Event) (l Line, ok bool) {
	switch e := e.(type) {
	case Notice:
		return Line{e.Source, e.Level, e.Text}, true
	case PassdbAnswered:
		if e.Text == "" {
			return l, false
		}
		return Line{"auth", e.Level, AuthPrefix(e.Passdb, e.User, e.Remote, e.Master, e.Session) + e.Text}, true
	case AuthLine:
		if e.Quiet {
			return l, false
		}
		if e.DB == "" {
			return Line{"auth", e.Level, e.Text}, true
		}
		return Line{"auth", e.Level, AuthPrefix(e.DB, e.User, e.Remote, e.Master, e.Session) + e.Text}, true
	case BackendFailed:
		return Line{loginSource(e.Client), e.Level, e.Client.line(proxyPrefix(e.Client, e.Target) + e.Text)}, e.Text != ""
	case ProxyLine:
		return Line{loginSource(e.Client), e.Level, e.Client.line(proxyPrefix(e.Client, e.Target) + e.Text)}, true
	case SourceExhausted:
		return Line{loginSource(e.Client), Warning, "no port left on " + e.Source.String() + " for connections to " + e.Target.Addr.Addr().String() + "; add addresses to login_source_ips"}, true
	case Started:
		return Line{loginSource(e.Client), Info, e.Client.line(proxyPrefix(e.Client, e.Target) + startedText(e))}, true
	case Ended:
		return Line{loginSource(e.Client), Info, e.Client.line(proxyPrefix(e.Client, e.Target) + endedText(e))}, true
	case Disconnected:
		return Line{loginSource(e.Client), Info, e.Client.line(e.Text)}, true
	case ClientLine:
		return Line{loginSource(e.Client), e.Level, e.Client.line(e.Text)}, true
	}
	return l, false
}

// AuthPrefix is "db(user,ip,master,<session>): ", the head of Dovecot's auth lines.
func AuthPrefix(db, user string, remote netip.Addr, master bool, session string) string {
	var b strings.Builder
	b.WriteString(db)
	b.WriteByte('(')
	if user == "" {
		b.WriteByte('?')
	} else {
		b.WriteString(Clean(user, 64))
	}
	if remote.IsValid() {
		b.WriteByte(',')
		b.WriteString(remote.Unmap().String())
	}
	if master {
		b.WriteString(",master")
	}
	if session != "" {
		b.WriteString(",<" + Clean(session, 64) + ">")
	}
	b.WriteString("): ")
	return b.String()
}

// LoginSource is the name of the login process that Dovecot has for a protocol.
func LoginSource(service string) string {
	if service == "sieve" {
		return "managesieve-login"
	}
	if service == "lmtp" {
		return "lmtp"
	}
	return service + "-login"
}

func loginSource(c Client) string { return LoginSource(c.Service) }

func (c Client) line(message string) string {
	if c.Line == nil {
		return message
	}
	return c.Line(message)
}

func proxyPrefix(c Client, t Target) string {
	user := Clean(c.User, maxUser)
	if !t.Addr.IsValid() {
		return "proxy(" + user + "): "
	}
	// Dovecot writes IPv6 addresses without brackets.
	return "proxy(" + user + "," + t.Addr.Addr().String() + ":" + strconv.Itoa(int(t.Addr.Port())) + "): "
}

func startedText(e Started) string {
	var b strings.Builder
	ip := e.Target.Addr.Addr().String()
	b.WriteString("Started proxying to <" + ip + ">")
	if e.Target.Host != "" && e.Target.Host != ip {
		b.WriteString(" (<" + Clean(e.Target.Host, 255) + ">)")
	}
	b.WriteString(AccountText(e.Client.User, e.Target))
	fmt.Fprintf(&b, " (%d.%03d secs", int(e.Took/time.Second), int(e.Took%time.Second/time.Millisecond))
	if e.Reconnects > 0 {
		fmt.Fprintf(&b, ", %d reconnects", e.Reconnects)
	}
	b.WriteByte(')')
	return b.String()
}

// AccountText is the part of proxy lines that tells source address and credentials when they are
// not the obvious ones: " from IP as user X (master Y)".
func AccountText(user string, t Target) string {
	var b strings.Builder
	if t.Source.IsValid() {
		b.WriteString(" from " + t.Source.String())
	}
	if t.DestUser != "" && t.DestUser != user {
		b.WriteString(" as user " + Clean(t.DestUser, maxDestUser))
	}
	if t.Master != "" {
		b.WriteString(" (master " + Clean(t.Master, maxUser) + ")")
	}
	return b.String()
}

func endedText(e Ended) string {
	reason := ""
	if e.Reason != "" {
		reason = ": " + Clean(e.Reason, 512)
	}
	if e.Side == "proxy" {
		return "Disconnected by proxy" + reason
	}
	text := fmt.Sprintf("Disconnected by %s%s (%ds idle, in=%d, out=%d)", e.Side, reason, int(e.Idle/time.Second), e.In, e.Out)
	if e.Delay > 0 {
		text += fmt.Sprintf(" - disconnecting client in %dms", e.Delay.Milliseconds())
	}
	return text
}
