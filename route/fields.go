package route

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"dproxy/event"
	"dproxy/passdb"
)

// defaultFailAfter is Dovecot 2.3's LOGIN_PROXY_DEFAULT_HOST_IMMEDIATE_FAILURE_AFTER_SECS.
const defaultFailAfter = 30 * time.Second

var mechanisms = map[string]bool{"EXTERNAL": true, "PLAIN": true, "LOGIN": true, "OAUTHBEARER": true, "XOAUTH2": true, "SCRAM-SHA-1": true, "SCRAM-SHA-256": true}

// fields fills a target from the passdb's fields, except address and source. What cannot be read is
// reported and has its default, as in Dovecot 2.3; for LMTP it is an error.
func (r *Router) fields(q *Query) (Target, error) {
	t := Target{
		Host: q.get("host"), User: q.User, Password: q.Password, Master: q.MasterUser,
		Timeout: q.Settings.LoginProxyTimeout, FailAfter: defaultFailAfter,
	}
	if v := q.get("destuser"); v != "" {
		t.User = v
	}
	if v := q.get("master"); v != "" {
		t.Master = v
	}
	if v := q.get("pass"); v != "" {
		t.Password = passdb.Secret(v)
	}
	r.security(q, &t)
	if err := r.times(q, &t); err != nil {
		return t, err
	}
	_, t.NoAuth = q.Fields.Get("proxy_noauth")
	_, t.NoPipelining = q.Fields.Get("proxy_nopipelining")
	_, t.NotTrusted = q.Fields.Get("proxy_not_trusted")
	for _, f := range q.Fields.WithPrefix("forward_") {
		t.Forward = append(t.Forward, passdb.Field{Name: f.Name[len("forward_"):], Value: f.Value})
	}
	header := q.get("proxy_protocol")
	if header == "" {
		header = q.Settings.LoginProxyProtocol
	}
	switch header {
	case "", "no":
	case "v1":
		t.ProxyHeader = 1
	case "v2":
		t.ProxyHeader = 2
	default:
		// A backend that waits for the header would take the login for garbage.
		return t, &Error{Internal, "Invalid proxy_protocol " + event.Clean(header, 80) + "; use v1, v2 or no"}
	}
	if t.Protocol = q.get("protocol"); t.Protocol != "" && t.Protocol != "lmtp" && t.Protocol != "smtp" {
		if q.lmtp() {
			return t, &Error{Internal, "Unknown protocol " + event.Clean(t.Protocol, 80)}
		}
		t.Protocol = ""
	}
	return t, nil
}

func (q *Query) lmtp() bool { return q.Peer.Service == "lmtp" }

// security reads ssl and starttls. Both mean yes whatever their value.
func (r *Router) security(q *Query, t *Target) {
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
	for _, name := range []string{"proxy", "proxy_maybe", "nopassword", "ssl", "starttls"} {
		if v, ok := q.Fields.Get(name); ok {
			switch strings.ToLower(v) {
			case "n", "no", "0", "false":
				r.once(q, name+"="+v)
			}
		}
	}
}

// once warns of a flag whose value means nothing, for each field and value one time.
func (r *Router) once(q *Query, field string) {
	r.mu.Lock()
	said := r.warned[field]
	r.warned[field] = true
	r.mu.Unlock()
	if !said {
		r.authLine(q, event.Warning, "passdb field "+field+" means yes: its presence counts and not its value; leave the field out to switch it off")
	}
}

func (r *Router) times(q *Query, t *Target) error {
	if v := q.get("proxy_timeout"); v != "" {
		d, err := ParseTimeout(v)
		switch {
		case err != nil && q.lmtp():
			return &Error{Internal, "Invalid proxy_timeout value " + event.Clean(v, 80)}
		case err != nil:
			r.line(q, "BUG: Auth service returned invalid proxy_timeout value '"+event.Clean(v, 80)+"': "+event.Clean(err.Error(), 120))
		case d > 0:
			t.Timeout = d
		}
	}
	if v := q.get("proxy_host_immediate_failure_after"); v != "" {
		d, err := parseInterval(v)
		if err != nil {
			r.line(q, "BUG: Auth service returned invalid proxy_host_immediate_failure_after value '"+event.Clean(v, 80)+"': "+event.Clean(err.Error(), 120))
		} else {
			t.FailAfter = d
		}
	}
	if v := q.get("proxy_refresh"); v != "" {
		n, err := strconv.ParseUint(v, 10, 31)
		if err != nil {
			r.line(q, "BUG: Auth service returned invalid proxy_refresh value: "+event.Clean(v, 80))
		} else {
			t.Refresh = time.Duration(n) * time.Second
		}
	}
	return nil
}

// check makes the tests of Dovecot's proxy_check_start, in its order.
func (r *Router) check(q *Query, t *Target) error {
	if q.get("pass") == "" && !q.HasPassword && !t.NoAuth {
		return &Error{Internal, "password not given"}
	}
	if t.Host == "" {
		return &Error{Internal, "host not given"}
	}
	if v := q.get("hostip"); v != "" {
		if _, err := netip.ParseAddr(v); err != nil {
			return &Error{Internal, "Invalid hostip " + event.Clean(v, 80)}
		}
	}
	if v := q.get("proxy_mech"); v != "" {
		t.Mech = strings.ToUpper(v)
		if !mechanisms[t.Mech] {
			return &Error{Internal, "Unsupported SASL mechanism " + event.Clean(v, 80)}
		}
	} else if t.Master != "" {
		t.Mech = "PLAIN"
	}
	return nil
}

// port is the backend's port: the field, or the protocol's default. ssl changes the default only.
func (r *Router) port(q *Query, t Target) (uint16, error) {
	def := q.Ports.Plain
	switch {
	case q.lmtp() && t.Protocol == "lmtp":
		def = 24
	case q.lmtp() && t.Protocol == "smtp":
		def = 25
	case t.TLS != Plain && q.Fields.Has("ssl"):
		def = q.Ports.TLS
	}
	v := q.get("port")
	if v == "" {
		return def, nil
	}
	n, err := strconv.ParseUint(v, 10, 16)
	if err == nil && n != 0 {
		return uint16(n), nil
	}
	if q.lmtp() {
		return 0, &Error{Internal, "Invalid port number " + event.Clean(v, 80)}
	}
	r.line(q, "Auth service returned invalid port number: "+event.Clean(v, 80))
	return def, nil
}

func (r *Router) line(q *Query, text string) {
	r.events.Emit(event.ClientLine{Client: q.Client, Level: event.Error, Text: text})
}
