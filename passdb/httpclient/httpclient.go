// Package httpclient asks the web services of passdbs: with bounded answers and times, without following redirects, and
// leaving a server that is down alone for a moment. It imports conf and tlsconf; passdb/oauth2 and passdb/http import it.
package httpclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"dproxy/conf"
	"dproxy/tlsconf"
)

const (
	// maxHeader bounds the header block of an answer, in bytes.
	maxHeader = 16 << 10
	// maxBody bounds the body of an answer, in bytes.
	maxBody = 256 << 10
	// connectTimeout bounds dialling and TLS; a shorter Options.Timeout counts instead.
	connectTimeout = 5 * time.Second
)

// Options are what the servers of one passdb have in common. The zero value of a field means what is written there.
type Options struct {
	Timeout   time.Duration // of a whole request; required
	MaxIdle   time.Duration // how long a connection is kept; 1 minute
	MaxConns  uint          // connections to one server, and thereby requests at a time; 10
	UserAgent string        // not sent when empty
	RawlogDir string        // directory for raw logs; no logs
	TLS       TLS
}

// TLS says how a server of an https URL has to prove itself, and what is shown to it. All but Insecure and Ciphers are paths.
type TLS struct {
	CAFile, CADir, CertFile, KeyFile string // without CAs the system's decide
	Ciphers                          string // as ssl_cipher_list; the program's own choice
	Insecure                         bool   // any certificate is good
}

// Server is one web service. It is safe for concurrent use.
type Server struct {
	// Name is the URL without user, path and query, for messages.
	Name      string
	url       string
	network   string
	address   string // of a UNIX socket, or host:port
	options   Options
	tls       *tls.Config // nil for http
	transport *http.Transport
	client    *http.Client
	slots     chan struct{}
	health    health
	rawlog    *rawlog
	closing   chan struct{}
	close     sync.Once
}

// Request is one question.
type Request struct {
	Method string
	URL    string // empty: the server's own
	Header http.Header
	Form   string // the body of a POST, application/x-www-form-urlencoded
	// Secrets are texts that no raw log may show.
	Secrets []string
}

// Response is a complete answer.
type Response struct {
	Code   int
	Status string // "500 Internal Server Error"
	Header http.Header
	Body   []byte
}

// Open prepares a server for a URL: http://, https:// or unix:PATH:/URI. Nothing is dialled before the first request.
func Open(text string, o Options) (*Server, error) {
	s := &Server{url: text, options: o, network: "tcp"}
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		socket, uri, _ := strings.Cut(path, ":")
		s.Name, s.network, s.address, s.url = "unix:"+socket, "unix", socket, "http://localhost/"+strings.TrimPrefix(uri, "/")
	}
	u, err := url.Parse(s.url)
	if err != nil {
		return nil, withoutURL(err)
	}
	if s.network == "tcp" {
		s.Name = u.Scheme + "://" + u.Host
	}
	if u.Scheme == "https" {
		if s.tls, err = o.TLS.config(u.Hostname()); err != nil {
			return nil, err
		}
	}
	if o.MaxConns == 0 {
		o.MaxConns = 10
	}
	if o.MaxIdle == 0 {
		o.MaxIdle = time.Minute
	}
	s.slots = make(chan struct{}, o.MaxConns)
	s.transport = &http.Transport{
		DialContext:            s.dial,
		DialTLSContext:         s.dialTLS,
		MaxConnsPerHost:        int(o.MaxConns),
		MaxIdleConnsPerHost:    int(o.MaxConns),
		IdleConnTimeout:        o.MaxIdle,
		MaxResponseHeaderBytes: maxHeader,
		DisableCompression:     true, // a small answer cannot become a large one
	}
	s.client = &http.Client{
		Transport:     s.transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if o.RawlogDir != "" {
		s.rawlog = &rawlog{dir: o.RawlogDir}
	}
	s.closing = make(chan struct{})
	return s, nil
}

// config makes the TLS configuration for a host.
func (t *TLS) config(host string) (*tls.Config, error) {
	set := conf.Settings{SSLClientCAFile: t.CAFile, SSLClientCADir: t.CADir, SSLCipherList: t.Ciphers}
	for _, f := range []struct {
		path string
		to   *string
	}{{t.CertFile, &set.SSLClientCert}, {t.KeyFile, &set.SSLClientKey}} {
		if f.path == "" {
			continue
		}
		pem, err := os.ReadFile(f.path)
		if err != nil {
			return nil, err
		}
		*f.to = string(pem)
	}
	base, err := tlsconf.Client(&set, !t.Insecure)
	if err != nil {
		return nil, err
	}
	c := tlsconf.ForHost(base, host)
	c.NextProtos = []string{"http/1.1"}
	return c, nil
}

