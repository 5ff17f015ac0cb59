package sql

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dproxy/passdb/sql/query"
)

// fakeHosts are database servers of which only reachability matters.
type fakeHosts struct {
	mu     sync.Mutex
	down   map[int]error         // hosts that refuse
	slow   map[int]time.Duration // hosts that take long to connect
	opened map[int]int
	closed int
	dials  []time.Time
}

func newFakeHosts() *fakeHosts {
	return &fakeHosts{down: map[int]error{}, slow: map[int]time.Duration{}, opened: map[int]int{}}
}

func (f *fakeHosts) open(ctx context.Context, n int) (conn, error) {
	f.mu.Lock()
	wait, err := f.slow[n], f.down[n]
	f.dials = append(f.dials, time.Now())
	f.mu.Unlock()
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return nil, fmt.Errorf("host %d: %w", n, ctx.Err())
	}
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.opened[n]++
	return &fakeConn{f: f}, nil
}

func (f *fakeHosts) set(n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down[n] = err
}

func (f *fakeHosts) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.dials)
}

type fakeConn struct{ f *fakeHosts }

func (c *fakeConn) dialect() query.Dialect { return query.Dialect{} }
func (c *fakeConn) deadline(time.Time)     {}
func (c *fakeConn) query(context.Context, *query.Plan, []string, *answer) error {
	return nil
}

func (c *fakeConn) queryOnce(context.Context, string, []string, *answer) error {
	return nil
}

func (c *fakeConn) close() {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	c.f.closed++
}

// inPool runs a test with a pool of hosts in simulated time.
func inPool(t *testing.T, hosts, limit int, test func(t *testing.T, p *pool, f *fakeHosts)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := newFakeHosts()
		p := newPool(make([]string, hosts), limit, f.open)
		test(t, p, f)
		p.close()
	})
}

