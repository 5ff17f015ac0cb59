package login

import (
	"fmt"
	"net/netip"
	"sync"

	"dproxy/event"
)

// userIPs counts the proxied sessions of each user from each address, for mail_max_userip_connections.
type userIPs struct {
	mu sync.Mutex
	n  map[userIP]uint
}

type userIP struct {
	service, user string
	from          netip.Addr
}

// enter counts one more, unless there are limit already.
func (u *userIPs) enter(k userIP, limit uint) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.n[k] >= limit {
		return false
	}
	if u.n == nil {
		u.n = map[userIP]uint{}
	}
	u.n[k]++
	return true
}

func (u *userIPs) leave(k userIP) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.n[k]--; u.n[k] == 0 {
		delete(u.n, k)
	}
}

// claim takes a place among the sessions of the user from this address, when the settings limit them. It is
// given back by release, or with the session that it was handed over with.
func (c *Client) claim() *Refusal {
	limit := c.profile.Settings.MailMaxUserIPConnections
	if !c.profile.Settings.LoginProxyUserIPLimit || limit == 0 {
		return nil
	}
	k := userIP{c.spec.Protocol, c.user, c.peer.Remote.Addr()}
	if !c.server.userIPs.enter(k, limit) {
		text := fmt.Sprintf("Maximum number of connections from user+IP exceeded (mail_max_userip_connections=%d)", limit)
		c.Log(event.Info, "Login failed: "+text)
		return &Refusal{Cause: TooMany, Text: text}
	}
	c.claimed = &k
	return nil
}

func (s *Server) release(k *userIP) {
	if k != nil {
		s.userIPs.leave(*k)
	}
}
