package admin

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// authorized tells whether the process at the other end may give commands: it must run as root or as this process's user.
func authorized(nc *net.UnixConn) error {
	raw, err := nc.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	var failure error
	if err := raw.Control(func(fd uintptr) { cred, failure = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return err
	}
	if failure != nil {
		return failure
	}
	if cred.Uid != 0 && int(cred.Uid) != os.Geteuid() {
		return fmt.Errorf("control socket: refused the user with id %d (process %d)", cred.Uid, cred.Pid)
	}
	return nil
}
