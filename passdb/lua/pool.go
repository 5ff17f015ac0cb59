package lua

import (
	"context"
	"fmt"
	"sync"

	"dproxy/passdb"
)

// pool is the interpreters of one script. Each answers one question at a time.
type pool struct {
	start func() (*state, error)
	slots chan struct{} // one for each that is in use

	mu     sync.Mutex
	free   []*state
	closed bool
}

func newPool(size int, start func() (*state, error)) *pool {
	return &pool{start: start, slots: make(chan struct{}, size)}
}

// get finds a free interpreter, or starts one, or waits for one.
func (p *pool) get(ctx context.Context) (*state, error) {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("all %d interpreters of the script are busy: %w", cap(p.slots), ctx.Err())
	}
	p.mu.Lock()
	if n := len(p.free); n > 0 {
		s := p.free[n-1]
		p.free = p.free[:n-1]
		p.mu.Unlock()
		return s, nil
	}
	p.mu.Unlock()
	s, err := p.start()
	if err != nil {
		<-p.slots
		return nil, err
	}
	return s, nil
}

// put gives an interpreter back. One that is not sound is not used again.
func (p *pool) put(s *state, sound bool) {
	p.mu.Lock()
	keep := sound && !p.closed
	if keep {
		p.free = append(p.free, s)
	}
	p.mu.Unlock()
	if !keep {
		s.end(sound)
	}
	<-p.slots
}

// close ends the interpreters that are free now, and the others when they are given back.
func (p *pool) close() {
	p.mu.Lock()
	free := p.free
	p.free, p.closed = nil, true
	p.mu.Unlock()
	for _, s := range free {
		s.end(true)
	}
}

// maxLines bounds how many lines are kept until the log is there.
const maxLines = 100

// lines are what a script writes to the log outside of a question. Those from before there is a log are kept.
type lines struct {
	mu      sync.Mutex
	log     func(passdb.Level, string)
	waiting []line
}

type line struct {
	level passdb.Level
	text  string
}

func (l *lines) write(level passdb.Level, text string) {
	l.mu.Lock()
	log := l.log
	if log == nil && len(l.waiting) < maxLines {
		l.waiting = append(l.waiting, line{level, text})
	}
	l.mu.Unlock()
	if log != nil {
		log(level, text)
	}
}

func (l *lines) set(log func(passdb.Level, string)) {
	l.mu.Lock()
	l.log = log
	waiting := l.waiting
	l.waiting = nil
	l.mu.Unlock()
	for _, x := range waiting {
		log(x.level, x.text)
	}
}
