//go:build !linux

package admin

import "net"

// authorized leaves it to the socket's mode: the system does not say who is at the other end.
func authorized(*net.UnixConn) error { return nil }
