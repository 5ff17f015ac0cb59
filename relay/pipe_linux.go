package relay

import "golang.org/x/sys/unix"

// pipeSize is room for the fragments of a chunk, which occupy a page each whatever they hold.
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

// splice moves one chunk from end i to the other without copying. It reports whether there may be
// more.
func (s *looped) splice(i int) (more bool) {
	l, from, to := s.loop, &s.ends[i], &s.ends[1-i]
	n, errno := rawSplice(from.fd, l.pipe.w, chunk)
	if errno != 0 || n == 0 {
		from.bulk = false
		s.readEnd(i, errno)
		return false
	}
	s.last.Store(int64(l.now))
	from.bulk = n >= chunk/2
	for left := n; left > 0; {
		m, errno := rawSplice(l.pipe.r, to.fd, left)
		if errno == 0 && m > 0 {
			s.moved(&l.tally, 1-i, m)
			left -= m
			continue
		}
		// The reader has stalled, or is gone.
		k, readErr := rawRead(l.pipe.r, l.room[:left])
		if readErr != 0 || k != left {
			l.pipe.close() // never seen; what is in it must not reach another session
			s.dead(i, &Error{Op: readOp, Errno: unix.EIO})
			return false
		}
		if errno == unix.EAGAIN || errno == 0 {
			s.moved(&l.tally, 1-i, k)
			s.hold(1-i, l.room[:k])
		} else {
			s.unwritable(1-i, errno)
		}
		return false
	}
	return from.bulk
}
