// Package listen owns the listening sockets: it binds what the configuration asks for or takes it over
// from a service manager, keeps what a reload does not change, accepts, and reads PROXY protocol
// headers. It imports conf and event; login and cmd/dproxy import it.
package listen

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"dproxy/conf"
	"dproxy/event"
)

// Spec is one address or path to listen on.
type Spec struct {
	Addr     netip.AddrPort
	Protocol string // imap, pop3, ...; auth for the sockets of service auth
	Name     string // the inet_listener's name
	SSL      bool   // TLS from the start
	HAProxy  bool   // a PROXY header comes first
	// ReusePort lets several processes listen on the address (SO_REUSEPORT).
	ReusePort bool
	// Accepted is when a connection was accepted; zero for the listener itself.
	Accepted time.Time
	// Unix is the listener in the file system; nil with an Addr.
	Unix *Unix
}

// key tells sockets apart: two Specs with one key are the same socket.
func (s Spec) key() string {
	if s.Unix != nil {
		return s.Unix.Path
	}
	return s.Addr.String()
}

// service is the service that a line about the socket comes from.
func (s Spec) service() string {
	if s.Protocol == authService {
		return authService
	}
	return event.LoginSource(s.Protocol)
}

// Specs lists the sockets that a configuration asks for: the inet_listeners of the login services
// whose protocol serves holds, on their own address or those of the listen setting.
func Specs(c *conf.Config, serves func(protocol string) bool) ([]Spec, error) {
	var out []Spec
	have := map[netip.AddrPort]bool{} // conf refuses one port of two services
	for _, s := range c.Services() {
		protocol := strings.TrimSuffix(s.Name, "-login")
		if protocol == "managesieve" {
			protocol = "sieve"
		}
		if protocol != "lmtp" && !strings.HasSuffix(s.Name, "-login") || !serves(protocol) {
			continue
		}
		set := c.Settings(conf.Filter{Protocol: protocol})
		for _, l := range s.Inet {
			if l.Port == 0 || l.SSL && set.SSL == "no" {
				continue
			}
			addrs, err := inetAddresses(l, set.Listen)
			if err != nil {
				return nil, err
			}
			for _, ap := range addrs {
				if have[ap] {
					continue
				}
				have[ap] = true
				out = append(out, Spec{Addr: ap, Protocol: protocol, Name: l.Name, SSL: l.SSL, HAProxy: l.HAProxy, ReusePort: l.ReusePort})
			}
		}
	}
	return out, nil
}

// inetAddresses are those of an inet_listener: its own or those of the listen setting.
func inetAddresses(l conf.InetListener, listen string) ([]netip.AddrPort, error) {
	hosts := l.Address
	if len(hosts) == 0 {
		hosts = strings.FieldsFunc(listen, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
	}
	var out []netip.AddrPort
	for _, h := range hosts {
		addrs, err := resolve(h)
		if err != nil {
			return nil, &conf.Error{Position: l.Position, Text: fmt.Sprintf("listen: %s; check listen and the listener's address", err)}
		}
		for _, a := range addrs {
			out = append(out, netip.AddrPortFrom(a, l.Port))
		}
	}
	return out, nil
}

func resolve(host string) ([]netip.Addr, error) {
	switch host {
	case "*":
		return []netip.Addr{netip.IPv4Unspecified()}, nil
	case "::", "[::]":
		return []netip.Addr{netip.IPv6Unspecified()}, nil
	}
	if a, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return []netip.Addr{a}, nil
	}
	ips, err := net.LookupIP(host)
	if err != nil {
		return nil, fmt.Errorf("can't resolve %q: %s", host, err)
	}
	var out []netip.Addr
	for _, ip := range ips {
		if a, ok := netip.AddrFromSlice(ip); ok {
			out = append(out, a.Unmap())
		}
	}
	return out, nil
}

// Conn is an accepted TCP connection: a *net.TCPConn, or what an Acceptor makes.
type Conn interface {
	net.Conn
	syscall.Conn
	CloseWrite() error
}

// Handler serves one accepted connection, a Conn or a *net.UnixConn. It is called on the connection's own
// goroutine, or coroutine.
type Handler func(nc net.Conn, spec Spec)

// Acceptor accepts connections in event loops, which serve them there. serve is given Conns. failed is told
// why accepting does not work, and returns how long to wait. When ok is true the socket has moved to held,
// whose Close ends the accepting and which has a descriptor as l has.
type Acceptor interface {
	Accept(l *net.TCPListener, serve func(net.Conn), failed func(error) time.Duration) (held net.Listener, ok bool)
}

