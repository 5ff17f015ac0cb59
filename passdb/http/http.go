// Package http is the passdb that asks an auth_http service of nginx's mail proxy: who the user is and where the mail lives
// in one HTTP request (ngx_mail_auth_http_module). It imports passdb, passdb/httpclient and conf; cmd/dproxy wires it.
package http

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"dproxy/conf"
	"dproxy/passdb"
	"dproxy/passdb/httpclient"
)

const (
	// maxWaits bounds how often Auth-Status: WAIT may be said in a row. nginx knows no bound.
	maxWaits = 10
	// shortestWait is the pause before a question is repeated, also when Auth-Wait is 0 or missing.
	shortestWait = 100 * time.Millisecond
)

// driver asks the servers of one configuration. It is safe for concurrent use.
type driver struct {
	file    *conf.HTTPFile
	servers []*httpclient.Server
	headers []header
	warned  atomic.Bool // about a status that contradicts the headers, once
}

// header is one that the configuration adds.
type header struct {
	name  string
	value *conf.Template
}

// cached is a driver whose answers depend on the listed variables only.
type cached struct {
	*driver
	vars []string
}

var (
	_ passdb.Factory           = New
	_ passdb.Verifier          = (*driver)(nil)
	_ passdb.ChallengeVerifier = (*driver)(nil)
	_ passdb.Pinger            = (*driver)(nil)
	_ passdb.Reporter          = (*driver)(nil)
	_ passdb.Cacheable         = cached{}
)

// New opens an http passdb of p.HTTP, or of what p.Args say: see conf.LoadHTTPFile. No server is asked before the first login.
func New(p conf.Passdb) (passdb.Driver, error) {
	f := p.HTTP
	if f == nil {
		var err error
		if f, err = conf.LoadHTTPFile(p.Args); err != nil {
			return nil, passdb.ConfigError(p, err.Error())
		}
	}
	d, vars, err := open(f)
	switch {
	case err != nil:
		return nil, passdb.ConfigError(p, fmt.Sprintf("http %s: %v", f.Path, err))
	case vars != nil:
		return cached{d, vars}, nil
	}
	return d, nil
}

func open(f *conf.HTTPFile) (*driver, []string, error) {
	d := &driver{file: f}
	for _, h := range f.Headers {
		if err := checkHeaderName(h[0]); err != nil {
			return nil, nil, err
		}
		t, err := conf.ParseTemplate(h[1], conf.AuthLetters)
		if err != nil {
			return nil, nil, fmt.Errorf("header %s: %w", h[0], err)
		}
		d.headers = append(d.headers, header{h[0], t})
	}
	o := httpclient.Options{
		Timeout: f.Timeout, MaxConns: f.MaxParallelConnections, RawlogDir: f.RawlogDir,
		TLS: httpclient.TLS{
			CAFile: f.TLSCACertFile, CADir: f.TLSCACertDir, CertFile: f.TLSCertFile, KeyFile: f.TLSKeyFile, Insecure: f.TLSAllowInvalidCert,
		},
	}
	for _, u := range f.URLs {
		s, err := httpclient.Open(u, o)
		if err != nil {
			_ = d.Close()
			return nil, nil, fmt.Errorf("url: %w", err)
		}
		d.servers = append(d.servers, s)
	}
	if f.CacheKey == "" {
		return d, nil, nil
	}
	t, err := conf.ParseTemplate(f.CacheKey, conf.AuthLetters)
	if err != nil {
		_ = d.Close()
		return nil, nil, fmt.Errorf("cache_key: %w", err)
	}
	return d, append([]string{"user"}, t.Names()...), nil
}

// CacheVars implements passdb.Cacheable.
func (c cached) CacheVars() []string { return c.vars }

// Close implements passdb.Closer. Questions that are running end with an error.
func (d *driver) Close() error {
	for _, s := range d.servers {
		s.Close()
	}
	return nil
}

// Ping implements passdb.Pinger.
func (d *driver) Ping(ctx context.Context, report func(server string, err error)) {
	for _, s := range d.servers {
		report(s.Name, s.Ping(ctx))
	}
}

