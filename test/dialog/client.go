package dialog

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strings"
	"time"
)

// stepLimit bounds each step that waits for the proxy. Dovecot's own retries take some seconds.
const stepLimit = 25 * time.Second

var (
	errEnded   = errors.New("closed by server")
	errTimeout = fmt.Errorf("nothing that fits within %s", stepLimit)
)

// client is one connection to the proxy.
type client struct {
	name string
	nc   net.Conn
	r    *bufio.Reader
	last string    // the line read last
	sent time.Time // when it last sent something
	view *clientView
}

// clientView collects what all clients of a scenario send and get.
type clientView struct {
	text      strings.Builder
	normalize *normalizer
}

func (v *clientView) note(format string, args ...any) { fmt.Fprintf(&v.text, format+"\n", args...) }

// dialClient connects from an address, or from any when it is empty.
func dialClient(name, from, to string) (*client, error) {
	ctx, cancel := context.WithTimeout(context.Background(), stepLimit)
	defer cancel()
	var d net.Dialer
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	nc, err := d.DialContext(ctx, "tcp", to)
	if err != nil {
		return nil, err
	}
	return &client{name: name, nc: nc, r: bufio.NewReader(nc), sent: time.Now()}, nil
}

// write sends bytes. A failure is not told: what the client reads next says more about it.
func (c *client) write(data string) {
	c.sent = time.Now()
	_, _ = io.WriteString(c.nc, data)
}

// read notes a line. An error is errEnded, errTimeout or one from below.
func (c *client) read(limit time.Duration) error {
	if err := c.nc.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	text, err := c.r.ReadString('\n')
	if text != "" {
		c.last = c.note(text)
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errTimeout
	case errors.Is(err, io.EOF) || isReset(err):
		return errEnded
	}
	return err
}

// note writes what was read into the view, and gives it back without line end.
func (c *client) note(text string) string {
	bare, hasEnd := strings.CutSuffix(text, "\n")
	bare, hasCR := strings.CutSuffix(bare, "\r")
	mark := ""
	switch {
	case !hasEnd:
		mark = "<no line end> "
	case !hasCR:
		mark = "<bare LF> "
	}
	c.view.note("%s< %s%s", c.name, mark, c.view.normalize.received(line([]byte(bare))))
	return bare
}

// readUntil notes lines up to one that matches.
func (c *client) readUntil(re *regexp.Regexp) error {
	for {
		if err := c.read(stepLimit); err != nil {
			return err
		}
		if re.MatchString(c.last) {
			return nil
		}
	}
}

// readToEnd notes lines up to the end of the connection.
func (c *client) readToEnd() error {
	for {
		if err := c.read(stepLimit); errors.Is(err, errEnded) {
			c.view.note("%s: closed by server", c.name)
			return nil
		} else if err != nil {
			return err
		}
	}
}

// readFor notes what comes within a time.
func (c *client) readFor(d time.Duration) error {
	for end := time.Now().Add(d); ; {
		switch err := c.read(time.Until(end)); {
		case errors.Is(err, errTimeout):
			return nil
		case errors.Is(err, errEnded):
			c.view.note("%s: closed by server", c.name)
			return nil
		case err != nil:
			return err
		}
	}
}

// startTLS does the handshake and notes whose certificate was shown.
func (c *client) startTLS() error {
	server := "proxy.example.org"
	if c.name == "sni" {
		server = "alt.example.org"
	}
	if err := c.nc.SetDeadline(time.Now().Add(stepLimit)); err != nil {
		return err
	}
	t := tls.Client(c.nc, &tls.Config{ServerName: server, InsecureSkipVerify: true}) // any certificate is noted, none is refused
	if err := t.Handshake(); err != nil {
		c.view.note("%s: TLS handshake failed", c.name)
		return errors.New("TLS handshake failed")
	}
	if err := c.nc.SetDeadline(time.Time{}); err != nil {
		return err
	}
	c.nc, c.r = t, bufio.NewReader(t)
	c.view.note("%s: TLS started, cert CN=%s", c.name, t.ConnectionState().PeerCertificates[0].Subject.CommonName)
	return nil
}
