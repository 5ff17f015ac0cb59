// Package route turns the answer of a passdb into the ordered list of backends to try. It knows
// proxy_maybe, names and source addresses; it never dials. Imported by login, backend and admin;
// imports passdb, conf and event.
package route

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"dproxy/conf"
	"dproxy/event"
	"dproxy/passdb"
)

// TLS says how the way to a backend is secured.
type TLS int

// The ways.
const (
	Plain    TLS = iota
	Implicit     // the ssl field: TLS from the start
	StartTLS     // the starttls field
)

// Target is one backend with everything a login there needs.
type Target struct {
	Host     string // as the passdb wrote it; the name that a certificate must carry
	Addr     netip.AddrPort
	Source   netip.Addr // local address; invalid: the system chooses
	TLS      TLS
	AnyCert  bool
	User     string // login name at the backend (destuser)
	Password passdb.Secret
	Master   string        // SASL authentication id, "" for a plain login
	Mech     string        // proxy_mech, upper case, "" for the protocol's own login
	Timeout  time.Duration // connect, TLS and backend login of one attempt
	// The proxy_* flags.
	NoAuth, NoPipelining, NotTrusted bool
	// Forward are the forward_* fields, without the prefix.
	Forward []passdb.Field
}

// Event is the target as reports show it.
func (t Target) Event() event.Target {
	e := event.Target{Host: t.Host, Addr: t.Addr, Source: t.Source, DestUser: t.User, Master: t.Master}
	switch t.TLS {
	case Implicit:
		e.TLS = "ssl"
	case StartTLS:
		e.TLS = "starttls"
	}
	return e
}

// Query is what a target is chosen from.
type Query struct {
	Peer        passdb.Peer
	User        string
	MasterUser  string
	Password    passdb.Secret // the client's
	HasPassword bool
	Fields      *passdb.Fields
	Settings    *conf.Settings
	Sources     *Sources // login_source_ips, may be nil
	Ports       Ports
	Client      event.Client
}

// Ports are a protocol's default ports at a backend.
type Ports struct{ Plain, TLS uint16 }

// Kind says whose fault an Error is.
type Kind int

// The kinds.
const (
	Internal   Kind = iota // logged bare, the client hears "temporarily unavailable"
	AuthFailed             // Dovecot's auth refuses such an answer
	TempFail               // a name that does not resolve
	Local                  // proxy_maybe points at this host
)

// Error is why no target can be had. Text has Dovecot's wording.
type Error struct {
	Kind Kind
	Text string
}

// Error implements error.
func (e *Error) Error() string { return e.Text }

var mechanisms = map[string]bool{"EXTERNAL": true, "PLAIN": true, "LOGIN": true, "OAUTHBEARER": true, "XOAUTH2": true}

// fields fills a target from the passdb's fields, except host and address.
func (r *Router) fields(q Query) (Target, error) {
	t := Target{User: q.User, Password: q.Password, Master: q.MasterUser, Timeout: q.Settings.LoginProxyTimeout}
	get := func(name string) string { v, _ := q.Fields.Get(name); return v }
	t.Host = get("host")
	if v := get("destuser"); v != "" {
		t.User = v
	}
	if v := get("master"); v != "" {
		t.Master = v
	}
	hasPassword := q.HasPassword
	if v := get("pass"); v != "" {
		t.Password, hasPassword = passdb.Secret(v), true
	}
	for _, tls := range []struct {
		field string
		way   TLS
	}{{"ssl", Implicit}, {"starttls", StartTLS}} {
		if v, ok := q.Fields.Get(tls.field); ok {
			t.TLS = tls.way
			t.AnyCert = t.AnyCert || v == "any-cert"
		}
	}
	t.AnyCert = t.AnyCert || !q.Settings.SSLClientRequireValidCert
	if v := get("proxy_timeout"); v != "" {
		d, err := ParseTimeout(v)
		if err != nil {
			r.line(q, "BUG: Auth service returned invalid proxy_timeout value '"+event.Clean(v, 80)+"': "+err.Error())
		} else if d > 0 {
			t.Timeout = d
		}
	}
	_, t.NoAuth = q.Fields.Get("proxy_noauth")
	_, t.NoPipelining = q.Fields.Get("proxy_nopipelining")
	_, t.NotTrusted = q.Fields.Get("proxy_not_trusted")
	for _, f := range q.Fields.WithPrefix("forward_") {
		t.Forward = append(t.Forward, passdb.Field{Name: f.Name[len("forward_"):], Value: f.Value})
	}
	if !hasPassword && !t.NoAuth {
		return t, &Error{Internal, "password not given"}
	}
	if v := get("proxy_mech"); v != "" {
		t.Mech = strings.ToUpper(v)
		if !mechanisms[t.Mech] {
			return t, &Error{Internal, "Unsupported SASL mechanism " + event.Clean(v, 80)}
		}
	} else if t.Master != "" {
		t.Mech = "PLAIN"
	}
	return t, nil
}

// port is the backend's port: the field, or the protocol's default. ssl changes the default only.
func (r *Router) port(q Query, t Target) uint16 {
	def := q.Ports.Plain
	if t.TLS == Implicit || t.TLS == StartTLS && q.Fields.Has("ssl") {
		def = q.Ports.TLS
	}
	v, _ := q.Fields.Get("port")
	if v == "" {
		return def
	}
	n, err := strconv.ParseUint(v, 10, 16)
	if err != nil || n == 0 {
		r.line(q, "Auth service returned invalid port number: "+event.Clean(v, 80))
		return def
	}
	return uint16(n)
}

func (r *Router) line(q Query, text string) {
	r.events.Emit(event.ClientLine{Client: q.Client, Level: event.Error, Text: text})
}
