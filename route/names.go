package route

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"dproxy/event"
	"dproxy/fiber"
)

// Resolver looks host names up; *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

const (
	dnsTimeout = 3 * time.Second
	dnsSlow    = 500 * time.Millisecond
	// keepGood is how long after DNS began to fail a name's last good answer is still used.
	keepGood = 5 * time.Minute
	// askAgain is the pause between two questions for a name that DNS fails to answer, while its last
	// good answer serves everybody at once.
	askAgain = time.Second
	// sayAgain is the pause between two log lines about such a name.
	sayAgain = time.Minute
	// maxNames bounds the answers kept; names come from a database.
	maxNames = 4096
)

// names resolves host names and remembers the last good answer for each.
type names struct {
	resolver Resolver

	mu   sync.Mutex
	good map[string]*answer
}

// answer is the last good answer for a name.
type answer struct {
	addrs   []netip.Addr
	failing time.Time // since when DNS fails; zero: it does not
	asked   time.Time // the last question since then
	said    time.Time // the last log line since then
	asking  bool      // somebody waits for DNS right now
}

func newNames(res Resolver) names { return names{resolver: res, good: map[string]*answer{}} }

// lookup is what came of a question.
type lookup struct {
	addrs []netip.Addr
	err   error         // why DNS gave no answer; with addrs when the last good one helps out
	took  time.Duration // 0 when DNS was not asked
	say   bool          // err is worth a log line
}

func (n *names) lookup(ctx context.Context, host string) lookup {
	if addrs := n.stale(host); addrs != nil {
		return lookup{addrs: addrs}
	}
	ctx, cancel := context.WithTimeout(ctx, dnsTimeout)
	defer cancel()
	began := time.Now()
	fiber.Blocking(ctx)
	ips, err := n.resolver.LookupNetIP(ctx, "ip", host)
	if err == nil && len(ips) == 0 {
		err = &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	l := lookup{err: err, took: time.Since(began)}
	if err == nil {
		for _, ip := range ips {
			if ip = ip.Unmap(); !slices.Contains(l.addrs, ip) {
				l.addrs = append(l.addrs, ip)
			}
		}
		n.learn(host, l.addrs)
		return l
	}
	l.addrs, l.say = n.failed(host, errors.Is(err, context.Canceled))
	return l
}

// stale returns the last good answer when DNS is known to fail and somebody has asked just now.
func (n *names) stale(host string) []netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	a := n.good[host]
	if a == nil {
		return nil
	}
	now := time.Now()
	if !a.failing.IsZero() && now.Sub(a.failing) < keepGood && (a.asking || now.Sub(a.asked) < askAgain) {
		return a.addrs
	}
	a.asking, a.asked = true, now
	return nil
}

func (n *names) learn(host string, addrs []netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.good) >= maxNames && n.good[host] == nil {
		clear(n.good)
	}
	n.good[host] = &answer{addrs: addrs}
}

// failed returns the last good answer for a name that DNS did not answer, as long as it may be used.
func (n *names) failed(host string, canceled bool) (addrs []netip.Addr, say bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	a := n.good[host]
	if a == nil {
		return nil, !canceled
	}
	a.asking = false
	if canceled {
		return nil, false
	}
	now := time.Now()
	if a.failing.IsZero() {
		a.failing = now
	}
	if now.Sub(a.failing) >= keepGood {
		delete(n.good, host)
		return nil, true
	}
	if say = now.Sub(a.said) >= sayAgain; say {
		a.said = now
	}
	return a.addrs, say
}

// resolve asks DNS for a host and reports what went wrong or slowly.
func (r *Router) resolve(ctx context.Context, q *Query, host string) ([]netip.Addr, error) {
	l := r.names.lookup(ctx, host)
	if l.took > dnsSlow && l.err == nil {
		r.authLine(q, event.Warning, "DNS lookup for "+event.Clean(host, 255)+" took "+l.took.Round(time.Millisecond).String())
	}
	if l.err == nil {
		return l.addrs, nil
	}
	text := "DNS lookup for " + event.Clean(host, 255) + " failed: " + dnsText(l.err)
	level := event.Error
	said := text
	if l.addrs != nil {
		level, said = event.Warning, text+"; the last good answer is used"
	}
	if l.say {
		r.events.Emit(event.Notice{Level: level, Source: "auth", Text: said})
	}
	if l.addrs != nil {
		return l.addrs, nil
	}
	return nil, &Error{TempFail, text}
}

func dnsText(err error) string {
	var de *net.DNSError
	switch {
	case errors.As(err, &de) && de.IsNotFound:
		return "Name or service not known"
	case errors.As(err, &de) && de.IsTimeout, errors.Is(err, context.DeadlineExceeded):
		return "Lookup timed out"
	}
	return event.Clean(err.Error(), 255)
}
