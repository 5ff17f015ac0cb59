//go:build !linux

package relay

import (
	"context"
	"net"
	"net/netip"
	"time"
)

type loops struct{}

// Accept is for systems with event loops.
func (e *Engine) Accept(*net.TCPListener, func(net.Conn), func(error) time.Duration) (held net.Listener, ok bool) {
	return nil, false
}

// Dial is for systems with event loops.
func (e *Engine) Dial(context.Context, time.Time, netip.Addr, netip.AddrPort) (nc net.Conn, local netip.AddrPort, ok bool, err error) {
	return nil, netip.AddrPort{}, false, nil
}

func (e *Engine) startLoop(Pair, func(Stats)) *Session { return nil }
func (e *Engine) closeLoops()                          {}
func (e *Engine) loopSessions() []*Session             { return nil }
func (e *Engine) addLoops(*Counters)                   {}
