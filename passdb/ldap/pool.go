package ldap

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/go-ldap/ldap/v3"
)

const (
	// maxConns is how many requests a pool has under way at once; further ones wait.
	maxConns = 32
	// maxIdle is how many connections stay open without work, and idleTimeout how long.
	maxIdle     = 8
	idleTimeout = time.Minute
	// A server that failed is left alone for backoffMin, twice as long after each further failure, at most backoffMax.
	backoffMin = 200 * time.Millisecond
	backoffMax = 5 * time.Second
)

// errClosed is the answer to requests after Close.
var errClosed = errors.New("the ldap passdb is closed")

// downError says that no server answered.
type downError struct{ cause error }

func (e *downError) Error() string { return e.cause.Error() }
func (e *downError) Unwrap() error { return e.cause }

// server is what a pool knows of a target. The pool's mutex guards it.
type server struct {
	target
	index    int
	failures int
	until    time.Time // not tried before
	failedAt time.Time
	last     error
}

// pool keeps connections to the first server that answers. It has no goroutine of its own; the library runs two for
// each connection, which end with it.
type pool struct {
	dial      *dialer
	asService bool
	slots     chan struct{}

	mu      sync.Mutex
	servers []*server
	idle    []*conn // the last one used at the end
	busy    map[*conn]bool
	closed  bool
	report  func(string)
}

func newPool(d *dialer, asService bool) *pool {
	p := &pool{dial: d, asService: asService, slots: make(chan struct{}, maxConns), busy: map[*conn]bool{}, report: func(string) {}}
	for i, t := range d.targets {
		p.servers = append(p.servers, &server{target: t, index: i})
	}
	return p
}

func (p *pool) setReport(report func(string)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.report = report
}

// close ends all connections, those at work too.
func (p *pool) close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.report = func(string) {}
	for c := range p.busy {
		_ = c.net.SetDeadline(past)
	}
	p.mu.Unlock()
	for _, c := range idle {
		c.end()
	}
}

// do makes one request on a connection of its own. When the connection turns out to be dead or its server does not
// answer, the request is made again elsewhere: requests change nothing in the directory. The error is a
// *downError when no server answered.
func (p *pool) do(ctx context.Context, request func(*ldap.Conn) error) error {
	if err := ctx.Err(); err != nil {
		return &downError{err}
	}
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return &downError{fmt.Errorf("all %d connections are in use: %w", maxConns, ctx.Err())}
	}
	for tries := len(p.servers) + 1; ; tries-- {
		c, err := p.take(ctx)
		if err != nil {
			return &downError{err}
		}
		began := time.Now()
		err = c.run(ctx, p.limit(ctx, c.server), request)
		if !broken(err) {
			p.put(c)
			return err
		}
		uri := c.server.uri
		p.drop(c, err, began)
		if ctx.Err() != nil || tries <= 1 {
			return &downError{fmt.Errorf("Connection lost to LDAP server %s: %w", uri, err)}
		}
	}
}

// limit is how long one server may take: half of what is left when another one could still answer.
func (p *pool) limit(ctx context.Context, s *server) time.Duration {
	left := requestTimeout
	if d, ok := ctx.Deadline(); ok {
		// Our own limit has to pass first, so that the server and not the caller is blamed.
		left = min(left, time.Until(d)-50*time.Millisecond)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for _, other := range p.servers {
		if other != s && !now.Before(other.until) {
			return left / 2
		}
	}
	return left
}

// take returns an idle connection or makes one.
func (p *pool) take(ctx context.Context) (*conn, error) {
	c, dead, err := p.choose()
	for _, d := range dead {
		d.end()
	}
	if c != nil || err != nil {
		return c, err
	}
	for _, s := range p.servers {
		if !p.mayTry(s) {
			continue
		}
		began := time.Now()
		c, err = p.dial.dial(ctx, s.target, p.asService)
		if err == nil {
			c.server = s
			return p.enter(c)
		}
		if errors.Is(ctx.Err(), context.Canceled) {
			p.forgive(s)
			return nil, ctx.Err()
		}
		p.failed(s, began, err)
	}
	if err == nil {
		err = p.lastError()
	}
	return nil, err
}

// choose takes the idle connection to the earliest server of the list, and removes those that are over.
func (p *pool) choose() (best *conn, dead []*conn, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, errClosed
	}
	p.idle = slices.DeleteFunc(p.idle, func(c *conn) bool {
		if c.IsClosing() || time.Since(c.since) > idleTimeout {
			dead = append(dead, c)
			return true
		}
		return false
	})
	at := -1
	for i, c := range p.idle {
		if best == nil || c.server.index <= best.server.index {
			best, at = c, i
		}
	}
	if best != nil {
		p.idle = slices.Delete(p.idle, at, at+1)
		p.busy[best] = true
		best.reused = true
	}
	return best, dead, nil
}

