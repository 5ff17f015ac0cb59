package imap

import (
	"strconv"
	"strings"

	"dproxy/backend"
	"dproxy/wire"
)

// idList is the ID parameter list that tells the backend of the client (Dovecot 2.3 order): the client's
// own pairs that were kept, then ours.
func idList(l *backend.Login) string {
	id := l.Identity
	var b strings.Builder
	if id.ClientID != "" && validPairs(id.ClientID) {
		b.WriteString(id.ClientID + " ")
	}
	pair := func(key, value string) {
		b.WriteString(wire.Quote(key) + " " + wire.Quote(value))
	}
	pair("x-session-id", id.Session)
	b.WriteByte(' ')
	pair("x-originating-ip", id.Remote.Addr().String())
	b.WriteByte(' ')
	pair("x-originating-port", strconv.Itoa(int(id.Remote.Port())))
	b.WriteByte(' ')
	pair("x-connected-ip", id.Local.Addr().String())
	b.WriteByte(' ')
	pair("x-connected-port", strconv.Itoa(int(id.Local.Port())))
	b.WriteByte(' ')
	pair("x-proxy-ttl", strconv.Itoa(id.TTL-1))
	for _, f := range l.Target.Forward {
		b.WriteByte(' ')
		if f.Value == "" { // Dovecot's auth loses the = of an empty field
			b.WriteString(wire.Quote("x-forward-"+f.Name) + " NIL")
		} else {
			pair("x-forward-"+f.Name, f.Value)
		}
	}
	return b.String()
}

// validPairs tells whether s is nothing but quoted strings, literals and NIL, so that it cannot end the
// list or the line.
func validPairs(s string) bool {
	for s != "" {
		n := 0
		switch {
		case len(s) >= 3 && strings.EqualFold(s[:3], "NIL"):
			n = 3
		case s[0] == '"':
			n = quotedLen(s)
		case s[0] == '{':
			n = literalLen(s)
		}
		if n == 0 || len(s) > n && s[n] != ' ' {
			return false
		}
		s = strings.TrimPrefix(s[n:], " ")
	}
	return true
}

// quotedLen is the length of a quoted string at the beginning of s, 0 when there is none.
func quotedLen(s string) int {
	escaped := false
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == 0 || c == '\r' || c == '\n':
			return 0
		case escaped:
			escaped = false
		case c == '"':
			return i + 1
		case c == '\\':
			escaped = true
		}
	}
	return 0
}

// literalLen is the length of a literal at the beginning of s, 0 when there is none or when it holds bytes
// that a backend which refuses literals could take for a command.
func literalLen(s string) int {
	head, body, ok := strings.Cut(s, "\r\n")
	if !ok {
		return 0
	}
	_, n, _, isLiteral, bad := wire.Literal([]byte(head))
	if !isLiteral || bad || n > len(body) || strings.ContainsAny(body[:n], "\x00\r\n") {
		return 0
	}
	return len(head) + 2 + n
}
