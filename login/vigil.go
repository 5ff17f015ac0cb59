package login

import (
	"context"
	"errors"
	"sync"
	"time"

	"dproxy/fiber"
)

// errGone ends a client that closed its connection while its login was under way.
var errGone = errors.New("client has gone")

// vigil watches a client that is not read. Most logins are over before it looks for the first time.
type vigil struct {
	c      *Client
	cancel context.CancelFunc
	began  time.Time
	mu     sync.Mutex // held while it looks, so that stop waits for that
	until  time.Time  // when it gives up
	timer  fiber.Timer
	over   bool
	spoken bool
}

func (c *Client) startVigil(cancel context.CancelFunc, until time.Time) *vigil {
	v := &vigil{c: c, cancel: cancel, began: time.Now(), until: until}
	v.mu.Lock()
	d := v.pause(v.began)
	if c.runner != nil {
		v.timer = c.runner.After(d, v.look)
	} else {
		v.timer = watch(d, v.look)
	}
	v.mu.Unlock()
	return v
}

// pause is how long not to look.
func (v *vigil) pause(now time.Time) time.Duration {
	return max(0, min(v.c.server.times.look, v.until.Sub(now)))
}

// look returns after how long to look again, 0 for never.
func (v *vigil) look() time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.over {
		return 0
	}
	if v.c.left() {
		v.c.mu.Lock()
		v.c.gone = true
		v.c.mu.Unlock()
		v.cancel()
		return 0
	}
	now := time.Now()
	if !now.Before(v.until) {
		v.cancel()
		return 0
	}
	if w, ok := v.c.front.(Waiter); ok && !v.spoken && v.c.phase == authenticating && now.Sub(v.began) >= v.c.server.times.word {
		v.spoken = true
		w.Waiting()
	}
	return max(1, v.pause(now))
}

// timer is a fiber.Timer where there are no fibers.
type timer struct{ t *time.Timer }

func watch(d time.Duration, look func() time.Duration) timer {
	var t timer
	set := make(chan struct{})
	t.t = time.AfterFunc(d, func() {
		<-set
		if d := look(); d > 0 {
			t.t.Reset(d)
		}
	})
	close(set)
	return t
}

// Stop implements fiber.Timer.
func (t timer) Stop() { t.t.Stop() }

// stop ends the watch; nothing of it runs afterwards.
func (v *vigil) stop() {
	v.mu.Lock()
	v.over = true
	v.timer.Stop()
	v.mu.Unlock()
}
