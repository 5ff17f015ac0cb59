package main

import (
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// notify tells systemd, when it started us, of a change of state: sd_notify(3). Nothing depends on its being heard.
func notify(state string) { _, _ = daemon.SdNotify(false, state) }

// monotonic is what Type=notify-reload wants beside RELOADING=1.
func monotonic() string {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return fmt.Sprintf("MONOTONIC_USEC=%d", t.Nano()/1000)
}

// watchdogTicks fires twice in each WatchdogSec, never without one. The loop that answers it also handles signals, so that
// systemd restarts a process that no longer hears them.
func watchdogTicks() (ticks <-chan time.Time, stop func()) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil || interval == 0 {
		return nil, func() {}
	}
	t := time.NewTicker(interval / 2)
	return t.C, t.Stop
}
