package admin

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"dproxy/event"
)

// Traces hands the events of chosen logins to those who want them told. It is an event.Sink that costs an atomic load
// while nobody does.
type Traces struct {
	active atomic.Int32

	mu        sync.Mutex
	listeners []*listener
}

// listener is who wants to hear of some logins.
type listener struct {
	session string       // of one login, or
	user    string       // mask, or
	net     netip.Prefix // of clients
	until   time.Time    // zero: until removed
	say     func(session, stage, text string)
}

// maxTraces bounds the run-time traces.
const maxTraces = 16

// Emit implements event.Sink.
func (t *Traces) Emit(e event.Event) {
	if t.active.Load() == 0 {
		return
	}
	who, ok := subjectOf(e)
	if !ok {
		return
	}
	stage, text := tell(e)
	if stage == "" {
		return
	}
	t.mu.Lock()
	t.expire()
	var say []func(string, string, string)
	for _, l := range t.listeners {
		if l.wants(who) {
			say = append(say, l.say)
		}
	}
	t.mu.Unlock()
	for _, f := range say {
		f(who.session, stage, text)
	}
}

// subject is whose login an event is about.
type subject struct {
	session, user string
	remote        netip.Addr
}

func (l *listener) wants(s subject) bool {
	switch {
	case l.session != "":
		return l.session == s.session
	case l.net.IsValid():
		return l.net.Contains(s.remote.Unmap())
	}
	return s.user != "" && wildcard(l.user, s.user)
}

// expire forgets the listeners whose time is over. t.mu is held.
func (t *Traces) expire() {
	now := time.Now()
	t.listeners = slices.DeleteFunc(t.listeners, func(l *listener) bool { return !l.until.IsZero() && now.After(l.until) })
	t.active.Store(int32(len(t.listeners)))
}

func (t *Traces) add(l *listener) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire()
	if len(t.listeners) >= maxTraces && l.session == "" {
		return &fault{Temporary, fmt.Sprintf("there are %d traces already; stop some", len(t.listeners))}
	}
	t.listeners = append(t.listeners, l)
	t.active.Store(int32(len(t.listeners)))
	return nil
}

// remove forgets those that match and returns how many they were.
func (t *Traces) remove(match func(*listener) bool) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := len(t.listeners)
	t.listeners = slices.DeleteFunc(t.listeners, match)
	t.active.Store(int32(len(t.listeners)))
	return before - len(t.listeners)
}

// Follow has say told of one login until stop is called.
func (t *Traces) Follow(session string, say func(stage, text string)) (stop func()) {
	l := &listener{session: session, say: func(_, stage, text string) { say(stage, text) }}
	_ = t.add(l) // a login that is explained is never one too many
	return func() { t.remove(func(x *listener) bool { return x == l }) }
}

// subjectOf tells whose login an event is about; ok is false for events about none.
func subjectOf(e event.Event) (s subject, ok bool) {
	of := func(c event.Client) (subject, bool) { return subject{c.Session, c.User, c.Remote.Addr()}, true }
	switch e := e.(type) {
	case event.FilterChosen:
		return of(e.Client)
	case event.PassdbAsked:
		return subject{e.Session, e.User, e.Remote}, true
	case event.PassdbAnswered:
		return subject{e.Session, e.User, e.Remote}, true
	case event.AuthLine:
		return subject{e.Session, e.User, e.Remote}, true
	case event.Authenticated:
		return subject{e.Session, e.User, netip.Addr{}}, true
	case event.RouteChosen:
		return of(e.Client)
	case event.Dialed:
		return of(e.Client)
	case event.TLSDone:
		return of(e.Client)
	case event.BackendFailed:
		return of(e.Client)
	case event.ProxyLine:
		return of(e.Client)
	case event.SourceExhausted:
		return of(e.Client)
	case event.Started:
		return of(e.Client)
	case event.Ended:
		return of(e.Client)
	case event.Disconnected:
		return of(e.Client)
	case event.ClientLine:
		return of(e.Client)
	}
	return s, false
}

// tell puts an event into words for people who look at one login.
func tell(e event.Event) (stage, text string) {
	switch e := e.(type) {
	case event.FilterChosen:
		if len(e.Blocks) == 0 {
			return "conf", "no filter block applies"
		}
		return "conf", "filter blocks that apply: " + strings.Join(e.Blocks, "; ")
	case event.PassdbAsked:
		return "passdb", fmt.Sprintf("%s is asked for %s", e.Passdb, event.Clean(e.User, 80))
	case event.PassdbAnswered:
		text = fmt.Sprintf("%s: %s", e.Passdb, e.Result)
		if e.Cached {
			text += ", from the cache"
		}
		text += fmt.Sprintf(", in %s", e.Took.Round(time.Microsecond))
		if e.Text != "" {
			text += ": " + e.Text
		}
		return "passdb", text
	case event.AuthLine:
		if e.DB != "" {
			return "auth", e.DB + ": " + e.Text
		}
		return "auth", e.Text
	case event.Authenticated:
		return "auth", fmt.Sprintf("result of the passdbs: %s, in %s", e.Result, e.Took.Round(time.Microsecond))
	case event.RouteChosen:
		return "route", tellRoute(e)
	case event.Dialed:
		if e.Err != nil {
			return "dial", fmt.Sprintf("%s: %v, after %s", e.Target.Addr, e.Err, e.Took.Round(time.Microsecond))
		}
		return "dial", fmt.Sprintf("connected to %s in %s", e.Target.Addr, e.Took.Round(time.Microsecond))
	case event.TLSDone:
		side := map[bool]string{true: "backend", false: "client"}[e.Backend]
		if e.Err != nil {
			return "tls", side + ": " + event.Clean(e.Err.Error(), 512)
		}
		return "tls", fmt.Sprintf("%s: %s, %s, in %s", side, e.Version, e.Cipher, e.Took.Round(time.Microsecond))
	case event.BackendFailed:
		text = e.Kind
		if e.Text != "" {
			text += ": " + e.Text
		}
		if !e.Final {
			text += " (another attempt follows)"
		}
		return "backend", text
	}
	if l, ok := event.LineOf(e); ok {
		return "log", l.Level.String() + ": " + l.Text
	}
	return "", ""
}

func tellRoute(e event.RouteChosen) string {
	if e.Err != nil {
		return "none: " + event.Clean(e.Err.Error(), 512)
	}
	var parts []string
	for _, t := range e.Targets {
		text := fmt.Sprintf("%s (host %s)", t.Addr, event.Clean(t.Host, 255))
		if t.TLS != "" {
			text += " with " + t.TLS
		}
		if t.Source.IsValid() {
			text += " from " + t.Source.String()
		}
		text += " as " + event.Clean(t.DestUser, 80)
		if t.Master != "" {
			text += ", master " + event.Clean(t.Master, 80)
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}
