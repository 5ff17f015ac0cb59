package backend_test

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// listenWithoutQueue listens with the shortest queue there is.
func listenWithoutQueue(t *testing.T) (func(), netip.AddrPort) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	port := sa.(*unix.SockaddrInet4).Port
	return func() { _ = unix.Close(fd) }, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port))
}

// fullListener returns an address whose listen queue is full, so that connects to it hang, and what frees
// it.
func fullListener(t *testing.T) (netip.AddrPort, func()) {
	t.Helper()
	fd, addr := listenWithoutQueue(t)
	var conns []net.Conn
	for { // until one hangs
		nc, err := net.DialTimeout("tcp", addr.String(), 100*time.Millisecond)
		if err != nil {
			break
		}
		conns = append(conns, nc)
	}
	return addr, func() {
		for _, nc := range conns {
			_ = nc.Close()
		}
		fd()
	}
}
