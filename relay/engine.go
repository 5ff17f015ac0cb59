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

	active   atomic.Int64
	started  atomic.Uint64
	in, out  atomic.Uint64
	finished callbacks

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
	return &Engine{options: o.withDefaults(), epoch: time.Now(), pairs: map[*pair]struct{}{}}
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
	e.finished.wait()
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
	e.active.Add(-1)
	e.finished.add(report{s.onEnd, st})
}

// callbacks runs the onEnd of sessions that are over, one after the other, on a goroutine that
// exists while there are any: neither an event loop nor a caller of Start waits for a log.
type callbacks struct {
	mu      sync.Mutex
	queue   []report
	running bool
	idle    *sync.Cond
}

type report struct {
	onEnd func(Stats)
	stats Stats
}

func (d *callbacks) add(r report) {
	d.mu.Lock()
	d.queue = append(d.queue, r)
	start := !d.running
	d.running = true
	d.mu.Unlock()
	if start {
		go d.run()
	}
}

func (d *callbacks) run() {
	for {
		d.mu.Lock()
		batch := d.queue
		d.queue = nil
		if len(batch) == 0 {
			d.running = false
			if d.idle != nil {
				d.idle.Broadcast()
			}
			d.mu.Unlock()
			return
		}
		d.mu.Unlock()
		for _, r := range batch {
			if r.onEnd != nil {
				r.onEnd(r.stats)
			}
		}
	}
}

// wait returns when every callback added so far has run.
func (d *callbacks) wait() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.idle == nil {
		d.idle = sync.NewCond(&d.mu)
	}
	for d.running {
		d.idle.Wait()
	}
}