func take(t *testing.T, p *pool) *pooled {
	t.Helper()
	c, err := p.get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPoolKeepsOneConnectionForOneLookupAtATime(t *testing.T) {
	inPool(t, 1, 5, func(t *testing.T, p *pool, f *fakeHosts) {
		for range 10 {
			p.put(take(t, p))
		}
		if f.count() != 1 {
			t.Errorf("%d connections for lookups one after the other", f.count())
		}
	})
}

func TestPoolOpensUpToTheLimit(t *testing.T) {
	inPool(t, 1, 3, func(t *testing.T, p *pool, f *fakeHosts) {
		var held []*pooled
		for range 3 {
			held = append(held, take(t, p))
		}
		got := make(chan *pooled, 1)
		go func() {
			c, err := p.get(t.Context())
			if err != nil {
				t.Error(err)
			}
			got <- c
		}()
		synctest.Wait()
		if len(got) != 0 || f.count() != 3 {
			t.Errorf("the fourth lookup did not wait: %d connections", f.count())
		}
		p.put(held[0])
		if c := <-got; c != held[0] {
			t.Error("the waiting lookup did not get the connection that came back")
		}
	})
}

func TestPoolServesTheLongestWaitFirst(t *testing.T) {
	inPool(t, 1, 1, func(t *testing.T, p *pool, f *fakeHosts) {
		c := take(t, p)
		order := make(chan int, 3)
		for i := range 3 {
			go func() {
				c, err := p.get(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				order <- i
				p.put(c)
			}()
			synctest.Wait()
		}
		p.put(c)
		for want := range 3 {
			if got := <-order; got != want {
				t.Errorf("lookup %d came before %d", got, want)
			}
		}
	})
}

func TestPoolWaitEndsWithTheContext(t *testing.T) {
	inPool(t, 1, 1, func(t *testing.T, p *pool, f *fakeHosts) {
		c := take(t, p)
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		_, err := p.get(ctx)
		if err == nil || err.Error() != "Query timed out (no free connections for 4 secs)" {
			t.Errorf("got %v", err)
		}
		p.put(c)
		if take(t, p) != c {
			t.Error("the connection was lost to the lookup that gave up")
		}
	})
}

func TestPoolSharesTheHosts(t *testing.T) {
	inPool(t, 2, 5, func(t *testing.T, p *pool, f *fakeHosts) {
		used := map[int]int{}
		for range 20 {
			c := take(t, p)
			used[c.host]++
			p.put(c)
			synctest.Wait()
		}
		if used[0] < 8 || used[1] < 8 {
			t.Errorf("lookups by host: %v", used)
		}
		if f.opened[0] != 1 || f.opened[1] != 1 {
			t.Errorf("connections by host: %v", f.opened)
		}
	})
}

func TestPoolFailsOver(t *testing.T) {
	inPool(t, 3, 2, func(t *testing.T, p *pool, f *fakeHosts) {
		f.set(0, errors.New("refused"))
		f.set(1, errors.New("refused"))
		for range 6 {
			c := take(t, p)
			if c.host != 2 {
				t.Errorf("a connection to host %d", c.host)
			}
			p.put(c)
			synctest.Wait()
		}
	})
}

func TestPoolFailsOverAtOnceWhenAConnectionBreaks(t *testing.T) {
	inPool(t, 2, 2, func(t *testing.T, p *pool, f *fakeHosts) {
		c := take(t, p)
		f.set(c.host, errors.New("refused"))
		p.drop(t.Context(), c, errBroken)
		start := time.Now()
		d := take(t, p)
		if d.host == c.host || time.Since(start) != 0 {
			t.Errorf("host %d after %s", d.host, time.Since(start))
		}
	})
}

func TestPoolTellsWhenNoHostIsThere(t *testing.T) {
	inPool(t, 2, 2, func(t *testing.T, p *pool, f *fakeHosts) {
		f.set(0, errors.New("a: refused"))
		f.set(1, errors.New("b: no route"))
		start := time.Now()
		for p.hosts[0].delay <= firstDelay || p.hosts[1].delay <= firstDelay {
			_, err := p.get(t.Context())
			if err == nil || err.Error() != "Not connected to database: a: refused; b: no route" {
				t.Errorf("got %v", err)
			}
			synctest.Wait()
		}
		if d := time.Since(start); d > 3*firstDelay {
			t.Errorf("the first lookups took %s", d)
		}
		start, n := time.Now(), f.count()
		for range 100 {
			if _, err := p.get(t.Context()); err == nil {
				t.Error("a connection to a host that is down")
			}
		}
		if f.count() != n || time.Since(start) != 0 {
			t.Errorf("%d more attempts to connect, %s", f.count()-n, time.Since(start))
		}
	})
}

func TestPoolWaitsForAServerThatIsBackInAMoment(t *testing.T) {
	inPool(t, 1, 5, func(t *testing.T, p *pool, f *fakeHosts) {
		f.set(0, errors.New("refused"))
		go func() {
			time.Sleep(firstDelay / 2)
			f.set(0, nil)
		}()
		start := time.Now()
		p.put(take(t, p))
		if d := time.Since(start); d > firstDelay {
			t.Errorf("took %s", d)
		}
	})
}

func TestPoolBacksOffAndRecovers(t *testing.T) {
	inPool(t, 1, 5, func(t *testing.T, p *pool, f *fakeHosts) {
		f.set(0, errors.New("refused"))
		end := time.Now().Add(time.Minute)
		for time.Now().Before(end) {
			if _, err := p.get(t.Context()); err == nil {
				t.Fatal("connected")
			}
			time.Sleep(10 * time.Millisecond)
		}
		// 0.2, 0.4, 0.8, 1.6, 3.2 and then 5 seconds, each up to a fifth less.
		if n := f.count(); n < 15 || n > 22 {
			t.Errorf("%d attempts in a minute", n)
		}
		for i := 1; i < len(f.dials); i++ {
			if gap := f.dials[i].Sub(f.dials[i-1]); gap > lastDelay+10*time.Millisecond || i == 1 && gap > firstDelay+10*time.Millisecond {
				t.Errorf("attempt %d came after %s", i, gap)
			}
		}
		f.set(0, nil)
		back := time.Now()
		for {
			c, err := p.get(t.Context())
			if err == nil {
				p.put(c)
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if d := time.Since(back); d > lastDelay {
			t.Errorf("recovered after %s", d)
		}
		f.set(0, errors.New("refused"))
		p.drop(t.Context(), take(t, p), errBroken)
		n := f.count()
		if _, err := p.get(t.Context()); err == nil || f.count() != n+2 {
			t.Errorf("a success did not end the back-off: %v, %d attempts", err, f.count()-n)
		}
	})
}

func TestPoolDoesNotQueueForAServerThatFails(t *testing.T) {
	inPool(t, 1, 2, func(t *testing.T, p *pool, f *fakeHosts) {
		p.drop(t.Context(), take(t, p), broken{errTimeout})
		f.slow[0] = time.Hour
		results := make(chan error, 10)
		start := time.Now()
		for range 10 {
			go func() {
				_, err := p.get(t.Context())
				results <- err
			}()
		}
		synctest.Wait()
		if len(results) != 8 {
			t.Errorf("%d of 10 lookups were refused at once", len(results))
		}
		for range 10 {
			if err := <-results; err == nil || !strings.HasPrefix(err.Error(), "Not connected to database: ") {
				t.Errorf("got %v", err)
			}
		}
		if d := time.Since(start); d > connectTimeout*2 {
			t.Errorf("the last one waited %s", d)
		}
	})
}

func TestPoolQueuesWhileItConnects(t *testing.T) {
	inPool(t, 1, 2, func(t *testing.T, p *pool, f *fakeHosts) {
		f.slow[0] = time.Second
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				c, err := p.get(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				p.put(c)
			})
		}
		all.Wait()
		if n := f.count(); n > 2 {
			t.Errorf("%d connections", n)
		}
	})
}

func TestPoolDoesNotQueueBehindAFrozenServer(t *testing.T) {
	inPool(t, 1, 2, func(t *testing.T, p *pool, f *fakeHosts) {
		a, b := take(t, p), take(t, p)
		var waiting sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		for range 2 {
			waiting.Go(func() {
				if _, err := p.get(ctx); err == nil {
					t.Error("got a connection")
				}
			})
		}
		synctest.Wait()
		time.Sleep(stallLimit + time.Second)
		_, err := p.get(ctx)
		if err == nil || err.Error() != "Not connected to database: no query has been answered for 4 secs" {
			t.Errorf("got %v", err)
		}
		cancel()
		waiting.Wait()
		p.put(a)
		p.put(b)
		p.put(take(t, p))
	})
}

func TestPoolQueuesBehindASlowServer(t *testing.T) {
	inPool(t, 1, 2, func(t *testing.T, p *pool, f *fakeHosts) {
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				c, err := p.get(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				time.Sleep(2 * time.Second)
				p.put(c)
			})
		}
		start := time.Now()
		all.Wait()
		if d := time.Since(start); d != 20*time.Second {
			t.Errorf("20 queries of 2 seconds on 2 connections took %s", d)
		}
	})
}

