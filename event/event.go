// Package event says what happened: every stage of a login is one typed event, and log lines and
// metrics are made from events here and nowhere else. It imports none of our rooms.
package event

import (
	"net/netip"
	"time"
)

// Sink receives events. Emit must not block and may be called from any goroutine.
type Sink interface{ Emit(Event) }

// Event is one of the types below. Events are values and are not kept by the sender.
type Event interface{ event() }

// Client is the part of a connection that reports need; the login room fills it. A copy of it
// goes into each event, so listeners may keep it.
type Client struct {
	Service               string // imap, pop3, ...; log prefix is Service-login
	Session               string
	User                  string
	Mech                  string
	Local, Remote         netip.AddrPort
	RealLocal, RealRemote netip.AddrPort
	// Line joins a message with login_log_format and its elements. Set by the login room.
	Line func(message string) string
}

// Target is the backend of a login.
type Target struct {
	Host     string // as the passdb wrote it
	Addr     netip.AddrPort
	Source   netip.Addr // local address used, invalid when the system chose
	TLS      string     // "", "ssl", "starttls"
	DestUser string
	Master   string
}

// Level is a log level in Dovecot's names.
type Level int

// The levels.
const (
	Debug Level = iota
	Info
	Warning
	Error
	Fatal
)

// String returns the level as it stands in a log line.
func (l Level) String() string {
	return [...]string{"Debug", "Info", "Warning", "Error", "Fatal"}[l]
}

// Notice is a line that belongs to no login: start, reload, a passdb that went away.
type Notice struct {
	Level  Level
	Source string // "master", "auth", "imap-login", ...: the prefix of the line
	Text   string
}

// Greeted is a connection whose client has been sent the greeting.
type Greeted struct {
	Service string
	Queued  time.Duration // from the accept until somebody took care of it
	Took    time.Duration // from the accept, with PROXY header and implicit TLS
}

// FilterChosen tells which conf blocks apply to a connection.
type FilterChosen struct {
	Client Client
	Blocks []string
}

// PassdbAsked is a lookup about to begin.
type PassdbAsked struct {
	Session, Passdb, User string
	Remote                netip.Addr
}

// PassdbAnswered is a driver's or the cache's answer. Text is the line's message after the
// "db(user,ip,<session>): " prefix; an empty Text is not logged.
type PassdbAnswered struct {
	Session, Passdb, User string
	Remote                netip.Addr
	Master                bool // a master passdb was asked
	Result                string
	Cached                bool
	Took                  time.Duration
	Level                 Level
	Text                  string
}

// AuthLine is an auth log line that is not a passdb's answer (mechanism and name errors). Without a
// DB it has no "db(user,ip): " prefix. Quiet lines are not logged: the settings did not ask for them.
type AuthLine struct {
	Session, DB, User string
	Remote            netip.Addr
	Master            bool
	Level             Level
	Text              string
	Quiet             bool
}

// Authenticated ends the passdb chain.
type Authenticated struct {
	Service, Session, User, Mech string
	Result                       string // ok, fail, temp_fail, ...
	Took                         time.Duration
}

// RouteChosen tells where a login goes.
type RouteChosen struct {
	Client  Client
	Targets []Target
	Err     error
}

// Dialed is one connection attempt to a backend.
type Dialed struct {
	Client  Client
	Target  Target
	Attempt int
	Took    time.Duration
	Err     error
}

// TLSDone is a handshake's end, on either side.
type TLSDone struct {
	Client  Client
	Backend bool
	Version string
	Cipher  string
	Took    time.Duration
	Err     error
}

// BackendFailed is a login that the backend or the way to it refused.
type BackendFailed struct {
	Client  Client
	Target  Target
	Kind    string // connect, internal, remote, remote_config, protocol, auth, auth_tempfail, tls_cert
	Text    string // Dovecot's wording without the proxy(...) prefix
	Level   Level
	Final   bool // false: another attempt follows
	Attempt int
}

// ProxyLine is a line about a login at a backend that does not end it.
type ProxyLine struct {
	Client Client
	Target Target
	Level  Level
	Text   string
}

// SourceExhausted tells that a source address had no port left for a backend, so that another was taken.
type SourceExhausted struct {
	Client Client
	Target Target
	Source netip.Addr
}

// Started is the hand-over to the relay.
type Started struct {
	Client     Client
	Target     Target
	Took       time.Duration
	Reconnects int
}

// Ended is the end of a relayed session.
type Ended struct {
	Client  Client
	Target  Target
	Side    string // client, server, proxy
	Reason  string // error text, "" for a clean close
	Idle    time.Duration
	In, Out uint64 // bytes to the backend and to the client
	// Delay is how long the client stayed connected behind the backend's end
	// (login_proxy_max_disconnect_delay).
	Delay time.Duration
}

// Disconnected is the end of a client that was not handed over.
type Disconnected struct {
	Client Client
	Text   string // "Disconnected: Connection closed (no auth attempts in 0 secs)"
	Reason string // metric label
}

// ClientLine is an info or error line of a login front ("ID sent: ...").
type ClientLine struct {
	Client Client
	Level  Level
	Text   string
}

func (Notice) event()          {}
func (Greeted) event()         {}
func (FilterChosen) event()    {}
func (PassdbAsked) event()     {}
func (PassdbAnswered) event()  {}
func (AuthLine) event()        {}
func (Authenticated) event()   {}
func (RouteChosen) event()     {}
func (Dialed) event()          {}
func (TLSDone) event()         {}
func (BackendFailed) event()   {}
func (ProxyLine) event()       {}
func (SourceExhausted) event() {}
func (Started) event()         {}
func (Ended) event()           {}
func (Disconnected) event()    {}
func (ClientLine) event()      {}
