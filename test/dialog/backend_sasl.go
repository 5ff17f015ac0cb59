package dialog

import (
	"errors"
	"regexp"
	"strings"
	"syscall"
)

// saslDialog is the form of a SASL exchange in one protocol, on the server's side.
type saslDialog struct {
	challenge func(b64 string) error // sends a challenge
	response  func() (string, error) // reads a response, in base64
}

// loginPrompts are the challenges of the mechanism LOGIN: Username: and Password:.
var loginPrompts = []string{"VXNlcm5hbWU6", "UGFzc3dvcmQ6"}

// sasl reads what the mechanism still needs after the command: two responses for LOGIN, one for others, one less
// when the command had an initial response that is not empty. Every response is noted.
func (c *backendConn) sasl(mechanism, initial string, d saslDialog) error {
	prompts := []string{""}
	if strings.EqualFold(mechanism, "LOGIN") {
		prompts = loginPrompts
	}
	if initial != "" && (initial != "=" || len(prompts) == 1) {
		prompts = prompts[1:]
	}
	for _, p := range prompts {
		if err := d.challenge(p); err != nil {
			return err
		}
		r, err := d.response()
		if err != nil {
			return err
		}
		c.record("  response %s", saslData(strings.ToUpper(mechanism), r))
	}
	return nil
}

// saslCommand is the notation of AUTH or AUTHENTICATE. Initial is base64; empty when the command has none.
func saslCommand(command, mechanism, initial string) string {
	if initial == "" {
		return command + " " + mechanism
	}
	return command + " " + mechanism + " ir " + saslData(strings.ToUpper(mechanism), initial)
}

// loginCommand matches the commands whose success is a login.
var loginCommand = regexp.MustCompile(`^(LOGIN|AUTH|PASS)`)

// saysLoggedIn recognises the line with which a backend accepts a login.
func saysLoggedIn(protocol, tag, text string) bool {
	switch protocol {
	case "imap":
		return tag != "" && strings.HasPrefix(text, tag+" OK")
	case "pop3":
		return strings.HasPrefix(text, "+OK")
	case "sieve":
		return strings.HasPrefix(text, "OK")
	}
	return strings.HasPrefix(text, "235")
}

// isReset says whether the peer ended the connection the hard way.
func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
