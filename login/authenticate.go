package login

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"dproxy/auth"
	"dproxy/event"
)

// The texts that are the same in every protocol (Dovecot 2.3).
const (
	textAuthFailed    = "Authentication failed."
	textAuthzFailed   = "Authorization failed"
	textTempFail      = "Temporary authentication failure."
	textAborted       = "Authentication aborted by client."
	textLoginDisabled = "Login disabled for this user"
	textNoMechanism   = "Unsupported authentication mechanism."
	textMechNeedsTLS  = "Plaintext authentication disabled."
	textPassNeedsTLS  = "Plaintext authentication disallowed on non-secure (SSL/TLS) connections."
	textNeedsTLS      = "Authentication not allowed until SSL/TLS is enabled."
	textAnonymous     = "Anonymous login denied"
	textElsewhere     = "Try this server instead."
	textUnavailable   = "Account is temporarily unavailable."
)

// authenticate runs one attempt. Exactly one of reply, refusal and err is set.
func (c *Client) authenticate(cred Credentials) (*auth.Reply, *Refusal, error) {
	c.attempt(cred)
	if r := c.forbidden(cred); r != nil {
		return nil, r, nil
	}
	if err := c.Flush(); err != nil {
		return nil, nil, err
	}
	c.phase = authenticating
	reply, refusal, err := c.dialogue(cred)
	if err != nil {
		return nil, nil, err
	}
	c.phase = talking
	if refusal != nil {
		return nil, refusal, nil
	}
	c.reply, c.elementsOK = reply, false
	if reply.User != "" {
		c.user = reply.User
	}
	if !reply.OK {
		return nil, c.failed(reply), nil
	}
	return reply, nil, nil
}

// attempt counts an attempt, before anything is judged.
func (c *Client) attempt(cred Credentials) {
	c.count()
	c.mech, c.elementsOK = event.Clean(strings.ToUpper(cred.Mech), 80), false
}

func (c *Client) count() {
	if c.attempts++; c.attempts == 1 {
		c.firstAuth = time.Now()
		c.server.Events.Emit(event.FilterChosen{Client: c.event(), Blocks: c.snap.config.Blocks(c.filter())})
	}
}

// forbidden refuses what needs no look at the credentials.
func (c *Client) forbidden(cred Credentials) *Refusal {
	set := c.profile.Settings
	if !c.secured && set.SSL == "required" {
		c.verbose("Login failed: SSL required for authentication")
		return &Refusal{Cause: NeedsTLS, Text: textNeedsTLS}
	}
	m, known := c.profile.mechanisms[strings.ToUpper(cred.Mech)]
	switch {
	case !known || m.Private && !cred.Private || m.Binding && c.tls != tlsOn:
		c.lastFail = auth.CodeMechInvalid
		c.verbose("Authenticate " + c.mech + " failed: " + textNoMechanism)
		return &Refusal{Cause: MechInvalid, Text: textNoMechanism}
	case m.Plaintext && !c.secured && set.DisablePlaintextAuth:
		c.lastFail = auth.CodeMechSSLRequired
		c.verbose("Authenticate " + c.mech + " failed: " + textMechNeedsTLS)
		return &Refusal{Cause: MechNeedsTLS, Text: textMechNeedsTLS}
	case cred.BadInitial:
		c.lastFail = auth.CodeInvalidBase64
		return &Refusal{Cause: InvalidBase64, Text: "Invalid base64 data in initial response"}
	}
	return nil
}

// RefusePassword refuses a login command on a connection that is not secured; nil when passwords are
// welcome. It counts as an attempt of that user; without a name, as one of whoever was named last.
func (c *Client) RefusePassword(user string) *Refusal {
	set := c.profile.Settings
	if c.secured || !set.DisablePlaintextAuth && set.SSL != "required" {
		return nil
	}
	c.verbose("Login failed: Plaintext authentication disabled")
	c.user, c.elementsOK = orElse(user, c.user), false
	c.count()
	return &Refusal{Cause: PasswordNeedsTLS, Text: textPassNeedsTLS}
}

