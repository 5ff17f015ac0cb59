package relay

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"io"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fill writes to a connection until its reader's side takes no more, and returns what it wrote. The
// connection is not usable for more writes by TLS afterwards.
func fill(t *testing.T, p *peer) []byte {
	t.Helper()
	var sent bytes.Buffer
	block := make([]byte, 64<<10)
	for i := range block {
		block[i] = byte(i * 7)
	}
	for stalled := 0; stalled < 2; {
		p.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		n, err := p.Write(block)
		sent.Write(block[:n])
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && n == 0:
			stalled++
		case err == nil || errors.Is(err, os.ErrDeadlineExceeded):
			stalled = 0
		default:
			t.Fatal(err)
		}
	}
	p.SetWriteDeadline(time.Time{})
	return sent.Bytes()
}

// TestStall has a client that does not read while its backend writes for all it is worth.
func TestStall(t *testing.T) {
	for _, k := range []kind{{}, {client: tls.VersionTLS13}} {
		t.Run(k.String(), func(t *testing.T) {
			t.Parallel()
			e := NewWith(Options{Loops: 1})
			defer e.Close()
			r, other := start(t, e, k, [2]string{}), start(t, e, k, [2]string{})
			r.client.tcp.SetReadBuffer(64 << 10)
			sent := fill(t, r.backend)
			s := r.s.runner.(*looped)

			// The loop sleeps but for the other session, which is served as ever.
			const rounds = 200
			before := e.Counters().Wakeups
			for range rounds {
				other.say(other.client, other.backend, "a NOOP\r\n")
				other.say(other.backend, other.client, "a OK\r\n")
			}
			if n := e.Counters().Wakeups - before; n > 2*rounds+5 {
				t.Errorf("%d wake-ups for %d messages", n, 2*rounds)
			}
			held := make(chan int, 1)
			s.ask(func() { held <- cap(s.ends[client].held) })
			if n := <-held; n == 0 || n > chunk+2*controlSlack {
				t.Errorf("the stalled session holds %d bytes", n)
			}

			// Nothing is lost, and the buffer goes back.
			go r.backend.closeWrite()
			h := sha256.New()
			n, err := io.Copy(h, r.client)
			if want := sha256.Sum256(sent); err != nil || !bytes.Equal(h.Sum(nil), want[:]) {
				t.Errorf("read %d bytes of %d, %v", n, len(sent), err)
			}
			s.ask(func() { held <- cap(s.ends[client].held) })
			if n := <-held; n != 0 {
				t.Errorf("the session keeps a buffer of %d bytes", n)
			}
			r.client.Close()
			r.want(ByServer, 0, len(sent))
			other.s.Close()
			other.ended()
		})
	}
	t.Run("a stalled client that is reset ends its session", func(t *testing.T) {
		t.Parallel()
		e := New()
		defer e.Close()
		r := start(t, e, kind{}, [2]string{})
		fill(t, r.backend)
		r.client.tcp.SetLinger(0)
		r.client.tcp.Close()
		io.Copy(io.Discard, r.backend) // its own bytes are in the way of a clean end
		r.backend.Close()
		if st := r.ended(); st.Side != ByClient || !errors.Is(st.Err, syscall.ECONNRESET) && !errors.Is(st.Err, syscall.EPIPE) {
			t.Errorf("ended by %d with %v", st.Side, st.Err)
		}
	})
	t.Run("a backend that is reset behind a stalled client causes no wake-ups and ends with the drain", func(t *testing.T) {
		t.Parallel()
		e := NewWith(Options{Loops: 1, drain: time.Second, farewell: time.Second})
		defer e.Close()
		r, other := start(t, e, kind{}, [2]string{}), start(t, e, kind{}, [2]string{})
		fill(t, r.backend)
		r.backend.tcp.SetLinger(0)
		r.backend.tcp.Close()
		const rounds = 200
		before := e.Counters().Wakeups
		for range rounds {
			other.say(other.client, other.backend, "a NOOP\r\n")
		}
		if n := e.Counters().Wakeups - before; n > rounds+20 {
			t.Errorf("%d wake-ups for %d messages", n, rounds)
		}
		r.ended()
		other.s.Close()
		other.ended()
	})
}

// ask runs f on the loop's goroutine.
func (s *looped) ask(f func()) {
	l := s.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = append(l.asked, f)
	l.wakeLocked()
}

