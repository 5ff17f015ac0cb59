// Package auth authenticates a client: SASL mechanisms, user names, the passdb chain with its
// cache, and the verdict. It never sees a connection. It imports passdb, passdb/scheme, conf and
// event; login imports it.
package auth

import (
	"context"
	"errors"

	"dproxy/conf"
	"dproxy/event"
	"dproxy/passdb"
)

// Options are what New needs.
type Options struct {
	Config  *conf.Config
	Drivers map[string]passdb.Factory
	Events  event.Sink
}

// Code says which failure a Reply is.
type Code int

// The codes, after Dovecot 2.3's code= field.
const (
	CodeNone Code = iota
	CodeTempFail
	CodeAuthzFail
	CodeUserDisabled
	CodePassExpired
	CodeInvalidBase64
	CodeMechInvalid
	CodeMechSSLRequired
	CodeAnonymousDenied
)

// Reply is the verdict of an exchange.
type Reply struct {
	OK     bool
	Code   Code
	Reason string // from the passdb, safe for the client
	User   string // after all changes
	// OrigUser and AuthUser are as in the log variables orig_user and auth_user.
	OrigUser, AuthUser string
	MasterUser         string // the authenticating user of a master login, or ""
	// Fields are the passdb's visible fields; hidden ones are consumed. Pass and master are not
	// added: they are Password and MasterUser here.
	Fields      passdb.Fields
	Password    passdb.Secret
	HasPassword bool // false for challenge mechanisms
	NoDelay     bool
	Final       []byte // final SASL data for the client, if any
}

// Mechanism is an advertised SASL mechanism.
type Mechanism struct {
	Name      string
	Plaintext bool // hidden on unsecured connections under disable_plaintext_auth
	Private   bool // never listed (APOP)
	Anonymous bool
}

// Authenticator serves one conf snapshot.
type Authenticator struct{}

// New opens the passdbs of a configuration. Its errors have Dovecot's wording
// ("No passdbs specified in configuration file. PLAIN mechanism needs one").
func New(o Options) (*Authenticator, error) { return nil, errors.New("not built yet") }

// Close releases the drivers once no exchange is running.
func (a *Authenticator) Close() {}

// Mechanisms lists auth_mechanisms in order.
func (a *Authenticator) Mechanisms() []Mechanism { return nil }

// Request starts an exchange.
type Request struct {
	passdb.Peer
	Mech string
	// Initial is the decoded initial response; HasInitial tells an empty one from none.
	Initial    []byte
	HasInitial bool
}

// Exchange is one SASL dialogue. It is used by one goroutine.
type Exchange struct{}

// Start begins an exchange. It returns a challenge for the client, or the verdict: exactly one of
// challenge != nil, reply != nil holds. An unknown mechanism is a Reply with CodeMechInvalid.
func (a *Authenticator) Start(ctx context.Context, r Request) (x *Exchange, challenge []byte, reply *Reply) {
	return nil, nil, nil
}

// Step feeds a decoded client response. Failed verdicts are held back for auth_failure_delay
// unless the passdb said nodelay; ctx ends the wait.
func (x *Exchange) Step(ctx context.Context, response []byte) (challenge []byte, reply *Reply) {
	return nil, nil
}
