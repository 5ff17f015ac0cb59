package login

import (
	"crypto/tls"
	"errors"
	"os"
	"strings"
	"time"

	"dproxy/event"
	"dproxy/tlsconf"
)

// transport is what lies under TLS. Until the handshake is over it knows the client, for its server name.
type transport struct {
	tlsconf.Transport
	client *Client
}

// configForName chooses settings and certificate by the name the client asks for. Names that no
// local_name block has lead to the settings in use, so nothing is kept for them.
func configForName(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	t, ok := hello.Conn.(*transport)
	if !ok || t.client == nil || hello.ServerName == "" {
		return nil, nil //nolint:nilnil // crypto/tls: keep the configuration
	}
	c := t.client
	c.peer.LocalName = event.Clean(hello.ServerName, 255)
	c.configure()
	return c.profile.tls, nil
}

// StartTLS does the handshake that the front has agreed to. Nothing that was read before it is ever
// run: when something was, the connection ends.
func (c *Client) StartTLS() error {
	if err := c.Flush(); err != nil {
		return err
	}
	if c.R.Buffered() > 0 {
		return &End{Log: "Plaintext data before TLS handshake", Label: "plaintext_before_tls", Linger: true}
	}
	return c.handshake(time.Now().Add(c.server.times.handshake))
}

// handshake makes the connection a TLS one.
func (c *Client) handshake(until time.Time) error {
	if c.profile.tls == nil {
		return &End{Bye: Bye{ByeInternal, "TLS initialization failed."}, Log: "TLS initialization failed.", Label: "tls_init"}
	}
	if end := c.loginEnd(); until.After(end) {
		until = end
	}
	if err := c.limit(until); err != nil {
		return err
	}
	began := time.Now()
	c.tls, c.elementsOK = tlsHandshaking, false
	under := &transport{client: c}
	under.Conn = c.tcp
	conn := tls.Server(under, c.profile.tls)
	slots := c.snap.shared.Handshakes
	if c.runner != nil {
		slots = nil // the event loop bounds them
	}
	c.heavy(true)
	err := under.Handshake(slots, conn.Handshake)
	c.heavy(false)
	under.client = nil
	done := event.TLSDone{Took: time.Since(began), Err: err}
	if err != nil {
		c.tlsErr, c.elementsOK = handshakeText(err), false
		done.Client = c.event()
		c.server.Events.Emit(done)
		return c.handshakeEnd(err)
	}
	c.nc, c.tls, c.secured, c.elementsOK = conn, tlsOn, true, false
	c.R.Reset(source{c})
	state := conn.ConnectionState()
	if c.profile.Settings.SSLVerifyClientCert && len(state.PeerCertificates) > 0 {
		c.peer.CertValid, c.peer.CertName = tlsconf.ClientCert(state, c.profile.tls, c.profile.Settings)
		c.badCert = !c.peer.CertValid
	}
	done.Version, done.Cipher = tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite)
	done.Client = c.quietEvent()
	c.server.Events.Emit(done)
	return c.limit(c.loginEnd())
}

// handshakeEnd says why a connection ends with its handshake.
func (c *Client) handshakeEnd(err error) error {
	switch {
	case c.isEnding():
		return errEnding
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &End{Log: "TLS handshake timed out", Label: "tls_timeout"}
	case c.tlsErr == closedText:
		return &End{Log: closedText, Label: "closed"}
	}
	label := "tls_handshake"
	if strings.HasSuffix(c.tlsErr, textNoALPN) {
		label = "tls_alpn"
	}
	return &End{Log: closedText + ": " + c.tlsErr, Label: label, Linger: true}
}

// textNoALPN is a client that offers other protocols only.
const textNoALPN = "no application protocol"

// handshakeText puts a failed handshake into words like Dovecot's.
func handshakeText(err error) string {
	if isClosed(err) {
		return closedText
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return "timed out"
	}
	if text := systemText(err); text != "" {
		return "SSL_accept() syscall failed: " + text
	}
	if strings.Contains(err.Error(), "unsupported application protocols") {
		return "SSL_accept() failed: " + textNoALPN
	}
	return "SSL_accept() failed: " + event.Clean(strings.TrimPrefix(err.Error(), "tls: "), 200)
}

// tlsText describes the connection's TLS as %k does: "TLSv1.3 with cipher NAME (N/N bits)".
func (c *Client) tlsText() string {
	conn, ok := c.nc.(*tls.Conn)
	if !ok {
		if c.proxiedSSL {
			return "(proxied)"
		}
		return ""
	}
	state := conn.ConnectionState()
	name := tls.CipherSuiteName(state.CipherSuite)
	bits := "128"
	if strings.Contains(name, "256_GCM") || strings.Contains(name, "CHACHA20") || strings.Contains(name, "256_CBC") {
		bits = "256"
	}
	return strings.Replace(tls.VersionName(state.Version), "TLS ", "TLSv", 1) + " with cipher " + cipherName(name) + " (" + bits + "/" + bits + " bits)"
}

// cipherName gives a suite of TLS 1.2 and older OpenSSL's name.
func cipherName(name string) string {
	short, ok := strings.CutPrefix(name, "TLS_ECDHE_")
	if !ok {
		return name
	}
	short = strings.Replace(short, "_WITH_", "-", 1)
	short = strings.Replace(short, "AES_", "AES", 1)
	short = strings.Replace(short, "CBC_", "", 1)
	short = strings.Replace(short, "CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305", 1)
	return "ECDHE-" + strings.ReplaceAll(short, "_", "-")
}
