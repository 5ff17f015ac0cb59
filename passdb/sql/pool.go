package sql

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"dproxy/passdb/sql/query"
)

const (
	// connectTimeout bounds one attempt to connect and log in (Dovecot 2.3: 5 s).
	connectTimeout = 5 * time.Second
	// queryTimeout bounds one query. Dovecot waits 60 s; a login has lost its client by then.
	queryTimeout = 10 * time.Second
	// fairTime is how long a server must have had for a query before its silence counts against it.
	fairTime = 2 * time.Second
	// A host that cannot be reached is left alone for firstDelay, then twice as long each time.
	// Dovecot goes up to half an hour, which a recovered database must not be made to wait.
	firstDelay = 200 * time.Millisecond
	lastDelay  = 5 * time.Second
	// idleLimit is how long a connection may wait unused: firewalls forget older ones.
	idleLimit = 5 * time.Minute
	// stallLimit: when every connection has been busy for so long, lookups do not queue up.
	stallLimit = 3 * time.Second
	// maxRows is how many rows of a result are read and thrown away before the connection is.
	maxRows = 1000
	// queueFactor times the number of connections is how many lookups may wait for one.
	queueFactor = 64
)

// answer is the first row of a result.
type answer struct {
	columns []string // shared; not to be changed
	values  []string
	null    []bool
	rows    int // 0, 1, or 2 for more than one
}

func (a *answer) reset() {
	a.columns, a.values, a.null, a.rows = nil, a.values[:0], a.null[:0], 0
}

func (a *answer) add(value string, null bool) {
	a.values, a.null = append(a.values, value), append(a.null, null)
}

// conn is a connection to a database server, for one goroutine at a time. Its queries are not
// ended when the context is: a client that goes away must not cost the proxy a connection.
type conn interface {
	dialect() query.Dialect
	// deadline is when queries fail with errTimeout.
	deadline(t time.Time)
	// query runs a query whose text is fixed; it stays prepared. An error that wraps errBroken means
	// that the connection is of no more use.
	query(ctx context.Context, p *query.Plan, args []string, a *answer) error
	// queryOnce runs a query whose text does not come back.
	queryOnce(ctx context.Context, text string, args []string, a *answer) error
	close()
}

// pool holds the connections to the hosts of one database.
type pool struct {
	open func(ctx context.Context, host int) (conn, error)

	mu       sync.Mutex
	hosts    []host
	turn     int // where the next search for a connection starts
	waiters  []*waiter
	progress time.Time // when a connection was last handed out or came back
	trash    []conn    // to be closed outside the lock
	dials    map[*dial]struct{}
	closed   bool
	running  sync.WaitGroup // dials
}

type host struct {
	name    string
	limit   int       // connections
	idle    []*pooled // the last one was used most recently
	opened  int       // connections, idle ones too
	dialing int
	delay   time.Duration
	retry   time.Time // not before
	err     error     // why it could not be reached or did not answer, nil once it could be reached
}

// pooled is a connection with its place.
type pooled struct {
	conn
	host int
	used time.Time
}

type dial struct{ cancel context.CancelFunc }

type waiter struct{ ch chan grant }

type grant struct {
	c   *pooled
	err error
}

func newPool(names []string, limit int, open func(context.Context, int) (conn, error)) *pool {
	p := &pool{open: open, hosts: make([]host, len(names)), dials: map[*dial]struct{}{}}
	for i, n := range names {
		p.hosts[i].name, p.hosts[i].limit = n, limit
	}
	return p
}

// get takes a connection, waiting for a free one if need be.
func (p *pool) get(ctx context.Context) (*pooled, error) {
	now := time.Now()
	c, w, err := p.begin(ctx, now)
	if w == nil {
		return c, err
	}
	select {
	case g := <-w.ch:
		return g.c, g.err
	case <-ctx.Done():
	}
	if !p.forget(w) {
		if g := <-w.ch; g.c != nil {
			p.put(g.c)
		}
	}
	return nil, fmt.Errorf("Query timed out (no free connections for %d secs)", int(time.Since(now).Seconds()))
}