// Set is the open listeners of a process.
type Set struct {
	// Loops accept instead of goroutines when it is set. LMTP and service auth are left out: several
	// goroutines serve one of their connections.
	Loops Acceptor

	handle Handler
	events event.Sink

	mu        sync.Mutex
	open      map[string]*listener    // by Spec.key
	inherited map[string]net.Listener // by Spec.key
	wg        sync.WaitGroup          // accept loops
	served    sync.WaitGroup          // calls of handle
}

type listener struct {
	net.Listener
	mu     sync.Mutex
	spec   Spec
	closed chan struct{} // wakes an accept loop that pauses
}

func (l *listener) close() {
	close(l.closed)
	_ = l.Close()
	if u := l.current().Unix; u != nil {
		u.remove()
	}
}

// NewSet returns an empty Set that serves connections with h.
func NewSet(h Handler, events event.Sink) *Set {
	return &Set{handle: h, events: events, open: map[string]*listener{}, inherited: map[string]net.Listener{}}
}

// Change is a prepared switch to another list of sockets.
type Change struct {
	set   *Set
	specs []Spec
	fresh map[string]net.Listener
}

// Prepare binds what specs has and the Set has not. Nothing changes until Commit; on an error
// nothing stays bound. An IPv6 wildcard on a host without IPv6 is skipped with a warning.
func (s *Set) Prepare(specs []Spec) (*Change, error) {
	c := &Change{set: s, fresh: map[string]net.Listener{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, spec := range specs {
		if s.open[spec.key()] != nil {
			c.specs = append(c.specs, spec)
			continue
		}
		if s.inherited[spec.key()] != nil {
			c.specs = append(c.specs, spec)
			continue
		}
		l, err := bind(&spec)
		if err != nil {
			if spec.Unix != nil && spec.Unix.Optional {
				s.events.Emit(event.Notice{Level: event.Warning, Source: "master", Text: spec.failure(err) + "; going on without it"})
				continue
			}
			if spec.Addr.Addr() == netip.IPv6Unspecified() && (errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL)) {
				s.events.Emit(event.Notice{Level: event.Warning, Source: "master", Text: fmt.Sprintf("no IPv6 on this host: not listening on %s", spec.Addr)})
				continue
			}
			c.Abort()
			return nil, errors.New(spec.failure(err) + s.holder(spec))
		}
		c.fresh[spec.key()] = l
		c.specs = append(c.specs, spec)
	}
	return c, nil
}

// holder says when it is this process itself that holds a port, under another address.
func (s *Set) holder(spec Spec) string {
	want := spec.Addr
	for _, l := range s.open {
		have := l.current().Addr
		if spec.Unix == nil && have.IsValid() && have.Port() == want.Port() && have.Addr().Is4() == want.Addr().Is4() && (have.Addr().IsUnspecified() || want.Addr().IsUnspecified()) {
			return "; this process listens on " + shownAddr(have.Addr()) + " with the same port: restart it to change between one address and all"
		}
	}
	return ""
}

// shownAddr is an address as the listen setting has it.
func shownAddr(a netip.Addr) string {
	if a == netip.IPv4Unspecified() {
		return "*"
	}
	return a.String()
}

// Abort closes what Prepare bound.
func (c *Change) Abort() {
	for _, spec := range c.specs {
		l := c.fresh[spec.key()]
		if l == nil {
			continue
		}
		_ = l.Close()
		if spec.Unix != nil {
			spec.Unix.remove()
		}
	}
}

// Commit starts accepting on the new sockets, changes the ones that stay, and closes those that
// are gone. Connections already accepted are not touched.
func (c *Change) Commit() {
	s := c.set
	s.mu.Lock()
	defer s.mu.Unlock()
	keep := map[string]bool{}
	for _, spec := range c.specs {
		key := spec.key()
		keep[key] = true
		if l := s.open[key]; l != nil {
			if err := l.change(spec); err != nil {
				s.events.Emit(event.Notice{Level: event.Error, Source: "master", Text: spec.failure(err)})
			}
			continue
		}
		socket := c.fresh[key]
		if socket == nil {
			socket = s.inherited[key]
			delete(s.inherited, key)
		}
		l := &listener{Listener: socket, spec: spec, closed: make(chan struct{})}
		s.open[key] = l
		if !s.loop(l) {
			s.wg.Add(1)
			go s.accept(l)
		}
	}
	for key, l := range s.open {
		if !keep[key] {
			delete(s.open, key)
			l.close()
		}
	}
}

// Close stops accepting and returns when every accept loop has ended.
func (s *Set) Close() {
	s.mu.Lock()
	for key, l := range s.open {
		delete(s.open, key)
		l.close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// Leave stops accepting as Close does and leaves the files of sockets where they are: another process
// serves them now.
func (s *Set) Leave() {
	s.mu.Lock()
	for _, l := range s.open {
		if u := l.current().Unix; u != nil {
			u.made = nil
		}
	}
	s.mu.Unlock()
	s.Close()
}

// Wait returns when every connection that was accepted has been served. Close comes before it.
func (s *Set) Wait() { s.served.Wait() }

const (
	firstPause = 5 * time.Millisecond
	lastPause  = time.Second
)

// loop leaves accepting to event loops, if there are any.
func (s *Set) loop(l *listener) (ok bool) {
	tcp, ok := l.Listener.(*net.TCPListener)
	if !ok || s.Loops == nil || l.spec.Protocol == "lmtp" || l.spec.Protocol == authService {
		return false
	}
	t := trouble{pause: firstPause}
	held, ok := s.Loops.Accept(tcp, func(nc net.Conn) {
		s.served.Add(1)
		defer s.served.Done()
		spec := l.current()
		spec.Accepted = time.Now()
		s.handle(nc, spec)
	}, func(err error) time.Duration { return s.failed(l, &t, err) })
	if ok {
		l.Listener = held
	}
	return ok
}

// trouble is what is remembered while accepting does not work.
type trouble struct {
	mu    sync.Mutex
	pause time.Duration
	said  time.Time
	last  time.Time
}

// failed reports, once a second at most, why accepting does not work, and tells how long to wait.
func (s *Set) failed(l *listener, t *trouble, err error) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if now.Sub(t.last) > 2*lastPause {
		t.pause = firstPause
	}
	t.last = now
	if now.Sub(t.said) > time.Second {
		t.said = now
		s.events.Emit(event.Notice{Level: event.Error, Source: l.current().service(), Text: acceptFailure(err)})
	}
	pause := t.pause
	t.pause = min(2*t.pause, lastPause)
	return pause
}

// accept serves one socket until it is closed. Running out of descriptors pauses it and never ends it.
func (s *Set) accept(l *listener) {
	defer s.wg.Done()
	t := trouble{pause: firstPause}
	for {
		nc, err := l.Accept()
		if err == nil {
			t.last = time.Time{}
			accepted := time.Now()
			s.served.Go(func() {
				spec := l.current()
				spec.Accepted = accepted
				s.handle(nc, spec)
			})
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		select {
		case <-time.After(s.failed(l, &t, err)):
		case <-l.closed:
			return
		}
	}
}

// acceptFailure words an error of accept(), with what helps.
func acceptFailure(err error) string {
	text := "accept() failed: " + errno(err)
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		text += "; raise the limit of open files (LimitNOFILE=)"
	}
	return text
}

func (l *listener) current() Spec {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.spec
}

func bind(spec *Spec) (net.Listener, error) {
	if spec.Unix != nil {
		return spec.Unix.listen()
	}
	network := "tcp4"
	if spec.Addr.Addr().Is6() {
		network = "tcp6" // Go sets IPV6_V6ONLY for it, so that * and :: can both be listened on
	}
	lc := net.ListenConfig{KeepAlive: -1} // the relay sets keepalive on what is handed over
	lc.SetMultipathTCP(false)             // the relay splices plain TCP
	if spec.ReusePort {
		lc.Control = reusePort
	}
	// Binding an address does not wait for anything, so there is nothing to cancel.
	return lc.Listen(context.Background(), network, spec.Addr.String())
}

// failure words an error of binding the socket.
func (s Spec) failure(err error) string {
	if s.Unix != nil {
		return fmt.Sprintf("service(%s): %s", s.service(), err)
	}
	return fmt.Sprintf("service(%s): listen(%s, %d) failed: %s", s.service(), shownAddr(s.Addr.Addr()), s.Addr.Port(), errno(err))
}

// errno is the system's text for an error, without Go's decoration.
func errno(err error) string {
	var e syscall.Errno
	if errors.As(err, &e) {
		text := e.Error()
		return strings.ToUpper(text[:1]) + text[1:]
	}
	var se *os.SyscallError
	if errors.As(err, &se) {
		return se.Err.Error()
	}
	return err.Error()
}
