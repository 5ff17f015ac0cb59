package admin

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"dproxy/auth"
)

// State is what others count; it is asked for when metrics are.
type State struct {
	PreLogin           int // connections that have not logged in
	ToBackend, ToUser  uint64
	LogLinesDropped    uint64
	Panics             uint64
	PenalizedAddresses int
	Cache              auth.CacheStats
	Ready              error // nil: the server serves
}

// Watch makes metrics of what state returns.
func (m *Metrics) Watch(state func() State) {
	m.registry.MustRegister(&stateCollector{state: state})
}

// stateCollector asks once for each scrape.
type stateCollector struct {
	state func() State

	mu         sync.Mutex
	last, base auth.CacheStats // a reload begins a new cache: its counters go on from the old one's
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("dproxy_"+name, help, labels, nil)
}

var (
	descPreLogin  = desc("clients_before_login", "Connections that have not logged in.")
	descBytes     = desc("relayed_bytes_total", "Bytes that the relay moved.", "direction")
	descDropped   = desc("log_lines_dropped_total", "Log lines that were lost because they could not be written, or not fast enough.")
	descPanics    = desc("panics_total", "Connections that a fault in the program ended.")
	descPenalties = desc("penalized_addresses", "Addresses that are slowed down for wrong passwords.")
	descHits      = desc("auth_cache_hits_total", "Lookups that the auth cache answered.")
	descMisses    = desc("auth_cache_misses_total", "Lookups that the auth cache could not answer.")
	descEvictions = desc("auth_cache_evictions_total", "Entries that left the auth cache for want of room.")
	descEntries   = desc("auth_cache_entries", "Entries of the auth cache.")
	descCacheUsed = desc("auth_cache_bytes", "Memory that the auth cache uses.")
	descCacheSize = desc("auth_cache_size_bytes", "Memory that the auth cache may use (auth_cache_size).")
	descReady     = desc("ready", "Whether the server serves: what /readyz says.")
)

// Describe implements prometheus.Collector.
func (c *stateCollector) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, out) }

// Collect implements prometheus.Collector.
func (c *stateCollector) Collect(out chan<- prometheus.Metric) {
	s := c.state()
	cache := c.total(s.Cache)
	send := func(d *prometheus.Desc, t prometheus.ValueType, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, t, v, labels...)
	}
	const counter, gauge = prometheus.CounterValue, prometheus.GaugeValue
	send(descPreLogin, gauge, float64(s.PreLogin))
	send(descBytes, counter, float64(s.ToBackend), "to_backend")
	send(descBytes, counter, float64(s.ToUser), "to_client")
	send(descDropped, counter, float64(s.LogLinesDropped))
	send(descPanics, counter, float64(s.Panics))
	send(descPenalties, gauge, float64(s.PenalizedAddresses))
	send(descHits, counter, float64(cache.Hits))
	send(descMisses, counter, float64(cache.Misses))
	send(descEvictions, counter, float64(cache.Evictions))
	send(descEntries, gauge, float64(cache.Entries))
	send(descCacheUsed, gauge, float64(cache.Bytes))
	send(descCacheSize, gauge, float64(cache.Size))
	ready := 0.0
	if s.Ready == nil {
		ready = 1
	}
	send(descReady, gauge, ready)
}

// total keeps counters from going back.
func (c *stateCollector) total(now auth.CacheStats) auth.CacheStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Hits < c.last.Hits || now.Misses < c.last.Misses || now.Evictions < c.last.Evictions {
		c.base.Hits += c.last.Hits
		c.base.Misses += c.last.Misses
		c.base.Evictions += c.last.Evictions
	}
	c.last = now
	now.Hits += c.base.Hits
	now.Misses += c.base.Misses
	now.Evictions += c.base.Evictions
	return now
}
