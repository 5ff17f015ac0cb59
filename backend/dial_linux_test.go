package backend_test

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"dproxy/backend/backendtest"
	"dproxy/conf"
	"dproxy/event"
	"dproxy/route"
)

func TestBlackHole(t *testing.T) {
	// A listener with a full queue answers no further SYN.
	l, fill := fullListener(t)
	defer fill()
	d, _ := dialer(&conf.Settings{LoginProxyMaxReconnects: 3})
	login := backendtest.NewLogin(l)
	login.Target.Timeout = 50 * time.Millisecond
	_, e := connect(t, d, login)
	if e == nil || !strings.HasPrefix(e.Text, fmt.Sprintf("connect(127.0.0.1, %d) failed: Connection timed out (after 0 secs, local=127.0.0.1:", l.Port())) {
		t.Errorf("got %v", e)
	}
}

func TestOtherAddressesOfAName(t *testing.T) {
	server := backendtest.Start(t, "127.0.0.1", welcome)
	d, _ := dialer(&conf.Settings{})
	l := backendtest.NewLogin(closedPort(t, "127.0.0.1"))
	l.Target.Others = []netip.AddrPort{closedPort(t, "127.0.0.1"), server.Addr}
	s, e := connect(t, d, l)
	if e != nil || s.Target.Addr != server.Addr || s.Reconnects != 0 {
		t.Fatalf("got %+v, %v", s, e)
	}
	_ = s.Conn.Close()
	l.Target.Others = []netip.AddrPort{closedPort(t, "127.0.0.1")}
	if _, e := connect(t, d, l); e == nil || e.Target.Addr != l.Target.Others[0] {
		t.Errorf("all refused: %v", e)
	}
}

func TestBlackHoleLeavesTimeForOtherAddresses(t *testing.T) {
	hole, fill := fullListener(t)
	defer fill()
	server := backendtest.Start(t, "127.0.0.1", welcome)
	d, _ := dialer(&conf.Settings{})
	l := backendtest.NewLogin(hole)
	l.Target.Timeout = 2 * time.Second
	l.Target.Others = []netip.AddrPort{server.Addr}
	s, e := connect(t, d, l)
	if e != nil {
		t.Fatal(e)
	}
	_ = s.Conn.Close()
}

func TestSourceAddress(t *testing.T) {
	server := backendtest.Start(t, "127.0.0.1", welcome)
	d, _ := dialer(&conf.Settings{})
	l := backendtest.NewLogin(server.Addr)
	l.Target.Source = netip.MustParseAddr("127.0.0.77")
	s, e := connect(t, d, l)
	if e != nil {
		t.Fatal(e)
	}
	if got := s.Conn.LocalAddr().(*net.TCPAddr).IP.String(); got != "127.0.0.77" {
		t.Errorf("from %s", got)
	}
	_ = s.Conn.Close()
	// A refused connection tells the source with its port, one that was never bound without.
	l = backendtest.NewLogin(closedPort(t, "127.0.0.1"))
	l.Target.Source = netip.MustParseAddr("127.0.0.77")
	if _, e := connect(t, d, l); e == nil || !strings.Contains(e.Text, "local=127.0.0.77:") {
		t.Errorf("got %v", e)
	}
}

func TestUnusableSourceAddress(t *testing.T) {
	d, rec := dialer(&conf.Settings{})
	addr := closedPort(t, "127.0.0.1")
	l := backendtest.NewLogin(addr)
	l.Target.Source = netip.MustParseAddr("192.0.2.201")
	_, e := connect(t, d, l)
	want := fmt.Sprintf("connect(127.0.0.1, %d) failed: Cannot assign requested address (after 0 secs, local=192.0.2.201)", addr.Port())
	if e == nil || e.Text != want {
		t.Errorf("got %v, want %s", e, want)
	}
	lines := []string{"Error: bind(192.0.2.201) failed: Cannot assign requested address", fmt.Sprintf("Error: proxy(u1,%s): %s", addr, want)}
	if got := rec.Lines(); !slices.Equal(got, lines) {
		t.Errorf("lines %q", got)
	}
}

func TestUnusableSourceOfAListIsPassedOver(t *testing.T) {
	server := backendtest.Start(t, "127.0.0.1", welcome)
	d, rec := dialer(&conf.Settings{})
	l := backendtest.NewLogin(server.Addr)
	l.Target.Sources = route.NewSources(t.Context(), "192.0.2.201 127.0.0.78", nil, event.Discard{})
	l.Target.Source = netip.MustParseAddr("192.0.2.201")
	s, e := connect(t, d, l)
	if e != nil {
		t.Fatal(e)
	}
	if s.Target.Source != netip.MustParseAddr("127.0.0.78") {
		t.Errorf("from %v", s.Target.Source)
	}
	_ = s.Conn.Close()
	if got, want := rec.Lines(), []string{"Error: bind(192.0.2.201) failed: Cannot assign requested address"}; !slices.Equal(got, want) {
		t.Errorf("lines %q", got)
	}
}
