// Package passdb holds the question to a user database, its answer and the extra fields in
// between. Drivers live in the rooms below it; the auth room asks them. It imports conf only.
package passdb

import (
	"context"
	"errors"
	"time"

	"dproxy/conf"
)

// Status is a driver's verdict, in the order of Dovecot's enum passdb_result (2.3.21).
type Status int

// The verdicts.
const (
	OK                 Status = iota
	Mismatch                  // the user exists, the password is another
	Unknown                   // no such user
	SchemeNotAvailable        // the stored password cannot serve the mechanism
	InternalFailure           // the database did not answer: never told as a wrong password
	Next                      // ok, but noauthenticate: ask the next passdb
	Disabled                  // the chain ends here
	Expired                   // the chain ends here
)

// String returns Dovecot's name of the verdict.
func (s Status) String() string {
	switch s {
	case OK:
		return "ok"
	case Mismatch:
		return "password_mismatch"
	case Unknown:
		return "user_unknown"
	case SchemeNotAvailable:
		return "scheme_not_available"
	case InternalFailure:
		return "internal_failure"
	case Next:
		return "next"
	case Disabled:
		return "user_disabled"
	case Expired:
		return "pass_expired"
	}
	return "unknown"
}

// Result is a driver's answer.
type Result struct {
	Status Status
	// Password is the stored password, with or without a {SCHEME} prefix. HasPassword tells an
	// empty one from none (SQL NULL, missing attribute). NoScheme: a leading {...} is data.
	Password    Secret
	HasPassword bool
	NoScheme    bool
	// DefaultScheme applies to a Password without a prefix.
	DefaultScheme string
	// Fields are the extra fields in the order the driver found them.
	Fields []Field
	// Detail says why for the log, in Dovecot's words ("missing passwd file: ..."). May be empty.
	Detail string
	// NoCache: the answer depends on more than what CacheVars lists and must not be kept.
	NoCache bool
	// Warnings are what else the log should say about this answer, a line each at warning level
	// with the passdb's and the user's name before it ("Multiple values found for 'host', ...").
	Warnings []string
	// Reason is what the client is told when Status is a failure and no later passdb is asked; without one it is the
	// protocol's usual text.
	Reason string
	// Wait is how long a failure is held back at least.
	Wait time.Duration
	// Until is when the answer ends to be true, such as the expiry of a token: no cache keeps it longer. Zero: no such time.
	Until time.Time
}

// Driver looks a user up without judging the password. An error is an internal failure; its
// text is for the operator only.
type Driver interface {
	Lookup(ctx context.Context, r *Request) (Result, error)
}

// Verifier is a Driver that judges the password itself (LDAP bind, PAM, another IMAP server).
type Verifier interface {
	Verify(ctx context.Context, r *Request, password Secret) (Result, error)
}

// Challenge is a client's answer to a challenge: what CRAM-MD5 (RFC 2195) and APOP (RFC 1939) have in place of a password.
type Challenge struct {
	// Salt is the challenge with its angle brackets, Digest the client's answer in hexadecimal digits.
	Salt, Digest string
}

// ChallengeVerifier is a Driver whose server judges the answer to a challenge itself. Request.Mech names the mechanism.
type ChallengeVerifier interface {
	VerifyChallenge(ctx context.Context, r *Request, c Challenge) (Result, error)
}

// Discoverer is a Driver for tokens that can say where clients learn about its identity provider: the URL of an OpenID
// Connect discovery document, or "".
type Discoverer interface {
	OpenIDConfigurationURL() string
}

// VerifyOnly is a Verifier that cannot look a user up without the user's password (another IMAP
// server, PAM). Its Lookup is never called; mechanisms that need the stored password are refused at
// start when every passdb is one.
type VerifyOnly interface {
	VerifyOnly()
}

// Cacheable is a Driver whose answers depend on the listed variables only (long names). A driver
// without it is never cached, as static and passwd-file in Dovecot.
type Cacheable interface {
	CacheVars() []string
}

// Unshared is a Cacheable Driver whose answers may depend on more than CacheVars lists, which
// Result.NoCache then tells: equal questions that are asked at the same time are each asked.
type Unshared interface {
	Unshared()
}

// Closer is a Driver that holds connections or files.
type Closer interface {
	Close() error
}

// Pinger is a Driver that can tell without a user whether its servers answer. Ping tries each of them
// once and calls report with its name, which holds no secret, and with the reason when it cannot be used.
type Pinger interface {
	Ping(ctx context.Context, report func(server string, err error))
}

// Reporter is a Driver that notices things about its database that belong to no single login: a
// user listed twice, a server that went away. SetReport is called at most once, before the first
// question. The driver may call report at any time from any goroutine, but not after Close; text is
// a whole line for the error log, in Dovecot's words.
type Reporter interface {
	SetReport(report func(text string))
}

// Level is the importance of a line that a driver has for the log.
type Level int

// The levels.
const (
	Debug Level = iota
	Info
	Warning
	Error
)

// Talker is a Driver that has lines of its own for the log. SetLog is called at most once, before the
// first question; the driver may call log at any time from any goroutine, but not after Close.
type Talker interface {
	SetLog(log func(level Level, text string))
}

// Factory opens the driver of one passdb entry. Its error is a configuration error.
type Factory func(conf.Passdb) (Driver, error)

// ConfigError is a Factory's error about a block. It names the block's place when it has one.
func ConfigError(p conf.Passdb, text string) error {
	if p.File == "" {
		return errors.New(text)
	}
	return &conf.Error{Position: p.Position, Text: text}
}
