// Package backend logs a user in to a backend: dial from the chosen source address, PROXY header, TLS,
// the protocol's handshake, retries, and the class of every failure. It imports passdb, route, tlsconf,
// wire, capability, conf and event; login imports it.
//
// The passdb field proxy_protocol=v1 or proxy_protocol=v2 sends a PROXY protocol header of that version
// ahead of everything else, TLS included. It carries the client's addresses as IMAP ID and XCLIENT would,
// and in version 2 the session id (UNIQUE_ID), the server name that the client asked for (AUTHORITY) and
// the client's TLS version and cipher (SSL). The backend's listener has to expect it, for Dovecot with
// haproxy = yes and this host in haproxy_trusted_networks. ID and XCLIENT are sent all the same;
// proxy_not_trusted switches them off.
package backend

import (
	"net/netip"

	"dproxy/event"
	"dproxy/route"
)

// Kind names whose fault a failure was; it decides retry, log prefix and the client's answer
// (Dovecot 2.3 login_proxy_failure_type).
type Kind int

// The kinds.
const (
	Connect        Kind = iota // refused, timed out, closed, TLS failed
	Internal                   // on our side, before connecting
	InternalConfig             // a redirect that cannot be followed
	Remote                     // the backend refused STARTTLS or XCLIENT
	RemoteConfig               // no STARTTLS where asked, LOGINDISABLED, hop count used up
	Protocol                   // not the protocol's syntax
	Auth                       // login refused
	AuthTempFail               // login refused for now
)

// String is the metric label of the kind.
func (k Kind) String() string {
	return [...]string{"connect", "internal", "internal_config", "remote", "remote_config", "protocol", "auth", "auth_tempfail"}[k]
}

func (k Kind) retried() bool {
	return k == Connect || k == Remote || k == Protocol || k == AuthTempFail
}

// Error is a failed login at a backend.
type Error struct {
	Kind   Kind
	Target route.Target
	Text   string // for the operator, in Dovecot's words
	// Reply is the backend's own refusal for the protocol's front to pass on, without a tag where there
	// are tags; empty when the client gets a fixed text. It is printable ASCII; only a reply of several
	// lines (SMTP) has CRLF between them.
	Reply string
	// Redirect is where the backend refers the user to, for Redirect; "" when it does not.
	Redirect string
	// final forbids another attempt whatever the kind: a bad certificate does not get better.
	final bool
	// certificate: the backend's certificate did not verify.
	certificate bool
	// canceled: nobody waits for the login any more, so there is nothing to log.
	canceled bool
	// dial: there was no connection; ours: for want of something on this host.
	dial, ours bool
	err        error // beneath it, of a connect or a TLS handshake
}

// Error implements error.
func (e *Error) Error() string { return e.Text }

// Unwrap returns the error of the connect or of the TLS handshake that failed, if it was one of them.
func (e *Error) Unwrap() error { return e.err }

// Canceled tells that the login was given up from our side.
func (e *Error) Canceled() bool { return e.canceled }

// Dial tells that no connection could be made at all.
func (e *Error) Dial() bool { return e.dial }

// Excerpt makes a backend's line fit for a log line (Dovecot cuts at 160 characters).
func Excerpt(line string) string {
	const limit = 160
	if len(line) > limit {
		return event.Clean(line, limit-3) + "..."
	}
	return event.Clean(line, limit)
}

// LogText is the message after "proxy(user,ip:port): ".
func (e *Error) LogText() string {
	switch e.Kind {
	case Internal:
		return "Aborting due to internal error: " + e.Text
	case Remote, RemoteConfig:
		return "Aborting due to remote server: " + e.Text
	case Protocol:
		return "Remote server sent invalid input: " + e.Text
	}
	return e.Text
}

// label is the metric label of the failure.
func (e *Error) label() string {
	if e.certificate {
		return "tls_cert"
	}
	return e.Kind.String()
}

// Client is what reports know of a client.
type Client = event.Client

// Identity is what the backend is told of the client.
type Identity struct {
	Session       string
	Local, Remote netip.AddrPort
	TTL           int    // hops left; this hop sends TTL-1
	ClientID      string // retained IMAP ID pairs, ready for an ID list
	Secured       bool
	// Hostname is what this host calls itself in EHLO and LHLO. Helo is the client's EHLO or LHLO
	// argument, "" when there was none, and Proto its protocol in XCLIENT's words: SMTP, ESMTP or LMTP.
	Hostname, Helo, Proto string
	// Login is what a trusted client of LMTP said in XCLIENT's field of this name.
	Login string
	// Of the client's TLS connection, "" without one: the version as in TLSv1.3, the cipher, and the
	// server name it asked for.
	TLSVersion, TLSCipher, ServerName string
}

// Name is what this host calls itself in EHLO and LHLO.
func (id *Identity) Name() string {
	if id.Hostname == "" {
		return "localhost"
	}
	return id.Hostname
}

// Login is one attempt as a Handshake sees it.
type Login struct {
	Target   route.Target
	Identity Identity
	// AskCapability: the client used CAPABILITY before login and must hear the backend's list.
	AskCapability bool
	// Untagged receives lines for the client that come before the login's end; may be nil.
	Untagged func(line string)
}

// Welcome is a backend's consent, for the protocol's front.
type Welcome struct {
	// Line is the final reply without its tag, or all of it where there are no tags; the lines of a
	// reply of several are joined by CRLF.
	Line       string
	Capability string // the backend's list when the reply does not carry it
}

// Handshake is the client side of one protocol until logged in.
type Handshake interface {
	// Login runs the dialogue. Errors are *Error, or the connection's own.
	Login(c *Conn, l *Login) (Welcome, error)
}
