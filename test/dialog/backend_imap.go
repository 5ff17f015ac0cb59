package dialog

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const (
	imapCaps     = "IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE LITERAL+ AUTH=PLAIN AUTH=LOGIN"
	imapPostCaps = "IMAP4rev1 SASL-IR ID ENABLE IDLE LITERAL+ SORT UIDPLUS MOVE"
)

func serveIMAP(c *backendConn) error {
	if err := c.greet(fmt.Sprintf("* OK [CAPABILITY %s] %s ready.", c.imapCaps(), c.b.name)); err != nil {
		return err
	}
	for {
		tokens, err := c.imapCommand()
		if err != nil {
			return err
		}
		if c.loggedIn {
			err = c.imapAfterLogin(tokens)
		} else {
			err = c.imapBeforeLogin(tokens)
		}
		if err != nil {
			return err
		}
	}
}

func (c *backendConn) imapCaps() string { return c.b.options.capabilities(imapCaps, " ", c.secured) }

// literalEnd is the announcement of a literal at the end of a line (RFC 9051 section 4.3).
var literalEnd = regexp.MustCompile(`\{(\d+)(\+?)\}$`)

// imapCommand reads a command with its literals into tokens. After login every line and literal is noted too.
func (c *backendConn) imapCommand() ([]imapToken, error) {
	var tokens []imapToken
	for {
		text, err := c.readLine()
		if err != nil {
			return nil, err
		}
		if c.loggedIn {
			c.record("raw %s", line([]byte(text)))
		}
		m := literalEnd.FindStringSubmatch(text)
		if m == nil {
			return append(tokens, imapTokens(text)...), nil
		}
		tokens = append(tokens, imapTokens(strings.TrimSuffix(text, m[0]))...)
		literal, err := c.imapLiteral(m[1], m[2] == "")
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, imapToken{text: literal, isString: true})
	}
}

func (c *backendConn) imapLiteral(size string, synchronising bool) (string, error) {
	n, err := strconv.Atoi(size)
	if err != nil {
		return "", err
	}
	if synchronising {
		if err := c.send("+ OK"); err != nil {
			return "", err
		}
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(c.r, data); err != nil {
		return "", err
	}
	if c.loggedIn {
		c.record("raw <literal %d> %s", n, quote(data))
	}
	return string(data), nil
}

// imapToken is an atom, a parenthesis, or (isString) a quoted string or literal.
type imapToken struct {
	text     string
	isString bool
}

// imapTokens splits a line without literals.
func imapTokens(text string) []imapToken {
	var out []imapToken
	for text = strings.TrimLeft(text, " "); text != ""; text = strings.TrimLeft(text, " ") {
		switch {
		case text[0] == '(' || text[0] == ')':
			out = append(out, imapToken{text: text[:1]})
			text = text[1:]
		case text[0] == '"':
			value, rest := imapQuoted(text[1:])
			out = append(out, imapToken{text: value, isString: true})
			text = rest
		default:
			end := strings.IndexAny(text, " ()")
			if end < 0 {
				end = len(text)
			}
			out = append(out, imapToken{text: text[:end]})
			text = text[end:]
		}
	}
	return out
}

// imapQuoted reads a quoted string behind its opening quote.
func imapQuoted(text string) (value, rest string) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '"':
			return b.String(), text[i+1:]
		case text[i] == '\\' && i+1 < len(text):
			i++
		}
		b.WriteByte(text[i])
	}
	return b.String(), ""
}

