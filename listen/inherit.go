package listen

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"dproxy/event"
)

// Inherit takes over listening TCP sockets that a service manager or the process before this one has bound (the LISTEN_FDS
// convention of sd_listen_fds(3)). Prepare uses them instead of binding, whatever their names say: what counts is the
// address. It closes the files; a descriptor that is no listening TCP socket is an error.
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
		tcp, ok := l.(*net.TCPListener)
		if !ok {
			_ = l.Close()
			return fmt.Errorf("inherited socket %s is no TCP socket", name)
		}
		addr := tcp.Addr().(*net.TCPAddr).AddrPort()
		s.inherited[netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())] = tcp
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
		raw, err := l.SyscallConn()
		if err == nil {
			err = raw.Control(func(fd uintptr) { fds = append(fds, fd) })
		}
		if err != nil {
			return fmt.Errorf("listener %s: %w", l.current().Addr, err)
		}
	}
	return use(fds)
}
