package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"

	"dproxy/admin"
	"dproxy/auth"
	"dproxy/auth/socket"
	"dproxy/backend"
	"dproxy/conf"
	"dproxy/event"
	"dproxy/listen"
	"dproxy/login"
	"dproxy/relay"
	"dproxy/session"
)

// app is the running server.
type app struct {
	path      string
	config    *conf.Config
	inUse     atomic.Pointer[conf.Config] // config, for other goroutines
	events    event.Sink                  // log, and all who listen beside it
	errors    *admin.Errors
	tasks     chan func()   // for the goroutine that handles signals
	stopping  chan struct{} // closed when it takes no more of them
	upgraded  bool          // another process accepts connections now
	control   *admin.Server
	metrics   *admin.Metrics
	http      *admin.HTTP
	traces    *admin.Traces
	protocols map[string]login.Protocol
	log       *event.Log
	registry  *session.Registry
	relay     *relay.Engine
	server    *login.Server
	shared    *backend.Shared
	mailers   *socket.Server // Postfix and Exim, who ask on the sockets of service auth
	sockets   *listen.Set
}

// serve runs the server in the foreground until a signal ends it.
func serve(path string) error {
	path = absolute(path)
	c, err := conf.Load(path, conf.Options{Serve: true, Warn: warnAsDoveconf})
	if err != nil {
		return fatal("doveconf", err)
	}
	s := c.Settings(conf.Filter{})
	from := upgradedFrom()
	// In an upgrade the pid file is the old process's until this one serves.
	if from == 0 {
		if err := claim(s.BaseDir, from); err != nil {
			return fatal("", err)
		}
	}
	defer release(s.BaseDir)
	log, err := event.OpenLog(logOptions(s))
	if err != nil {
		return fatal("", err)
	}
	defer log.Close()
	a := newApp(path, log)
	defer a.relay.Close()
	defer tuneMemory()()
	// Signals are heard from now on: one that comes during the start is not lost.
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	if err := a.sockets.Inherit(activation.Files(true)); err != nil {
		return fatal("", err)
	}
	if err := a.use(c, true); err != nil {
		a.say(event.Error, err.Error())
		fmt.Fprintln(os.Stderr, "Error:", err)
		return fatal("", errors.New("Failed to start listeners"))
	}
	a.sockets.DropInherited()
	if from != 0 {
		if err := claim(s.BaseDir, from); err != nil {
			return fatal("", err)
		}
	}
	a.say(event.Info, fmt.Sprintf("dproxy %s starting up for %s", version, strings.Join(a.served(), ", ")))
	a.warn(c)
	a.metrics.Loaded(true)
	a.http.Use(c)
	defer a.http.Close()
	a.openControl(admin.SocketPath(s.BaseDir))
	defer a.closeControl()
	ready(from != 0)
	notify(daemon.SdNotifyReady)
	a.run(signals)
	return nil
}

func newApp(path string, log *event.Log) *app {
	a := &app{
		path: path, log: log, protocols: protocols(), registry: session.NewRegistry(), relay: newRelay(), shared: backend.NewShared(),
		errors: admin.NewErrors(), tasks: make(chan func()), stopping: make(chan struct{}),
	}
	a.metrics = admin.NewMetrics(version)
	a.traces = &admin.Traces{}
	a.events = event.Fanout{log, a.errors, a.metrics, a.traces}
	a.http = admin.NewHTTP(a.metrics, a.readiness, a.events)
	a.server = login.NewServer(login.Options{
		Protocols: a.protocols, Events: a.events, Relay: a.relay, Registry: a.registry, Resolver: net.DefaultResolver,
	})
	a.mailers = newMailers(a.server, a.events)
	a.sockets = listen.NewSet(a.connected, a.events)
	a.sockets.Loops = a.relay
	a.metrics.Watch(a.state)
	return a
}

// newRelay makes one event loop per CPU, which serve logins and sessions, and leaves one of Go's processors
// to what runs beside them: lookups, slow hashes, LMTP. While all loops are busy nobody else would look at
// the sockets that those wait for.
func newRelay() *relay.Engine {
	cpus := runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS(cpus + 1)
	return relay.NewWith(relay.Options{Loops: cpus, QuickEnds: true})
}

func logOptions(s *conf.Settings) event.LogOptions {
	return event.LogOptions{Path: s.LogPath, InfoPath: s.InfoLogPath, DebugPath: s.DebugLogPath, Timestamp: s.LogTimestamp, Facility: s.SyslogFacility, Instance: s.InstanceName}
}

func (a *app) say(level event.Level, text string) {
	a.events.Emit(event.Notice{Level: level, Source: "master", Text: text})
}

