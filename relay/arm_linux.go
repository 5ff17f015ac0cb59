package relay

import (
	"time"

	"golang.org/x/sys/unix"
)

// arm registers what a coroutine that has given way waits for. It returns false when there is nothing
// to wait for: the coroutine is to go on at once. inline tells that the caller is the loop's goroutine.
func (l *loop) arm(f *coroutine, inline bool) bool {
	c, dir := f.conn, f.dir
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over || c.hup && dir == input || c.readyLocked(dir, l.engine.now()) != nil || !l.want(c, c.wanted()|[2]uint32{readable, unix.EPOLLOUT}[dir], inline) {
		return false
	}
	c.wait[dir] = f
	l.time(c, inline)
	return true
}

// wanted are the events that somebody waits for.
func (c *Conn) wanted() (mask uint32) {
	if c.wait[input] != nil {
		mask |= readable
	}
	if c.wait[output] != nil {
		mask |= unix.EPOLLOUT
	}
	return mask
}

// want makes the loop watch c for some events, if it does not. l.mu is held.
func (l *loop) want(c *Conn, mask uint32, inline bool) bool {
	if c.watching && c.mask == mask {
		return true
	}
	op := unix.EPOLL_CTL_MOD
	if !c.watching {
		op = unix.EPOLL_CTL_ADD
	}
	if c.slot < 0 {
		c.slot = l.slotFor()
		l.slots[c.slot] = slot{c: c}
	}
	ev := unix.EpollEvent{Events: mask, Fd: c.slot}
	if rawControl(l.epfd, op, c.fd, &ev) != 0 {
		c.until[input], c.until[output] = 1, 1 // the system has no memory for it
		return false
	}
	c.watching, c.mask = true, mask
	if op == unix.EPOLL_CTL_MOD {
		l.lookAgain(inline)
	}
	return true
}

// lookAgain has the loop ask for events once more. Changing a mask is not always told to Go's poller: a
// socket that is on the system's list of ready ones already is not announced anew. l.mu is held.
func (l *loop) lookAgain(inline bool) {
	if inline {
		l.again = true
	} else {
		l.wakeLocked()
	}
}

// time puts c into the wheel for its deadlines, unless it will be looked at early enough. l.mu is held.
func (l *loop) time(c *Conn, inline bool) {
	due := c.due()
	if due == 0 || c.timing && c.look <= due {
		return
	}
	c.timing, c.look = true, due
	if inline {
		l.conns.add(c, l.now, due)
		return
	}
	l.timing = append(l.timing, c)
	l.wakeLocked()
}

// due is the first deadline of what is waited for; 0 is never. loop.mu is held.
func (c *Conn) due() (due time.Duration) {
	for dir, f := range c.wait {
		if t := c.until[dir]; f != nil && t != 0 && (due == 0 || t < due) {
			due = t
		}
	}
	return due
}

// expire implements expirer: the wheel looks at c, which may not be due yet, or over.
func (c *Conn) expire() {
	l := c.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	c.timing = false
	if !c.closed {
		l.recheck(c)
		l.time(c, true)
	}
}

// recheck resumes who waits for c beyond a deadline. l.mu is held.
func (l *loop) recheck(c *Conn) {
	now := l.engine.now()
	for dir, f := range c.wait {
		if f == nil {
			continue
		}
		if c.readyLocked(dir, now) != nil {
			c.wait[dir] = nil
			l.resumed = append(l.resumed, f)
			l.wakeLocked()
		}
	}
	l.time(c, false)
}

// fire takes the coroutine that waits for an event of c. Events that nobody waits for are not watched for
// any longer: they would be told for ever. l.mu is held.
func (l *loop) fire(c *Conn, events uint32) (f *coroutine) {
	const broken = unix.EPOLLHUP | unix.EPOLLERR
	if events&(unix.EPOLLRDHUP|broken) != 0 {
		c.hup, l.again = true, true
	}
	for dir, mask := range [2]uint32{readable | broken, unix.EPOLLOUT | broken} {
		if events&mask != 0 && c.wait[dir] != nil {
			f, c.wait[dir] = c.wait[dir], nil
			return f
		}
	}
	if mask := c.wanted(); mask != 0 && events&broken == 0 && events&mask == 0 {
		l.want(c, mask, true)
		return nil
	}
	rawControl(l.epfd, unix.EPOLL_CTL_DEL, c.fd, &unix.EpollEvent{})
	c.watching, c.mask = false, 0
	return nil
}

// expel ends what c is waited for. l.mu is held.
func (l *loop) expel(c *Conn) {
	c.until = [2]time.Duration{1, 1}
	l.recheck(c)
}