// begin returns a free connection, or a place in the queue, or an error.
func (p *pool) begin(ctx context.Context, now time.Time) (*pooled, *waiter, error) {
	p.mu.Lock()
	defer p.unlock()
	if p.closed {
		return nil, nil, errClosed
	}
	if c := p.takeIdle(ctx, now); c != nil {
		p.progress = now
		return c, nil, nil
	}
	p.grow(ctx, now)
	if err := p.refuse(now); err != nil {
		return nil, nil, err
	}
	w := &waiter{ch: make(chan grant, 1)}
	p.waiters = append(p.waiters, w)
	return nil, w, nil
}

// unlock closes what has become useless: that may take a while.
func (p *pool) unlock() {
	trash := p.trash
	p.trash = nil
	p.mu.Unlock()
	for _, c := range trash {
		c.close()
	}
}

func (p *pool) forget(w *waiter) bool {
	p.mu.Lock()
	defer p.unlock()
	for i, x := range p.waiters {
		if x == w {
			p.waiters = append(p.waiters[:i], p.waiters[i+1:]...)
			return true
		}
	}
	return false
}

// takeIdle takes a free connection, from each host in turn. A host without a connection gets one in
// the background, so that all hosts share the work.
func (p *pool) takeIdle(ctx context.Context, now time.Time) *pooled {
	for range p.hosts {
		h := &p.hosts[p.turn]
		n := p.turn
		p.turn = (p.turn + 1) % len(p.hosts)
		for len(h.idle) > 0 {
			last := len(h.idle) - 1
			c := h.idle[last]
			h.idle[last] = nil
			h.idle = h.idle[:last]
			if now.Sub(c.used) < idleLimit {
				return c
			}
			h.opened--
			p.trash = append(p.trash, c.conn)
		}
		if h.opened+h.dialing == 0 && len(p.hosts) > 1 && !now.Before(h.retry) && p.connected() {
			p.dial(ctx, n, 0)
		}
	}
	return nil
}

func (p *pool) connected() bool {
	for i := range p.hosts {
		if p.hosts[i].opened > 0 {
			return true
		}
	}
	return false
}

// grow starts to connect to the host with the fewest connections, if that can help anybody. When
// there is no connection at all and a host may be tried in a moment, lookups wait for that moment.
func (p *pool) grow(ctx context.Context, now time.Time) {
	best, soonest, opened, dialing := -1, -1, 0, 0
	for i := range p.hosts {
		n := (p.turn + i) % len(p.hosts)
		h := &p.hosts[n]
		opened += h.opened
		dialing += h.dialing
		if soonest < 0 || h.retry.Before(p.hosts[soonest].retry) {
			soonest = n
		}
		if h.opened+h.dialing >= h.limit || now.Before(h.retry) {
			continue
		}
		if best < 0 || h.opened+h.dialing < p.hosts[best].opened+p.hosts[best].dialing {
			best = n
		}
	}
	switch {
	case best >= 0 && dialing <= len(p.waiters):
		p.dial(ctx, best, 0)
	case best < 0 && opened+dialing == 0:
		if wait := p.hosts[soonest].retry.Sub(now); wait <= firstDelay {
			p.dial(ctx, soonest, wait)
		}
	}
}

// refuse tells why a lookup need not wait for a connection.
func (p *pool) refuse(now time.Time) error {
	opened, dialing, failing, capacity := 0, 0, true, 0
	for i := range p.hosts {
		capacity += p.hosts[i].limit
		opened += p.hosts[i].opened
		dialing += p.hosts[i].dialing
		failing = failing && p.hosts[i].err != nil
	}
	switch {
	case opened+dialing == 0:
		return p.unreachable()
	case opened == 0 && failing && len(p.waiters) >= capacity:
		return fmt.Errorf("Not connected to database: %d lookups wait for a connection already", len(p.waiters))
	case opened > 0 && len(p.waiters) >= capacity && now.Sub(p.progress) > stallLimit:
		return fmt.Errorf("Not connected to database: no query has been answered for %d secs", int(now.Sub(p.progress).Seconds()))
	case len(p.waiters) >= capacity*queueFactor:
		return fmt.Errorf("Not connected to database: %d lookups wait for a connection already", len(p.waiters))
	}
	return nil
}

// unreachable is the error when no host can be reached: the reason of each.
func (p *pool) unreachable() error {
	var all []error
	for i := range p.hosts {
		if h := &p.hosts[i]; h.err != nil {
			all = append(all, h.err)
		}
	}
	switch len(all) {
	case 0:
		return errors.New("Not connected to database")
	case 1:
		return fmt.Errorf("Not connected to database: %w", all[0])
	}
	text := "Not connected to database"
	for i, err := range all {
		sep := "; "
		if i == 0 {
			sep = ": "
		}
		text += sep + err.Error()
	}
	return errors.New(text)
}

