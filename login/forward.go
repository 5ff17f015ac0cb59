package login

import (
	"encoding/base64"
	"net/netip"
	"strconv"
	"strings"

	"dproxy/passdb"
	"dproxy/wire"
)

const (
	maxSessionID = 64 // bytes of a session id from a peer; a longer one is ignored (Dovecot 2.3)
	maxForward   = 64 // fields that a peer may forward
)

// Trusted tells whether the peer is in login_trusted_networks and may state whose connection it
// carries. It is judged by the address the connection came from (or a PROXY header named), once.
func (c *Client) Trusted() bool { return c.trusted }

// Forward takes one attribute of XCLIENT from a trusted peer: ADDR, PORT, DESTADDR, DESTPORT,
// SESSION, TTL or FORWARD. It reports false for a value that is none; unknown names are ignored.
func (c *Client) Forward(name, value string) bool {
	c.elementsOK = false
	switch strings.ToUpper(name) {
	case "ADDR":
		return forwardAddr(&c.peer.Remote, value)
	case "PORT":
		return forwardPort(&c.peer.Remote, value)
	case "DESTADDR":
		return forwardAddr(&c.peer.Local, value)
	case "DESTPORT":
		return forwardPort(&c.peer.Local, value)
	case "SESSION":
		if len(value) <= maxSessionID && isWord(value) {
			c.peer.Session = value
		}
	case "TTL":
		n, err := strconv.ParseUint(value, 10, 31)
		if err != nil {
			return false
		}
		c.ttl = int(n)
	case "FORWARD":
		list, err := base64.StdEncoding.DecodeString(value)
		if err != nil {
			return false
		}
		for item := range strings.SplitSeq(string(list), "\t") {
			key, val, _ := strings.Cut(item, "=")
			c.ForwardField(wire.TabUnescape(key), wire.TabUnescape(val))
		}
	}
	return true
}

// ForwardField takes a field for the passdbs and the next hop from a trusted peer. What could not be
// handed on as it is is dropped.
func (c *Client) ForwardField(name, value string) {
	if name == "" || !isWord(name) || wire.HasControl(value) {
		return
	}
	for i := range c.peer.Forward {
		if strings.EqualFold(c.peer.Forward[i].Name, name) {
			c.peer.Forward[i].Value = value
			return
		}
	}
	if len(c.peer.Forward) < maxForward {
		c.peer.Forward = append(c.peer.Forward, passdb.Field{Name: name, Value: value})
	}
}

// SetClientID keeps the client's own IMAP ID list for passdbs and the backend.
func (c *Client) SetClientID(list string) { c.peer.ClientID = list }

func forwardAddr(to *netip.AddrPort, value string) bool {
	a, err := netip.ParseAddr(value)
	if err != nil || a.Zone() != "" {
		return false
	}
	*to = netip.AddrPortFrom(a.Unmap(), to.Port())
	return true
}

func forwardPort(to *netip.AddrPort, value string) bool {
	n, err := strconv.ParseUint(value, 10, 16)
	if err != nil || n == 0 {
		return false
	}
	*to = netip.AddrPortFrom(to.Addr(), uint16(n))
	return true
}

// isWord tells whether s has nothing but printable ASCII without blanks and quotes, so that it can
// stand in any protocol's line.
func isWord(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == '"' || s[i] == '\\' {
			return false
		}
	}
	return s != ""
}
