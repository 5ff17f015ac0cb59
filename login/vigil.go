package login

import (
	"context"
	"errors"
	"sync"
	"time"
)

// errGone ends a client that closed its connection while its login was under way.
var errGone = errors.New("client has gone")

// vigil watches a client that is not read. Most logins are over before it looks for the first time.
type vigil struct {
	c      *Client
	cancel context.CancelFunc
	began  time.Time
	mu     sync.Mutex // held while it looks, so that stop waits for that
	timer  *time.Timer
	over   bool
	spoken bool
}

func (c *Client) startVigil(cancel context.CancelFunc) *vigil {
	v := &vigil{c: c, cancel: cancel, began: time.Now()}
	v.mu.Lock()
	v.timer = time.AfterFunc(c.server.times.look, v.look)
	v.mu.Unlock()
	return v
}

func (v *vigil) look() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.over {
		return
	}
	if v.c.left() {
		v.c.mu.Lock()
		v.c.gone = true
		v.c.mu.Unlock()
		v.cancel()
		return
	}
	if w, ok := v.c.front.(Waiter); ok && !v.spoken && v.c.phase == authenticating && time.Since(v.began) >= v.c.server.times.word {
		v.spoken = true
		w.Waiting()
	}
	v.timer.Reset(v.c.server.times.look)
}

// stop ends the watch; nothing of it runs afterwards.
func (v *vigil) stop() {
	v.mu.Lock()
	v.over = true
	v.timer.Stop()
	v.mu.Unlock()
}
