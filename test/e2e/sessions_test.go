package e2e

import (
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"testing"

	"dproxy/test/daemon"
)

const (
	sessionCount = 2000
	sessionLogin = 40 // logins under way at the same time
)

// testSessions holds two thousand logged-in sessions, half of them with TLS, and asks each of them something at the end.
func testSessions(t *testing.T, h *house, f *front) {
	sessions := make([]*imapConn, sessionCount)
	defer func() {
		for _, c := range sessions {
			if c != nil {
				c.nc.Close()
			}
		}
	}()
	err := inParallel(sessionLogin, sessionCount, func(i int) (err error) {
		addr, conf := f.addr("imap"), (*tls.Config)(nil)
		if i%2 == 1 {
			addr, conf = f.addr("imaps"), h.clientTLS()
		}
		sessions[i], err = loginIMAP(addr, "", conf, "many@example.org")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := daemon.Established(f.port["imap"], f.port["imaps"]); err != nil || n < sessionCount {
		t.Errorf("the proxy holds %d connections of clients, %v", n, err)
	}
	// Each has to answer, the first ones after having been idle while the others logged in.
	err = inParallel(sessionLogin, sessionCount, func(i int) error {
		_, err := sessions[i].cmd("NOOP")
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// inParallel calls f(0) to f(n-1), some at a time. It gives the first error.
func inParallel(atOnce, n int, f func(int) error) error {
	next := make(chan int)
	var (
		mu     sync.Mutex
		failed error
		count  int
		all    sync.WaitGroup
	)
	for range atOnce {
		all.Go(func() {
			for i := range next {
				if err := f(i); err != nil {
					mu.Lock()
					failed = errors.Join(failed, fmt.Errorf("number %d: %w", i, err))
					count++
					mu.Unlock()
				}
			}
		})
	}
	for i := range n {
		mu.Lock()
		enough := count >= 5
		mu.Unlock()
		if enough {
			break
		}
		next <- i
	}
	close(next)
	all.Wait()
	return failed
}
