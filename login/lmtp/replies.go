package lmtp

import (
	"errors"
	"strconv"
	"strings"

	lmtpclient "dproxy/backend/lmtp"
	"dproxy/wire"
)

// accepted is a backend's consent as the client hears it: as it is, with an enhanced code in any case.
func accepted(said wire.Reply) wire.Reply {
	out := wire.Reply{Code: said.Code}
	for _, line := range said.Lines {
		enhanced, text := wire.Enhanced(said.Code, wire.Printable(line))
		if enhanced == "" {
			enhanced = "2.1.0"
		}
		out.Lines = append(out.Lines, enhanced+" "+text)
	}
	return out
}

// forwarded is a backend's refusal as the client hears it: with the path that the client named.
func forwarded(said wire.Reply, path string) wire.Reply {
	if said.Class() < 4 {
		return wire.Reply{Code: 451, Lines: []string{"4.4.0 <" + path + "> Proxy failed (bad reply)"}}
	}
	out := wire.Reply{Code: said.Code}
	for _, line := range said.Lines {
		enhanced, text := split(said.Code, line)
		out.Lines = append(out.Lines, enhanced+" <"+path+"> "+text)
	}
	return out
}

// split takes a reply's line apart: enhanced code, or a general one, and text without the path that the
// backend may have put before it.
func split(code int, line string) (enhanced, text string) {
	enhanced, text = wire.Enhanced(code, wire.Printable(line))
	if enhanced == "" {
		enhanced = strconv.Itoa(code/100) + ".0.0"
	}
	if strings.HasPrefix(text, "<") {
		if _, rest, ok := strings.Cut(text, ">"); ok {
			text = strings.TrimPrefix(rest, " ")
		}
	}
	return enhanced, text
}

// lost is the answer for a recipient whose backend gave none (Dovecot 2.3).
func (t *transaction) lost(path, session string, err error) wire.Reply {
	var e *lmtpclient.Error
	if !errors.As(err, &e) {
		e = &lmtpclient.Error{Text: err.Error()}
	}
	text := "Proxy failed (" + e.Kind.Detail() + "session=" + session + ")"
	switch {
	case e.Kind == lmtpclient.Refused && e.Reply.Class() >= 4:
		return forwarded(e.Reply, path)
	case t.f.c.Settings().LMTPVerboseReplies:
		text = "Proxy failed: " + wire.Printable(e.Verbose()) + " (session=" + session + ")"
	}
	return wire.Reply{Code: 451, Lines: []string{"4.4.0 " + text}}
}
