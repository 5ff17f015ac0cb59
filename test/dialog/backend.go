package dialog

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// backend is a fake server. It notes what it hears and answers as its options say.
type backend struct {
	name, ip string // ip is what the proxy is told; options.listen may differ
	port     int
	protocol string
	options  options
	certs    *Certs

	mu       sync.Mutex
	listener net.Listener // nil while it is down
	conns    []*backendConn
	running  sync.WaitGroup
}

// startBackends reads the section "backends" and starts what it names. On an error the ones that run are returned too.
func startBackends(section string, env *environment) ([]*backend, error) {
	var all []*backend
	for text := range strings.Lines(section) {
		indented := strings.HasPrefix(text, " ")
		text = strings.TrimSpace(text)
		switch {
		case text == "":
		case !indented:
			b, err := newBackend(text, env)
			if err != nil {
				return nil, err
			}
			all = append(all, b)
		case len(all) == 0:
			return nil, fmt.Errorf("backends: option %q stands before the first backend", text)
		default:
			if err := all[len(all)-1].options.set(text); err != nil {
				return nil, fmt.Errorf("backend %s: %w", all[len(all)-1].name, err)
			}
		}
	}
	for i, b := range all {
		if b.options.connect == "refuse" {
			continue
		}
		if err := b.up(); err != nil {
			return all[:i], err
		}
	}
	return all, nil
}

// newBackend reads the line "NAME PROTOCOL".
func newBackend(text string, env *environment) (*backend, error) {
	name, protocol, _ := strings.Cut(text, " ")
	if protocols[protocol] == nil {
		return nil, fmt.Errorf("backend %s: unknown protocol %q", name, protocol)
	}
	ip, port, err := env.backendAddress(name)
	if err != nil {
		return nil, err
	}
	b := &backend{name: name, ip: ip, port: port, protocol: protocol, certs: env.certs}
	env.backends[name] = b
	return b, nil
}

// up starts listening.
func (b *backend) up() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.listener != nil {
		return nil
	}
	ip := b.ip
	if b.options.listen != "" {
		ip = b.options.listen
	}
	l, err := net.Listen("tcp", net.JoinHostPort(ip, strconv.Itoa(b.port)))
	if err != nil {
		return err
	}
	b.listener = l
	b.running.Go(func() { b.accept(l) })
	return nil
}

// down stops listening; connections stay.
func (b *backend) down() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.listener != nil {
		b.listener.Close()
		b.listener = nil
	}
}

// kill drops all connections.
func (b *backend) kill() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.conns {
		c.abort()
	}
}

// stop ends everything the backend has started and waits for it.
func (b *backend) stop() {
	b.down()
	b.kill()
	b.running.Wait()
}

func (b *backend) accept(l net.Listener) {
	for {
		nc, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		b.mu.Lock()
		c := newBackendConn(b, nc)
		b.conns = append(b.conns, c)
		b.mu.Unlock()
		b.running.Go(c.run)
	}
}

// busy says whether a connection is still open.
func (b *backend) busy() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.ContainsFunc(b.conns, (*backendConn).open)
}

// backendView is what all backends heard.
func backendView(all []*backend) string {
	var v strings.Builder
	for _, b := range all {
		b.view(&v)
	}
	return v.String()
}

func (b *backend) view(v *strings.Builder) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var peers []string
	for i, c := range b.conns {
		peers = append(peers, c.peer)
		if b.options.sortPeers {
			fmt.Fprintf(v, "%s connection %d\n", b.name, i+1)
		} else {
			fmt.Fprintf(v, "%s connection %d from %s\n", b.name, i+1, c.peer)
		}
		for _, l := range c.heard() {
			fmt.Fprintf(v, "%s#%d %s\n", b.name, i+1, l)
		}
	}
	if b.options.sortPeers {
		slices.Sort(peers)
		fmt.Fprintf(v, "%s peers %s\n", b.name, strings.Join(peers, " "))
	}
}
