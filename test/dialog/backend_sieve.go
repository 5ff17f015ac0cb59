package dialog

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

func serveSieve(c *backendConn) error {
	if err := c.greet(c.sieveCaps(c.b.name + " ready.")); err != nil {
		return err
	}
	for {
		words, raw, err := c.sieveCommand()
		if err != nil {
			return err
		}
		if len(words) == 0 {
			continue
		}
		if c.loggedIn {
			err = c.sieveAfterLogin(words, raw)
		} else {
			err = c.sieveBeforeLogin(words, raw)
		}
		if err != nil {
			return err
		}
	}
}

// sieveCaps is the list of capabilities with the OK behind it (RFC 5804 section 1.7).
func (c *backendConn) sieveCaps(ok string) string {
	usual := `"IMPLEMENTATION" "backend"|"SIEVE" "fileinto"|"SASL" "PLAIN"|"VERSION" "1.0"`
	caps := c.b.options.capabilities(usual, "|", c.secured)
	return strings.ReplaceAll(caps, "|", "\r\n") + "\r\nOK " + quote([]byte(ok))
}

// sieveCommand reads a command: its words without quotes, and its text with literals written as quoted strings.
func (c *backendConn) sieveCommand() (words []string, raw string, err error) {
	for {
		text, err := c.readLine()
		if err != nil {
			return nil, "", err
		}
		m := literalEnd.FindStringSubmatch(text)
		head := text
		if m != nil {
			head = strings.TrimSuffix(text, m[0])
		}
		for _, t := range imapTokens(head) {
			words = append(words, t.text)
		}
		raw += line([]byte(head))
		if m == nil {
			return words, raw, nil
		}
		n, err := strconv.Atoi(m[1])
		if err != nil {
			return nil, "", err
		}
		data := make([]byte, n)
		if _, err := io.ReadFull(c.r, data); err != nil {
			return nil, "", err
		}
		words = append(words, string(data))
		raw += quote(data)
	}
}

func (c *backendConn) sieveBeforeLogin(words []string, raw string) error {
	name := strings.ToUpper(words[0])
	say := func(answer string) func() error { return func() error { return c.send(answer) } }
	switch {
	case name == "AUTHENTICATE" && len(words) > 1:
		return c.sieveAuthenticate(words)
	case name == "CAPABILITY":
		return c.command(name, "", func() error { return c.send(c.sieveCaps("Capability completed.")) })
	case name == "STARTTLS":
		return c.command(name, "", func() error {
			was := c.secured
			if err := c.starttls(`OK "Begin TLS negotiation now."`, `NO "not supported"`); err != nil || was == c.secured {
				return err
			}
			return c.send(c.sieveCaps("TLS negotiation successful."))
		})
	case name == "XCLIENT":
		return c.command(xclient(strings.Join(words[1:], " ")), "", say(`OK "Updated"`))
	case name == "LOGOUT":
		return c.command(name, "", c.sieveLogout)
	}
	return c.command(raw, "", say(fmt.Sprintf(`OK "%s completed."`, name)))
}

func (c *backendConn) sieveAuthenticate(words []string) error {
	mechanism, initial := words[1], ""
	if len(words) > 2 {
		initial = words[2]
	}
	return c.command(saslCommand("AUTHENTICATE", mechanism, initial), "", func() error {
		err := c.sasl(mechanism, initial, saslDialog{
			challenge: func(b64 string) error { return c.send(quote([]byte(b64))) },
			response: func() (string, error) {
				words, _, err := c.sieveCommand()
				return strings.Join(words, " "), err
			},
		})
		if err != nil {
			return err
		}
		c.loggedIn = true
		return c.send(`OK "Logged in."`)
	})
}

func (c *backendConn) sieveLogout() error {
	if err := c.send(`OK "Logout completed."`); err != nil {
		return err
	}
	return errDone
}

func (c *backendConn) sieveAfterLogin(words []string, raw string) error {
	name := strings.ToUpper(words[0])
	return c.command("raw "+raw, "", func() error {
		switch name {
		case "LOGOUT":
			return c.sieveLogout()
		case "LISTSCRIPTS":
			return c.send(`"main" ACTIVE`, `OK "Listscripts completed."`)
		}
		return c.send(fmt.Sprintf(`OK "%s completed."`, name))
	})
}
