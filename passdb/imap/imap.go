// Package imap is the passdb that takes a password for right when an IMAP server accepts a login with it. It imports
// passdb, conf, tlsconf and wire; cmd/dproxy wires it.
package imap

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"time"

	"dproxy/conf"
	"dproxy/passdb"
	"dproxy/tlsconf"
)

// timeout bounds one login at the server, from the dial to the answer.
const timeout = 10 * time.Second

type driver struct {
	host, port   string
	implicitTLS  bool
	startTLS     bool
	tls          *tls.Config // nil without TLS
	username     *conf.Template
	usernameText string
}

// New opens an imap passdb. Args are words: host=NAME, port=N (143, or 993 for imaps), username=TEMPLATE (%u),
// ssl=imaps or starttls, ssl_ca_file=PATH, ssl_ca_dir=PATH, allow_invalid_cert=yes. rawlog_dir is ignored: the
// password would be in the file.
func New(p conf.Passdb) (passdb.Driver, error) {
	fail := func(format string, a ...any) (passdb.Driver, error) {
		return nil, passdb.ConfigError(p, "passdb imap: "+fmt.Sprintf(format, a...))
	}
	d := &driver{usernameText: "%u"}
	s, verify := conf.Settings{}, true
	for _, word := range strings.Fields(p.Args) {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "host":
			d.host = value
		case "port":
			d.port = value
		case "username":
			d.usernameText = value
		case "ssl":
			switch value {
			case "imaps":
				d.implicitTLS = true
			case "starttls":
				d.startTLS = true
			default:
				return fail("Invalid ssl mode: %s", value)
			}
		case "ssl_ca_file":
			s.SSLClientCAFile = value
		case "ssl_ca_dir":
			s.SSLClientCADir = value
		case "allow_invalid_cert":
			verify = value != "yes"
		case "rawlog_dir":
		default:
			return fail("Unknown parameter: %s", name)
		}
	}
	if d.host == "" {
		return fail("Missing host parameter")
	}
	if d.port == "" {
		d.port = "143"
		if d.implicitTLS {
			d.port = "993"
		}
	}
	var err error
	if d.username, err = conf.ParseTemplate(d.usernameText, conf.AuthLetters); err != nil {
		return fail("username: %v", err)
	}
	if d.implicitTLS || d.startTLS {
		base, err := tlsconf.Client(&s, verify)
		if err != nil {
			return fail("%v", err)
		}
		d.tls = tlsconf.ForHost(base, d.host)
	}
	return d, nil
}

// VerifyOnly implements passdb.VerifyOnly: the server keeps the users to itself.
func (d *driver) VerifyOnly() {}

// Lookup implements passdb.Driver. It cannot answer.
func (d *driver) Lookup(context.Context, *passdb.Request) (passdb.Result, error) {
	return passdb.Result{Status: passdb.SchemeNotAvailable, Detail: "passdb doesn't support credential lookups"}, nil
}

// Verify logs in at the server. Its NO means a wrong password, unless a response code says otherwise: EXPIRED ends
// the chain, and codes such as UNAVAILABLE are internal failures (RFC 5530 section 3).
func (d *driver) Verify(ctx context.Context, r *passdb.Request, password passdb.Secret) (passdb.Result, error) {
	user, err := d.username.Expand(r.Var)
	if err != nil {
		return passdb.Result{}, fmt.Errorf("Failed to expand username=%s: %w", d.usernameText, err)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	answer, err := d.login(ctx, user, string(password))
	if err != nil {
		return passdb.Result{}, fmt.Errorf("%s: %w", net.JoinHostPort(d.host, d.port), err)
	}
	if answer.ok {
		return passdb.Result{}, nil
	}
	switch answer.code {
	case "", "AUTHENTICATIONFAILED", "AUTHORIZATIONFAILED":
		return passdb.Result{Status: passdb.Mismatch}, nil
	case "EXPIRED":
		return passdb.Result{Status: passdb.Expired, Detail: "Password expired"}, nil
	}
	return passdb.Result{}, fmt.Errorf("%s: login refused: %s", net.JoinHostPort(d.host, d.port), answer.text)
}