// SetReport implements passdb.Reporter: it tells what is unsafe.
func (d *driver) SetReport(report func(text string)) {
	say := func(text string) { report("http(" + d.file.Path + "): " + text) }
	for _, w := range d.file.Warnings {
		say(w)
	}
	for _, s := range d.servers {
		if s.Exposed() {
			say(s.Name + " is asked without TLS: whoever sees the network sees passwords; use https")
		}
	}
	if d.file.TLSAllowInvalidCert {
		say("tls_allow_invalid_cert=yes: whoever stands between can answer for the server")
	}
}

// Verify implements passdb.Verifier.
func (d *driver) Verify(ctx context.Context, r *passdb.Request, password passdb.Secret) (passdb.Result, error) {
	q := question{method: method(r.Mech), user: r.User, pass: string(password)}
	if q.method == "external" {
		q.pass = ""
	}
	return d.ask(ctx, r, q)
}

// VerifyChallenge implements passdb.ChallengeVerifier for CRAM-MD5 and APOP.
func (d *driver) VerifyChallenge(ctx context.Context, r *passdb.Request, c passdb.Challenge) (passdb.Result, error) {
	return d.ask(ctx, r, question{method: strings.ToLower(r.Mech), user: r.User, pass: c.Digest, salt: c.Salt})
}

// Lookup implements passdb.Driver: it asks where a user's mail goes, as LMTP does. Mechanisms that need the stored password
// are out of the protocol's reach.
func (d *driver) Lookup(ctx context.Context, r *passdb.Request) (passdb.Result, error) {
	if r.CredentialsScheme != "" {
		return passdb.Result{Status: passdb.SchemeNotAvailable, Detail: "an auth_http service tells no stored passwords"}, nil
	}
	return d.ask(ctx, r, question{method: "none", user: r.User})
}

// method is what nginx calls a mechanism. It knows none for tokens: their name is sent.
func method(mech string) string {
	switch mech {
	case "XOAUTH2", "OAUTHBEARER", "EXTERNAL":
		return strings.ToLower(mech)
	}
	return "plain"
}

// ask asks until there is a verdict: the servers in their order, and again after each WAIT.
func (d *driver) ask(ctx context.Context, r *passdb.Request, q question) (passdb.Result, error) {
	h, err := d.request(r, q)
	if err != nil {
		return passdb.Result{}, err
	}
	for range maxWaits {
		a, err := d.failover(ctx, httpclient.Request{Method: http.MethodGet, Header: h, Secrets: d.secrets(q, h)})
		if err != nil {
			return passdb.Result{}, err
		}
		if a.status != "WAIT" {
			res, err := d.result(r, q, a)
			if err != nil {
				return passdb.Result{}, fmt.Errorf("%s: %w", a.server, err)
			}
			if a.warning != "" && !d.warned.Swap(true) {
				res.Warnings = append(res.Warnings, a.warning)
			}
			return res, nil
		}
		if err := sleep(ctx, min(max(a.wait, shortestWait), d.file.MaxWait)); err != nil {
			return passdb.Result{}, fmt.Errorf("%s: still says WAIT: %w", a.server, err)
		}
	}
	return passdb.Result{}, fmt.Errorf("%s: said WAIT %d times", d.servers[0].Name, maxWaits)
}

// failover asks one server after the other until one answers with something that is an answer. Servers that are down come last.
func (d *driver) failover(ctx context.Context, q httpclient.Request) (*answer, error) {
	var up, down []*httpclient.Server
	for _, s := range d.servers {
		if s.Down() {
			down = append(down, s)
		} else {
			up = append(up, s)
		}
	}
	var faults []error
	for _, s := range append(up, down...) {
		r, err := s.Do(ctx, q)
		var a *answer
		if err == nil {
			a, err = d.parse(s.Name, r)
		}
		if err == nil {
			return a, nil
		}
		faults = append(faults, fmt.Errorf("%s: %w", s.Name, err))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, joined(faults)
}

// joined is several faults in one line.
func joined(list []error) error {
	err := list[0]
	for _, e := range list[1:] {
		err = fmt.Errorf("%w; %w", err, e)
	}
	return err
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// attempt is the number of a login on its connection, 1 when it is not known.
func attempt(n int) string { return strconv.Itoa(max(n, 1)) }
