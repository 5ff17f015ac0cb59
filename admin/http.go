package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"dproxy/conf"
	"dproxy/event"
)

const (
	// maxScrapers bounds the connections to the HTTP listeners, each.
	maxScrapers = 32
	// maxHeader bounds a request's header in bytes.
	maxHeader = 8 << 10
	httpTime  = 10 * time.Second
)

// HTTP serves /metrics, /healthz and /readyz on the inet_listeners of service stats.
type HTTP struct {
	metrics http.Handler
	ready   func() error
	events  event.Sink

	mu      sync.Mutex
	key     string // of those who may read metrics; "" for everybody
	servers map[netip.AddrPort]*http.Server
	running sync.WaitGroup
}

// NewHTTP listens nowhere yet.
func NewHTTP(m *Metrics, ready func() error, events event.Sink) *HTTP {
	return &HTTP{
		metrics: promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{EnableOpenMetrics: true, MaxRequestsInFlight: 4, Timeout: httpTime}),
		ready:   ready, events: events, servers: map[netip.AddrPort]*http.Server{},
	}
}

// Use opens the listeners of a configuration and closes those that it has not. What cannot be opened is reported, and
// nothing else suffers.
func (h *HTTP) Use(c *conf.Config) {
	key := c.Settings(conf.Filter{}).DoveadmAPIKey
	addrs, err := statsAddrs(c, key)
	if err != nil {
		h.report(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.key = key
	wanted := map[netip.AddrPort]bool{}
	for _, a := range addrs {
		wanted[a] = true
		if h.servers[a] == nil {
			if err := h.open(a); err != nil {
				h.report(fmt.Errorf("service(stats): listen(%s, %d) failed: %w", a.Addr(), a.Port(), err))
			}
		}
	}
	for a, s := range h.servers {
		if !wanted[a] {
			_ = s.Close()
			delete(h.servers, a)
		}
	}
}

func (h *HTTP) report(err error) {
	h.events.Emit(event.Notice{Level: event.Error, Source: "stats", Text: err.Error()})
}

// statsAddrs are the addresses of service stats: loopback, unless a listener names others.
func statsAddrs(c *conf.Config, key string) (out []netip.AddrPort, err error) {
	for _, s := range c.Services() {
		if s.Name != "stats" {
			continue
		}
		for _, l := range s.Inet {
			if l.Port == 0 {
				continue
			}
			if l.SSL {
				err = errors.Join(err, &conf.Error{Position: l.Position, Text: "service stats: ssl = yes is not supported; put a TLS proxy in front"})
				continue
			}
			hosts := l.Address
			if len(hosts) == 0 {
				hosts = []string{"127.0.0.1"}
			}
			for _, host := range hosts {
				a, bad := listenAddr(host)
				switch {
				case bad != nil:
					err = errors.Join(err, &conf.Error{Position: l.Position, Text: "service stats: address " + host + " is none; give an IP address"})
				case !a.IsLoopback() && key == "":
					err = errors.Join(err, &conf.Error{Position: l.Position, Text: "service stats: " + host + " is open to others; set doveadm_api_key, or leave the address out for 127.0.0.1"})
				default:
					out = append(out, netip.AddrPortFrom(a, l.Port))
				}
			}
		}
	}
	return out, err
}

func listenAddr(host string) (netip.Addr, error) {
	switch host {
	case "*":
		return netip.IPv4Unspecified(), nil
	case "::", "[::]":
		return netip.IPv6Unspecified(), nil
	}
	return netip.ParseAddr(strings.Trim(host, "[]"))
}

func (h *HTTP) open(a netip.AddrPort) error {
	// An upgraded process has the address for a moment still.
	lc := net.ListenConfig{Control: reusePort}
	l, err := lc.Listen(context.Background(), "tcp", a.String())
	if err != nil {
		return err
	}
	s := &http.Server{
		Handler: h.mux(), ReadHeaderTimeout: httpTime, ReadTimeout: httpTime, WriteTimeout: 2 * httpTime, IdleTimeout: time.Minute,
		MaxHeaderBytes: maxHeader, ErrorLog: silentLog(),
	}
	h.servers[a] = s
	h.running.Go(func() { _ = s.Serve(&limited{Listener: l, slots: make(chan struct{}, maxScrapers)}) })
	return nil
}

func (h *HTTP) mux() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		if !h.allowed(r.Header.Get("Authorization")) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "not authorized", http.StatusUnauthorized)
			return
		}
		h.metrics.ServeHTTP(w, r)
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if h.ready() != nil { // the log says why; strangers need not know
			http.Error(w, "not ready", http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprintln(w, "ok")
	})
	return mux
}

// allowed compares a request's key in constant time: as a bearer token, or as Dovecot's own HTTP API has it.
func (h *HTTP) allowed(given string) bool {
	h.mu.Lock()
	key := h.key
	h.mu.Unlock()
	if key == "" {
		return true
	}
	token, ok := strings.CutPrefix(given, "Bearer ")
	if !ok {
		text, isKey := strings.CutPrefix(given, "X-Dovecot-API ")
		raw, err := base64.StdEncoding.DecodeString(text)
		if token = string(raw); !isKey || err != nil {
			return false
		}
	}
	a, b := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(key))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// Close ends all listeners.
func (h *HTTP) Close() {
	h.mu.Lock()
	for a, s := range h.servers {
		_ = s.Close()
		delete(h.servers, a)
	}
	h.mu.Unlock()
	h.running.Wait()
}

// limited bounds the connections of a listener: one too many is closed at once.
type limited struct {
	net.Listener
	slots chan struct{}
}

// Accept implements net.Listener.
func (l *limited) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.slots <- struct{}{}:
			return &counted{Conn: nc, done: sync.OnceFunc(func() { <-l.slots })}, nil
		default:
			_ = nc.Close()
		}
	}
}

type counted struct {
	net.Conn
	done func()
}

// Close implements net.Conn.
func (c *counted) Close() error {
	c.done()
	return c.Conn.Close()
}
