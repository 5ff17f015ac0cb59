package login

import (
	"errors"
	"strconv"
	"strings"

	"dproxy/backend"
	"dproxy/route"
)

// Protocol is everything that sets one protocol apart.
type Protocol struct {
	Name      string // imap, pop3, ...
	Ports     route.Ports
	ALPN      []string
	Handshake backend.Handshake
	// NoAnonymous: the protocol has no use for users without a name (Submission, ManageSieve).
	NoAnonymous bool
	// NewFront makes the client-facing half for one connection.
	NewFront func(*Client) Front
}

// Front is the server side of a protocol before login. Errors are the connection's own, or an *End.
type Front interface {
	// Greet sends the greeting.
	Greet() error
	// Credentials talks to the client until it asks to authenticate.
	Credentials() (Credentials, error)
	// Continue sends a SASL challenge and reads the answer, decoded. ErrAborted, ErrBadBase64 and
	// ErrNotBase64 leave the connection usable.
	Continue(challenge []byte) ([]byte, error)
	// Refuse answers an attempt that failed.
	Refuse(Refusal) error
	// Welcome answers an attempt that succeeded, in the backend's words.
	Welcome(backend.Welcome) error
	// Bye says why the connection ends. What it writes is best effort.
	Bye(Bye)
}

// Preparer is a Front that adds to what the handshake with the backend is told.
type Preparer interface {
	Prepare(*backend.Login)
}

// Waiter is a Front that tells a client whose login is still being judged not to give up.
type Waiter interface {
	Waiting()
}

// Credentials is a client's wish to authenticate.
type Credentials struct {
	Mech       string
	Initial    []byte
	HasInitial bool
	// BadInitial: an initial response came and was not base64.
	BadInitial bool
	// Private allows a mechanism that is not listed (APOP, which has a command of its own).
	Private bool
	// Command is set for logins that are no SASL exchange (IMAP LOGIN, POP3 USER and PASS); User is
	// their name, for the log.
	Command bool
	User    string
}

// Password makes the credentials of a login command: the PLAIN mechanism without an authorization
// identity, as in Dovecot.
func Password(user string, pass []byte) Credentials {
	b := make([]byte, 0, 2+len(user)+len(pass))
	b = append(append(b, 0), user...)
	b = append(append(b, 0), pass...)
	return Credentials{Mech: "PLAIN", Initial: b, HasInitial: true, Command: true, User: user}
}

// The errors of a SASL response that leave the connection usable.
var (
	ErrAborted   = errors.New("authentication aborted by the client")
	ErrBadBase64 = errors.New("invalid base64")
	ErrNotBase64 = errors.New("no base64 at all") // bytes that are not in its alphabet
)

// BadResponse is what a front says about an answer to a challenge that is none. It leaves the connection
// usable and refuses the attempt.
type BadResponse string

// Error implements error.
func (b BadResponse) Error() string { return string(b) }

// Cause says why a login was refused; a front chooses its reply code by it.
type Cause int

// The causes, after Dovecot 2.3's enum client_auth_result. Text of a Refusal is always set, except
// where noted.
const (
	AuthFailed       Cause = iota // wrong password or no such user
	AuthReason                    // the same, with the passdb's own text
	AuthzFailed                   // a master login that may not be this user
	TempFail                      // the passdb, or DNS
	PassExpired                   // the password must be changed
	InvalidBase64                 // not a SASL response
	Aborted                       // by the client
	LoginDisabled                 // nologin
	MechInvalid                   // no such mechanism
	MechNeedsTLS                  // a plaintext mechanism on an unsecured connection
	PasswordNeedsTLS              // a login command on an unsecured connection
	NeedsTLS                      // ssl = required
	AnonymousDenied               // the protocol takes no anonymous users
	Referred                      // to Referral
	TooMany                       // connections of this user from this address
	Unavailable                   // the backend, or the way to it
	Misconfigured                 // the backend is set up wrongly
	BackendRefused                // Reply is the backend's answer
	BackendFailed                 // the backend refused; its answer is not shown
)

// Refusal is why a login failed.
type Refusal struct {
	Cause Cause
	Text  string // for the client
	// Reply is a backend's own answer in its protocol's words, in printable ASCII.
	Reply    string
	Referral *Referral
}

// Referral is the host that a user should log in to instead.
type Referral struct {
	User, Mech, Host string
	Port             string // "" when the passdb names none
}

// Bye is a goodbye.
type Bye struct {
	Why  ByeCause
	Text string
}

// ByeCause says whose fault the end of a connection is.
type ByeCause int

// The causes.
const (
	ByeClient   ByeCause = iota // it broke the protocol's rules
	ByeTimeout                  // it took too long
	ByeResource                 // too much of something: input, connections
	ByeShutdown                 // the program stops
	ByeInternal                 // something here does not work
)

// End is why a connection ends before it is handed over.
type End struct {
	Bye   Bye    // nothing is said when the text is empty
	Log   string // behind "Disconnected: "
	Label string // for the metric
	// Linger reads on for a moment, because the client may still be sending: a close with unread
	// input would make the system drop the goodbye.
	Linger bool
}

// Error implements error.
func (e *End) Error() string { return e.Log }

// LoggedOut is the end that a client asked for; the front has answered.
func LoggedOut() error { return &End{Log: "Aborted login by logging out", Label: "logout"} }

// InputFull is the end of a client whose command does not fit the input buffer.
func InputFull() error {
	return &End{Bye: Bye{ByeResource, "Input buffer full, aborting"}, Log: "Input buffer full", Label: "input_full", Linger: true}
}

// URL is the referral in RFC 5092's form without what follows the host; the scheme's own port is left
// out.
func (r *Referral) URL(scheme, port string) string {
	u := scheme + "://" + urlEncode(r.User) + ";AUTH=" + urlEncode(r.Mech) + "@" + urlEncode(r.Host)
	if n, err := strconv.ParseUint(r.Port, 10, 16); err == nil && n > 0 && r.Port != port {
		u += ":" + r.Port
	}
	return u
}

// urlEncode escapes everything but RFC 3986's unreserved characters, in lower case as Dovecot does.
func urlEncode(s string) string {
	const hex = "0123456789abcdef"
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~' {
			b.WriteByte(c)
		} else {
			b.WriteString("%" + string(hex[c>>4]) + string(hex[c&15]))
		}
	}
	return b.String()
}
