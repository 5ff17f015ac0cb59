package httpclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"dproxy/test/dialog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what waits for another goroutine.
const patience = 30 * time.Second

func open(t *testing.T, url string, o Options) *Server {
	t.Helper()
	if o.Timeout == 0 {
		o.Timeout = patience
	}
	s, err := Open(url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// listen starts a server that does serve with each connection. It ends with the test.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			wg.Go(func() {
				defer c.Close()
				serve(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return "http://" + l.Addr().String() + "/"
}

// says answers each connection's first request with a text and closes.
func says(text string) func(net.Conn) {
	return func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4096))
		_, _ = c.Write([]byte(text))
	}
}

// silent reads and never answers.
func silent(c net.Conn) {
	for buf := make([]byte, 4096); ; {
		if _, err := c.Read(buf); err != nil {
			return
		}
	}
}

func TestDo_bad_servers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		serve   func(net.Conn)
		timeout time.Duration
		want    string
	}{
		{"garbage", says("hello\r\n\r\n"), 0, "malformed HTTP"},
		{"closes at once", says(""), 0, "EOF"},
		{"closes inside the body", says("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"), 0, "reading the answer failed: unexpected EOF"},
		{"a huge header", says("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2*maxHeader) + "\r\n\r\n"), 0, "server response headers exceeded"},
		{"a huge body", says("HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("x", maxBody+1)), 0, "the answer is larger than"},
		{"a header without end", func(c net.Conn) {
			_, _ = c.Read(make([]byte, 4096))
			_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\n"))
			for i := 0; ; i++ {
				if _, err := fmt.Fprintf(c, "X-%d: %s\r\n", i, strings.Repeat("x", 1000)); err != nil {
					return
				}
			}
		}, 0, "server response headers exceeded"},
		{"frozen", silent, 50 * time.Millisecond, "Request timed out after 50ms"},
		{"a body that does not end", func(c net.Conn) {
			_, _ = c.Read(make([]byte, 4096))
			_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"))
			silent(c)
		}, 50 * time.Millisecond, "Request timed out after 50ms"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := open(t, listen(t, c.serve), Options{Timeout: c.timeout})
			_, err := s.Do(t.Context(), Request{Method: "GET", URL: s.url + "?token=geheim"})
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "geheim") {
				t.Errorf("%v, want %s", err, c.want)
			}
			if !s.Down() {
				t.Error("it counts as a server that answers")
			}
		})
	}
}

func TestDo_refused_connection(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	s := open(t, "http://user:geheim@"+addr+"/", Options{})
	if _, err := s.Do(t.Context(), Request{Method: "GET"}); err == nil || err.Error() != "connect("+addr+") failed: Connection refused" {
		t.Error(err)
	}
	if err := s.Ping(t.Context()); err == nil || err.Error() != "connect("+addr+") failed: Connection refused" {
		t.Error(err)
	}
	if s.Name != "http://"+addr {
		t.Errorf("the name is %s", s.Name)
	}
}

func TestDo_recovers_on_the_same_address(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	s := open(t, "http://"+addr+"/", Options{})
	for range 3 {
		if _, err := s.Do(t.Context(), Request{Method: "GET"}); err == nil {
			t.Fatal("answered by nobody")
		}
	}
	if l, err = net.Listen("tcp", addr); err != nil {
		t.Skip("the port was taken meanwhile")
	}
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.NotFoundHandler()}}
	server.Start()
	defer server.Close()
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		r, err := s.Do(ctx, Request{Method: "GET"})
		if err == nil {
			if r.Code != 404 || s.Down() {
				t.Errorf("%+v", r)
			}
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal("never", err)
		case <-tick.C:
		}
	}
}

func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h health
		bad := errors.New("down")
		for _, pause := range []time.Duration{200, 400, 800, 1000, 1000} {
			if err := h.ask(); err != nil {
				t.Fatalf("before a pause of %d ms: %v", pause, err)
			}
			h.answered(bad)
			time.Sleep(pause*time.Millisecond - time.Nanosecond)
			if err := h.ask(); err == nil || err.Error() != "the server did not answer before: down" {
				t.Fatalf("within a pause of %d ms: %v", pause, err)
			}
			time.Sleep(time.Nanosecond)
		}
		if err := h.ask(); err != nil {
			t.Fatal(err)
		}
		if err := h.ask(); err == nil {
			t.Error("two are trying at the same time")
		}
		h.givenUp()
		if err := h.ask(); err != nil {
			t.Errorf("a try that was given up blocks the next one: %v", err)
		}
		h.answered(nil)
		if err := h.ask(); err != nil || h.down() {
			t.Errorf("after an answer: %v", err)
		}
	})
}

func TestDo_gives_a_busy_server_no_more_than_its_share(t *testing.T) {
	t.Parallel()
	s := open(t, listen(t, silent), Options{MaxConns: 1})
	first, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := s.Do(first, Request{Method: "GET"})
		done <- err
	}()
	for len(s.slots) == 0 {
		if t.Context().Err() != nil {
			t.Fatal("the first request does not begin")
		}
	}
	gone, end := context.WithCancel(t.Context())
	end()
	if _, err := s.Do(gone, Request{Method: "GET"}); err == nil || err.Error() != "all connections are busy" {
		t.Error(err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if s.Down() {
		t.Error("a client that went away makes the server count as down")
	}
}

func TestClose_ends_what_runs(t *testing.T) {
	t.Parallel()
	asked := make(chan bool, 1)
	s := open(t, listen(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4096))
		asked <- true
		silent(c)
	}), Options{})
	done := make(chan error, 1)
	go func() {
		_, err := s.Do(t.Context(), Request{Method: "GET"})
		done <- err
	}()
	<-asked
	s.Close()
	if err := <-done; !errors.Is(err, errClosing) {
		t.Error(err)
	}
	if _, err := s.Do(t.Context(), Request{Method: "GET"}); !errors.Is(err, errClosing) {
		t.Error(err)
	}
}

