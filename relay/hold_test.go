package relay

import (
	"io"
	"testing"
	"time"
)

// startHeld is start with a Hold that always says d.
func startHeld(t *testing.T, e *Engine, k kind, d time.Duration) (r *rig, asked chan time.Time) {
	t.Helper()
	var p Pair
	r, asked = &rig{t: t, end: make(chan Stats, 2)}, make(chan time.Time, 2)
	p.Client, r.client = side(t, k.client, true)
	p.Backend, r.backend = side(t, k.backend, false)
	p.Hold = func() time.Duration {
		asked <- time.Now()
		return d
	}
	r.s = e.Start(p, func(st Stats) { r.end <- st })
	return r, asked
}

func TestHold(t *testing.T) {
	const d = 50 * time.Millisecond
	o := Options{drain: 200 * time.Millisecond, farewell: 200 * time.Millisecond}
	t.Run("a client hears later that its backend has gone", func(t *testing.T) {
		onKinds(t, o, func(t *testing.T, e *Engine, k kind) {
			r, asked := startHeld(t, e, k, d)
			r.say(r.backend, r.client, "* hello\r\n")
			_ = r.backend.Close()
			at := <-asked
			if got := r.rest(r.client); got != "" || time.Since(at) < d {
				t.Errorf("got %q after %s", got, time.Since(at))
			}
			_ = r.client.Close()
			if r.want(ByServer, 0, 9); len(asked) > 0 {
				t.Error("it was asked twice")
			}
		})
	})
	t.Run("a client that leaves is not held", func(t *testing.T) {
		onKinds(t, o, func(t *testing.T, e *Engine, k kind) {
			r, asked := startHeld(t, e, k, time.Hour)
			_ = r.backend.tcp.SetLinger(0)
			_ = r.backend.tcp.Close()
			<-asked
			_ = r.client.tcp.SetLinger(0)
			_ = r.client.tcp.Close()
			if st := r.ended(); st.Side != ByServer {
				t.Errorf("ended by %d", st.Side)
			}
		})
	})
	t.Run("a session that is closed from here is not held", func(t *testing.T) {
		onKinds(t, o, func(t *testing.T, e *Engine, k kind) {
			r, asked := startHeld(t, e, k, time.Hour)
			_ = r.backend.Close()
			<-asked
			r.s.Close()
			r.ended()
		})
	})
	t.Run("a client's own end is nothing to wait for", func(t *testing.T) {
		onKinds(t, o, func(t *testing.T, e *Engine, k kind) {
			r, asked := startHeld(t, e, k, time.Hour)
			_ = r.client.closeWrite()
			if _, err := io.ReadAll(r.backend); err != nil {
				t.Error(err)
			}
			_ = r.backend.Close()
			if st := r.ended(); st.Side != ByClient || len(asked) > 0 {
				t.Errorf("ended by %d, asked %d times", st.Side, len(asked))
			}
		})
	})
}