// dialogue runs a SASL exchange to its verdict.
func (c *Client) dialogue(cred Credentials) (*auth.Reply, *Refusal, error) {
	until := time.Now().Add(c.server.times.exchange)
	req := auth.Request{Peer: c.peerNow(), Mech: cred.Mech, Initial: cred.Initial, HasInitial: cred.HasInitial}
	var x exchange
	var challenge []byte
	var reply *auth.Reply
	err := c.blocking(until, func(ctx context.Context) { x, challenge, reply = c.snap.auth.Start(ctx, req) })
	for err == nil && reply == nil {
		var response []byte
		var refusal *Refusal
		if response, refusal, err = c.challenge(challenge, until); err != nil || refusal != nil {
			return nil, refusal, err
		}
		err = c.blocking(until, func(ctx context.Context) { challenge, reply = x.Step(ctx, response) })
	}
	if err != nil {
		return nil, nil, err
	}
	if reply.Final != nil {
		// These protocols have no place for data beside the verdict: it is one more challenge, and
		// what the client answers to it does not matter.
		if _, refusal, err := c.challenge(reply.Final, until); err != nil || refusal != nil && refusal.Cause == TempFail {
			return nil, refusal, err
		}
		c.waiting, c.aborted = false, false
	}
	return reply, nil, nil
}

// blocking runs what may take its time while the client is not read.
func (c *Client) blocking(until time.Time, run func(context.Context)) error {
	ctx, done := c.within(until)
	run(ctx)
	return done()
}

// challenge asks the client and reads its answer. A refusal ends the exchange.
func (c *Client) challenge(challenge []byte, until time.Time) ([]byte, *Refusal, error) {
	if end := c.loginEnd(); until.After(end) {
		until = end
	}
	if err := c.limit(until); err != nil {
		return nil, nil, err
	}
	c.waiting = true
	response, err := c.front.Continue(challenge)
	var bad BadResponse
	switch {
	case err == nil:
		c.waiting = false
	case errors.Is(err, ErrAborted):
		c.aborted = true
		return nil, &Refusal{Cause: Aborted, Text: textAborted}, c.limit(c.loginEnd())
	case errors.Is(err, ErrNotBase64):
		return nil, &Refusal{Cause: AuthReason, Text: "Invalid base64 in response"}, c.limit(c.loginEnd())
	case errors.As(err, &bad):
		return nil, &Refusal{Cause: AuthReason, Text: string(bad)}, c.limit(c.loginEnd())
	case errors.Is(err, ErrBadBase64):
		c.waiting = false
		c.lastFail = auth.CodeInvalidBase64
		return nil, &Refusal{Cause: InvalidBase64, Text: "Invalid base64 data in continued response"}, c.limit(c.loginEnd())
	case errors.Is(err, os.ErrDeadlineExceeded) && !c.isEnding() && time.Until(c.loginEnd()) > 0:
		c.lastFail = auth.CodeTempFail
		return nil, c.tempFail(""), c.limit(c.loginEnd())
	default:
		return nil, nil, err
	}
	return response, nil, c.limit(c.loginEnd())
}

// failed makes the refusal of a verdict.
func (c *Client) failed(r *auth.Reply) *Refusal {
	c.lastFail = r.Code
	text := plain(r.Reason)
	switch r.Code {
	case auth.CodeTempFail:
		return c.tempFail(text)
	case auth.CodeAuthzFail:
		return &Refusal{Cause: AuthzFailed, Text: orElse(text, textAuthzFailed)}
	case auth.CodePassExpired:
		return &Refusal{Cause: PassExpired, Text: orElse(text, textAuthFailed)}
	case auth.CodeInvalidBase64:
		return &Refusal{Cause: InvalidBase64, Text: orElse(text, "Invalid base64 data in initial response")}
	case auth.CodeMechInvalid:
		return &Refusal{Cause: MechInvalid, Text: textNoMechanism}
	case auth.CodeMechSSLRequired:
		return &Refusal{Cause: MechNeedsTLS, Text: textMechNeedsTLS}
	case auth.CodeAnonymousDenied:
		return &Refusal{Cause: AnonymousDenied, Text: orElse(text, textAnonymous)}
	}
	if text != "" {
		return &Refusal{Cause: AuthReason, Text: text}
	}
	return &Refusal{Cause: AuthFailed, Text: textAuthFailed}
}

// tempFail is the refusal for faults on our side of the credentials. It tells where and when, so that
// a user's report finds its log line.
func (c *Client) tempFail(text string) *Refusal {
	if text == "" {
		text = textTempFail + " [" + c.snap.hostname + ":" + time.Now().Format("2006-01-02 15:04:05") + "]"
	}
	return &Refusal{Cause: TempFail, Text: text}
}

// plain makes a text from a database fit for one line.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}

// verbose reports what only auth_verbose wants to know.
func (c *Client) verbose(text string) {
	if c.profile.Settings.AuthVerbose {
		c.Log(event.Info, text)
	}
}
