package login

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"dproxy/auth"
	"dproxy/backend"
	"dproxy/conf"
	"dproxy/event"
	"dproxy/route"
)

// SnapshotOptions are what NewSnapshot needs.
type SnapshotOptions struct {
	Context context.Context // bounds logins; nil: only the snapshot's end does
	Config  *conf.Config
	Auth    *auth.Authenticator
	// AuthErr says why there is no Auth. Clients hear that authentication is broken, as from a Dovecot
	// whose auth process does not start.
	AuthErr   error
	Hostname  string // the machine's name
	Events    event.Sink
	Resolver  route.Resolver
	Protocols map[string]Protocol
	// Shared is what snapshots of one process have in common; nil: this one has its own.
	Shared *backend.Shared
	// Loops makes the connections to backends of logins that run on an event loop; it may be nil.
	Loops backend.Connector
}

// settingsSource is what this room asks of a *conf.Config.
type settingsSource interface {
	Settings(conf.Filter) *conf.Settings
	Blocks(conf.Filter) []string
}

// authenticator and exchange are what this room asks of the auth room.
type authenticator interface {
	Mechanisms() []auth.Mechanism
	Start(context.Context, auth.Request) (exchange, []byte, *auth.Reply)
	Close()
}

type exchange interface {
	Step(ctx context.Context, response []byte) (challenge []byte, reply *auth.Reply)
}

// authRoom is the auth room as an authenticator.
type authRoom struct{ *auth.Authenticator }

func (a authRoom) Start(ctx context.Context, r auth.Request) (exchange, []byte, *auth.Reply) {
	return a.Authenticator.Start(ctx, r)
}

// Snapshot is one configuration with everything derived from it. It never changes; a connection
// keeps the one it began with until it is handed over.
type Snapshot struct {
	config    settingsSource
	auth      authenticator
	authErr   error
	hostname  string
	events    event.Sink
	resolver  route.Resolver
	protocols map[string]Protocol
	shared    *backend.Shared
	loops     backend.Connector

	mu       sync.RWMutex
	profiles map[profileKey]*profile
	refs     atomic.Int64 // connections that use it, and one for whoever made it; 0: it is over
	ctx      context.Context
	cancel   context.CancelFunc
}

type profileKey struct {
	settings *conf.Settings
	protocol string
}

// NewSnapshot derives what the protocols that the configuration turns on need. Errors are those of
// the configuration: certificates and keys, log formats. Close lets it go.
func NewSnapshot(o SnapshotOptions) (*Snapshot, error) {
	s := newSnapshot(o)
	if o.Auth != nil {
		s.auth = authRoom{o.Auth}
	}
	if s.auth == nil && s.authErr == nil {
		s.authErr = errors.New("no authentication configured")
	}
	on := strings.Fields(s.config.Settings(conf.Filter{}).Protocols)
	for name := range s.protocols {
		if !slices.Contains(on, name) {
			continue
		}
		p := s.profile(conf.Filter{Protocol: name})
		if p.tlsErr != nil {
			s.cancel()
			return nil, fmt.Errorf("protocol %s: Failed to initialize SSL server context: %w", name, p.tlsErr)
		}
		if p.invalid != nil {
			s.cancel()
			return nil, fmt.Errorf("protocol %s: %w", name, p.invalid)
		}
	}
	return s, nil
}

func newSnapshot(o SnapshotOptions) *Snapshot {
	s := &Snapshot{
		config: o.Config, authErr: o.AuthErr, hostname: o.Hostname, events: o.Events, resolver: o.Resolver,
		protocols: o.Protocols, shared: o.Shared, loops: o.Loops, profiles: map[profileKey]*profile{},
	}
	if s.shared == nil {
		s.shared = backend.NewShared()
	}
	if o.Context == nil {
		// The snapshot owns its logins: the context ends when the last one has let go.
		o.Context = context.Background()
	}
	s.ctx, s.cancel = context.WithCancel(o.Context)
	s.refs.Store(1)
	return s
}

// Close lets the snapshot go. Its passdbs are closed when its last connection has let go as well.
func (s *Snapshot) Close() { s.release() }

// acquire counts a connection; it fails when the snapshot is over.
func (s *Snapshot) acquire() bool {
	for {
		n := s.refs.Load()
		if n == 0 {
			return false
		}
		if s.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (s *Snapshot) release() {
	if s.refs.Add(-1) > 0 {
		return
	}
	s.cancel()
	if s.auth != nil {
		s.auth.Close()
	}
}

// profile returns what the connections that a filter describes share. Equal settings share one.
func (s *Snapshot) profile(f conf.Filter) *profile {
	key := profileKey{s.config.Settings(f), f.Protocol}
	s.mu.RLock()
	p := s.profiles[key]
	s.mu.RUnlock()
	if p == nil {
		s.mu.Lock()
		if p = s.profiles[key]; p == nil {
			p = &profile{}
			s.profiles[key] = p
		}
		s.mu.Unlock()
	}
	// Names in login_source_ips are looked up: others do not wait for that.
	p.made.Do(func() { s.make(p, key) })
	return p
}
