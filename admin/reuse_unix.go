//go:build unix

package admin

import (
	"io"
	"log"
	"syscall"

	"golang.org/x/sys/unix"
)

// reusePort lets an old and a new process listen on one address while one takes over from the other.
func reusePort(_, _ string, c syscall.RawConn) error {
	var failure error
	if err := c.Control(func(fd uintptr) { failure = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }); err != nil {
		return err
	}
	return failure
}

// silentLog drops what net/http says of clients that break its rules.
func silentLog() *log.Logger { return log.New(io.Discard, "", 0) }
