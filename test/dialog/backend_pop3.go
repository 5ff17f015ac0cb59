package dialog

import (
	"fmt"
	"strings"
)

func servePOP3(c *backendConn) error {
	if err := c.greet(fmt.Sprintf("+OK %s ready.", c.b.name)); err != nil {
		return err
	}
	for {
		text, err := c.readLine()
		if err != nil {
			return err
		}
		if c.loggedIn {
			err = c.pop3AfterLogin(text)
		} else {
			err = c.pop3BeforeLogin(text)
		}
		if err != nil {
			return err
		}
	}
}

func (c *backendConn) pop3BeforeLogin(text string) error {
	name, args, _ := strings.Cut(text, " ")
	welcome := func() error {
		c.loggedIn = true
		return c.send("+OK Logged in.")
	}
	say := func(answer string) func() error { return func() error { return c.send(answer) } }
	switch strings.ToUpper(name) {
	case "USER":
		return c.command("USER "+quote([]byte(args)), "", say("+OK"))
	case "PASS":
		return c.command("PASS "+quote([]byte(args)), "", welcome)
	case "XCLIENT":
		return c.command(xclient(args), "", say("+OK Updated"))
	case "STLS":
		return c.command("STLS", "", func() error { return c.starttls("+OK Begin TLS negotiation now.", "-ERR not supported") })
	case "CAPA":
		caps := c.b.options.capabilities("TOP|UIDL|USER|SASL PLAIN LOGIN", "|", c.secured)
		return c.command("CAPA", "", say("+OK\r\n"+strings.ReplaceAll(caps, "|", "\r\n")+"\r\n."))
	case "AUTH":
		mechanism, initial, _ := strings.Cut(args, " ")
		return c.command(saslCommand("AUTH", mechanism, initial), "", func() error {
			err := c.sasl(mechanism, initial, saslDialog{
				challenge: func(b64 string) error { return c.send("+ " + b64) },
				response:  c.readLine,
			})
			if err != nil {
				return err
			}
			return welcome()
		})
	case "QUIT":
		return c.command("QUIT", "", c.pop3Quit)
	}
	return c.command(line([]byte(text)), "", say("-ERR unknown command"))
}

func (c *backendConn) pop3Quit() error {
	if err := c.send("+OK Logging out."); err != nil {
		return err
	}
	return errDone
}

func (c *backendConn) pop3AfterLogin(text string) error {
	name, _, _ := strings.Cut(text, " ")
	return c.command("raw "+line([]byte(text)), "", func() error {
		switch strings.ToUpper(name) {
		case "QUIT":
			return c.pop3Quit()
		case "STAT":
			return c.send("+OK 1 20")
		}
		return c.send("+OK")
	})
}
