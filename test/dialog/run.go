package dialog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"dproxy/test/daemon"
	"dproxy/test/proxy"
)

const (
	startLimit  = 30 * time.Second // from starting the proxy until it listens
	settleLimit = 3 * time.Second  // for the proxy to let go of what the clients have left
	portTries   = 3                // another process may take a port between our choosing and the proxy's listening
)

// Runner runs scenarios against one proxy. It may run several at the same time.
type Runner struct {
	Proxy proxy.Program
	Certs *Certs
	Ports *daemon.Ports
}

var errPortTaken = errors.New("another process took a port")

// Run plays one scenario. The error says that the scenario could not be played, for instance because the proxy
// does not listen on all ports; a proxy that refuses the configuration is no error but part of the views.
func (r *Runner) Run(ctx context.Context, s *Scenario) (Views, error) {
	for try := 1; ; try++ {
		v, err := r.play(ctx, s)
		if !errors.Is(err, errPortTaken) || try == portTries {
			if err != nil {
				err = fmt.Errorf("scenario %s: %w", s.Name, err)
			}
			return v, err
		}
	}
}

func (r *Runner) play(ctx context.Context, s *Scenario) (v Views, err error) {
	env, err := newEnvironment(r.Certs, r.Ports)
	if err != nil {
		return v, err
	}
	defer func() { err = errors.Join(err, env.remove()) }()
	backends, err := startBackends(s.Backends, env)
	defer func() {
		for _, b := range backends {
			b.stop()
		}
	}()
	if errors.Is(err, syscall.EADDRINUSE) {
		return v, errPortTaken
	}
	if err != nil {
		return v, err
	}
	conf, err := env.write(s)
	if err != nil {
		return v, err
	}
	ports, err := env.listening(s)
	if err != nil {
		return v, err
	}
	started, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	proc, err := r.Proxy.Start(started, conf, ports...)
	if errors.Is(err, daemon.ErrExited) {
		return refused(proc, env)
	}
	if err != nil {
		return v, err
	}
	v.Client = env.normalize.text(newPlayer(env).play(s.Client))
	settled, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	settle(settled, ports, backends)
	v.Backend = env.normalize.text(backendView(backends))
	if err := proc.Stop(); err != nil {
		return v, err
	}
	if crash := daemon.Crash(proc.Output()); crash != "" {
		return v, errors.New(crash)
	}
	v.Log, err = env.logView(proc.Output())
	return v, err
}

// refused gives the views of a proxy that ended instead of listening.
func refused(proc *daemon.Process, env *environment) (v Views, err error) {
	if strings.Contains(proc.Output(), "Address already in use") {
		return v, errPortTaken
	}
	v.Client = "proxy did not start: it exits without an error\n"
	if proc.Failed() {
		v.Client = "proxy did not start: it exits with an error\n"
	}
	v.Log, err = env.logView(proc.Output())
	return v, err
}

// settle waits until the proxy holds no connection at its ports any more and all connections to the backends have ended.
func settle(ctx context.Context, ports []int, backends []*backend) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		busy := slices.ContainsFunc(backends, (*backend).busy)
		if n, err := daemon.Established(ports...); err == nil && n == 0 && !busy {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// logView reads the proxy's log file. Before there is one, messages go to standard error.
func (e *environment) logView(output string) (string, error) {
	text, err := os.ReadFile(e.file("proxy.log"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	return e.normalize.log(output + string(text)), nil
}
