package backend_test

import (
	"bufio"
	"io"
	"net"
	"net/netip"
	"testing"

	"github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"

	"dproxy/backend"
	"dproxy/backend/backendtest"
	"dproxy/conf"
	"dproxy/route"
)

func TestProxyHeaderV1(t *testing.T) {
	for _, tc := range []struct {
		name          string
		local, remote string
		want          string
	}{
		{"IPv4", "198.51.100.1:143", "192.0.2.7:4711", `PROXY TCP4 192\.0\.2\.7 198\.51\.100\.1 4711 143`},
		{"IPv6", "[2001:db8::1]:143", "[2001:db8::7]:4711", `PROXY TCP6 2001:db8::7 2001:db8::1 4711 143`},
		{"mixed families are mapped", "[2001:db8::1]:143", "192.0.2.7:4711", `PROXY TCP6 ::ffff:192\.0\.2\.7 2001:db8::1 4711 143`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			res := run(t, "C: "+tc.want+"\n"+welcome, func(l *backend.Login, _ *conf.Settings) {
				l.Target.ProxyHeader = 1
				l.Identity.Local, l.Identity.Remote = netip.MustParseAddrPort(tc.local), netip.MustParseAddrPort(tc.remote)
			})
			if res.Err != nil {
				t.Error(res.Err)
			}
		})
	}
}

func TestProxyHeaderComesBeforeTLS(t *testing.T) {
	for _, version := range []int{1, 2} {
		script := "HEADER\nTLS good\n" + welcome
		if version == 1 {
			script = "C: PROXY TCP4 .*\nTLS good\n" + welcome
		}
		res := run(t, script, target(func(t *route.Target) { t.TLS, t.ProxyHeader = route.Implicit, version }))
		if res.Err != nil {
			t.Errorf("version %d: %v", version, res.Err)
		}
	}
}

func TestProxyHeaderNeedsTheClientsAddress(t *testing.T) {
	d, _ := dialer(&conf.Settings{})
	l := backendtest.NewLogin(closedPort(t, "127.0.0.1"))
	l.Target.ProxyHeader, l.Identity.Remote = 2, netip.AddrPort{}
	if _, e := connect(t, d, l); e == nil || e.Kind != backend.Internal {
		t.Errorf("got %v", e)
	}
}

// TestProxyHeaderV2 reads the header with another implementation.
func TestProxyHeaderV2(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*backend.Identity)
		want   map[proxyproto.PP2Type]string
		ssl    string // version and cipher
	}{
		{"a client without TLS", func(*backend.Identity) {}, map[proxyproto.PP2Type]string{proxyproto.PP2_TYPE_UNIQUE_ID: "SID"}, ""},
		{
			"a client with TLS and SNI", func(id *backend.Identity) {
				id.TLSVersion, id.TLSCipher, id.ServerName = "TLSv1.3", "TLS_AES_128_GCM_SHA256", "mail.example.org"
			},
			map[proxyproto.PP2Type]string{proxyproto.PP2_TYPE_UNIQUE_ID: "SID", proxyproto.PP2_TYPE_AUTHORITY: "mail.example.org"},
			"TLSv1.3 TLS_AES_128_GCM_SHA256",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			got := make(chan *proxyproto.Header, 1)
			go func() {
				nc, err := l.Accept()
				if err != nil {
					got <- nil
					return
				}
				defer nc.Close()
				h, _ := proxyproto.Read(bufio.NewReader(nc))
				got <- h
				_, _ = io.WriteString(nc, "no\r\n")
			}()
			d, _ := dialer(&conf.Settings{})
			login := backendtest.NewLogin(l.Addr().(*net.TCPAddr).AddrPort())
			login.Target.ProxyHeader = 2
			tc.change(&login.Identity)
			connect(t, d, login)
			h := <-got
			if h == nil {
				t.Fatal("no header")
			}
			if h.SourceAddr.String() != "192.0.2.7:4711" || h.DestinationAddr.String() != "198.51.100.1:143" || !h.Command.IsProxy() {
				t.Errorf("got %v to %v", h.SourceAddr, h.DestinationAddr)
			}
			tlvs, err := h.TLVs()
			if err != nil {
				t.Fatal(err)
			}
			ssl := ""
			for _, x := range tlvs {
				if x.Type == proxyproto.PP2_TYPE_SSL {
					s, err := tlvparse.SSL(x)
					if err != nil || !s.ClientSSL() || s.ClientCertConn() || s.Verified() {
						t.Errorf("SSL %+v, %v", s, err)
					}
					version, _ := s.SSLVersion()
					cipher, _ := s.SSLCipher()
					ssl = version + " " + cipher
					continue
				}
				if tc.want[x.Type] != string(x.Value) {
					t.Errorf("TLV %x is %q", x.Type, x.Value)
				}
				delete(tc.want, x.Type)
			}
			if len(tc.want) > 0 || ssl != tc.ssl {
				t.Errorf("missing %v, SSL %q", tc.want, ssl)
			}
		})
	}
}
