// Package oauth2 is the passdb that judges OAuth 2.0 tokens: by asking a token info or introspection endpoint (RFC 7662),
// or by a JWT's signature (RFC 7519). With a password grant (RFC 6749 section 4.3) it judges passwords. It imports passdb,
// passdb/httpclient and conf; cmd/dproxy wires it.
package oauth2

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"dproxy/conf"
	"dproxy/passdb"
	"dproxy/passdb/httpclient"
)

const (
	// defaultTimeout bounds one request: a token info and an introspection request fit into the time of a lookup.
	defaultTimeout = 4 * time.Second
	userAgent      = "dproxy-oauth2-passdb"
)

// driver judges tokens by one configuration file. It is safe for concurrent use.
type driver struct {
	file                     *conf.OAuth2File
	tokeninfo, introspection *httpclient.Server // nil when not configured
	grant                    *httpclient.Server // nil without use_grant_password
	keys                     *keys              // nil without local validation
	format                   *conf.Template     // username_format
	attrs                    []attr
	vars                     []string
	scope, audience, issuers []string
	now                      func() time.Time
}

// attr is one item of pass_attrs.
type attr struct {
	name, text string
	value      *conf.Template
}

var (
	_ passdb.Factory    = New
	_ passdb.Verifier   = (*driver)(nil)
	_ passdb.Discoverer = (*driver)(nil)
	_ passdb.Pinger     = (*driver)(nil)
	_ passdb.Reporter   = (*driver)(nil)
)

// New opens an oauth2 passdb of p.OAuth2, or of the dovecot-oauth2.conf.ext that p.Args name. No server is asked before the
// first login.
func New(p conf.Passdb) (passdb.Driver, error) {
	f := p.OAuth2
	if f == nil {
		var err error
		if f, err = conf.LoadOAuth2File(p.Args); err != nil {
			return nil, passdb.ConfigError(p, err.Error())
		}
	}
	d, err := open(f)
	if err != nil {
		return nil, passdb.ConfigError(p, fmt.Sprintf("oauth2 %s: %v", f.Path, err))
	}
	return d, nil
}

func open(f *conf.OAuth2File) (*driver, error) {
	d := &driver{
		file: f, now: time.Now,
		scope: strings.Fields(f.Scope), audience: strings.Fields(f.Audience), issuers: strings.Fields(f.Issuers),
	}
	var err error
	if d.format, err = conf.ParseTemplate(f.UsernameFormat, conf.AuthLetters); err != nil {
		return nil, fmt.Errorf("username_format: %w", err)
	}
	if err := d.parseAttrs(); err != nil {
		return nil, err
	}
	if f.Local() {
		if d.keys, err = newKeys(f); err != nil {
			return nil, err
		}
	}
	if err := d.openServers(); err != nil {
		_ = d.Close()
		return nil, err
	}
	return d, nil
}

func (d *driver) openServers() error {
	f := d.file
	o := httpclient.Options{
		Timeout: defaultTimeout, MaxIdle: time.Duration(f.MaxIdleTimeMsecs) * time.Millisecond, MaxConns: f.MaxParallelConnections,
		UserAgent: userAgent, RawlogDir: f.RawlogDir,
		TLS: httpclient.TLS{
			CAFile: f.TLSCACertFile, CADir: f.TLSCACertDir, CertFile: f.TLSCertFile, KeyFile: f.TLSKeyFile, Insecure: f.TLSAllowInvalidCert,
		},
	}
	if f.TimeoutMsecs > 0 {
		o.Timeout = time.Duration(f.TimeoutMsecs) * time.Millisecond
	}
	grant := f.GrantURL
	if !f.UseGrantPassword {
		grant = ""
	}
	introspection := f.IntrospectionURL
	if f.Local() {
		introspection = "" // the mode says that nobody is asked
	}
	for _, s := range []struct {
		name, url string
		to        **httpclient.Server
	}{
		{"tokeninfo_url", f.TokeninfoURL, &d.tokeninfo},
		{"introspection_url", introspection, &d.introspection},
		{"grant_url", grant, &d.grant},
	} {
		if s.url == "" {
			continue
		}
		server, err := httpclient.Open(s.url, o)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		*s.to = server
	}
	return nil
}

