package auth

import (
	"hash/crc32"
	"net/netip"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"dproxy/conf"
)

const (
	maxPenalty      = 4
	penaltyDecay    = 15 * time.Second // nothing decays before, everything after
	penaltyExpiry   = 29 * time.Second // 2+4+8+15
	knownAttempts   = 10
	penaltyIPv6Bits = 48
	maxPenalized    = 100_000 // addresses, about 20 MB
)

// penalties slow down addresses that guess. A nil value never does.
type penalties struct {
	mu   sync.Mutex
	list *simplelru.LRU[netip.Addr, *penalty]
}

type penalty struct {
	value   int
	raised  time.Time
	updated time.Time
	// tried are checksums of the last different attempts: a client that repeats one wrong password
	// is not guessing.
	tried []uint32
}

// newPenalties returns nil when the configuration switches penalties off as in Dovecot: with
// mode = 0 on the socket anvil-auth-penalty.
func newPenalties(services []conf.Service) *penalties {
	for _, s := range services {
		for _, u := range s.Unix {
			if s.Name == "anvil" && path.Base(u.Path) == "anvil-auth-penalty" && u.Mode == 0 {
				return nil
			}
		}
	}
	list, err := simplelru.NewLRU[netip.Addr, *penalty](maxPenalized, nil)
	if err != nil {
		return nil // only for a size below 1
	}
	return &penalties{list: list}
}

// network is the unit that is slowed down: an IPv4 address, or an IPv6 /48.
func network(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		p, _ := a.Prefix(penaltyIPv6Bits) // an IPv6 address has that many bits
		return p.Addr()
	}
	return a
}

// delay is how long a login from an address has to wait: 4, 8 or 15 seconds.
func (p *penalties) delay(a netip.Addr) time.Duration {
	if p == nil || !a.IsValid() {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	x, ok := p.list.Get(network(a))
	if !ok {
		return 0
	}
	switch x.now() {
	case 0:
		return 0
	case 1:
		return 4 * time.Second
	case 2:
		return 8 * time.Second
	}
	return 15 * time.Second
}

func (x *penalty) now() int {
	if time.Since(x.raised) >= penaltyDecay {
		return 0
	}
	return x.value
}

// failed counts a failed login.
func (p *penalties) failed(a netip.Addr, user, password string) {
	if p == nil || !a.IsValid() {
		return
	}
	sum := crc32.Update(crc32.ChecksumIEEE([]byte(password)), crc32.IEEETable, []byte(user))
	p.mu.Lock()
	defer p.mu.Unlock()
	key := network(a)
	x, ok := p.list.Get(key)
	if !ok || time.Since(x.updated) > penaltyExpiry {
		x = &penalty{}
		p.list.Add(key, x)
	}
	x.updated = time.Now()
	value := x.now()
	if i := slices.Index(x.tried, sum); i >= 0 {
		x.tried = slices.Delete(x.tried, i, i+1)
	} else {
		value = min(maxPenalty, value+1)
		x.raised = x.updated
	}
	x.value = value
	x.tried = append(x.tried, sum)
	if len(x.tried) > knownAttempts {
		x.tried = x.tried[1:]
	}
}

// succeeded forgives an address.
func (p *penalties) succeeded(a netip.Addr) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list.Remove(network(a))
}

// Penalty is one slowed down address, for the administration.
type Penalty struct {
	Net     netip.Prefix
	Value   int
	Raised  time.Time
	Updated time.Time
}

// Penalties lists the addresses that are slowed down now.
func (a *Authenticator) Penalties() []Penalty {
	p := a.penalties
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []Penalty
	for _, addr := range p.list.Keys() {
		x, _ := p.list.Peek(addr)
		if time.Since(x.updated) > penaltyExpiry {
			continue
		}
		bits := addr.BitLen()
		if addr.Is6() {
			bits = penaltyIPv6Bits
		}
		out = append(out, Penalty{netip.PrefixFrom(addr, bits), x.value, x.raised, x.updated})
	}
	return out
}
