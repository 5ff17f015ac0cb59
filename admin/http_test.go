package admin

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dproxy/auth"
	"dproxy/conf"
	"dproxy/event"
)

// freePort is a port of loopback that nobody has now.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func loadConf(t *testing.T, text string) *conf.Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "dovecot.conf")
	if err := os.WriteFile(path, []byte("protocols = imap\nssl = no\n"+text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := conf.Load(path, conf.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func get(t *testing.T, url string, header ...string) (status int, body string) {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		q.Header.Set(header[i], header[i+1])
	}
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(text)
}

func TestMetricsOfALogin(t *testing.T) {
	m := NewMetrics("1.2")
	state := State{PreLogin: 3, Cache: auth.CacheStats{Hits: 5, Misses: 2}}
	m.Watch(func() State { return state })
	client := event.Client{Service: "imap", User: "secret-user"}
	target := event.Target{Addr: netip.MustParseAddrPort("192.0.2.9:143")}
	for _, e := range []event.Event{
		event.Greeted{Service: "imap", Queued: time.Millisecond, Took: 2 * time.Millisecond},
		event.TLSDone{Client: client, Took: time.Millisecond},
		event.PassdbAnswered{Passdb: "sql", Result: "ok", User: "secret-user", Took: time.Millisecond},
		event.PassdbAnswered{Passdb: "sql", Result: "ok", Cached: true},
		event.Authenticated{Service: "imap", Result: "ok"},
		event.Authenticated{Service: "unheard-of", Result: "fail"},
		event.Dialed{Client: client, Target: target, Took: time.Millisecond},
		event.Started{Client: client, Target: target},
		event.Started{Client: client, Target: target},
		event.Ended{Client: client, Target: target, Side: "client"},
		event.Dialed{Client: client, Target: target, Err: errors.New("refused")},
		event.BackendFailed{Client: client, Target: target, Kind: "connect"}, // another attempt follows
		event.BackendFailed{Client: client, Target: target, Kind: "connect", Final: true},
		event.Disconnected{Client: client, Reason: "timeout"},
	} {
		m.Emit(e)
	}
	m.Loaded(true)
	h := NewHTTP(m, func() error { return nil }, event.Discard{})
	defer h.Close()
	port := freePort(t)
	h.Use(loadConf(t, fmt.Sprintf("service stats {\n  inet_listener http {\n    port = %d\n  }\n}\n", port)))
	url := fmt.Sprintf("http://127.0.0.1:%d/metrics", port)
	_, body := get(t, url)
	for _, want := range []string{
		`dproxy_build_info{goversion="`, `dproxy_sessions{service="imap"} 1`, `dproxy_sessions_started_total{service="imap"} 2`, `dproxy_sessions_ended_total{service="imap",side="client"} 1`,
		`dproxy_login_phase_seconds_count{phase="queue",service="imap"} 1`, `dproxy_login_phase_seconds_count{phase="greeting",service="imap"} 1`, `dproxy_login_phase_seconds_count{phase="tls",service="imap"} 1`,
		`dproxy_login_phase_seconds_count{phase="dial",service="imap"} 1`, `dproxy_login_phase_seconds_count{phase="backend_login",service="imap"} 2`,
		`dproxy_authentications_total{result="ok",service="imap"} 1`, `dproxy_authentications_total{result="fail",service="other"} 1`,
		`dproxy_passdb_answers_total{cached="no",passdb="sql",result="ok"} 1`, `dproxy_passdb_answers_total{cached="yes",passdb="sql",result="ok"} 1`, `dproxy_passdb_seconds_count{passdb="sql"} 1`,
		`dproxy_backend_sessions{backend="192.0.2.9:143"} 1`, `dproxy_backend_connects_total{backend="192.0.2.9:143",result="failed"} 1`, `dproxy_backend_up{backend="192.0.2.9:143"} 0`,
		`dproxy_backend_failures_total{backend="192.0.2.9:143",kind="connect"} 1`, `dproxy_disconnects_total{reason="timeout",service="imap"} 1`,
		"dproxy_clients_before_login 3", "dproxy_auth_cache_hits_total 5", "dproxy_config_last_reload_successful 1", "dproxy_ready 1",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s", want)
		}
	}
	if strings.Contains(body, "secret-user") {
		t.Error("metrics name a user")
	}
	state.Cache = auth.CacheStats{Hits: 1}
	if _, body = get(t, url, "Accept", "application/openmetrics-text; version=1.0.0"); !strings.Contains(body, "dproxy_auth_cache_hits_total 6") || !strings.HasSuffix(body, "# EOF\n") {
		t.Error("a counter went back with the new cache of a reload, or this is no OpenMetrics")
	}
}

func TestBackendsAreBounded(t *testing.T) {
	m := NewMetrics("")
	for i := range maxBackends + 50 {
		m.backend(netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(i+1)))
	}
	if b := m.backend(netip.MustParseAddrPort("192.0.2.2:1")); b != m.rest {
		t.Error("one backend more has metrics of its own")
	}
	if b := m.backend(netip.MustParseAddrPort("192.0.2.1:1")); b == m.rest {
		t.Error("a known backend lost its metrics")
	}
}

