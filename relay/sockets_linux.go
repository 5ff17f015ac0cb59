package relay

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sockaddrBytes is an address as the system calls take it, in a buffer that the caller keeps.
func sockaddrBytes(b *[unix.SizeofSockaddrInet6]byte, a netip.AddrPort) int {
	binary.BigEndian.PutUint16(b[2:], a.Port())
	if a.Addr().Is4() {
		binary.NativeEndian.PutUint16(b[:], unix.AF_INET)
		ip := a.Addr().As4()
		copy(b[4:], ip[:])
		return unix.SizeofSockaddrInet4
	}
	binary.NativeEndian.PutUint16(b[:], unix.AF_INET6)
	ip := a.Addr().As16()
	copy(b[8:], ip[:])
	if n := zoneIndex(a.Addr().Zone()); n != 0 {
		binary.NativeEndian.PutUint32(b[24:], n)
	}
	return unix.SizeofSockaddrInet6
}

// sockaddrAddr is the reverse. IPv4 addresses in IPv6 form are unmapped.
func sockaddrAddr(b *[unix.SizeofSockaddrInet6]byte) netip.AddrPort {
	port := binary.BigEndian.Uint16(b[2:])
	switch binary.NativeEndian.Uint16(b[:]) {
	case unix.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), port)
	case unix.AF_INET6:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:24])).Unmap(), port)
	}
	return netip.AddrPort{}
}

// rawAccept takes a connection; the new socket does not block.
func rawAccept(fd int32) (int32, netip.AddrPort, syscall.Errno) {
	var b [unix.SizeofSockaddrInet6]byte
	for {
		size := uint32(len(b))
		n, _, e := syscall.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&b)), uintptr(unsafe.Pointer(&size)),
			unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			return -1, netip.AddrPort{}, e
		}
		return int32(n), sockaddrAddr(&b), 0
	}
}

// rawConnect begins to connect a socket that does not block.
func rawConnect(fd int32, to netip.AddrPort) syscall.Errno {
	var b [unix.SizeofSockaddrInet6]byte
	n := sockaddrBytes(&b, to)
	_, _, e := syscall.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&b)), uintptr(n))
	return e
}

func rawBind(fd int32, a netip.AddrPort) syscall.Errno {
	var b [unix.SizeofSockaddrInet6]byte
	n := sockaddrBytes(&b, a)
	_, _, e := syscall.RawSyscall(unix.SYS_BIND, uintptr(fd), uintptr(unsafe.Pointer(&b)), uintptr(n))
	return e
}

// rawLocal is the address of a socket on this side.
func rawLocal(fd int32) netip.AddrPort {
	var b [unix.SizeofSockaddrInet6]byte
	size := uint32(len(b))
	_, _, e := syscall.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&b)), uintptr(unsafe.Pointer(&size)))
	if e != 0 {
		return netip.AddrPort{}
	}
	return sockaddrAddr(&b)
}

func rawOption(fd int32, level, name int, value int32) syscall.Errno {
	_, _, e := syscall.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name), uintptr(unsafe.Pointer(&value)), 4, 0)
	return e
}

func rawShutdown(fd int32) syscall.Errno {
	_, _, e := syscall.RawSyscall(unix.SYS_SHUTDOWN, uintptr(fd), unix.SHUT_WR, 0)
	return e
}

// zoneIndex is the number of an interface, or of its name; 0 is none.
func zoneIndex(zone string) uint32 {
	if zone == "" {
		return 0
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n)
	}
	if i, err := net.InterfaceByName(zone); err == nil {
		return uint32(i.Index)
	}
	return 0
}