// parseAttrs reads pass_attrs: words name=template.
func (d *driver) parseAttrs() error {
	list := slices.Clone(d.file.Fields)
	for word := range strings.FieldsSeq(d.file.PassAttrs) {
		name, text, _ := strings.Cut(word, "=")
		list = append(list, [2]string{name, text})
	}
	d.vars = []string{"user", "password"}
	for _, x := range list {
		if x[0] == "" {
			return fmt.Errorf("pass_attrs: =%s has no name", x[1])
		}
		t, err := conf.ParseTemplate(x[1], conf.AuthLetters)
		if err != nil {
			return fmt.Errorf("pass_attrs %s: %w", x[0], err)
		}
		d.attrs = append(d.attrs, attr{x[0], x[1], t})
		for _, v := range t.Names() {
			if !strings.HasPrefix(v, "oauth2:") && !slices.Contains(d.vars, v) {
				d.vars = append(d.vars, v)
			}
		}
	}
	return nil
}

// VerifyOnly implements passdb.VerifyOnly: nothing is known of a user without a token.
func (d *driver) VerifyOnly() {}

// Lookup implements passdb.Driver. It cannot answer.
func (d *driver) Lookup(context.Context, *passdb.Request) (passdb.Result, error) {
	return passdb.Result{Status: passdb.SchemeNotAvailable, Detail: "passdb doesn't support credential lookups"}, nil
}

// CacheVars implements passdb.Cacheable. The token is part of the key, so that two devices of a user keep their own answers.
func (d *driver) CacheVars() []string { return slices.Clone(d.vars) }

// OpenIDConfigurationURL implements passdb.Discoverer.
func (d *driver) OpenIDConfigurationURL() string { return d.file.OpenIDConfigurationURL }

// Close implements passdb.Closer. Questions that are running end with an error.
func (d *driver) Close() error {
	for _, s := range d.servers() {
		s.Close()
	}
	return nil
}

func (d *driver) servers() []*httpclient.Server {
	return slices.DeleteFunc([]*httpclient.Server{d.tokeninfo, d.introspection, d.grant}, func(s *httpclient.Server) bool { return s == nil })
}

// Ping implements passdb.Pinger.
func (d *driver) Ping(ctx context.Context, report func(server string, err error)) {
	for _, s := range d.servers() {
		report(s.Name, s.Ping(ctx))
	}
}

// SetReport implements passdb.Reporter: it tells what is unsafe or has no effect.
func (d *driver) SetReport(report func(text string)) {
	say := func(text string) { report("oauth2(" + d.file.Path + "): " + text) }
	for _, w := range d.file.Warnings {
		say(w)
	}
	for _, s := range d.servers() {
		if s.Exposed() {
			say(s.Name + " is asked without TLS: whoever sees the network sees tokens; use https")
		}
	}
	if d.file.TLSAllowInvalidCert {
		say("tls_allow_invalid_cert=yes: whoever stands between can answer for the server")
	}
}

// Verify implements passdb.Verifier: password is the token, or the password of a grant.
func (d *driver) Verify(ctx context.Context, r *passdb.Request, password passdb.Secret) (passdb.Result, error) {
	l := &lookup{driver: d, r: r, token: string(password), claims: claims{}}
	var v *refusal
	err := l.judge(ctx)
	switch {
	case errors.As(err, &v):
		return passdb.Result{Status: v.status, Detail: "oauth2 failed: " + err.Error()}, nil
	case err != nil:
		return passdb.Result{}, fmt.Errorf("oauth2 failed: %w", err)
	}
	fields, err := l.export()
	if err != nil {
		return passdb.Result{}, fmt.Errorf("oauth2 failed: %w", err)
	}
	return passdb.Result{Fields: fields, Until: l.until}, nil
}
