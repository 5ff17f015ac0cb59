package ldap

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-ldap/ldap/v3"

	"dproxy/conf"
	"dproxy/tlsconf"
)

const (
	// connectTimeout bounds dialling, TLS and the first bind together.
	connectTimeout = 5 * time.Second
	// requestTimeout bounds one search or bind.
	requestTimeout = 10 * time.Second
	// closeTimeout bounds saying goodbye.
	closeTimeout = time.Second
	// maxAnswer bounds what a server may send for one request, in bytes.
	maxAnswer = 16 << 20
)

// dialer makes connections to the servers of one file.
type dialer struct {
	file     *conf.LDAPFile
	targets  []target
	tls      *tls.Config // nil when no target uses it
	warnings []string
}

// target is one URI.
type target struct {
	uri              string
	network, address string
	host             string // for TLS
	tls              bool
}

func newDialer(f *conf.LDAPFile) (*dialer, error) {
	d := &dialer{file: f}
	useTLS := f.TLS
	for _, uri := range f.URIs {
		for _, u := range strings.Split(uri, ",") {
			if u == "" {
				continue
			}
			t, err := parseURI(u)
			if err != nil {
				return nil, err
			}
			useTLS = useTLS || t.tls
			d.targets = append(d.targets, t)
		}
	}
	if f.SASLBind && !strings.EqualFold(f.SASLMech, "EXTERNAL") {
		return nil, fmt.Errorf("sasl_mech=%s is not supported; only EXTERNAL is", f.SASLMech)
	}
	if f.SASLBind && f.SASLAuthzID != "" {
		return nil, errors.New("sasl_authz_id is not supported")
	}
	if f.LDAPRCPath != "" {
		d.warnings = append(d.warnings, "ldaprc_path is ignored: write its settings into this file")
	}
	if !useTLS {
		return d, nil
	}
	err := d.setTLS()
	return d, err
}

func parseURI(uri string) (target, error) {
	scheme, rest, ok := strings.Cut(uri, "://")
	if !ok {
		return target{}, fmt.Errorf("%s is not an LDAP URI", uri)
	}
	place, path, _ := strings.Cut(rest, "/")
	switch strings.ToLower(scheme) {
	case "ldapi": // ldapi://%2Frun%2Fslapd%2Fldapi
		name, err := url.PathUnescape(place)
		if err != nil {
			return target{}, fmt.Errorf("%s: %w", uri, err)
		}
		if name == "" && path != "" {
			name = "/" + path
		}
		if name == "" {
			name = "/var/run/slapd/ldapi"
		}
		return target{uri: uri, network: "unix", address: name}, nil
	case "ldap":
		host, address := hostPort(place, "389")
		return target{uri: uri, network: "tcp", address: address, host: host}, nil
	case "ldaps":
		host, address := hostPort(place, "636")
		return target{uri: uri, network: "tcp", address: address, host: host, tls: true}, nil
	}
	return target{}, fmt.Errorf("%s: unknown scheme %s", uri, scheme)
}

func hostPort(place, port string) (host, address string) {
	if h, p, err := net.SplitHostPort(place); err == nil {
		host, port = h, p
	} else {
		host = strings.TrimSuffix(strings.TrimPrefix(place, "["), "]")
	}
	if host == "" {
		host = "localhost"
	}
	return host, net.JoinHostPort(host, port)
}

// setTLS reads the tls_* settings. tls_require_cert knows two answers here: never and allow check nothing, all
// else demands a certificate that verifies.
func (d *dialer) setTLS() error {
	f := d.file
	s := conf.Settings{SSLClientCAFile: f.TLSCACertFile, SSLClientCADir: f.TLSCACertDir, SSLCipherList: f.TLSCipherSuite}
	for _, pem := range []struct {
		to   *string
		path string
	}{{&s.SSLClientCert, f.TLSCertFile}, {&s.SSLClientKey, f.TLSKeyFile}} {
		if pem.path == "" {
			continue
		}
		text, err := os.ReadFile(pem.path)
		if err != nil {
			return err
		}
		*pem.to = string(text)
	}
	if s.SSLClientKey == "" {
		s.SSLClientKey = s.SSLClientCert // one file may hold both
	}
	verify := f.TLSRequireCert != "never" && f.TLSRequireCert != "allow"
	c, err := tlsconf.Client(&s, verify)
	if err != nil && s.SSLCipherList != "" {
		s.SSLCipherList = "" // GnuTLS, with which Debian builds libldap, has another notation
		if c, err = tlsconf.Client(&s, verify); err == nil {
			d.warnings = append(d.warnings, "tls_cipher_suite is ignored: it is not a list of OpenSSL cipher names")
		}
	}
	d.tls = c
	return err
}

