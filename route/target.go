// Package route turns the answer of a passdb into the ordered list of backends to try. It knows
// proxy_maybe, names and source addresses; it never dials. Imported by login, backend and admin;
// imports passdb, conf and event.
//
// Beyond Dovecot's fields it reads proxy_protocol: v1 or v2 sends a PROXY protocol header of that
// version to the backend ahead of everything else, TLS included.
package route

import (
	"net/netip"
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
	Host string // as the passdb wrote it; the name that a certificate must carry
	Addr netip.AddrPort
	// Others are further addresses of the host's name. They are tried when no connection to Addr can
	// be made; Dovecot 2.3 knows only the first.
	Others []netip.AddrPort
	Source netip.Addr // local address; invalid: the system chooses
	// Sources is set when Source was taken from login_source_ips, for another one when its ports to
	// the backend have run out.
	Sources  *Sources
	TLS      TLS
	AnyCert  bool
	User     string // login name at the backend (destuser)
	Password passdb.Secret
	Master   string        // SASL authentication id, "" for a plain login
	Mech     string        // proxy_mech, upper case, "" for the protocol's own login
	Protocol string        // the protocol field: "lmtp", "smtp", or "" when it is not given
	Timeout  time.Duration // connect, TLS and backend login of one attempt
	// FailAfter is proxy_host_immediate_failure_after: how long a backend must have been silent before
	// logins that would wait behind another are refused at once. 0: never.
	FailAfter time.Duration
	// Refresh is proxy_refresh: how often the user is reported while proxied. 0: never.
	Refresh time.Duration
	// ProxyHeader is the version of the PROXY header that the backend gets: 1, 2, or 0 for none.
	ProxyHeader int
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
	// Local serves the users whose proxy_maybe points at this host; invalid: they are refused.
	Local netip.AddrPort
}

// get returns a field's value. An empty value counts as a field that is not set, unlike in Dovecot 2.3:
// the documented SQL schema has destuser NOT NULL with an empty default.
func (q *Query) get(name string) string {
	v, _ := q.Fields.Get(name)
	return v
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

// loops is the text of a destination that is this very listener.
const loops = "Proxying loops to itself"

// Loops tells whether the destination was this very listener.
func (e *Error) Loops() bool { return e.Text == loops }
