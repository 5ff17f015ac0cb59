package backend

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// bindWithoutPort makes bind() choose the address only: the port is chosen at connect(), so that one
// source address serves 28,000 connections per destination instead of in all.
func bindWithoutPort(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	})
	if err != nil {
		return err
	}
	return failed
}
