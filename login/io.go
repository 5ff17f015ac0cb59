package login

import (
	"encoding/base64"
	"errors"
	"io"
	"time"

	"dproxy/wire"
)

const (
	// MaxInput is the input buffer of Dovecot 2.3's login processes: what one command, argument or
	// literal may take.
	MaxInput = 1026
	// maxResponse bounds a SASL response, joined, with its CR.
	maxResponse = 8192
	// maxReceived bounds all that a client sends before it has logged in.
	maxReceived = 64 << 10
	// keepOut is the size up to which an output buffer is kept.
	keepOut = 1024
)

// source is the client's connection as its Reader sees it.
type source struct{ c *Client }

// Read implements io.Reader. Answers to the commands before are sent first, in one write.
func (s source) Read(p []byte) (int, error) {
	c := s.c
	if err := c.Flush(); err != nil {
		return 0, err
	}
	room := maxReceived - c.received
	if c.standalone() {
		room = len(p)
	}
	if room <= 0 {
		return 0, &End{Log: "Too much input before login", Label: "input_limit", Linger: true}
	}
	n, err := c.nc.Read(p[:min(len(p), room)])
	c.received += n
	return n, err
}

// Send queues text for the client; it goes out with the rest of the answers when the client's next
// input is waited for, or by Flush.
func (c *Client) Send(text ...string) {
	for _, t := range text {
		c.out = append(c.out, t...)
	}
}

// Flush writes what is queued.
func (c *Client) Flush() error {
	if len(c.out) == 0 {
		return nil
	}
	n, err := c.nc.Write(c.out)
	c.written += uint64(n)
	if cap(c.out) > keepOut {
		c.out = nil
	} else {
		c.out = c.out[:0]
	}
	return err
}

// Response reads one line of a SASL exchange in base64 and decodes it.
func (c *Client) Response() ([]byte, error) {
	line, err := c.ResponseLine()
	if err != nil {
		return nil, err
	}
	return Answer(line)
}

// Answer decodes an answer to a SASL challenge.
func Answer(line []byte) ([]byte, error) {
	if len(line) == 1 && line[0] == '*' {
		return nil, ErrAborted
	}
	for _, b := range line {
		if !inBase64(b) {
			return nil, ErrNotBase64
		}
	}
	return DecodeResponse(line)
}

// ResponseLine reads the rest of a line that may be a SASL response. The bytes are valid until the
// next read.
func (c *Client) ResponseLine() ([]byte, error) {
	line, err := c.R.Line(maxResponse + 1)
	if errors.Is(err, wire.ErrTooLong) {
		return nil, ResponseTooLarge()
	}
	return line, err
}

// ResponseTooLarge is the end of a client whose SASL response is beyond the bound.
func ResponseTooLarge() error {
	return &End{Log: "Authentication response too large", Label: "auth_response_too_large", Linger: true}
}

// DecodeResponse decodes base64. Blanks are skipped and the padding is needed, as in Dovecot.
func DecodeResponse(line []byte) ([]byte, error) {
	text := make([]byte, 0, len(line))
	for _, b := range line {
		if b != ' ' && b != '\t' {
			text = append(text, b)
		}
	}
	out := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Decode(out, text)
	if err != nil {
		return nil, ErrBadBase64
	}
	return out[:n], nil
}

func inBase64(b byte) bool {
	return b >= 'A' && b <= 'Z' || b >= 'a' && b <= 'z' || b >= '0' && b <= '9' || b == '+' || b == '/' || b == '='
}

// linger ends the sending and reads what the client still sends, within bounds, so that the system
// does not answer it with a reset that overtakes the goodbye.
func (c *Client) linger() {
	if c.tls == tlsOn || c.tcp.CloseWrite() != nil {
		return
	}
	_ = c.tcp.SetDeadline(time.Now().Add(c.server.times.bye))
	_, _ = io.CopyN(io.Discard, c.tcp, maxReceived)
}
