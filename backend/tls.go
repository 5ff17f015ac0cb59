package backend

import (
	"crypto/tls"
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"dproxy/event"
	"dproxy/fiber"
	"dproxy/route"
	"dproxy/tlsconf"
)

// TLS returns the configuration for a target. The certificate must carry the host as the passdb wrote
// it; hostip never changes the name that is verified.
func (d *Dialer) TLS(t route.Target) (*tls.Config, error) {
	verify := !t.AnyCert
	d.mu.Lock()
	base := d.bases[verify]
	if base == nil {
		var err error
		if base, err = tlsconf.Client(d.settings, verify); err != nil {
			d.mu.Unlock()
			return nil, err
		}
		d.bases[verify] = base
	}
	d.mu.Unlock()
	return tlsconf.ForHost(base, t.Host), nil
}

// StartTLS makes the connection a TLS one. Nothing that came in clear text behind the backend's consent
// may be believed, so such bytes end the login.
func (c *Conn) StartTLS() error {
	if c.R.Buffered() > 0 {
		return &Error{Kind: Protocol, Text: "Plaintext data after the STARTTLS reply"}
	}
	return c.startTLS()
}

func (c *Conn) startTLS() error {
	config, err := c.run.dialer.TLS(c.run.target)
	if err != nil {
		return &Error{Kind: Internal, Text: "Failed to create SSL client context: " + err.Error()}
	}
	began := time.Now()
	slots := c.run.dialer.shared.Handshakes
	if f := fiber.From(c.ctx); f != nil {
		f.Heavy(true) // which bounds handshakes too
		f.Detach()
		defer f.Heavy(false)
		slots = nil
	}
	under := &tlsconf.Transport{Conn: c.tcp} // the relay exchanges it
	tc := tls.Client(under, config)
	err = under.Handshake(slots, tc.Handshake) // the end of c.ctx ends it by the connection's deadline
	e := event.TLSDone{Client: c.run.client, Backend: true, Took: time.Since(began), Err: err}
	if err == nil {
		s := tc.ConnectionState()
		e.Version, e.Cipher = tls.VersionName(s.Version), tls.CipherSuiteName(s.CipherSuite)
	}
	c.run.dialer.events.Emit(e)
	if err != nil {
		return c.tlsError(err)
	}
	c.Conn = tc
	c.R.Reset(tc)
	c.Sent = 0
	return nil
}

func (e *Error) because(err error) *Error {
	e.err = err
	return e
}

// tlsError classes a failed handshake. A certificate that does not verify is final: another attempt
// would only get it again (Dovecot 2.4.2; 2.3 tries three times more).
func (c *Conn) tlsError(err error) error {
	var ce *tlsconf.CertError
	var record tls.RecordHeaderError
	var errno syscall.Errno
	switch {
	case errors.As(err, &ce):
		e := c.disconnected("Connection closed: " + event.Clean(ce.Error(), 400))
		e.final, e.certificate, e.err = true, true, ce
		return e
	case c.ctx.Err() != nil, errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &errno), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return err // Failure words them
	case errors.As(err, &record):
		// OpenSSL's words, which log watchers look for.
		return c.disconnected("Connection closed: SSL_connect() failed: error:0A00010B:SSL routines::wrong version number").because(err)
	}
	return c.disconnected("Connection closed: SSL_connect() failed: " + event.Clean(strings.TrimPrefix(err.Error(), "tls: "), 300)).because(err)
}
