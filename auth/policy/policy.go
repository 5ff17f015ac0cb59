// Package policy asks a policy server (weakforced's protocol, as Dovecot's auth_policy_server_url) whether a
// login may go on, and tells it how logins end. It imports conf and tlsconf; auth imports it.
package policy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"dproxy/conf"
	"dproxy/tlsconf"
)

const (
	maxAnswer = 64 << 10
	// maxConns bounds the connections to the server; more requests wait within their time limit.
	maxConns  = 100
	userAgent = "dovecot/auth-policy-client" // what the server's rules may look for
)

// Server is one policy server. It is safe for concurrent use.
type Server struct {
	url           string // up to "command="
	header, value string
	attributes    []attribute
	hash          hasher
	client        *http.Client
	transport     *http.Transport
}

// New reads the settings; the server is nil when auth_policy_server_url is empty. It is not connected to.
func New(s *conf.Settings) (*Server, error) {
	if s.AuthPolicyServerURL == "" {
		return nil, nil
	}
	p := &Server{url: commandURL(s.AuthPolicyServerURL)}
	if _, err := http.NewRequest(http.MethodPost, p.url+"allow", nil); err != nil {
		return nil, fmt.Errorf("auth_policy_server_url: %w", err)
	}
	var err error
	if p.hash, err = newHasher(s); err != nil {
		return nil, err
	}
	if p.attributes, err = parseAttributes(s.AuthPolicyRequestAttributes); err != nil {
		return nil, fmt.Errorf("auth_policy_request_attributes: %w", err)
	}
	if h := s.AuthPolicyServerAPIHeader; h != "" {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			name, value = "X-API-Key", h
		}
		p.header, p.value = strings.TrimSpace(name), strings.TrimSpace(value)
	}
	roots, err := tlsconf.Client(s, s.SSLClientRequireValidCert)
	if err != nil {
		return nil, err
	}
	p.transport = &http.Transport{
		// No proxy from the environment: passwords' hashes go to the server that is configured.
		DialContext:         (&net.Dialer{Timeout: time.Duration(s.AuthPolicyServerTimeoutMsecs) * time.Millisecond}).DialContext,
		TLSClientConfig:     roots,
		MaxConnsPerHost:     maxConns,
		MaxIdleConnsPerHost: maxConns,
		IdleConnTimeout:     time.Minute,
		DisableCompression:  true,
	}
	p.client = &http.Client{
		Transport:     p.transport,
		Timeout:       time.Duration(s.AuthPolicyServerTimeoutMsecs) * time.Millisecond,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return p, nil
}

// Close lets the idle connections go.
func (p *Server) Close() {
	if p != nil {
		p.transport.CloseIdleConnections()
	}
}

func commandURL(url string) string {
	if strings.HasSuffix(url, "&") {
		return url + "command="
	}
	return url + "?command="
}

// Login is what is said about a login.
type Login struct {
	User     string // whom the client wants to be
	Password string // "" when the mechanism shows none
	TLS      bool
	// Var answers the other %variables of auth_policy_request_attributes.
	Var func(name string) (string, bool)
}

// Answer is the server's.
type Answer struct {
	Status  int // below 0: refuse; above: seconds to wait
	Message string
}

// Check asks whether a login may go on. An error is about the server, in Dovecot's words.
func (p *Server) Check(ctx context.Context, l Login) (Answer, error) {
	body, err := p.body(l, "")
	if err != nil {
		return Answer{}, err
	}
	return p.ask(ctx, "allow", body)
}

// Report tells how a login has ended. Refused: by the server itself.
func (p *Server) Report(ctx context.Context, l Login, success, refused bool) error {
	body, err := p.body(l, fmt.Sprintf(`,"success":%t,"policy_reject":%t`, success, refused))
	if err != nil {
		return err
	}
	_, err = p.post(ctx, "report", body)
	return err
}

func (p *Server) ask(ctx context.Context, command string, body []byte) (Answer, error) {
	text, err := p.post(ctx, command, body)
	switch {
	case err != nil:
		return Answer{}, err
	case len(text) == 0:
		return Answer{}, errors.New("Policy server result was empty")
	}
	var a struct {
		Status json.Number `json:"status"`
		Msg    string      `json:"msg"`
	}
	if err := json.Unmarshal(text, &a); err != nil {
		return Answer{}, fmt.Errorf("Policy server response JSON parse error: %w", err)
	}
	if a.Status == "" {
		return Answer{Message: a.Msg}, nil
	}
	n, err := a.Status.Int64()
	if err != nil || n > 1<<30 || n < -1<<30 {
		return Answer{}, errors.New("Policy server response JSON parse error: status is no number")
	}
	return Answer{int(n), a.Msg}, nil
}

func (p *Server) post(ctx context.Context, command string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+command, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", userAgent)
	if p.header != "" {
		req.Header.Set(p.header, p.value)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("Policy server HTTP error: %s", cause(err))
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case resp.StatusCode/100 != 2:
		return nil, fmt.Errorf("Policy server HTTP error: %s", resp.Status)
	case err != nil:
		return nil, fmt.Errorf("Policy server HTTP error: %s", cause(err))
	case len(text) > maxAnswer:
		return nil, fmt.Errorf("Policy server HTTP error: the answer is longer than %d bytes", maxAnswer)
	}
	return text, nil
}

// cause is an error without the URL, which may hold a key.
func cause(err error) string {
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		return "Absolute request timeout expired"
	}
	for {
		inner := errors.Unwrap(err)
		if _, ok := err.(interface{ Timeout() bool }); !ok || inner == nil {
			return err.Error()
		}
		err = inner
	}
}
