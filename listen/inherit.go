package listen

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"dproxy/event"
)

// Inherit takes over listening sockets that a service manager or the process before this one has bound (the LISTEN_FDS
// convention of sd_listen_fds(3)). Prepare uses them instead of binding, whatever their names say: what counts is the
// address or path. It closes the files; a descriptor that is no listening socket is an error. The file of an inherited socket
// is its maker's: it is not removed at the end.
func (s *Set) Inherit(files []*os.File) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range files {
		l, err := net.FileListener(f)
		name := f.Name()
		_ = f.Close()
		if err != nil {
			return fmt.Errorf("inherited socket %s: %s", name, errno(err))
		}
		switch addr := l.Addr().(type) {
		case *net.TCPAddr:
			ap := addr.AddrPort()
			s.inherited[Spec{Addr: netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())}.key()] = l
		case *net.UnixAddr:
			s.inherited[addr.Name] = l
		default:
			_ = l.Close()
			return fmt.Errorf("inherited socket %s is of no kind that is listened on", name)
		}
	}
	return nil
}

// DropInherited closes inherited sockets that nothing has asked for. The caller decides when: after the first Commit.
func (s *Set) DropInherited() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for addr, l := range s.inherited {
		s.events.Emit(event.Notice{
			Level: event.Warning, Source: "master",
			Text: fmt.Sprintf("inherited socket %s is in no service of the configuration; it is closed", addr),
		})
		_ = l.Close()
		delete(s.inherited, addr)
	}
}

// Descriptors calls use with the descriptors of all open sockets. They are valid, and not closed by a reload, until it
// returns.
func (s *Set) Descriptors(use func(fds []uintptr) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var fds []uintptr
	for _, l := range s.open {
		raw, err := l.Listener.(syscall.Conn).SyscallConn() // TCP and unix listeners have one
		if err == nil {
			err = raw.Control(func(fd uintptr) { fds = append(fds, fd) })
		}
		if err != nil {
			return fmt.Errorf("listener %s: %w", l.current().key(), err)
		}
	}
	return use(fds)
}
