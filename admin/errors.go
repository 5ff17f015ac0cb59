package admin

import (
	"sync"
	"time"

	"dproxy/event"
)

// keptErrors is how many warnings and errors are remembered, as many as Dovecot's log process does.
const keptErrors = 1000

// Errors remembers the last warnings and errors. It is an event.Sink.
type Errors struct {
	mu   sync.Mutex
	ring []Logged
	next int
}

// Logged is a remembered line.
type Logged struct {
	At time.Time
	event.Line
}

// NewErrors remembers nothing yet.
func NewErrors() *Errors { return &Errors{} }

// Emit implements event.Sink.
func (r *Errors) Emit(e event.Event) {
	if levelOf(e) < event.Warning {
		return
	}
	l, ok := event.LineOf(e)
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	x := Logged{time.Now(), l}
	if len(r.ring) < keptErrors {
		r.ring = append(r.ring, x)
		return
	}
	r.ring[r.next] = x
	r.next = (r.next + 1) % keptErrors
}

// levelOf is the level of an event's line, without making the line; Info for those that know only one.
func levelOf(e event.Event) event.Level {
	switch e := e.(type) {
	case event.Notice:
		return e.Level
	case event.PassdbAnswered:
		return e.Level
	case event.AuthLine:
		return e.Level
	case event.BackendFailed:
		return e.Level
	case event.ProxyLine:
		return e.Level
	case event.ClientLine:
		return e.Level
	case event.SourceExhausted:
		return event.Warning
	}
	return event.Info
}

// List returns what is remembered, oldest first.
func (r *Errors) List() []Logged {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append(append([]Logged(nil), r.ring[r.next:]...), r.ring[:r.next]...)
}
