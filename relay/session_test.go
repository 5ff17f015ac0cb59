package relay

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// say writes a line from one peer and checks that the other gets it.
func (r *rig) say(from, to *peer, line string) {
	r.t.Helper()
	if _, err := io.WriteString(from, line); err != nil {
		r.t.Fatalf("sending %q: %v", line, err)
	}
	got := make([]byte, len(line))
	if _, err := io.ReadFull(to, got); err != nil || string(got) != line {
		r.t.Fatalf("received %q, %v; want %q", got, err, line)
	}
}

// rest reads a peer's input to its end.
func (r *rig) rest(p *peer) string {
	r.t.Helper()
	b, err := io.ReadAll(p)
	if err != nil {
		r.t.Fatalf("after %q: %v", b, err)
	}
	return string(b)
}

// want checks how a session ended.
func (r *rig) want(side Side, in, out int) Stats {
	r.t.Helper()
	st := r.ended()
	if st.Side != side || st.In != uint64(in) || st.Out != uint64(out) {
		r.t.Errorf("ended by %d with %d bytes in and %d out, want %d, %d, %d", st.Side, st.In, st.Out, side, in, out)
	}
	return st
}

// onKinds runs f for every pairing on every engine.
func onKinds(t *testing.T, o Options, f func(t *testing.T, e *Engine, k kind)) {
	onEngines(t, o, func(t *testing.T, e *Engine) {
		for _, k := range kinds {
			t.Run(k.String(), func(t *testing.T) { f(t, e, k) })
		}
	})
}

func TestEngine(t *testing.T) {
	t.Run("event loops drive every kind of session", func(t *testing.T) {
		if !haveLoops {
			t.Skip("no event loops on this system")
		}
		onKinds(t, Options{}, func(t *testing.T, e *Engine, k kind) {
			r := start(t, e, k, [2]string{})
			_, goroutines := r.s.runner.(*pair)
			if goroutines != e.options.Goroutines {
				t.Errorf("the session runs on %T", r.s.runner)
			}
			r.s.Close()
			r.ended()
		})
	})
	t.Run("a TLS connection that cannot be exchanged runs on goroutines", func(t *testing.T) {
		e := New()
		defer e.Close()
		a, b := tcpPair(t)
		near, far := side(t, 0, false)
		ours, theirs := tls.Server(a, configs().server), tls.Client(b, configs().client)
		go theirs.Handshake()
		if err := ours.Handshake(); err != nil {
			t.Fatal(err)
		}
		r := &rig{t: t, client: &peer{theirs, b}, backend: far, end: make(chan Stats, 1)}
		r.s = e.Start(Pair{Client: ours, Backend: near}, func(st Stats) { r.end <- st })
		r.say(r.client, r.backend, "a NOOP\r\n")
		r.say(r.backend, r.client, "a OK\r\n")
		r.client.Close()
		r.rest(r.backend)
		r.backend.Close()
		r.want(ByClient, 8, 6)
	})
	t.Run("counters tell what has moved", func(t *testing.T) {
		onEngines(t, Options{}, func(t *testing.T, e *Engine) {
			r := start(t, e, kind{}, [2]string{"* OK\r\n", ""})
			r.say(r.client, r.backend, "a NOOP\r\n")
			io.WriteString(r.backend, "* OK\r\n")
			got := make([]byte, 12)
			if _, err := io.ReadFull(r.client, got); err != nil || string(got) != "* OK\r\n* OK\r\n" {
				t.Errorf("the client got %q, %v", got, err)
			}
			r.s.Close()
			r.ended()
			if in, out := r.s.Moved(); in != 8 || out != 12 {
				t.Errorf("moved %d in and %d out, want 8 and 12", in, out)
			}
			e.Close()
			want := Counters{Started: 1, In: 8, Out: 12}
			counters := e.Counters()
			counters.Wakeups = 0
			if counters != want {
				t.Errorf("counters are %+v, want %+v", counters, want)
			}
		})
	})
}

