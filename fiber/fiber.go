// Package fiber is how code learns that it runs on an event loop. A login is written as a dialogue that
// waits for its peers; on an event loop it is a coroutine, and whatever it waits for must not hold up the
// loop. Waiting for a connection of the loop gives way by itself. Everything else that may take its time
// (a lookup, a pause, a slow hash) asks for a goroutine first. It imports none of our rooms.
package fiber

import (
	"context"
	"time"
)

// Runner is the coroutine that code runs on.
type Runner interface {
	// Detach moves the coroutine to a goroutine of its own until it next waits for a connection.
	Detach()
	// Heavy tells whether the work after each wait is much, as a TLS handshake's is: then it is not
	// done on the loop but on one of a few goroutines. It takes effect with the next wait, or with
	// Detach.
	Heavy(on bool)
	// After runs f on a goroutine after about d, give or take a tenth of a second, and again after what f
	// returns, until that is 0. It is cheaper than a timer that is nearly always stopped before its time.
	After(d time.Duration, f func() time.Duration) Timer
}

// Timer is what After returns. It belongs to the coroutine that made it.
type Timer interface {
	// Stop sees to it that f is not run if it has not begun.
	Stop()
}

type key struct{}

// carrier is a context with a Runner and a deadline.
type carrier struct {
	context.Context
	r     Runner
	until time.Time
}

// Deadline implements context.Context.
func (c *carrier) Deadline() (time.Time, bool) {
	if t, ok := c.Context.Deadline(); ok && t.Before(c.until) {
		return t, true
	}
	return c.until, true
}

// Err implements context.Context.
func (c *carrier) Err() error {
	err := c.Context.Err()
	if err == context.Canceled && !time.Now().Before(c.until) {
		return context.DeadlineExceeded
	}
	return err
}

// Value implements context.Context.
func (c *carrier) Value(k any) any {
	if k == (key{}) {
		return c.r
	}
	return c.Context.Value(k)
}

// With returns a context for what runs on r, and only there. It tells of a deadline; that the context is
// canceled then is up to the caller.
func With(ctx context.Context, r Runner, until time.Time) context.Context {
	return &carrier{ctx, r, until}
}

// From returns the Runner of a context, nil when nothing has to give way.
func From(ctx context.Context) Runner {
	r, _ := ctx.Value(key{}).(Runner)
	return r
}

// Blocking is called before anything that may wait for something else than a connection of the loop.
func Blocking(ctx context.Context) {
	if r := From(ctx); r != nil {
		r.Detach()
	}
}
