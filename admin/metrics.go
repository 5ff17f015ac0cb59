package admin

import (
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"dproxy/event"
)

// maxBackends bounds the backends that have metrics of their own; a passdb's answers name them. The rest share one.
const maxBackends = 1000

// phases are the parts of a login that are timed.
var phases = [...]string{"queue", "greeting", "tls", "auth", "dial", "backend_tls", "backend_login"}

const (
	phaseQueue = iota
	phaseGreeting
	phaseTLS
	phaseAuth
	phaseDial
	phaseBackendTLS
	phaseBackendLogin
)

// services are the protocols that metrics know; another is "other".
var services = [...]string{"imap", "pop3", "submission", "sieve", "lmtp", "other"}

func serviceIndex(name string) int {
	for i, s := range services {
		if s == name {
			return i
		}
	}
	return len(services) - 1
}

// results are those of an authentication; another is "other".
var results = [...]string{"ok", "fail", "temp_fail", "authz_fail", "user_disabled", "pass_expired", "client_cert", "other"}

func resultIndex(name string) int {
	for i, s := range results {
		if s == name {
			return i
		}
	}
	return len(results) - 1
}

// seconds are the bounds of the login phases, from the time of a cached login to that of a stuck backend.
var seconds = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

// perService are the metrics of one protocol. The labels are resolved once: an event costs an atomic addition.
type perService struct {
	sessions prometheus.Gauge
	started  prometheus.Counter
	ended    [3]prometheus.Counter // by client, server, proxy
	phase    [len(phases)]prometheus.Observer
	auth     [len(results)]prometheus.Counter
}

// perBackend are the metrics of one backend.
type perBackend struct {
	sessions      prometheus.Gauge
	connected     prometheus.Counter
	failed        prometheus.Counter
	up            prometheus.Gauge
	failuresLabel string
}

// Metrics counts events. It is an event.Sink. Its names follow Prometheus' conventions, and no label holds a user.
type Metrics struct {
	registry    *prometheus.Registry
	service     [len(services)]perService
	backends    sync.Map // of netip.AddrPort to *perBackend
	known       atomic.Int64
	rest        *perBackend
	disconnects *prometheus.CounterVec
	failures    *prometheus.CounterVec
	passdbs     *prometheus.CounterVec
	passdbTime  *prometheus.HistogramVec
	reloads     [2]prometheus.Counter // failed, succeeded
	reloadOK    prometheus.Gauge
	reloadAt    prometheus.Gauge

	backendSessions, backendUp *prometheus.GaugeVec
	backendConnects            *prometheus.CounterVec
}

// NewMetrics makes the metrics of a process of a version.
func NewMetrics(version string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "dproxy_" + name, Help: help}, labels)
		m.registry.MustRegister(v)
		return v
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "dproxy_" + name, Help: help}, labels)
		m.registry.MustRegister(v)
		return v
	}
	histogram := func(name, help string, labels ...string) *prometheus.HistogramVec {
		v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "dproxy_" + name, Help: help, Buckets: seconds}, labels)
		m.registry.MustRegister(v)
		return v
	}
	gauge("build_info", "The program's version; the value is 1.", "version", "goversion").WithLabelValues(version, runtime.Version()).Set(1)
	sessions := gauge("sessions", "Sessions that are relayed now.", "service")
	started := counter("sessions_started_total", "Sessions handed over to the relay.", "service")
	ended := counter("sessions_ended_total", "Relayed sessions that ended, by who ended them.", "service", "side")
	phase := histogram("login_phase_seconds", "Time that a part of a login took.", "service", "phase")
	authentications := counter("authentications_total", "Authentications by their result.", "service", "result")
	for i, s := range services {
		p := &m.service[i]
		p.sessions, p.started = sessions.WithLabelValues(s), started.WithLabelValues(s)
		for j, side := range sides {
			p.ended[j] = ended.WithLabelValues(s, side)
		}
		for j, name := range phases {
			p.phase[j] = phase.WithLabelValues(s, name)
		}
		for j, r := range results {
			p.auth[j] = authentications.WithLabelValues(s, r)
		}
	}
	m.disconnects = counter("disconnects_total", "Connections that ended before they were handed over, by reason.", "service", "reason")
	m.failures = counter("backend_failures_total", "Logins at a backend that failed for good, by kind.", "backend", "kind")
	m.passdbs = counter("passdb_answers_total", "Answers of passdbs. cached tells whether the auth cache gave it.", "passdb", "result", "cached")
	m.passdbTime = histogram("passdb_seconds", "Time that a passdb took to answer, without the cache's answers.", "passdb")
	m.backendSessions = gauge("backend_sessions", "Sessions that are relayed to a backend now.", "backend")
	m.backendConnects = counter("backend_connects_total", "Connection attempts to a backend.", "backend", "result")
	m.backendUp = gauge("backend_up", "Whether the last connection attempt to a backend succeeded.", "backend")
	m.rest = m.newBackend("other")
	reloads := counter("config_reloads_total", "Reloads of the configuration.", "result")
	m.reloads = [2]prometheus.Counter{reloads.WithLabelValues("failed"), reloads.WithLabelValues("ok")}
	m.reloadOK = gauge("config_last_reload_successful", "Whether the last reload, or the start, succeeded.").WithLabelValues()
	m.reloadAt = gauge("config_last_reload_success_timestamp_seconds", "When the configuration in use was loaded.").WithLabelValues()
	return m
}