func TestEndOfStream(t *testing.T) {
	t.Run("a client that logs out and half-closes gets the answer", func(t *testing.T) {
		onKinds(t, Options{}, func(t *testing.T, e *Engine, k kind) {
			r := start(t, e, k, [2]string{})
			io.WriteString(r.client, "a LOGOUT\r\n")
			r.client.closeWrite()
			if got := r.rest(r.backend); got != "a LOGOUT\r\n" {
				t.Errorf("the backend got %q", got)
			}
			io.WriteString(r.backend, "* BYE\r\na OK\r\n")
			r.backend.Close()
			if got := r.rest(r.client); got != "* BYE\r\na OK\r\n" {
				t.Errorf("the client got %q", got)
			}
			r.client.Close()
			if st := r.want(ByClient, 10, 13); st.Err != nil {
				t.Error(st.Err)
			}
		})
	})
	t.Run("a backend that says goodbye and closes is heard", func(t *testing.T) {
		onKinds(t, Options{}, func(t *testing.T, e *Engine, k kind) {
			r := start(t, e, k, [2]string{})
			io.WriteString(r.backend, "* BYE\r\n")
			r.backend.Close()
			if got := r.rest(r.client); got != "* BYE\r\n" {
				t.Errorf("the client got %q", got)
			}
			r.client.Close()
			if st := r.want(ByServer, 0, 7); st.Err != nil {
				t.Error(st.Err)
			}
		})
	})
	t.Run("a client that ignores the backend's end is closed after the farewell", func(t *testing.T) {
		onKinds(t, Options{farewell: 40 * time.Millisecond}, func(t *testing.T, e *Engine, k kind) {
			r := start(t, e, k, [2]string{})
			r.backend.closeWrite()
			r.want(ByServer, 0, 0)
			r.rest(r.client)
		})
	})
	t.Run("a backend that ignores the client's end is closed after the drain", func(t *testing.T) {
		onKinds(t, Options{drain: 40 * time.Millisecond}, func(t *testing.T, e *Engine, k kind) {
			r := start(t, e, k, [2]string{})
			r.client.closeWrite()
			r.want(ByClient, 0, 0)
			r.rest(r.backend)
		})
	})
	t.Run("a session that is idle for its limit ends", func(t *testing.T) {
		onKinds(t, Options{IdleLimit: 40 * time.Millisecond, drain: 40 * time.Millisecond}, func(t *testing.T, e *Engine, k kind) {
			r := start(t, e, k, [2]string{})
			if st := r.want(ByProxy, 0, 0); st.Err != ErrIdle || st.Idle < 40*time.Millisecond {
				t.Errorf("ended with %v after %v", st.Err, st.Idle)
			}
		})
	})
}

func TestReset(t *testing.T) {
	for _, c := range []struct {
		name string
		side Side
	}{{"client", ByClient}, {"backend", ByServer}} {
		t.Run("a "+c.name+" that resets ends the session with Dovecot's words", func(t *testing.T) {
			onKinds(t, Options{}, func(t *testing.T, e *Engine, k kind) {
				r := start(t, e, k, [2]string{})
				r.say(r.backend, r.client, "* OK\r\n")
				gone, other := r.client, r.backend
				if c.side == ByServer {
					gone, other = other, gone
				}
				gone.tcp.SetLinger(0)
				gone.tcp.Close()
				r.rest(other)
				st := r.want(c.side, 0, 6)
				if !errors.Is(st.Err, syscall.ECONNRESET) || !strings.HasSuffix(st.Err.Error(), ") failed: Connection reset by peer") {
					t.Errorf("ended with %q", st.Err)
				}
			})
		})
	}
	t.Run("what was read before a reset is delivered", func(t *testing.T) {
		onKinds(t, Options{}, func(t *testing.T, e *Engine, k kind) {
			r := start(t, e, k, [2]string{})
			r.say(r.backend, r.client, "* BYE\r\n")
			r.backend.tcp.SetLinger(0)
			r.backend.tcp.Close()
			r.rest(r.client)
			r.ended()
		})
	})
}

