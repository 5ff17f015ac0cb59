package login

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"dproxy/auth"
	"dproxy/event"
	"dproxy/session"
)

const closedText = "Connection closed"

// end closes a connection that was not handed over, with a goodbye and a line.
func (c *Client) end(err error) {
	var s silent
	if errors.As(err, &s) {
		c.close()
		return
	}
	e := c.ending(err)
	client := c.event()
	text := "Disconnected: " + e.Log + " " + c.detail()
	c.farewell(e)
	if s, ok := c.front.(Standalone); ok {
		client.Line, text = nil, s.Ended(e)
	}
	c.close()
	c.server.Events.Emit(event.Disconnected{Client: client, Text: text, Reason: e.Label})
}

// farewell tells the client what it may know.
func (c *Client) farewell(e *End) {
	if e.Label == "closed" {
		return
	}
	_ = c.tcp.SetDeadline(time.Now().Add(c.server.times.bye))
	if c.front != nil && e.Bye.Text != "" && c.tls != tlsHandshaking {
		c.front.Bye(e.Bye)
	}
	// Within a handshake nothing in clear text may come between.
	if (c.tls == tlsHandshaking || c.Flush() == nil) && e.Linger {
		c.linger()
	}
}

// ending gives an error its words.
func (c *Client) ending(err error) *End {
	var e *End
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, errEnding) || c.isEnding():
		return c.asked()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return c.timedOut()
	case errors.Is(err, errGone), isClosed(err):
		return &End{Log: closedText, Label: "closed"}
	case systemText(err) != "":
		// Dovecot names the room in its buffer.
		return &End{Log: fmt.Sprintf("%s: read(size=%d) failed: %s", closedText, MaxInput, systemText(err)), Label: "closed"}
	case c.snap.ctx.Err() != nil:
		return &End{Bye: Bye{ByeShutdown, "Shutting down"}, Log: "Shutting down", Label: "shutdown"}
	}
	return &End{Log: closedText + ": " + event.Clean(err.Error(), 200), Label: "closed"}
}

// asked is the end that somebody here wanted.
func (c *Client) asked() *End {
	c.mu.Lock()
	why := c.why
	c.mu.Unlock()
	switch why {
	case session.QueueFull:
		return &End{Bye: Bye{ByeResource, "Connection queue full"}, Log: "Connection queue full", Label: "queue_full"}
	case session.Kicked:
		return &End{Bye: Bye{ByeShutdown, "Kicked by admin"}, Log: "Kicked by admin", Label: "kicked"}
	}
	return &End{Bye: Bye{ByeShutdown, "Shutting down"}, Log: "Shutting down", Label: "shutdown"}
}

func (c *Client) timedOut() *End {
	e := &End{Bye: Bye{ByeTimeout, "Disconnected for inactivity."}, Log: "Inactivity", Label: "timeout"}
	switch {
	case c.phase == finishing:
		e.Bye.Text, e.Log = "Timeout while finishing login.", "Logging in timed out"
	case c.phase == authenticating || c.waiting:
		e.Bye.Text, e.Log = "Disconnected for inactivity during authentication.", "Inactivity during authentication"
	}
	return e
}

// isClosed tells an ordinary end of the connection.
func isClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.EPIPE)
}

// systemText is the system's text of an error, in Dovecot's form; "" when it is none.
func systemText(err error) string {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return ""
	}
	text := errno.Error()
	return strings.ToUpper(text[:1]) + text[1:]
}

// detail is what a line about a connection that was not handed over adds in parentheses: how far it
// had come (Dovecot 2.3).
func (c *Client) detail() string {
	since := func(t time.Time) int { return int(time.Since(t) / time.Second) }
	if c.snap.authErr != nil {
		return fmt.Sprintf("(disconnected before auth was ready, waited %d secs)", since(c.began))
	}
	needsCert := c.snap.auth != nil && c.profile.Settings.AuthSSLRequireClientCert
	if needsCert && c.tls == tlsOn && !c.peer.CertValid {
		if c.badCert {
			return "(client sent an invalid cert)"
		}
		return "(client didn't send a cert)"
	}
	if c.attempts == 0 {
		return fmt.Sprintf("(no auth attempts in %d secs)", since(c.began))
	}
	if needsCert && c.tls != tlsOn {
		return "(cert required, client didn't start TLS)"
	}
	first := since(c.firstAuth)
	if c.attempts == 1 {
		switch {
		case c.waiting:
			return fmt.Sprintf("(client didn't finish SASL auth, waited %d secs)", first)
		case c.phase == authenticating:
			return fmt.Sprintf("(disconnected while authenticating, waited %d secs)", first)
		case c.phase == finishing:
			return fmt.Sprintf("(disconnected while finishing login, waited %d secs)", first)
		case c.aborted:
			return "(aborted authentication)"
		}
	}
	if c.atBackend {
		return "(proxy dest auth failed)"
	}
	if c.successes > 0 {
		return fmt.Sprintf("(internal failure, %d successful auths)", c.successes)
	}
	return c.failDetail(first)
}

func (c *Client) failDetail(first int) string {
	switch c.lastFail {
	case auth.CodeAuthzFail:
		return fmt.Sprintf("(authorization failed, %d attempts in %d secs)", c.attempts, first)
	case auth.CodeTempFail:
		return "(auth service reported temporary failure)"
	case auth.CodeUserDisabled:
		return "(user disabled)"
	case auth.CodePassExpired:
		return "(password expired)"
	case auth.CodeInvalidBase64:
		return "(sent invalid base64 in response)"
	case auth.CodeMechInvalid:
		return "(tried to use unsupported auth mechanism)"
	case auth.CodeMechSSLRequired:
		return "(tried to use disallowed plaintext auth)"
	}
	return fmt.Sprintf("(auth failed, %d attempts in %d secs)", c.attempts, first)
}
