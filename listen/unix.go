package listen

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"dproxy/conf"
)

// authService is the service whose sockets speak Dovecot's authentication protocols.
const authService = "auth"

// Unix is a listener in the file system.
type Unix struct {
	Path     string
	Mode     uint32
	UID, GID int // owner of the socket
	// Optional: the listener is built in. That it cannot be made is a warning.
	Optional bool

	made os.FileInfo // the socket as it was bound, to remove that one only
}

// maxPath is the longest path that fits a socket address of Linux.
const maxPath = 107

// probeLimit bounds the look whether an existing socket is served by somebody.
const probeLimit = time.Second

// AuthSpecs lists the sockets of service auth that serves accepts; TCP listeners have no path.
func AuthSpecs(c *conf.Config, serves func(path string) bool) ([]Spec, error) {
	var out []Spec
	for _, s := range c.Services() {
		if s.Name != authService {
			continue
		}
		for _, l := range s.Inet {
			if l.Port == 0 || !serves("") {
				continue
			}
			addrs, err := inetAddresses(l, c.Settings(conf.Filter{}).Listen)
			if err != nil {
				return nil, err
			}
			for _, a := range addrs {
				out = append(out, Spec{Addr: a, Protocol: authService, Name: l.Name, ReusePort: l.ReusePort})
			}
		}
		for _, l := range s.Unix {
			if l.Mode == 0 || !serves(l.Path) {
				continue
			}
			u, err := newUnix(l)
			if err != nil {
				return nil, err
			}
			out = append(out, Spec{Protocol: authService, Name: l.Path, Unix: u})
		}
	}
	return out, nil
}

// newUnix resolves the names of a unix_listener. A built-in one belongs to whoever runs the server
// when its usual owner does not exist.
func newUnix(l conf.UnixListener) (*Unix, error) {
	u := &Unix{Path: l.Path, Mode: l.Mode, UID: os.Geteuid(), GID: os.Getegid(), Optional: l.Line == 0}
	if u.Optional && os.Geteuid() != 0 {
		return u, nil // only root gives files away
	}
	if l.User != "" {
		id, err := userID(l.User)
		if err == nil {
			u.UID = id
		} else if !u.Optional {
			return nil, &conf.Error{Position: l.Position, Text: fmt.Sprintf("unix_listener %s: user = %s: User doesn't exist", l.Path, l.User)}
		}
	}
	if l.Group != "" {
		id, err := groupID(l.Group)
		if err == nil {
			u.GID = id
		} else if !u.Optional {
			return nil, &conf.Error{Position: l.Position, Text: fmt.Sprintf("unix_listener %s: group = %s: Group doesn't exist", l.Path, l.Group)}
		}
	}
	return u, nil
}

func userID(name string) (int, error) {
	u, err := user.Lookup(name)
	if err == nil {
		return strconv.Atoi(u.Uid)
	}
	if n, err := strconv.ParseUint(name, 10, 31); err == nil {
		return int(n), nil
	}
	return -1, err
}

func groupID(name string) (int, error) {
	g, err := user.LookupGroup(name)
	if err == nil {
		return strconv.Atoi(g.Gid)
	}
	if n, err := strconv.ParseUint(name, 10, 31); err == nil {
		return int(n), nil
	}
	return -1, err
}

// listen binds the socket. It is not connectable before its owner and mode are set. A socket that
// nobody serves any more is replaced, one that somebody serves is left alone.
func (u *Unix) listen() (net.Listener, error) {
	if len(u.Path) > maxPath {
		return nil, fmt.Errorf("bind(%s) failed: the path is longer than %d bytes; choose a shorter one or a shorter base_dir", u.Path, maxPath)
	}
	if err := u.clear(); err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, fmt.Errorf("socket() failed: %s", errno(err))
	}
	unix.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), u.Path)
	defer f.Close() // the listener has a descriptor of its own
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: u.Path}); err != nil {
		return nil, fmt.Errorf("bind(%s) failed: %s", u.Path, errno(err))
	}
	u.made, err = os.Lstat(u.Path)
	if err == nil {
		err = u.permit()
	}
	var l net.Listener
	if err == nil {
		if err = unix.Listen(fd, unix.SOMAXCONN); err == nil {
			l, err = net.FileListener(f)
		}
	}
	if err != nil {
		u.remove()
		return nil, err
	}
	return l, nil
}

// clear removes what a process that has ended left at the path.
func (u *Unix) clear() error {
	st, err := os.Lstat(u.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("lstat(%s) failed: %s", u.Path, errno(err))
	case st.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("bind(%s) failed: there is a file that is no socket; remove it or choose another path", u.Path)
	}
	nc, err := net.DialTimeout("unix", u.Path, probeLimit)
	if err == nil {
		_ = nc.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("bind(%s) failed: Address already in use (another process serves this socket; stop it or choose another path)", u.Path)
	}
	if err := os.Remove(u.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("unlink(%s) failed: %s", u.Path, errno(err))
	}
	return nil
}

// permit sets owner and mode.
func (u *Unix) permit() error {
	if err := os.Chown(u.Path, u.UID, u.GID); err != nil {
		return fmt.Errorf("chown(%s, %d, %d) failed: %s", u.Path, u.UID, u.GID, errno(err))
	}
	if err := os.Chmod(u.Path, fs.FileMode(u.Mode&0o777)); err != nil {
		return fmt.Errorf("chmod(%s) failed: %s", u.Path, errno(err))
	}
	return nil
}

// remove deletes the socket from the file system, unless something else has taken its place.
func (u *Unix) remove() {
	if now, err := os.Lstat(u.Path); err == nil && u.made != nil && os.SameFile(now, u.made) {
		_ = os.Remove(u.Path)
	}
}

// change gives a socket that stays open the settings of a new configuration.
func (l *listener) change(spec Spec) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.spec.Unix
	if spec.Unix != nil && old != nil {
		spec.Unix.made = old.made
	}
	l.spec = spec
	if u := spec.Unix; u != nil && (u.Mode != old.Mode || u.UID != old.UID || u.GID != old.GID) {
		return u.permit()
	}
	return nil
}