// conn is a connection that serves one request at a time.
type conn struct {
	*ldap.Conn
	net    *metered
	server *server
	since  time.Time // idle since
	reused bool
	spent  bool // its context ended: no further use
}

// metered bounds what is read. The library reads all the time and would keep an answer of any size.
type metered struct {
	net.Conn
	left atomic.Int64
}

func (m *metered) Read(p []byte) (int, error) {
	n, err := m.Conn.Read(p)
	if m.left.Add(int64(-n)) < 0 {
		return 0, fmt.Errorf("the answer is larger than %d bytes", maxAnswer)
	}
	return n, err
}

// past is a deadline that ends every read and write.
var past = time.Unix(1, 0)

// dial connects to a target and, with asService, binds as the dn of the file. Errors have Dovecot's wording.
func (d *dialer) dial(ctx context.Context, t target, asService bool) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	nc, err := (&net.Dialer{}).DialContext(ctx, t.network, t.address)
	if err != nil {
		return nil, fmt.Errorf("Can't connect to server: %s: %w", t.uri, err)
	}
	m := &metered{Conn: nc}
	m.left.Store(maxAnswer)
	var over net.Conn = m
	if t.tls {
		tc := tls.Client(m, tlsconf.ForHost(d.tls, t.host))
		if err := tc.HandshakeContext(ctx); err != nil {
			_ = nc.Close()
			return nil, fmt.Errorf("Can't connect to server: %s: %w", t.uri, err)
		}
		over = tc
	}
	c := &conn{Conn: ldap.NewConn(over, t.tls), net: m}
	c.Start()
	if err := c.run(ctx, connectTimeout, func(l *ldap.Conn) error { return d.greet(l, t, asService) }); err != nil {
		c.end()
		return nil, err
	}
	return c, nil
}

// greet starts TLS and binds.
func (d *dialer) greet(l *ldap.Conn, t target, asService bool) error {
	if d.file.TLS && t.network != "unix" {
		if err := l.StartTLS(tlsconf.ForHost(d.tls, t.host)); err != nil {
			return serverError("ldap_start_tls_s() failed", err)
		}
	}
	var err error
	switch {
	case !asService:
	case d.file.SASLBind:
		err = l.ExternalBind()
	case d.file.DN != "" && d.file.DNPass == "":
		err = l.UnauthenticatedBind(d.file.DN)
	case d.file.DN != "":
		err = l.Bind(d.file.DN, d.file.DNPass)
	}
	if err != nil {
		return serverError(fmt.Sprintf("binding failed (dn %s)", orNone(d.file.DN)), err)
	}
	return nil
}

func orNone(dn string) string {
	if dn == "" {
		return "(none)"
	}
	return dn
}

// run makes one request within limit and ctx.
func (c *conn) run(ctx context.Context, limit time.Duration, request func(*ldap.Conn) error) error {
	until := time.Now().Add(limit)
	c.net.left.Store(maxAnswer)
	_ = c.net.SetDeadline(until) // a closed connection fails in the request
	stop := context.AfterFunc(ctx, func() { _ = c.net.SetDeadline(past) })
	err := request(c.Conn)
	if !stop() {
		c.spent = true
		if broken(err) {
			return ctx.Err()
		}
		return err
	}
	_ = c.net.SetDeadline(time.Time{})
	if broken(err) && !time.Now().Before(until) {
		return fmt.Errorf("no answer within %s: %w", limit.Round(time.Millisecond), os.ErrDeadlineExceeded)
	}
	return err
}

// broken tells whether an error leaves the connection useless.
func broken(err error) bool {
	var e *ldap.Error
	switch {
	case err == nil:
		return false
	case !errors.As(err, &e):
		return true
	}
	return e.ResultCode >= ldap.ErrorNetwork || e.ResultCode == ldap.LDAPResultUnavailable || e.ResultCode == ldap.LDAPResultBusy
}

// end says goodbye.
func (c *conn) end() {
	_ = c.net.SetDeadline(time.Now().Add(closeTimeout))
	if c.Unbind() != nil {
		_ = c.Close()
	}
}