var sides = [...]string{"client", "server", "proxy"}

func (m *Metrics) newBackend(name string) *perBackend {
	return &perBackend{
		sessions: m.backendSessions.WithLabelValues(name), up: m.backendUp.WithLabelValues(name),
		connected: m.backendConnects.WithLabelValues(name, "ok"), failed: m.backendConnects.WithLabelValues(name, "failed"), failuresLabel: name,
	}
}

// backend finds the metrics of a backend.
func (m *Metrics) backend(a netip.AddrPort) *perBackend {
	if b, ok := m.backends.Load(a); ok {
		return b.(*perBackend)
	}
	if !a.IsValid() || m.known.Add(1) > maxBackends {
		m.known.Store(min(m.known.Load(), maxBackends))
		return m.rest
	}
	b, had := m.backends.LoadOrStore(a, m.newBackend(a.String()))
	if had {
		m.known.Add(-1)
	}
	return b.(*perBackend)
}

// Emit implements event.Sink.
func (m *Metrics) Emit(e event.Event) {
	switch e := e.(type) {
	case event.Greeted:
		s := &m.service[serviceIndex(e.Service)]
		s.phase[phaseQueue].Observe(e.Queued.Seconds())
		s.phase[phaseGreeting].Observe(e.Took.Seconds())
	case event.Authenticated:
		s := &m.service[serviceIndex(e.Service)]
		s.auth[resultIndex(e.Result)].Inc()
		s.phase[phaseAuth].Observe(e.Took.Seconds())
	case event.PassdbAnswered:
		cached := "no"
		if e.Cached {
			cached = "yes"
		} else {
			m.passdbTime.WithLabelValues(e.Passdb).Observe(e.Took.Seconds())
		}
		m.passdbs.WithLabelValues(e.Passdb, e.Result, cached).Inc()
	case event.Dialed:
		m.dialed(e)
	case event.TLSDone:
		phase := phaseTLS
		if e.Backend {
			phase = phaseBackendTLS
		}
		if e.Err == nil {
			m.service[serviceIndex(e.Client.Service)].phase[phase].Observe(e.Took.Seconds())
		}
	case event.BackendFailed:
		if e.Final {
			m.failures.WithLabelValues(m.backend(e.Target.Addr).failuresLabel, e.Kind).Inc()
		}
	case event.Started:
		s := &m.service[serviceIndex(e.Client.Service)]
		s.started.Inc()
		s.sessions.Inc()
		s.phase[phaseBackendLogin].Observe(e.Took.Seconds())
		m.backend(e.Target.Addr).sessions.Inc()
	case event.Ended:
		s := &m.service[serviceIndex(e.Client.Service)]
		s.sessions.Dec()
		for i, side := range sides {
			if side == e.Side {
				s.ended[i].Inc()
			}
		}
		m.backend(e.Target.Addr).sessions.Dec()
	case event.Disconnected:
		m.disconnects.WithLabelValues(services[serviceIndex(e.Client.Service)], e.Reason).Inc()
	}
}

func (m *Metrics) dialed(e event.Dialed) {
	b := m.backend(e.Target.Addr)
	if e.Err != nil {
		b.failed.Inc()
		b.up.Set(0)
		return
	}
	b.connected.Inc()
	b.up.Set(1)
	m.service[serviceIndex(e.Client.Service)].phase[phaseDial].Observe(e.Took.Seconds())
}

// Loaded notes the end of a start or reload.
func (m *Metrics) Loaded(ok bool) {
	if !ok {
		m.reloads[0].Inc()
		m.reloadOK.Set(0)
		return
	}
	m.reloads[1].Inc()
	m.reloadOK.Set(1)
	m.reloadAt.Set(float64(time.Now().Unix()))
}
