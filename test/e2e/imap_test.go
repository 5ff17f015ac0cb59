package e2e

import (
	"bufio"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// imapConn is an IMAP client that says exactly what a test wants it to say.
type imapConn struct {
	nc       net.Conn
	r        *bufio.Reader
	greeting string
	tags     int
}

// dialIMAP connects and reads the greeting; with a configuration it speaks TLS from the start. From is the client's
// address, or empty.
func dialIMAP(addr, from string, conf *tls.Config) (*imapConn, error) {
	nc, err := dial(addr, from, conf)
	if err != nil {
		return nil, err
	}
	c := &imapConn{nc: nc, r: bufio.NewReader(nc)}
	if c.greeting, err = c.line(); err != nil {
		nc.Close()
		return nil, fmt.Errorf("greeting: %w", err)
	}
	return c, nil
}

func dial(addr, from string, conf *tls.Config) (net.Conn, error) {
	d := net.Dialer{Timeout: patience}
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	nc, err := d.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	if err := nc.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	if conf == nil {
		return nc, nil
	}
	return tls.Client(nc, conf), nil // the handshake comes with the first read
}

// loginIMAP connects and logs in.
func loginIMAP(addr, from string, conf *tls.Config, user string) (*imapConn, error) {
	c, err := dialIMAP(addr, from, conf)
	if err != nil {
		return nil, err
	}
	if _, err := c.cmd("LOGIN %s %s", user, password); err != nil {
		c.nc.Close()
		return nil, err
	}
	return c, nil
}

func (c *imapConn) line() (string, error) {
	if err := c.nc.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	l, err := c.r.ReadString('\n')
	return strings.TrimRight(l, "\r\n"), err
}

// start sends a command without waiting.
func (c *imapConn) start(format string, args ...any) (tag string, err error) {
	if err := c.nc.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	c.tags++
	tag = "t" + strconv.Itoa(c.tags)
	_, err = fmt.Fprintf(c.nc, tag+" "+format+"\r\n", args...)
	return tag, err
}

// finish reads up to the tagged reply and gives the lines before it. A reply that is not OK is an error.
func (c *imapConn) finish(tag string) ([]string, error) {
	var untagged []string
	for {
		l, err := c.line()
		if err != nil {
			return untagged, err
		}
		reply, ok := strings.CutPrefix(l, tag+" ")
		if !ok {
			untagged = append(untagged, l)
			continue
		}
		if !strings.HasPrefix(reply, "OK") {
			return untagged, fmt.Errorf("the server says %s", reply)
		}
		return untagged, nil
	}
}

func (c *imapConn) cmd(format string, args ...any) ([]string, error) {
	tag, err := c.start(format, args...)
	if err != nil {
		return nil, err
	}
	return c.finish(tag)
}

// until reads up to a line that matches.
func (c *imapConn) until(pattern string) (string, error) {
	re := regexp.MustCompile(pattern)
	for {
		l, err := c.line()
		if err != nil || re.MatchString(l) {
			return l, err
		}
	}
}

var literalSize = regexp.MustCompile(`\{(\d+)\}$`)

// fetch reads one message: its size and SHA-256.
func (c *imapConn) fetch(number int) (size int64, sum string, err error) {
	tag, err := c.start("FETCH %d BODY.PEEK[]", number)
	if err != nil {
		return 0, "", err
	}
	l, err := c.until(`BODY\[\] \{\d+\}$`)
	if err != nil {
		return 0, "", err
	}
	if size, err = strconv.ParseInt(literalSize.FindStringSubmatch(l)[1], 10, 64); err != nil {
		return 0, "", err
	}
	hash := sha256.New()
	for left := size; left > 0; {
		if err := c.nc.SetDeadline(time.Now().Add(patience)); err != nil {
			return 0, "", err
		}
		n, err := io.CopyN(hash, c.r, min(left, 1<<20))
		if err != nil {
			return 0, "", fmt.Errorf("%d of %d bytes are missing: %w", left-n, size, err)
		}
		left -= n
	}
	_, err = c.finish(tag)
	return size, hex.EncodeToString(hash.Sum(nil)), err
}

// append stores a message of a size, read from r, in a synchronising literal.
func (c *imapConn) append(mailbox string, size int64, r io.Reader) error {
	tag, err := c.start("APPEND %s {%d}", mailbox, size)
	if err != nil {
		return err
	}
	if l, err := c.line(); err != nil || !strings.HasPrefix(l, "+") {
		return fmt.Errorf("no permission to send the literal: %q, %w", l, err)
	}
	for left := size; left > 0; {
		if err := c.nc.SetDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		n, err := io.CopyN(c.nc, r, min(left, 1<<20))
		if err != nil {
			return err
		}
		left -= n
	}
	if _, err := io.WriteString(c.nc, "\r\n"); err != nil {
		return err
	}
	_, err = c.finish(tag)
	return err
}