func TestPoolClosesOldAndBrokenConnections(t *testing.T) {
	inPool(t, 1, 3, func(t *testing.T, p *pool, f *fakeHosts) {
		a, b, c := take(t, p), take(t, p), take(t, p)
		p.put(a)
		p.put(b)
		p.drop(t.Context(), c, errBroken)
		if f.closed != 3 {
			t.Errorf("%d connections closed after one broke, want all 3", f.closed)
		}
		p.put(take(t, p))
		time.Sleep(idleLimit)
		p.put(take(t, p))
		if f.closed != 4 || f.count() != 5 {
			t.Errorf("%d closed, %d opened: an idle one was used after %s", f.closed, f.count(), idleLimit)
		}
		p.discard(t.Context(), take(t, p))
		if f.closed != 5 {
			t.Errorf("%d closed", f.closed)
		}
	})
}

func TestPoolCloses(t *testing.T) {
	inPool(t, 2, 1, func(t *testing.T, p *pool, f *fakeHosts) {
		c := take(t, p)
		f.slow[1-c.host] = time.Hour
		done := make(chan error, 1)
		go func() {
			_, err := p.get(t.Context())
			done <- err
		}()
		synctest.Wait()
		p.close()
		if err := <-done; !errors.Is(err, errClosed) {
			t.Errorf("the waiting lookup got %v", err)
		}
		if _, err := p.get(t.Context()); !errors.Is(err, errClosed) {
			t.Errorf("a lookup after the end got %v", err)
		}
		p.put(c)
		if f.closed != 1 {
			t.Errorf("%d of 1 connections closed", f.closed)
		}
	})
}