// served lists the protocols that the configuration turns on and that dproxy has.
func (a *app) served() []string {
	var out []string
	for _, p := range strings.Fields(a.config.Settings(conf.Filter{}).Protocols) {
		if _, ok := a.protocols[p]; ok && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// use switches to a configuration: everything that can fail is done before anything changes. At the first start a broken
// passdb does not keep the server down: clients hear that authentication is broken, as from Dovecot.
func (a *app) use(c *conf.Config, first bool) error {
	authenticator, authErr := auth.New(auth.Options{Config: c, Drivers: drivers(), Events: a.events})
	if authErr != nil && !first {
		return authErr
	}
	snapshot, err := login.NewSnapshot(login.SnapshotOptions{
		Context: context.Background(), Config: c, Auth: authenticator, AuthErr: authErr, Hostname: hostdomain(), Events: a.events, Resolver: net.DefaultResolver, Protocols: a.protocols, Shared: a.shared, Loops: a.relay,
	})
	if err != nil {
		return err
	}
	specs, err := a.specs(c)
	if err == nil {
		var change *listen.Change
		if change, err = a.sockets.Prepare(specs); err == nil {
			a.config = c
			a.inUse.Store(c)
			a.server.Use(snapshot)
			a.registry.SetLimits(limits())
			change.Commit()
			a.mailers.Renew(clientLimit(c))
			if authErr != nil {
				a.events.Emit(event.Notice{Level: event.Fatal, Source: "auth", Text: authErr.Error()})
			}
			return nil
		}
	}
	snapshot.Close()
	return err
}

const (
	// perSource bounds the connections of one address that have not logged in.
	perSource = 1000
	// reserve is kept for logs, passdbs and backends' side of logins.
	reserve = 64
)

// limits derives the bound on connections that have not logged in from the descriptor limit: a fifth of it.
func limits() session.Limits {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil || r.Cur <= reserve {
		return session.Limits{PerSource: perSource}
	}
	return session.Limits{PreLogin: int(min((r.Cur-reserve)/5, 1<<20)), PerSource: perSource}
}

// run handles signals, and what the control socket asks for, until a signal ends the server.
func (a *app) run(signals <-chan os.Signal) {
	watchdog, stopWatchdog := watchdogTicks()
	defer stopWatchdog()
	for {
		var s os.Signal
		select {
		case task := <-a.tasks:
			task()
			if a.upgraded {
				a.retire(signals)
				return
			}
			continue
		case s = <-signals:
		case <-watchdog:
			notify(daemon.SdNotifyWatchdog)
			continue
		}
		switch s {
		case syscall.SIGHUP:
			a.say(event.Warning, "SIGHUP received - reloading configuration")
			_ = a.reload() // the log says what is wrong
		case syscall.SIGUSR2:
			if a.handOver() == nil {
				a.retire(signals)
				return
			}
		case syscall.SIGUSR1:
			a.log.Reopen(logOptions(a.config.Settings(conf.Filter{})))
		default:
			notify(daemon.SdNotifyStopping)
			a.say(event.Warning, fmt.Sprintf("Killed with signal %d", s.(syscall.Signal)))
			a.stop(signals)
			return
		}
	}
}

// reload reads the configuration again. A broken one changes nothing, and the log says why.
func (a *app) reload() error {
	notify(daemon.SdNotifyReloading + "\n" + monotonic())
	defer notify(daemon.SdNotifyReady)
	c, err := conf.Load(a.path, conf.Options{Serve: true})
	if err == nil {
		err = a.use(c, false)
	}
	if err != nil {
		a.say(event.Error, "reload failed, the old configuration stays: "+err.Error())
		a.metrics.Loaded(false)
		return err
	}
	a.metrics.Loaded(true)
	a.http.Use(c)
	for _, w := range c.Warnings() {
		a.events.Emit(event.Notice{Level: event.Warning, Source: "config", Text: w})
	}
	a.log.Reopen(logOptions(c.Settings(conf.Filter{})))
	a.warn(c)
	a.say(event.Info, "configuration reloaded for "+strings.Join(a.served(), ", "))
	return nil
}

// stopGrace bounds a stop; what has not ended by then is cut.
const stopGrace = 8 * time.Second

// stop closes the sockets and tells everybody who has not logged in. Relayed sessions end too, unless shutdown_clients is off:
// then they live on, and the process with them, until the last has ended or another signal comes.
func (a *app) stop(signals <-chan os.Signal) {
	s := a.config.Settings(conf.Filter{})
	close(a.stopping)
	a.sockets.Close()
	a.mailers.Close()
	if !s.ShutdownClients {
		a.registry.Stop(false)
		a.moveControl()
		release(s.BaseDir) // a successor may start
		if _, relayed := a.registry.Counts(); relayed > 0 {
			a.say(event.Info, fmt.Sprintf("%d sessions live on (shutdown_clients = no); another signal ends them", relayed))
		}
		if a.outlive(signals) {
			return
		}
	}
	a.cut()
}

// cut ends every session.
func (a *app) cut() {
	a.registry.Stop(true)
	select {
	case <-a.registry.Wait():
	case <-time.After(stopGrace):
		preLogin, relayed := a.registry.Counts()
		a.say(event.Warning, fmt.Sprintf("%d logins and %d sessions did not end in time", preLogin, relayed))
	}
}

// outlive waits for the last connection and tells whether it has ended; a signal to end comes first otherwise.
func (a *app) outlive(signals <-chan os.Signal) bool {
	last := make(chan struct{})
	go func() {
		a.sockets.Wait() // what has been accepted is registered by then
		<-a.registry.Wait()
		close(last)
	}()
	for {
		select {
		case <-last:
			return true
		case s := <-signals:
			switch s {
			case syscall.SIGTERM, syscall.SIGINT:
				return false
			case syscall.SIGUSR1:
				a.log.Reopen(logOptions(a.config.Settings(conf.Filter{})))
			}
		}
	}
}
