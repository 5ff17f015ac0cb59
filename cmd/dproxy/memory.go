package main

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// collectAt is the growth of the heap, in percent of what lives, at which garbage is collected. A login leaves
	// little that lives and much that does not.
	collectAt = 200
	// A look every half second tells whether a burst is over: then at most quiet bytes have been made since the last
	// one, and at least worth bytes since memory was last given back.
	look  = 500 * time.Millisecond
	quiet = 1 << 20
	worth = 8 << 20
)

// tuneMemory spends memory instead of CPU during a burst of logins, and gives it back to the system when the burst is over.
// GOGC in the environment is obeyed. stop ends it.
func tuneMemory() (stop func()) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
	ticker, done := time.NewTicker(look), make(chan struct{})
	go giveBack(ticker.C, done, debug.FreeOSMemory)
	return func() {
		ticker.Stop()
		close(done)
	}
}

// giveBack calls free after each burst of allocations.
func giveBack(looks <-chan time.Time, done <-chan struct{}, free func()) {
	made := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(made)
	last, freed := made[0].Value.Uint64(), made[0].Value.Uint64()
	for {
		select {
		case <-done:
			return
		case <-looks:
		}
		metrics.Read(made)
		now := made[0].Value.Uint64()
		if now-last <= quiet && now-freed >= worth {
			free()
			freed = now
		}
		last = now
	}
}