func TestIdle(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.String()+": two descriptors, no goroutine, no wake-up and no buffer", func(t *testing.T) {
			e := NewWith(Options{Loops: 1})
			defer e.Close()
			const n = 20
			all := []*rig{start(t, e, k, [2]string{})} // the loop itself
			ready := func(r *rig) {
				// Bulk first, so that there were buffers.
				go r.backend.Write(make([]byte, 300<<10))
				if _, err := io.CopyN(io.Discard, r.client, 300<<10); err != nil {
					t.Fatal(err)
				}
				go r.client.Write(make([]byte, 300<<10))
				if _, err := io.CopyN(io.Discard, r.backend, 300<<10); err != nil {
					t.Fatal(err)
				}
				r.say(r.client, r.backend, "a IDLE\r\n")
				r.say(r.backend, r.client, "+ idling\r\n")
			}
			ready(all[0])
			goroutines, fds := runtime.NumGoroutine(), openFiles(t)
			for range n {
				all = append(all, start(t, e, k, [2]string{}))
				ready(all[len(all)-1])
			}
			if got := openFiles(t) - fds - 2*n; got != 2*n { // the peers have two of each
				t.Errorf("%d sessions have %d descriptors", n, got)
			}
			for range 100 { // goroutines of the tests' peers may still be about to end
				if runtime.NumGoroutine() <= goroutines {
					break
				}
				time.Sleep(time.Millisecond)
			}
			if got := runtime.NumGoroutine() - goroutines; got > 0 {
				t.Errorf("%d sessions have %d goroutines", n, got)
			}
			before := e.Counters().Wakeups
			const rounds = 100
			for range rounds {
				all[0].say(all[0].client, all[0].backend, "a NOOP\r\n")
			}
			if got := e.Counters().Wakeups - before; got > rounds+3 {
				t.Errorf("%d wake-ups for %d messages", got, rounds)
			}
			for _, r := range all {
				s := r.s.runner.(*looped)
				kept := make(chan int, 1)
				s.ask(func() { kept <- s.keeps() })
				if got := <-kept; got != 0 {
					t.Fatalf("an idle session keeps buffers of %d bytes", got)
				}
			}
			e.Close()
			for _, r := range all {
				r.want(ByProxy, 300<<10+8+map[bool]int{true: 8 * rounds}[r == all[0]], 300<<10+10)
			}
		})
	}
}

// keeps is the size of all buffers that belong to the session.
func (s *looped) keeps() int {
	n := 0
	for i := range s.ends {
		e := &s.ends[i]
		n += cap(e.held)
		if e.tls != nil {
			n += cap(e.tls.part) + s.loop.guts.rawOf(e.tls.conn).Cap() + s.loop.guts.handOf(e.tls.conn).Cap()
		}
	}
	return n
}

func openFiles(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	return len(all)
}

// eventually waits for a condition that another goroutine brings about.
func eventually(t *testing.T, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatal("it does not come true")
		}
	}
}

func TestKeepAliveIsSetOnSessionsThatLast(t *testing.T) {
	e := NewWith(Options{sweep: time.Millisecond})
	defer e.Close()
	r := start(t, e, kind{client: tls.VersionTLS13}, [2]string{})
	for _, end := range r.s.runner.(*looped).ends {
		for _, o := range []struct {
			level, name, want int
		}{
			{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
			{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 300},
			{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 30},
			{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 5},
		} {
			eventually(t, func() bool {
				got, err := unix.GetsockoptInt(int(end.fd), o.level, o.name)
				return err == nil && got == o.want
			})
		}
	}
	r.s.Close()
	r.ended()
}

func TestWithoutDescriptorsSessionsRunOnGoroutines(t *testing.T) {
	e := New()
	defer e.Close()
	first := start(t, e, kind{}, [2]string{}) // the loops have theirs
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	a, client := side(t, tls.VersionTLS13, true)
	b, backend := side(t, 0, false)
	r := &rig{t: t, client: client, backend: backend, end: make(chan Stats, 2)}
	none := old
	none.Cur = 3
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Skip(err)
	}
	r.s = e.Start(Pair{Client: a, Backend: b}, func(st Stats) { r.end <- st })
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if _, ok := r.s.runner.(*pair); !ok {
		t.Fatalf("the session runs on %T", r.s.runner)
	}
	for _, r := range []*rig{first, r} {
		r.say(r.client, r.backend, "a NOOP\r\n")
		r.say(r.backend, r.client, "a OK\r\n")
		r.s.Close()
		r.want(ByProxy, 8, 6)
	}
}

func TestLayoutOfCryptoTLSIsKnown(t *testing.T) {
	if l := findLayout(); !l.known {
		t.Error("crypto/tls of this Go release keeps its input elsewhere: idle TLS sessions will keep buffers; see layout.go")
	}
}

func TestWholeRecords(t *testing.T) {
	record := func(n int) []byte { return append([]byte{23, 3, 3, byte(n >> 8), byte(n)}, make([]byte, n)...) }
	two := append(record(3), record(16640)...)
	for _, c := range []struct {
		name string
		in   []byte
		want int
	}{
		{"nothing", nil, 0},
		{"part of a header", two[:4], 0},
		{"a header", two[:5], 0},
		{"one record", two[:8], 8},
		{"one and a header", two[:13], 8},
		{"all but a byte", two[:len(two)-1], 8},
		{"two", two, len(two)},
		{"the largest record", record(maxCiphertext)[:100], 0},
		{"more than the largest record", record(maxCiphertext + 1)[:100], 100},
		{"text", []byte("a NOOP\r\n"), 8},
		{"text after a record", append(record(3), "a NOOP\r\n"...), 16},
	} {
		if got := wholeRecords(c.in); got != c.want {
			t.Errorf("%s: %d of %d bytes, want %d", c.name, got, len(c.in), c.want)
		}
	}
}

const haveLoops = true
