package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// client is one IMAP session through a proxy.
type client struct {
	net.Conn
	in *bufio.Reader
}

// target is where and how clients connect.
type target struct {
	address string
	tls     *tls.Config // nil: plain
}

const patience = 60 * time.Second

func (t target) dial() (*client, error) {
	c, err := net.DialTimeout("tcp", t.address, patience)
	if err != nil {
		return nil, err
	}
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	if t.tls != nil {
		tc := tls.Client(c, t.tls)
		if err := tc.Handshake(); err != nil {
			_ = c.Close()
			return nil, err
		}
		c = tc
	}
	return &client{c, bufio.NewReaderSize(c, 1024)}, nil
}

// login connects and logs in as a user whose number is n.
func (t target) login(n int) (*client, error) {
	c, err := t.dial()
	if err != nil {
		return nil, err
	}
	if _, err = c.until("* OK"); err == nil {
		err = c.command(fmt.Sprintf("a LOGIN user%d secret", n), "a OK")
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

func (c *client) command(line, reply string) error {
	if _, err := io.WriteString(c, line+"\r\n"); err != nil {
		return err
	}
	_, err := c.until(reply)
	return err
}

// until reads lines up to one with the prefix. A tagged refusal is an error.
func (c *client) until(prefix string) (string, error) {
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			return "", err
		}
		if strings.HasPrefix(line, prefix) {
			return line, nil
		}
		if !strings.HasPrefix(line, "*") {
			return "", fmt.Errorf("%q instead of %q", strings.TrimSpace(line), prefix)
		}
	}
}

// users is how many different names log in, so that caches see repeats and not one name only.
const users = 1000

// loginStorm logs in and out with workers at once for a time. It returns how often, and how long each login took.
func loginStorm(t target, workers int, d time.Duration) (n int, took []time.Duration, err error) {
	end := time.Now().Add(d)
	var mu sync.Mutex
	var next atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			var mine []time.Duration
			for time.Now().Before(end) {
				began := time.Now()
				c, e := t.login(int(next.Add(1)) % users)
				if e == nil {
					mine = append(mine, time.Since(began))
					_ = c.command("z LOGOUT", "z OK")
					_ = c.Close()
					continue
				}
				mu.Lock()
				err = e
				mu.Unlock()
				break
			}
			mu.Lock()
			took = append(took, mine...)
			mu.Unlock()
		})
	}
	wg.Wait()
	return len(took), took, err
}

// openLoop starts logins at a fixed rate, whatever the answers do, and returns how long each took from when it was due.
func openLoop(t target, perSecond float64, d time.Duration) ([]time.Duration, error) {
	var mu sync.Mutex
	var took []time.Duration
	var failed error
	var wg sync.WaitGroup
	gap := time.Duration(float64(time.Second) / perSecond)
	began := time.Now()
	for i := 0; time.Duration(i)*gap < d; i++ {
		due := began.Add(time.Duration(i) * gap)
		time.Sleep(time.Until(due))
		wg.Go(func() {
			c, err := t.login(i % users)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = err
				return
			}
			took = append(took, time.Since(due))
			_ = c.Close()
		})
	}
	wg.Wait()
	return took, failed
}

func percentile(d []time.Duration, p float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	s := slices.Clone(d)
	slices.Sort(s)
	return s[min(len(s)-1, int(float64(len(s))*p))]
}

// openSessions logs in n times and leaves the sessions open.
func openSessions(t target, n int) ([]*client, error) {
	out := make([]*client, n)
	var next atomic.Int64
	var failed atomic.Value
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n || failed.Load() != nil {
					return
				}
				c, err := t.login(i % users)
				if err != nil {
					failed.Store(fmt.Errorf("session %d: %w", i, err))
					return
				}
				_ = c.SetDeadline(time.Time{})
				out[i] = c
			}
		})
	}
	wg.Wait()
	if err, _ := failed.Load().(error); err != nil {
		closeAll(out)
		return nil, err
	}
	return out, nil
}

func closeAll(list []*client) {
	for _, c := range list {
		if c != nil {
			_ = c.Close()
		}
	}
}

// literalSize is one message of a bulk transfer.
const literalSize = 16 << 20

// bulk moves total bytes over sessions, by FETCH or by APPEND, and returns the bytes moved.
func bulk(sessions []*client, total int64, appended bool) (int64, error) {
	per := max(1, total/int64(len(sessions))/literalSize)
	body := make([]byte, 256<<10)
	var wg sync.WaitGroup
	errs := make(chan error, len(sessions))
	for _, c := range sessions {
		wg.Go(func() {
			for range per {
				var err error
				if appended {
					err = c.append(body)
				} else {
					err = c.fetch()
				}
				if err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	return per * literalSize * int64(len(sessions)), <-errs
}

func (c *client) fetch() error {
	if _, err := fmt.Fprintf(c, "f FETCH %d\r\n", literalSize); err != nil {
		return err
	}
	if _, err := c.until("* 1 FETCH"); err != nil {
		return err
	}
	if err := c.skip(literalSize); err != nil {
		return err
	}
	if _, err := c.in.ReadString('\n'); err != nil { // the closing parenthesis
		return err
	}
	_, err := c.until("f OK")
	return err
}

// skip reads n bytes and drops them, past the small line buffer.
func (c *client) skip(n int) error {
	k, err := c.in.Discard(min(n, c.in.Buffered()))
	if err != nil {
		return err
	}
	buf := make([]byte, 256<<10)
	for n -= k; n > 0; {
		m, err := c.Read(buf[:min(n, len(buf))])
		if err != nil {
			return err
		}
		n -= m
	}
	return nil
}

func (c *client) append(body []byte) error {
	if _, err := fmt.Fprintf(c, "p APPEND x {%d+}\r\n", literalSize); err != nil {
		return err
	}
	for n := literalSize; n > 0; n -= len(body) {
		if _, err := c.Write(body[:min(n, len(body))]); err != nil {
			return err
		}
	}
	return c.command("", "p OK")
}

// roundTrips sends NOOP over all sessions in turn, one at a time each, and returns the mean time of one.
func roundTrips(sessions []*client, each int) (time.Duration, error) {
	var wg sync.WaitGroup
	errs := make(chan error, len(sessions))
	began := time.Now()
	for _, c := range sessions {
		wg.Go(func() {
			for range each {
				if err := c.command("n NOOP", "n OK"); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	// With more sessions than CPUs the machine is busy all the time: the mean is the cost of one.
	return time.Since(began) / time.Duration(each*len(sessions)), <-errs
}