func (c *backendConn) imapBeforeLogin(tokens []imapToken) error {
	if len(tokens) < 2 {
		c.record("<no IMAP command: %v>", tokens)
		return c.send("* BAD no command")
	}
	tag, name, args := tokens[0].text, strings.ToUpper(tokens[1].text), tokens[2:]
	done := func() error { return c.send(tag + " OK " + name + " completed.") }
	switch {
	case name == "ID":
		return c.command("ID "+imapID(args), tag, func() error { return c.send(`* ID ("name" "backend")`, tag+" OK ID completed.") })
	case name == "CAPABILITY":
		return c.command(name, tag, func() error { return c.send("* CAPABILITY "+c.imapCaps(), tag+" OK Capability completed.") })
	case name == "STARTTLS":
		return c.command(name, tag, func() error { return c.starttls(tag+" OK Begin TLS negotiation now.", tag+" BAD not supported") })
	case name == "LOGIN" && len(args) == 2:
		notation := fmt.Sprintf("LOGIN user=%s pass=%s", quote([]byte(args[0].text)), quote([]byte(args[1].text)))
		return c.command(notation, tag, func() error { return c.imapWelcome(tag) })
	case name == "AUTHENTICATE" && len(args) > 0:
		return c.imapAuthenticate(tag, args)
	case name == "LOGOUT":
		return c.command(name, tag, func() error { return c.imapLogout(tag) })
	}
	var words []string
	for _, t := range tokens[1:] {
		words = append(words, line([]byte(t.text)))
	}
	return c.command(strings.Join(words, " "), tag, done)
}

// starttls answers STARTTLS or STLS: with TLS where the backend knows it, otherwise by refusing.
func (c *backendConn) starttls(yes, no string) error {
	if c.b.options.tls != "starttls" || c.secured {
		return c.send(no)
	}
	if err := c.send(yes); err != nil {
		return err
	}
	return c.startTLS()
}

// imapID gives the parameters of ID in order of their names.
func imapID(args []imapToken) string {
	var pairs []string
	for i := 1; i+2 < len(args); i += 2 { // the first and the last are parentheses
		name, value := args[i].text, quote([]byte(args[i+1].text))
		if !args[i+1].isString {
			value = args[i+1].text // NIL
		}
		if name == "x-session-id" {
			value = `"<session>"`
		}
		pairs = append(pairs, name+"="+value)
	}
	slices.Sort(pairs)
	return strings.Join(pairs, " ")
}

func (c *backendConn) imapAuthenticate(tag string, args []imapToken) error {
	mechanism, initial := args[0].text, ""
	if len(args) > 1 {
		initial = args[1].text
	}
	return c.command(saslCommand("AUTHENTICATE", mechanism, initial), tag, func() error {
		err := c.sasl(mechanism, initial, saslDialog{
			challenge: func(b64 string) error { return c.send("+ " + b64) },
			response:  c.readLine,
		})
		if err != nil {
			return err
		}
		return c.imapWelcome(tag)
	})
}

func (c *backendConn) imapWelcome(tag string) error {
	c.loggedIn = true
	caps := imapPostCaps
	if p := c.b.options.postCaps; p != "" {
		caps = p
	}
	if caps == "-" {
		return c.send(tag + " OK Logged in")
	}
	return c.send(fmt.Sprintf("%s OK [CAPABILITY %s] Logged in", tag, caps))
}

func (c *backendConn) imapLogout(tag string) error {
	if err := c.send("* BYE Logging out", tag+" OK Logout completed."); err != nil {
		return err
	}
	return errDone
}

// imapMessage is the answer to FETCH. It holds bytes that no text protocol would let through.
const imapMessage = "* 1 FETCH (BODY[] {14}\r\nbin\x00\x01\xff\r\nend\r\n\r\n)"

func (c *backendConn) imapAfterLogin(tokens []imapToken) error {
	if len(tokens) < 2 {
		return c.send("* BAD no command")
	}
	tag, name := tokens[0].text, strings.ToUpper(tokens[1].text)
	return c.byRule("raw "+tag+" "+name, tag, func() error {
		switch name {
		case "LOGOUT":
			return c.imapLogout(tag)
		case "SELECT":
			return c.send(`* FLAGS (\Seen)`, "* 1 EXISTS", tag+" OK [READ-WRITE] Select completed.")
		case "IDLE":
			return c.imapIdle(tag)
		case "FETCH":
			return c.send(imapMessage, tag+" OK Fetch completed.")
		}
		return c.send(tag + " OK " + name + " completed.")
	})
}

func (c *backendConn) imapIdle(tag string) error {
	if err := c.send("+ idling"); err != nil {
		return err
	}
	text, err := c.readLine()
	if err != nil {
		return err
	}
	c.record("raw %s", line([]byte(text)))
	return c.send(tag + " OK Idle completed.")
}