func (s *Server) dial(ctx context.Context, _, address string) (net.Conn, error) {
	if s.network == "unix" {
		address = s.address
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	nc, err := (&net.Dialer{}).DialContext(ctx, s.network, address)
	if err != nil {
		return nil, &connectError{address, err}
	}
	return nc, nil
}

func (s *Server) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	nc, err := s.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c := tls.Client(nc, s.tls)
	if err := c.HandshakeContext(ctx); err != nil {
		_ = nc.Close()
		return nil, fmt.Errorf("TLS handshake with %s failed: %w", address, err)
	}
	return c, nil
}

// Ping connects once, with TLS where the URL has it.
func (s *Server) Ping(ctx context.Context) error {
	address := strings.TrimPrefix(strings.TrimPrefix(s.Name, "https://"), "http://")
	if _, _, err := net.SplitHostPort(address); err != nil && s.network == "tcp" {
		port := "80"
		if s.tls != nil {
			port = "443"
		}
		address = net.JoinHostPort(strings.Trim(address, "[]"), port)
	}
	dial := s.dial
	if s.tls != nil {
		dial = s.dialTLS
	}
	nc, err := dial(ctx, s.network, address)
	if err != nil {
		return plainError(err)
	}
	return nc.Close()
}

// Close ends the requests that are running and the connections.
func (s *Server) Close() {
	s.close.Do(func() { close(s.closing) })
	s.transport.CloseIdleConnections()
}

// Do asks. An error means that there is no answer; its text has no secret in it. A server that gave none lately is not
// asked again at once, so that nobody waits for it in vain.
func (s *Server) Do(ctx context.Context, q Request) (*Response, error) {
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	select {
	case <-s.closing:
		return nil, errClosing
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return nil, errors.New("all connections are busy")
	}
	if err := s.health.ask(); err != nil {
		return nil, err
	}
	r, err := s.whileOpen(ctx, cancel, q)
	if err != nil {
		err = s.describe(ctx, err)
	}
	if errors.Is(err, context.Canceled) {
		s.health.givenUp() // nobody waits for the answer any more
	} else {
		s.health.answered(err)
	}
	s.rawlog.write(s, q, r, err)
	return r, err
}

// whileOpen is an exchange that ends with the server.
func (s *Server) whileOpen(ctx context.Context, cancel context.CancelFunc, q Request) (*Response, error) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-s.closing:
			cancel()
		case <-done:
		}
	}()
	defer func() {
		close(done)
		<-ended
	}()
	return s.exchange(ctx, q)
}

func (s *Server) exchange(ctx context.Context, q Request) (*Response, error) {
	target := q.URL
	if target == "" {
		target = s.url
	}
	var body io.Reader
	if q.Form != "" {
		body = strings.NewReader(q.Form)
	}
	r, err := http.NewRequestWithContext(ctx, q.Method, target, body)
	if err != nil {
		return nil, err
	}
	if q.Header != nil {
		r.Header = q.Header.Clone()
	}
	r.Header["User-Agent"] = []string{s.options.UserAgent}
	if q.Form != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		// A question changes nothing at the server: it is asked again when a kept connection turns out to be closed. Without
		// a value this is not sent.
		r.Header["Idempotency-Key"] = []string{}
	}
	resp, err := s.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the answer failed: %w", err)
	case len(b) > maxBody:
		return nil, fmt.Errorf("the answer is larger than %d bytes", maxBody)
	}
	return &Response{Code: resp.StatusCode, Status: resp.Status, Header: resp.Header, Body: b}, nil
}

var errClosing = errors.New("the configuration is being replaced")

func (s *Server) isClosing() bool {
	select {
	case <-s.closing:
		return true
	default:
		return false
	}
}

// describe words a transport's error for the log.
func (s *Server) describe(ctx context.Context, err error) error {
	switch {
	case s.isClosing():
		return errClosing
	case errors.Is(err, context.DeadlineExceeded), ctx.Err() == context.DeadlineExceeded:
		return fmt.Errorf("Request timed out after %s", s.options.Timeout)
	}
	return plainError(err)
}

// connectError is a failed dial, in Dovecot's words.
type connectError struct {
	address string
	cause   error
}

func (e *connectError) Error() string {
	err := e.cause
	var sys *os.SyscallError
	var dns *net.DNSError
	switch {
	case errors.As(err, &sys):
		text := sys.Err.Error()
		return "connect(" + e.address + ") failed: " + strings.ToUpper(text[:1]) + text[1:]
	case errors.As(err, &dns):
		return "DNS lookup of " + dns.Name + " failed: " + dns.Err
	}
	return "connect(" + e.address + ") failed: " + err.Error()
}

func (e *connectError) Unwrap() error { return e.cause }

// plainError is an error without the URL, in which there may be a token.
func plainError(err error) error {
	var c *connectError
	if errors.As(err, &c) {
		return c
	}
	return withoutURL(err)
}

func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// Exposed tells whether requests cross a network without TLS: http to another host than this one.
func (s *Server) Exposed() bool {
	if s.tls != nil || s.network == "unix" {
		return false
	}
	u, err := url.Parse(s.url)
	if err != nil {
		return true
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() != "localhost" && (err != nil || !ip.IsLoopback())
}
