package relay

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"
)

// volume is how many bytes the integrity test moves in all; RELAY_TEST_MIB overrides it.
func volume(t *testing.T) int {
	if v := os.Getenv("RELAY_TEST_MIB"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			t.Fatal(err)
		}
		return n << 20
	}
	if testing.Short() || raceDetector {
		return 15 << 20
	}
	return 90 << 20
}

// TestIntegrity relays random bytes in random segments both ways, with random pauses, early bytes
// and half-closes, and compares hashes.
func TestIntegrity(t *testing.T) {
	seed := rand.Uint64()
	if v := os.Getenv("RELAY_TEST_SEED"); v != "" {
		seed, _ = strconv.ParseUint(v, 10, 64)
	}
	t.Logf("RELAY_TEST_SEED=%d", seed)
	total := volume(t) / len(engines) / len(kinds)
	onEngines(t, Options{}, func(t *testing.T, e *Engine) {
		for _, k := range kinds {
			t.Run(k.String(), func(t *testing.T) {
				rnd := rand.New(rand.NewPCG(seed, uint64(k.client)<<16|uint64(k.backend)))
				for left, n := total, 0; left > 0; n++ {
					left -= storm(t, e, k, min(left, 64<<20), rand.New(rand.NewPCG(rnd.Uint64(), uint64(n))))
				}
			})
		}
		e.Drain(t.Context(), 0)
		if c := e.Counters(); c.Panics > 0 || c.Active > 0 {
			t.Errorf("counters at the end: %+v", c)
		}
	})
}

// storm runs a few sessions side by side and returns how many bytes they moved.
func storm(t *testing.T, e *Engine, k kind, size int, rnd *rand.Rand) int {
	const width = 6
	moved := 0
	var wg sync.WaitGroup
	for i := range width {
		up, down := rnd.IntN(size/width+1), rnd.IntN(size/width+1)
		switch i { // always some with nothing, and some with little, in one direction
		case 0:
			up = rnd.IntN(100)
		case 1:
			down = 0
		}
		moved += up + down
		early := [2]string{noise(rnd, down), noise(rnd, up)}
		r := start(t, e, k, early)
		a := newTalk(r.client, up, early[backend], rnd)
		b := newTalk(r.backend, down, early[client], rnd)
		for _, run := range []func() error{
			func() error { return a.write() }, func() error { return a.read(b) },
			func() error { return b.write() }, func() error { return b.read(a) },
		} {
			wg.Add(1)
			go func() {
				defer wg.Done()
				if err := run(); err != nil {
					t.Errorf("session %d: %v", i, err)
					r.s.Close()
				}
			}()
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			st := r.ended()
			if st.Err != nil || st.In != uint64(up+len(early[backend])) || st.Out != uint64(down+len(early[client])) {
				t.Errorf("session %d: in %d, want %d; out %d, want %d; %v", i, st.In, up+len(early[backend]), st.Out, down+len(early[client]), st.Err)
			}
		}()
	}
	wg.Wait()
	return max(moved, 1)
}

// noise is what one side had sent before the hand-over; sides that send nothing sent nothing.
func noise(rnd *rand.Rand, size int) string {
	if size == 0 || rnd.IntN(3) > 0 {
		return ""
	}
	b := make([]byte, rnd.IntN(5000))
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return string(b)
}

// talk is one peer: what it sends and what it receives.
type talk struct {
	*peer
	size   int
	early  string
	rnd    [2]*rand.Rand // of the writer and of the reader
	sent   [sha256.Size]byte
	hashed chan struct{} // sent is known
}

func newTalk(p *peer, size int, early string, rnd *rand.Rand) *talk {
	fork := func() *rand.Rand { return rand.New(rand.NewPCG(rnd.Uint64(), rnd.Uint64())) }
	return &talk{peer: p, size: size, early: early, rnd: [2]*rand.Rand{fork(), fork()}, hashed: make(chan struct{})}
}

// segment is mostly small, sometimes large.
func segment(rnd *rand.Rand) int { return 1 + rnd.IntN(1<<rnd.IntN(19)) }

func pause(rnd *rand.Rand) {
	if rnd.IntN(40) == 0 {
		time.Sleep(time.Duration(rnd.IntN(1000)) * time.Microsecond)
	}
}

func (w *talk) write() error {
	h := sha256.New()
	io.WriteString(h, w.early)
	defer func() {
		h.Sum(w.sent[:0])
		close(w.hashed)
	}()
	rnd := w.rnd[0]
	var key [32]byte
	for i := range key {
		key[i] = byte(rnd.Uint32())
	}
	src := rand.NewChaCha8(key)
	buf := make([]byte, 1<<19)
	for left := w.size; left > 0; {
		b := buf[:min(left, segment(rnd))]
		src.Read(b)
		h.Write(b)
		if _, err := w.Write(b); err != nil {
			return fmt.Errorf("%d bytes before the end: %w", left, err)
		}
		left -= len(b)
		pause(rnd)
	}
	return w.closeWrite()
}

func (w *talk) read(from *talk) error {
	h := sha256.New()
	rnd := w.rnd[1]
	buf := make([]byte, 1<<19)
	total := 0
	for {
		n, err := w.Read(buf[:segment(rnd)])
		h.Write(buf[:n])
		total += n
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("after %d of %d bytes: %w", total, from.size+len(from.early), err)
		}
		pause(rnd)
	}
	<-from.hashed
	if got := h.Sum(nil); !bytes.Equal(got, from.sent[:]) {
		return fmt.Errorf("received %d bytes of %d and they differ", total, from.size+len(from.early))
	}
	return nil
}
