package relay

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// pipeSize is the most that is spliced at once. Every fragment in a pipe occupies a page of it,
// whatever it holds.
const pipeSize = 1 << 20

// pipe is a loop's way through the kernel for bulk data. It is empty between two calls: what a
// reader does not take is moved into the session's own buffer.
type pipe struct {
	r, w   int32
	opened bool
	broken bool // there are no descriptors; bulk data is copied
}

func (p *pipe) ready() bool {
	if !p.opened && !p.broken {
		var fds [2]int
		if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
			p.broken = true
			return false
		}
		// Refused when the user's pages for pipes are used up; the size it has works too.
		_, _ = unix.FcntlInt(uintptr(fds[1]), unix.F_SETPIPE_SZ, pipeSize)
		p.r, p.w, p.opened = int32(fds[0]), int32(fds[1]), true
	}
	return p.opened
}

func (p *pipe) close() {
	if p.opened {
		closeFD(p.r)
		closeFD(p.w)
	}
	*p = pipe{}
}

// splice moves up to size bytes from end i to the other without copying. It reports whether there
// may be more.
func (s *looped) splice(i, size int) (n int, more bool) {
	l, from, to := s.loop, &s.ends[i], &s.ends[1-i]
	n, errno := rawSplice(from.fd, l.pipe.w, size)
	if errno != 0 || n == 0 {
		from.bulk = false
		s.readEnd(i, errno)
		return 0, false
	}
	s.last.Store(int64(l.now))
	from.bulk = n >= chunk
	for left := n; left > 0; {
		m, errno := rawSplice(l.pipe.r, to.fd, left)
		if errno != 0 || m == 0 {
			s.unpipe(1-i, left, errno)
			return n, false
		}
		s.moved(&l.tally, 1-i, m)
		left -= m
	}
	return n, n == size
}

// unpipe empties the pipe of what end i did not take, because it has stalled or is gone.
func (s *looped) unpipe(i, left int, errno syscall.Errno) {
	l, e := s.loop, &s.ends[i]
	e.tight = e.tight || left > chunk
	for left > 0 {
		n, readErr := rawRead(l.pipe.r, l.room[:min(left, chunk)])
		if readErr != 0 || n <= 0 {
			l.pipe.close() // never seen; what is in it must not reach another session
			s.dead(1-i, &Error{Op: readOp, Errno: unix.EIO})
			return
		}
		left -= n
		if errno == 0 || errno == unix.EAGAIN {
			s.moved(&l.tally, i, n)
			s.hold(i, l.room[:n])
		}
	}
	if errno != 0 && errno != unix.EAGAIN {
		s.unwritable(i, errno)
	}
}