func TestHealth(t *testing.T) {
	var broken error
	h := NewHTTP(NewMetrics(""), func() error { return broken }, event.Discard{})
	defer h.Close()
	one, two := freePort(t), freePort(t)
	conf := func(port int, more string) *conf.Config {
		return loadConf(t, fmt.Sprintf("%sservice stats {\n  inet_listener http {\n    port = %d\n  }\n}\n", more, port))
	}
	h.Use(conf(one, ""))
	at := func(port int, path string) string { return fmt.Sprintf("http://127.0.0.1:%d%s", port, path) }
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/metrics": 200, "/": 404} {
		if got, _ := get(t, at(one, path)); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	broken = errors.New("secret reason")
	if got, body := get(t, at(one, "/readyz")); got != 503 || strings.Contains(body, "secret") {
		t.Errorf("/readyz of a broken server: %d %s", got, body)
	}
	if got, _ := get(t, at(one, "/healthz")); got != 200 {
		t.Errorf("/healthz of a server that is not ready: %d", got)
	}
	h.Use(conf(two, "doveadm_api_key = hush\n"))
	if _, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", one)); err == nil {
		t.Error("a listener that is gone from the configuration still listens")
	}
	key := base64.StdEncoding.EncodeToString([]byte("hush"))
	for header, want := range map[string]int{"": 401, "Bearer hush": 200, "Bearer wrong": 401, "Bearer ": 401, "X-Dovecot-API " + key: 200, "X-Dovecot-API aHVzaA": 401, "Basic " + key: 401} {
		if got, _ := get(t, at(two, "/metrics"), "Authorization", header); got != want {
			t.Errorf("%q: %d, want %d", header, got, want)
		}
	}
}

func TestStatsListeners(t *testing.T) {
	for _, c := range []struct{ name, listener, key, want, err string }{
		{"loopback unless told otherwise", "port = 9900", "", "127.0.0.1:9900", ""},
		{"none without a port", "", "", "", ""},
		{"an open address without a key is refused", "port = 9900\naddress = *", "", "", "set doveadm_api_key"},
		{"an open address with a key", "port = 9900\naddress = * ::", "k", "0.0.0.0:9900 [::]:9900", ""},
		{"another loopback address needs no key", "port = 9900\naddress = ::1", "", "[::1]:9900", ""},
		{"TLS is not there", "port = 9900\nssl = yes", "", "", "ssl = yes is not supported"},
		{"a name is no address", "port = 9900\naddress = localhost", "", "", "give an IP address"},
	} {
		t.Run(c.name, func(t *testing.T) {
			addrs, err := statsAddrs(loadConf(t, "service stats {\n  inet_listener http {\n    "+c.listener+"\n  }\n}\n"), c.key)
			if got := strings.Trim(fmt.Sprint(addrs), "[]"); strings.ReplaceAll(got, "[", "") != strings.ReplaceAll(strings.Trim(c.want, "[]"), "[", "") {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want %q", err, c.err)
			}
		})
	}
}
