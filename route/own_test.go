package route

import (
	"net/netip"
	"testing"

	"dproxy/event"
)

func TestLocalTarget(t *testing.T) {
	r := New(hosts{}, event.Discard{})
	q := query("proxy_maybe host=192.0.2.1 destuser=other")
	q.Local = netip.MustParseAddrPort("[::1]:10143")
	got, err := r.Targets(t.Context(), q)
	if err != nil || len(got) != 1 || got[0].Addr != q.Local || got[0].User != "u1" || got[0].TLS != Plain {
		t.Errorf("a user of this host: got %+v, %v", got, err)
	}
	q = query("proxy_maybe host=192.0.2.9")
	q.Local = netip.MustParseAddrPort("127.0.0.1:10143")
	if got, err = r.Targets(t.Context(), q); err != nil || got[0].Addr != netip.MustParseAddrPort("192.0.2.9:143") {
		t.Errorf("a user of another: got %+v, %v", got, err)
	}
	q = query("proxy_maybe host=192.0.2.1")
	q.Local = q.Peer.Local
	if _, err = r.Targets(t.Context(), q); err == nil || err.Error() != loops {
		t.Errorf("the listener itself as the local target: got %v", err)
	}
}

func TestProxyHeaderSetting(t *testing.T) {
	r := New(hosts{}, event.Discard{})
	for field, want := range map[string]int{"": 1, " proxy_protocol=v2": 2, " proxy_protocol=no": 0, " proxy_protocol=": 1} {
		q := query("proxy host=192.0.2.10" + field)
		set := *q.Settings
		set.LoginProxyProtocol = "v1"
		q.Settings = &set
		got, err := r.Targets(t.Context(), q)
		if err != nil || got[0].ProxyHeader != want {
			t.Errorf("%q: got %+v, %v, want version %d", field, got, err, want)
		}
	}
}