// dial connects to a host after a wait, in a goroutine that the pool owns. It outlives the lookup
// that began it: others may be waiting.
func (p *pool) dial(ctx context.Context, n int, wait time.Duration) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), wait+connectTimeout)
	d := &dial{cancel}
	p.dials[d] = struct{}{}
	p.hosts[n].dialing++
	p.running.Go(func() {
		defer cancel()
		if wait > 0 {
			t := time.NewTimer(wait)
			defer t.Stop()
			select {
			case <-t.C:
			case <-ctx.Done(): // the pool is closed
			}
		}
		c, err := p.connect(ctx, n)
		p.dialed(ctx, d, n, grant{&pooled{conn: c, host: n}, err})
	})
}

// connect opens a connection to a host.
func (p *pool) connect(ctx context.Context, n int) (c conn, err error) {
	defer caught(&err)
	return p.open(ctx, n)
}

func (p *pool) dialed(ctx context.Context, d *dial, n int, g grant) {
	p.mu.Lock()
	defer p.unlock()
	delete(p.dials, d)
	h := &p.hosts[n]
	h.dialing--
	now := time.Now()
	switch {
	case g.err == nil && p.closed:
		p.trash = append(p.trash, g.c.conn)
	case g.err == nil:
		h.delay, h.retry, h.err = 0, time.Time{}, nil
		h.opened++
		p.offer(g.c, now)
	default:
		h.err = g.err
		h.delay = min(max(2*h.delay, firstDelay), lastDelay)
		// Not all processes come back at the same moment.
		h.retry = now.Add(h.delay - time.Duration(rand.Int64N(int64(h.delay/5))))
	}
	p.feed(ctx, now)
}

// feed gets connections for those who wait, or tells them that there are none to be had.
func (p *pool) feed(ctx context.Context, now time.Time) {
	if len(p.waiters) == 0 || p.closed {
		return
	}
	p.grow(ctx, now)
	for i := range p.hosts {
		if h := &p.hosts[i]; h.opened+h.dialing > 0 {
			return
		}
	}
	err := p.unreachable()
	for _, w := range p.waiters {
		w.ch <- grant{err: err}
	}
	p.waiters = nil
}

// offer hands a free connection to whoever waits longest.
func (p *pool) offer(c *pooled, now time.Time) {
	c.used, p.progress = now, now
	if len(p.waiters) > 0 {
		w := p.waiters[0]
		p.waiters[0] = nil
		p.waiters = p.waiters[1:]
		w.ch <- grant{c: c}
		return
	}
	h := &p.hosts[c.host]
	h.idle = append(h.idle, c)
}

// put gives a connection back after a query that left it usable.
func (p *pool) put(c *pooled) {
	p.mu.Lock()
	defer p.unlock()
	if p.closed {
		p.hosts[c.host].opened--
		p.trash = append(p.trash, c.conn)
		return
	}
	p.offer(c, time.Now())
}

// discard gives a connection back that is of no more use.
func (p *pool) discard(ctx context.Context, c *pooled) {
	p.mu.Lock()
	defer p.unlock()
	p.hosts[c.host].opened--
	p.trash = append(p.trash, c.conn)
	p.feed(ctx, time.Now())
}

// drop gives a connection back that err broke, and closes the idle ones of its host: whatever broke
// one, a restart of the server most of the time, broke them all.
func (p *pool) drop(ctx context.Context, c *pooled, err error) {
	p.mu.Lock()
	defer p.unlock()
	h := &p.hosts[c.host]
	if errors.Is(err, errTimeout) {
		h.err = err
	}
	for _, x := range append(h.idle, c) {
		h.opened--
		p.trash = append(p.trash, x.conn)
	}
	h.idle = nil
	p.feed(ctx, time.Now())
}

// close ends the pool. Connections in use are closed when they come back.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	for d := range p.dials {
		d.cancel()
	}
	for i := range p.hosts {
		h := &p.hosts[i]
		for _, c := range h.idle {
			h.opened--
			p.trash = append(p.trash, c.conn)
		}
		h.idle = nil
	}
	for _, w := range p.waiters {
		w.ch <- grant{err: errClosed}
	}
	p.waiters = nil
	p.unlock()
	p.running.Wait()
}