func TestClose(t *testing.T) {
	t.Run("both peers see an end of stream", func(t *testing.T) {
		onKinds(t, Options{}, func(t *testing.T, e *Engine, k kind) {
			r := start(t, e, k, [2]string{})
			r.say(r.client, r.backend, "a NOOP\r\n")
			r.s.Close()
			r.s.Close()
			r.rest(r.client)
			r.rest(r.backend)
			if st := r.want(ByProxy, 8, 0); st.Err != nil {
				t.Error(st.Err)
			}
			r.s.Close()
			e.Drain(t.Context(), 0)
			if len(r.end) > 0 {
				t.Error("onEnd ran twice")
			}
		})
	})
	t.Run("an engine that is closed ends its sessions and those that come later", func(t *testing.T) {
		onKinds(t, Options{}, func(t *testing.T, _ *Engine, k kind) {
			e := NewWith(Options{Goroutines: strings.Contains(t.Name(), "goroutines")})
			var all []*rig
			for range 5 {
				r := start(t, e, k, [2]string{})
				all = append(all, r)
			}
			e.Close()
			for _, r := range all {
				if len(r.end) != 1 {
					t.Fatal("Close returned before onEnd had run")
				}
				r.want(ByProxy, 0, 0)
			}
			r := start(t, e, k, [2]string{})
			r.want(ByProxy, 0, 0)
			r.rest(r.client)
			e.Close()
		})
	})
	t.Run("sessions that start while the engine is closed end too", func(t *testing.T) {
		for _, k := range engines {
			e := NewWith(k.options)
			var wg sync.WaitGroup
			for range 4 {
				wg.Add(1)
				go func() {
					defer wg.Done()
					for range 20 {
						r := start(t, e, kind{}, [2]string{"", "x"})
						defer r.ended()
					}
				}()
			}
			e.Close()
			wg.Wait()
			e.Close()
			if n := e.Counters().Active; n != 0 {
				t.Errorf("%s: %d sessions are left", k.name, n)
			}
		}
	})
	t.Run("onEnd never runs within Start", func(t *testing.T) {
		onEngines(t, Options{}, func(t *testing.T, e *Engine) {
			var mu sync.Mutex
			done := make(chan Stats)
			for range 50 {
				a, c := side(t, 0, true)
				b, d := side(t, 0, false)
				for _, p := range []*peer{c, d} {
					p.tcp.SetLinger(0)
					p.Close()
				}
				mu.Lock()
				e.Start(Pair{Client: a, Backend: b, ToClient: []byte("x"), ToBackend: []byte("y")}, func(st Stats) {
					mu.Lock() // would wait for ever within Start
					defer mu.Unlock()
					done <- st
				})
				mu.Unlock()
				<-done
			}
		})
	})
}

func TestDrain(t *testing.T) {
	onEngines(t, Options{}, func(t *testing.T, e *Engine) {
		idle, busy := start(t, e, kind{}, [2]string{}), start(t, e, kind{}, [2]string{})
		busy.say(busy.client, busy.backend, "a NOOP\r\n")
		busy.say(busy.backend, busy.client, "a OK\r\n")
		idle.s.last.Add(-int64(2 * time.Hour))
		ctx, cancel := context.WithCancel(t.Context())
		drained := make(chan error, 1)
		go func() { drained <- e.Drain(ctx, time.Hour) }()
		if st := idle.want(ByProxy, 0, 0); st.Idle < time.Hour {
			t.Errorf("the session that was closed had been idle for %v", st.Idle)
		}
		busy.say(busy.client, busy.backend, "b NOOP\r\n")
		cancel()
		if err := <-drained; !errors.Is(err, context.Canceled) {
			t.Errorf("Drain returned %v", err)
		}
		if err := e.Drain(t.Context(), 0); err != nil || e.Counters().Active != 0 {
			t.Errorf("a second Drain returned %v with %d sessions left", err, e.Counters().Active)
		}
		busy.want(ByProxy, 16, 6)
	})
}

// TestChurn has sessions of all kinds begin, move and end in every way at the same time.
func TestChurn(t *testing.T) {
	onEngines(t, Options{farewell: 50 * time.Millisecond, drain: 50 * time.Millisecond}, func(t *testing.T, e *Engine) {
		const width, rounds = 8, 12
		var wg sync.WaitGroup
		for i := range width {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for j := range rounds {
					r := start(t, e, kinds[(i+j)%len(kinds)], [2]string{"early to client", "early to backend"})
					block := bytes.Repeat([]byte("x"), 100<<(j%6))
					go r.client.Write(block)
					go r.backend.Write(block)
					switch (i + j) % 4 {
					case 0:
						go r.s.Close()
					case 1:
						r.client.tcp.SetLinger(0)
						r.client.tcp.Close()
					case 2:
						r.backend.tcp.Close()
					case 3:
						io.CopyN(io.Discard, r.client, int64(len(block)))
						r.client.tcp.Close()
					}
					r.ended()
					r.client.tcp.Close()
					r.backend.tcp.Close()
				}
			}()
		}
		wg.Wait()
		if c := e.Counters(); c.Panics != 0 || c.Started != width*rounds {
			t.Errorf("%+v", c)
		}
	})
}
