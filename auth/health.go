package auth

import (
	"sync"
	"time"
)

const (
	// silence is how long a database may leave questions unanswered before it counts as down.
	silence = time.Second
	// patience is how long a login with an expired record waits for a database that is down.
	patience = 100 * time.Millisecond
)

// health knows whether a passdb's database answers.
type health struct {
	mu      sync.Mutex
	waiting int       // questions without an answer yet
	since   time.Time // of the last answer, or of the first question waiting
	failing bool      // the last answer was a failure
}

func (h *health) asked() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiting++; h.waiting == 1 {
		h.since = time.Now()
	}
}

func (h *health) answered(ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waiting--
	h.failing = !ok
	h.since = time.Now()
}

func (h *health) down() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.failing || h.waiting > 0 && time.Since(h.since) > silence
}
