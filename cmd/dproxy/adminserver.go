package main

import (
	"errors"
	"os"
	"strconv"

	"dproxy/admin"
	"dproxy/conf"
	"dproxy/event"
)

// openControl opens the control socket. The server serves without one too, and the log says so.
func (a *app) openControl(path string) {
	server, err := admin.Listen(path, admin.Options{
		Registry: a.registry, Events: a.events, Errors: a.errors,
		Auth:    a.server.Authenticator,
		Config:  a.inUse.Load,
		Upgrade: func() error { return a.do(a.handOver) },
		Reload: func() error {
			return a.do(func() error {
				a.say(event.Warning, "reloading configuration as asked for")
				return a.reload()
			})
		},
		Explain: explainer(a.server),
		Traces:  a.traces,
		ReopenLog: func() {
			_ = a.do(func() error {
				a.log.Reopen(logOptions(a.config.Settings(conf.Filter{})))
				return nil
			})
		},
	})
	if err != nil {
		a.say(event.Error, err.Error())
		return
	}
	a.control = server
}

// moveControl leaves the control socket's name to a successor. The sessions that this process still has are found under
// another one, see admin.SocketPaths.
func (a *app) moveControl() {
	if a.control != nil {
		path := a.control.Path()
		a.closeControl()
		a.openControl(path + "." + strconv.Itoa(os.Getpid()))
	}
}

// closeControl ends the administration.
func (a *app) closeControl() {
	if a.control != nil {
		a.control.Close()
		a.control = nil
	}
}

// errStopping is what a task hears that comes too late.
var errStopping = errors.New("the server is stopping")

// do runs a task on the goroutine that handles signals, and waits for it.
func (a *app) do(task func() error) error {
	done := make(chan error, 1)
	select {
	case a.tasks <- func() { done <- task() }:
		return <-done
	case <-a.stopping:
		return errStopping
	}
}

// readiness tells why the server does not serve logins, nil when it does.
func (a *app) readiness() error {
	select {
	case <-a.stopping:
		return errStopping
	default:
	}
	au, release := a.server.Authenticator()
	if au == nil {
		return errors.New("authentication is broken")
	}
	release()
	return nil
}

// state is what metrics show of what is counted elsewhere.
func (a *app) state() admin.State {
	moved := a.relay.Counters()
	s := admin.State{ToBackend: moved.In, ToUser: moved.Out, LogLinesDropped: a.log.Dropped(), Panics: a.server.Panics() + moved.Panics, Ready: a.readiness()}
	s.PreLogin, _ = a.registry.Counts()
	if au, release := a.server.Authenticator(); au != nil {
		defer release()
		s.Cache, s.PenalizedAddresses = au.CacheStats(), len(au.Penalties())
	}
	return s
}