// mayTry tells whether a server may be connected to now. One that failed before is tried by one caller at a time.
func (p *pool) mayTry(s *server) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if now.Before(s.until) {
		return false
	}
	if s.failures > 0 {
		s.until = now.Add(connectTimeout)
	}
	return true
}

// forgive lets others try a server whose connection was given up by the caller.
func (p *pool) forgive(s *server) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.until = time.Time{}
}

// failed keeps everybody away from a server for a while. Requests that began before a failure and fail with it
// count once.
func (p *pool) failed(s *server, began time.Time, err error) {
	p.mu.Lock()
	now := time.Now()
	if !began.Before(s.failedAt) {
		wait := backoffMax
		if s.failures < 5 {
			wait = min(backoffMin<<s.failures, backoffMax)
		}
		s.failures++
		s.failedAt, s.until, s.last = now, now.Add(wait), err
	}
	dead := p.cutIdle(s)
	report := p.report
	p.mu.Unlock()
	report(err.Error())
	for _, c := range dead {
		c.end()
	}
}

// cutIdle removes the idle connections to a server.
func (p *pool) cutIdle(s *server) (cut []*conn) {
	p.idle = slices.DeleteFunc(p.idle, func(c *conn) bool {
		if c.server == s {
			cut = append(cut, c)
			return true
		}
		return false
	})
	return cut
}

func (p *pool) lastError() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.servers {
		if s.last != nil {
			return s.last
		}
	}
	return errors.New("no LDAP server could be tried")
}

// enter notes a new connection.
func (p *pool) enter(c *conn) (*conn, error) {
	p.mu.Lock()
	closed := p.closed
	if !closed {
		c.server.failures, c.server.until, c.server.last = 0, time.Time{}, nil
		p.busy[c] = true
	}
	p.mu.Unlock()
	if closed {
		c.end()
		return nil, errClosed
	}
	return c, nil
}

// put takes a connection back.
func (p *pool) put(c *conn) {
	p.mu.Lock()
	delete(p.busy, c)
	keep := !p.closed && !c.spent && !c.IsClosing() && len(p.idle) < maxIdle
	if keep {
		c.since = time.Now()
		p.idle = append(p.idle, c)
	}
	p.mu.Unlock()
	if !keep {
		c.end()
	}
}

// drop ends a connection on which a request failed. A connection that lay idle may have been closed by then, like
// all others to its server; otherwise the server is blamed, unless it had no time.
func (p *pool) drop(c *conn, err error, began time.Time) {
	c.end()
	p.mu.Lock()
	delete(p.busy, c)
	var dead []*conn
	timedOut := errors.Is(err, os.ErrDeadlineExceeded)
	stale := c.reused && !timedOut && !c.spent
	if stale {
		dead = p.cutIdle(c.server)
	}
	closed := p.closed
	p.mu.Unlock()
	for _, d := range dead {
		d.end()
	}
	if stale || c.spent || closed || timedOut && time.Since(began) < time.Second {
		return
	}
	p.failed(c.server, began, fmt.Errorf("Connection lost to LDAP server %s: %w", c.server.uri, err))
}