func TestDo_follows_no_redirect(t *testing.T) {
	t.Parallel()
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		http.Redirect(w, r, "/other", http.StatusFound)
	}))
	defer server.Close()
	s := open(t, server.URL, Options{})
	defer s.Close()
	if r, err := s.Do(t.Context(), Request{Method: "GET"}); err != nil || r.Code != 302 || asked != 1 {
		t.Errorf("%+v, %v, asked %d times", r, err, asked)
	}
}

func TestDo_keeps_connections_and_asks_again_on_a_dead_one(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	conns := 0
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil || r.PostForm.Get("a") != "b c" || r.Header["Idempotency-Key"] != nil {
			t.Errorf("%v %v %v", err, r.PostForm, r.Header)
		}
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			mu.Lock()
			conns++
			mu.Unlock()
		}
	}
	server.Start()
	defer server.Close()
	s := open(t, server.URL, Options{})
	defer s.Close()
	for range 3 {
		if _, err := s.Do(t.Context(), Request{Method: "POST", Form: "a=b%20c"}); err != nil {
			t.Fatal(err)
		}
	}
	if mu.Lock(); conns != 1 {
		t.Errorf("%d connections", conns)
	}
	mu.Unlock()
	server.CloseClientConnections()
	if _, err := s.Do(t.Context(), Request{Method: "POST", Form: "a=b%20c"}); err != nil {
		t.Error(err)
	}
}

func TestDo_over_a_UNIX_socket(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "dproxy")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Host+r.URL.String())
	})}}
	server.Start()
	defer server.Close()
	s := open(t, "unix:"+path+":/a?b", Options{})
	defer s.Close()
	if r, err := s.Do(t.Context(), Request{Method: "GET"}); err != nil || string(r.Body) != "localhost/a?b" {
		t.Errorf("%+v, %v", r, err)
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	certs := dialog.NewCerts(t)
	start := func(name string) string {
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }))
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.TLS = certs.Server(name)
		server.StartTLS()
		t.Cleanup(server.Close)
		return server.URL
	}
	ca := certs.File("ca", "crt")
	for _, c := range []struct {
		name, cert string
		tls        TLS
		good       bool
	}{
		{"an authority that the system does not know", "backend", TLS{}, false},
		{"a certificate of the address", "backend", TLS{CAFile: ca}, true},
		{"a certificate of another name", "proxy", TLS{CAFile: ca}, false},
		{"a certificate that signed itself", "rogue", TLS{CAFile: ca}, false},
		{"any certificate will do", "rogue", TLS{Insecure: true}, true},
	} {
		s := open(t, start(c.cert), Options{TLS: c.tls})
		_, err := s.Do(t.Context(), Request{Method: "GET"})
		if c.good != (err == nil) || !c.good && !strings.Contains(err.Error(), "TLS handshake with") {
			t.Errorf("%s: %v", c.name, err)
		}
		if err := s.Ping(t.Context()); c.good != (err == nil) {
			t.Errorf("%s: ping: %v", c.name, err)
		}
		s.Close()
	}
	if _, err := Open("https://x/", Options{TLS: TLS{CAFile: "/nonexistent"}}); err == nil {
		t.Error("a file of authorities that is not there is no mistake")
	}
}

func TestRawlog_shows_no_secret(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"access_token" : "fresh\"one", "you_sent": "ge+h/eim", "scope":"mail"}`)
	}))
	defer server.Close()
	dir := t.TempDir()
	s := open(t, server.URL, Options{RawlogDir: dir})
	defer s.Close()
	if _, err := s.Do(t.Context(), Request{
		Method: "POST", URL: server.URL + "/?token=ge%2Bh%2Feim", Form: "token=ge%2Bh%2Feim&client_id=cid",
		Header: http.Header{"Authorization": {"Bearer ge+h/eim"}}, Secrets: []string{"ge+h/eim", ""},
	}); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.http"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"eim", "fresh", "one"} {
		if bytes.Contains(text, []byte(secret)) {
			t.Errorf("%q in\n%s", secret, text)
		}
	}
	for _, want := range []string{"Bearer <hidden>", "client_id=cid", "200 OK", `"scope":"mail"`} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if info, err := os.Stat(files[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
	s.rawlog.dir = filepath.Join(dir, "nosuch")
	if _, err := s.Do(t.Context(), Request{Method: "GET"}); err != nil {
		t.Error(err)
	}
}

func TestExposed(t *testing.T) {
	for url, want := range map[string]bool{
		"http://idp.example/": true, "http://192.0.2.1/": true, "https://idp.example/": false,
		"http://127.0.0.1:80/": false, "http://[::1]/": false, "http://localhost/": false, "unix:/x:/": false,
	} {
		if got := open(t, url, Options{}).Exposed(); got != want {
			t.Errorf("%s: %v", url, got)
		}
	}
}
