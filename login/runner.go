package login

import (
	"net"

	"dproxy/fiber"
)

// looped is a connection that an event loop serves, see the fiber room.
type looped interface {
	// Runner returns what runs the connection's login.
	Runner() fiber.Runner
	// Share lets another goroutine write to the connection until it is called with false.
	Share(on bool)
}

func runnerOf(nc net.Conn) fiber.Runner {
	if l, ok := nc.(looped); ok {
		return l.Runner()
	}
	return nil
}

// share lends the connection to the vigil.
func (c *Client) share(on bool) {
	if l, ok := c.tcp.(looped); ok {
		l.Share(on)
	}
}

// heavy tells that a handshake comes or is over.
func (c *Client) heavy(on bool) {
	if c.runner != nil {
		c.runner.Heavy(on)
	}
}
