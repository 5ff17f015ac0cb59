package login

import (
	"golang.org/x/sys/unix"
)

// The TCP states of a connection that the client has closed (include/net/tcp_states.h).
const (
	tcpClose     = 7
	tcpCloseWait = 8
)

// left tells whether the client has closed or lost its connection. One that has only ended its
// sending, with commands that wait to be read, may still want the answers.
func (c *Client) left() bool {
	raw, err := c.tcp.SyscallConn()
	if err != nil {
		return true
	}
	gone := false
	err = raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return
		}
		switch info.State {
		case tcpClose:
			gone = true
		case tcpCloseWait:
			// Within TLS the closing alert itself waits to be read.
			unread, err := unix.IoctlGetInt(int(fd), unix.TIOCINQ)
			gone = c.tls == tlsOn || err == nil && unread == 0 && c.R.Buffered() == 0
		}
	})
	return gone || err != nil
}
