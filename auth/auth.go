// Package auth authenticates a client: SASL mechanisms, user names, the passdb chain with its
// cache, and the verdict. It never sees a connection. It imports passdb, passdb/scheme, conf and
// event; login imports it.
package auth

import (
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

// String returns the code as Dovecot's auth protocol spells it; CodeNone is empty.
func (c Code) String() string {
	return [...]string{
		"", "temp_fail", "authz_fail", "user_disabled", "pass_expired", "invalid_base64",
		"auth_mech_invalid", "auth_mech_ssl_required", "anonymous_denied",
	}[c]
}

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
	HasPassword bool // false for challenge mechanisms, and for failures
	NoDelay     bool
	Final       []byte // success data for the client, if any (SCRAM, DIGEST-MD5)
}

// Mechanism is an advertised SASL mechanism.
type Mechanism struct {
	Name      string
	Plaintext bool // hidden on unsecured connections under disable_plaintext_auth
	Private   bool // never listed (APOP)
	Anonymous bool
	// Binding: it proves that both ends see the same TLS connection, and is offered on those only.
	Binding bool
	// Dictionary: who listens can try passwords on what was said. Active: so can who stands in
	// between. Mutual: the server proves that it knows the password.
	Dictionary, Active, Mutual bool
}

// Properties are the words that the auth protocol has for a mechanism, in Dovecot's order.
func (m Mechanism) Properties() []string {
	var out []string
	for _, p := range [...]struct {
		has  bool
		word string
	}{
		{m.Private, "private"},
		{m.Anonymous, "anonymous"},
		{m.Plaintext, "plaintext"},
		{m.Dictionary, "dictionary"},
		{m.Active, "active"},
		{m.Mutual, "mutual-auth"},
	} {
		if p.has {
			out = append(out, p.word)
		}
	}
	return out
}

// Request starts an exchange.
type Request struct {
	passdb.Peer
	Mech string
	// Initial is the decoded initial response; HasInitial tells an empty one from none.
	Initial    []byte
	HasInitial bool
	// NoPenalty: the attempt neither waits for its address's penalty nor raises it.
	NoPenalty bool
}
