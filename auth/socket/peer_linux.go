package socket

import (
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// trusted tells whether a local client is root, the server's user or the socket's owner.
func trusted(nc net.Conn, owner int) bool {
	uc, ok := nc.(*net.UnixConn)
	if !ok {
		return false
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return false
	}
	var cred *unix.Ucred
	err2 := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err != nil || err2 != nil {
		return false
	}
	return cred.Uid == 0 || int(cred.Uid) == os.Geteuid() || int(cred.Uid) == owner
}
