package httpclient

import (
	"fmt"
	"sync"
	"time"
)

const (
	// firstPause is how long a server is left alone after its first fault; each further one doubles it up to lastPause.
	// With a request's own time this keeps the way back to service under five seconds.
	firstPause = 200 * time.Millisecond
	lastPause  = time.Second
)

// health is what became of the latest requests to a server.
type health struct {
	mu      sync.Mutex
	fault   error // nil while the server answers
	pause   time.Duration
	until   time.Time
	probing bool // one request is finding out whether it is back
}

// ask tells whether a request may be made now.
func (h *health) ask() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fault == nil {
		return nil
	}
	if h.probing || time.Now().Before(h.until) {
		return fmt.Errorf("the server did not answer before: %w", h.fault)
	}
	h.probing = true
	return nil
}

// answered ends what ask began.
func (h *health) answered(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.probing = false
	if err == nil {
		h.fault, h.pause = nil, 0
		return
	}
	h.fault = err
	h.pause = min(max(2*h.pause, firstPause), lastPause)
	h.until = time.Now().Add(h.pause)
}

// givenUp ends what ask began without a word about the server.
func (h *health) givenUp() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.probing = false
}

// down tells whether the next request would be refused or a try.
func (h *health) down() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.fault != nil
}

// Down tells whether the server gave no answer the last time.
func (s *Server) Down() bool { return s.health.down() }
