package login

import (
	"os"
	"strconv"

	"dproxy/conf"
)

// Terms returns what the connection's settings say, shared by all connections with the same.
func (c *Client) Terms() *Terms { return &c.profile.Terms }

// Secured tells whether passwords are safe: TLS, a trusted network, or the same host.
func (c *Client) Secured() bool { return c.secured }

// TLS tells whether TLS is active.
func (c *Client) TLS() bool { return c.tls == tlsOn }

// Derived returns what the front derives from the terms. It is made once for all connections with the
// same settings, by the first that asks.
func (c *Client) Derived(derive func(*Terms) any) any {
	p := c.profile
	p.derive.Do(func() { p.derived = derive(&p.Terms) })
	return p.derived
}

// Greeting is login_greeting with its variables replaced.
func (c *Client) Greeting() string {
	if text, ok := c.profile.greeting.Literal(); ok {
		return text
	}
	// An unknown variable leaves a word in its place, as in Dovecot.
	text, _ := c.profile.greeting.Expand(c.greetingVar)
	return plain(text)
}

// greetingVar answers the variables that a greeting may have.
func (c *Client) greetingVar(name string) (string, bool) {
	switch name {
	case "lip", "local_ip":
		return ipText(c.peer.Local), true
	case "rip", "remote_ip":
		return ipText(c.peer.Remote), true
	case "pid":
		return strconv.Itoa(os.Getpid()), true
	case "service", "protocol":
		return c.spec.Protocol, true
	case "local_name":
		return c.peer.LocalName, true
	}
	return "", false
}

// LiteralGreeting is the greeting of every connection with these terms, unless it has variables.
func (t *Terms) LiteralGreeting() (string, bool) {
	g, err := conf.ParseTemplate(t.Settings.LoginGreeting, conf.LoginLetters)
	if err != nil {
		return "", false
	}
	return g.Literal()
}
