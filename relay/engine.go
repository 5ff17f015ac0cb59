package relay

import (
	"sync"
	"sync/atomic"
	"time"
)

// Engine runs sessions.
type Engine struct {
	options Options
	epoch   time.Time

	started atomic.Uint64
	tally   tally // of sessions on goroutines
	ending  endings

	mu     sync.Mutex
	pairs  map[*pair]struct{}
	closed bool

	loops // the event loops, on systems that have them
}

// New returns an engine with the default options. Nothing runs before the first Start; Close ends
// what runs then.
func New() *Engine { return NewWith(Options{}) }

// NewWith returns an engine with options.
func NewWith(o Options) *Engine {
	e := &Engine{options: o.withDefaults(), epoch: time.Now(), pairs: map[*pair]struct{}{}}
	e.ending.none.L = &e.ending.mu
	return e
}

// Close ends every session from the proxy's side and returns when each one's onEnd has run. A
// session started afterwards is ended at once.
func (e *Engine) Close() {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	for _, s := range e.sessions() {
		s.Close()
	}
	e.closeLoops()
	e.ending.wait()
}

// sessions lists what runs.
func (e *Engine) sessions() []*Session {
	all := e.loopSessions()
	e.mu.Lock()
	defer e.mu.Unlock()
	for p := range e.pairs {
		all = append(all, &p.Session)
	}
	return all
}

// now is the time on the sessions' clock.
func (e *Engine) now() time.Duration { return time.Since(e.epoch) }

// end reports a session that is over, both its connections being closed.
func (e *Engine) end(s *Session, st Stats) {
	st.In, st.Out = s.Moved()
	st.Idle = s.Idle()
	if e.options.QuickEnds {
		e.ending.now(report{s.onEnd, st})
		return
	}
	e.ending.add(report{s.onEnd, st})
}

// endings runs the onEnd of sessions that are over, one after the other, on a goroutine that exists
// while there are any: neither an event loop nor a caller of Start waits for a log.
type endings struct {
	mu      sync.Mutex
	queue   []report
	running bool
	open    int       // sessions whose onEnd has not returned
	none    sync.Cond // open is 0
}

type report struct {
	onEnd func(Stats)
	stats Stats
}

func (d *endings) begin() {
	d.mu.Lock()
	d.open++
	d.mu.Unlock()
}

// now runs an onEnd where its session has ended.
func (d *endings) now(r report) {
	if r.onEnd != nil {
		r.onEnd(r.stats)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open--; d.open == 0 {
		d.none.Broadcast()
	}
}

func (d *endings) live() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.open
}

func (d *endings) add(r report) {
	d.mu.Lock()
	d.queue = append(d.queue, r)
	start := !d.running
	d.running = true
	d.mu.Unlock()
	if start {
		go d.run()
	}
}

func (d *endings) run() {
	for n := 0; ; {
		d.mu.Lock()
		d.open -= n
		if d.open == 0 {
			d.none.Broadcast()
		}
		batch := d.queue
		d.queue = nil
		d.running = len(batch) > 0
		d.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		for _, r := range batch {
			if r.onEnd != nil {
				r.onEnd(r.stats)
			}
		}
		n = len(batch)
	}
}

// wait returns when every session has been reported.
func (d *endings) wait() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.open > 0 {
		d.none.Wait()
	}
}
