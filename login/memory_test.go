package login

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"

	"dproxy/auth"
	"dproxy/backend"
	"dproxy/conf"
	"dproxy/event"
	"dproxy/listen"
	"dproxy/passdb"
	"dproxy/route"
	"dproxy/session"
	"dproxy/wire"
)

// heap is what is in use now.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A hundred thousand sessions may be relayed: what the login room keeps of each, for the registry and
// for the line at its end, is small, and none of it is the client itself.
func TestSessionIsSmallAfterHandOver(t *testing.T) {
	const sessions, bound = 5000, 1024
	s := NewServer(Options{Events: event.Discard{}, Registry: session.NewRegistry()})
	snap := newSnapshot(SnapshotOptions{Config: conf.Defaults(), Events: event.Discard{}})
	defer snap.Close()
	kept := make([]*relayed, 0, sessions)
	before := heap()
	for i := range sessions {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), uint16(i))
		c := &Client{server: s, snap: snap, spec: listen.Spec{Protocol: "imap"}, out: make([]byte, 0, keepOut), mech: "PLAIN"}
		c.R = wire.NewReader(source{c})
		c.peer = passdb.Peer{Local: addr, Remote: addr, RealLocal: addr, RealRemote: addr}
		c.profile = snap.profile(c.filter())
		c.user = fmt.Sprintf("some.user.%d@mail.example.org", i)
		c.reply = &auth.Reply{User: c.user, Password: passdb.Secret(make([]byte, 4096))}
		c.entry, _ = s.Registry.Add(c, addr.Addr())
		up := &backend.Session{Conn: &backend.Conn{}, Target: route.Target{
			Host: fmt.Sprintf("backend%d.example.org", i), Addr: addr, User: c.user, Password: passdb.Secret(make([]byte, 4096)),
		}}
		r := s.relayed(c, up)
		s.Registry.LoggedIn(c.entry, r)
		kept = append(kept, r)
	}
	per := int64(heap()-before) / sessions
	t.Logf("%d bytes a session", per)
	if per > bound {
		t.Errorf("a session keeps %d bytes, more than %d", per, bound)
	}
	runtime.KeepAlive(kept)
}
