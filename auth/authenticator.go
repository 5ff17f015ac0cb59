package auth

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"

	"dproxy/conf"
	"dproxy/event"
	"dproxy/passdb"
)

// configuration is what this room asks of a *conf.Config.
type configuration interface {
	Settings(conf.Filter) *conf.Settings
	Services() []conf.Service
	Passdbs(protocol string) []conf.Passdb
}

// Authenticator serves one conf snapshot. It is safe for concurrent use.
type Authenticator struct {
	config  configuration
	events  event.Sink
	drivers map[string]passdb.Factory
	hashes  *semaphore.Weighted // slots for hashes that are slow on purpose
	macs    macKey
	mechs   []Mechanism

	hostname  string
	cache     *cache
	guard     *guard // nil without a policy server
	penalties *penalties
	flights   singleflight.Group
	flying    sync.WaitGroup // lookups that outlive who asked first

	mu         sync.Mutex
	entries    map[int]*entry    // by conf.Passdb.Index
	chains     map[string]*chain // by service
	warned     map[string]bool   // warnings given once
	ids        map[string]int    // numbers of passdbs, by driver and args
	passdbs    int               // how many are numbered
	closed     bool
	cancels    map[uint64]context.CancelFunc // of the lookups in flight
	nextFlight uint64
}

// services are the protocols whose chains are built, and thereby checked, at start.
var services = [...]string{"", "imap", "pop3", "submission", "sieve", "lmtp"}

// maxChains bounds how many services are remembered: their names may come from a peer.
const maxChains = 64

// New opens the passdbs of a configuration. Its errors have Dovecot's wording
// ("No passdbs specified in configuration file. PLAIN mechanism needs one").
func New(o Options) (*Authenticator, error) { return open(o.Config, o.Drivers, o.Events) }

func open(c configuration, drivers map[string]passdb.Factory, events event.Sink) (*Authenticator, error) {
	a := &Authenticator{
		config:  c,
		events:  events,
		drivers: drivers,
		hashes:  semaphore.NewWeighted(int64(runtime.NumCPU())),
		macs:    newMACKey(),
		entries: map[int]*entry{},
		chains:  map[string]*chain{},
		warned:  map[string]bool{},
		ids:     map[string]int{},
		cancels: map[uint64]context.CancelFunc{},
	}
	if err := a.prepare(); err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

func (a *Authenticator) prepare() error {
	set := a.config.Settings(conf.Filter{})
	var err error
	if a.mechs, err = mechanisms(set.AuthMechanisms); err != nil {
		return err
	}
	if a.cache, err = newCache(set); err != nil {
		return err
	}
	if set.AuthDebugPasswords || set.AuthVerbosePasswords != "no" && set.AuthVerbosePasswords != "" {
		a.warnOnce("passwords", "auth_debug_passwords or auth_verbose_passwords is set: wrong passwords are written to the log")
	}
	if a.guard, err = newGuard(set); err != nil {
		return err
	}
	a.penalties = newPenalties(a.config.Services())
	if a.hostname = set.Hostname; a.hostname == "" {
		if a.hostname, err = os.Hostname(); err != nil {
			return fmt.Errorf("the host name is needed for challenges; set hostname: %w", err)
		}
	}
	for _, s := range services {
		c, err := a.chain(s)
		if err != nil {
			return err
		}
		if err := c.supports(a.mechs); err != nil {
			return err
		}
	}
	return nil
}

// Close ends the lookups that are under way and releases the drivers. No exchange may be running.
func (a *Authenticator) Close() {
	a.mu.Lock()
	a.closed = true
	for _, cancel := range a.cancels {
		cancel()
	}
	a.mu.Unlock()
	a.flying.Wait()
	if a.guard != nil {
		a.guard.Close()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range a.entries {
		if c, ok := e.driver.(passdb.Closer); ok {
			_ = c.Close() // nothing is left to lose
		}
	}
	a.entries = map[int]*entry{}
}

// Mechanisms lists auth_mechanisms in order.
func (a *Authenticator) Mechanisms() []Mechanism { return a.mechs }

// Debug tells whether auth_debug is on.
func (a *Authenticator) Debug() bool { return a.config.Settings(conf.Filter{}).AuthDebug }

// chain returns the passdbs of a service, built on first use.
func (a *Authenticator) chain(service string) (*chain, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.chains[service]; c != nil {
		return c, nil
	}
	c := &chain{settings: a.config.Settings(conf.Filter{Protocol: service})}
	var err error
	if c.names, err = newNameRules(c.settings); err != nil {
		return nil, err
	}
	passdbs := a.config.Passdbs(service)
	for _, masters := range []bool{false, true} { // the order of their numbers
		for _, p := range passdbs {
			if p.Master != masters || a.entries[p.Index] != nil {
				continue
			}
			e, err := a.openEntry(p)
			if err != nil {
				return nil, err
			}
			a.entries[p.Index] = e
		}
	}
	for _, p := range passdbs {
		c.add(a.entries[p.Index])
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	if len(a.chains) < maxChains {
		a.chains[service] = c
	}
	return c, nil
}

// warnOnce reports text the first time key is seen.
func (a *Authenticator) warnOnce(key, text string) {
	a.mu.Lock()
	seen := a.warned[key]
	a.warned[key] = true
	a.mu.Unlock()
	if !seen {
		a.events.Emit(event.Notice{Level: event.Warning, Source: "auth", Text: text})
	}
}

func fields(s, separators string) []string {
	return strings.FieldsFunc(s, func(c rune) bool { return strings.ContainsRune(separators, c) })
}
