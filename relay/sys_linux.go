package relay

import (
	"net"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls of an event loop never block, so they go past the scheduler's bookkeeping for those
// that may: it costs as much as a small read, and takes the CPU away from a loop in a long one.

func rawRead(fd int32, b []byte) (int, syscall.Errno) {
	for {
		n, _, e := syscall.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		if e != unix.EINTR {
			return int(n), e
		}
	}
}

// rawReceive is rawRead for a socket, for a little less.
func rawReceive(fd int32, b []byte) (int, syscall.Errno) {
	for {
		n, _, e := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
			unix.MSG_DONTWAIT, 0, 0)
		if e != unix.EINTR {
			return int(n), e
		}
	}
}

// rawSend writes without SIGPIPE.
func rawSend(fd int32, b []byte) (int, syscall.Errno) {
	for {
		n, _, e := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
			unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, 0, 0)
		if e != unix.EINTR {
			return int(n), e
		}
	}
}

func rawSplice(from, to int32, n int) (int, syscall.Errno) {
	for {
		m, _, e := syscall.RawSyscall6(unix.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(n), unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
		if e != unix.EINTR {
			return int(m), e
		}
	}
}

// freeOutput returns how much room a socket has for output, in the kernel's count; 0 if unknown.
func freeOutput(fd int32) int {
	var info [9]uint32 // linux/sock_diag.h, SK_MEMINFO_*
	size := uint32(unsafe.Sizeof(info))
	_, _, e := syscall.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	const limit, queued = 3, 5
	if e != 0 || info[limit] < info[queued] {
		return 0
	}
	return int(info[limit] - info[queued])
}

// rawPoll returns the events that are there.
func rawPoll(ep int, events []unix.EpollEvent) (int, syscall.Errno) {
	for {
		n, _, e := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(ep), uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), 0, 0, 0)
		if e != unix.EINTR {
			return int(n), e
		}
	}
}

func rawControl(ep int, op int, fd int32, ev *unix.EpollEvent) syscall.Errno {
	_, _, e := syscall.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(ep), uintptr(op), uintptr(fd), uintptr(unsafe.Pointer(ev)), 0, 0)
	return e
}

// take moves a connection out of Go's poller: the socket lives on under a new descriptor and c is
// closed. On an error c is as it was.
func take(c *net.TCPConn) (int32, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return -1, err
	}
	var fd int
	var dup error
	err = raw.Control(func(old uintptr) {
		fd, dup = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 3)
	})
	if err == nil {
		err = dup
	}
	if err != nil {
		return -1, err
	}
	return int32(fd), nil
}

// setKeepAlive sets what k asks for; a socket that refuses still works.
func setKeepAlive(fd int, k net.KeepAliveConfig) {
	if !k.Enable {
		if k.Idle >= 0 {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 0)
		}
		return
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	for _, o := range []struct {
		name  int
		value int
	}{
		{unix.TCP_KEEPIDLE, int((k.Idle + time.Second - 1) / time.Second)},
		{unix.TCP_KEEPINTVL, int((k.Interval + time.Second - 1) / time.Second)},
		{unix.TCP_KEEPCNT, k.Count},
	} {
		if o.value > 0 {
			_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, o.name, o.value)
		}
	}
}

// closeFD closes a descriptor that does not linger.
func closeFD(fd int32) { _, _, _ = syscall.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }
