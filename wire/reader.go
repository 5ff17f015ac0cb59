// Package wire holds the syntax that both sides of a login share: lines, IMAP tokens and literals, SMTP
// replies and xtext, ManageSieve strings, and the tab-escaped lists of Dovecot. It imports none of our rooms.
package wire

import (
	"bytes"
	"errors"
	"io"
)

// ErrTooLong reports a line, or literal, that does not fit the limit given.
var ErrTooLong = errors.New("line too long")

const startSize = 1024

// Reader reads lines and counted bytes, and keeps whatever was read beyond them, so that nothing is
// lost when the connection is handed to somebody else.
type Reader struct {
	r    io.Reader
	buf  []byte
	from int // buf[from:to] is unread
	to   int
}

// NewReader returns a Reader on r.
func NewReader(r io.Reader) *Reader { return &Reader{r: r} }

// Reset makes the Reader read from r. Unread bytes are dropped: after a TLS handshake nothing that
// was read in clear text may survive.
func (r *Reader) Reset(src io.Reader) { r.r, r.from, r.to = src, 0, 0 }

// Buffered returns the number of bytes read from the connection and not yet taken.
func (r *Reader) Buffered() int { return r.to - r.from }

// Take returns the unread bytes and empties the Reader.
func (r *Reader) Take() []byte {
	if r.from == r.to {
		r.buf = nil
		return nil
	}
	b := r.buf[r.from:r.to:r.to]
	r.buf, r.from, r.to = nil, 0, 0
	return b
}

// Line returns the next line without its LF or CRLF. The bytes are valid until the next call. A
// line of more than limit bytes (line end included) gives ErrTooLong; an end of stream within a
// line gives io.ErrUnexpectedEOF.
func (r *Reader) Line(limit int) ([]byte, error) {
	seen := 0
	for {
		if i := bytes.IndexByte(r.buf[r.from+seen:r.to], '\n'); i >= 0 {
			n := seen + i
			if n >= limit {
				return nil, ErrTooLong
			}
			line := r.buf[r.from : r.from+n]
			r.from += n + 1
			if n > 0 && line[n-1] == '\r' {
				line = line[:n-1]
			}
			return line, nil
		}
		seen = r.to - r.from
		if seen >= limit {
			return nil, ErrTooLong
		}
		if err := r.fill(limit); err != nil {
			if err == io.EOF && seen > 0 {
				return nil, io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

// Rest returns what was read of an unfinished line, for a log line.
func (r *Reader) Rest() []byte { return r.buf[r.from:r.to] }

// Bytes returns exactly n bytes, valid until the next call. The caller bounds n.
func (r *Reader) Bytes(n int) ([]byte, error) {
	for r.to-r.from < n {
		if err := r.fill(n); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	b := r.buf[r.from : r.from+n]
	r.from += n
	return b, nil
}

// Fill waits for more bytes and adds them to those that Rest shows.
func (r *Reader) Fill() error { return r.fill(0) }

// Skip drops n of the bytes that Rest shows.
func (r *Reader) Skip(n int) { r.from += n }

// fill reads more. The buffer grows by what has really come, never by what was announced.
func (r *Reader) fill(want int) error {
	switch {
	case r.from == r.to:
		r.from, r.to = 0, 0
	case r.from > 0 && r.to == len(r.buf):
		copy(r.buf, r.buf[r.from:r.to])
		r.from, r.to = 0, r.to-r.from
	}
	if r.to == len(r.buf) {
		size := max(startSize, 2*len(r.buf))
		if want > startSize {
			size = min(size, max(want, startSize))
		}
		if size <= len(r.buf) {
			size = len(r.buf) + startSize
		}
		b := make([]byte, size)
		copy(b, r.buf[:r.to])
		r.buf = b
	}
	for range 100 {
		n, err := r.r.Read(r.buf[r.to:])
		r.to += n
		if n > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// Grow makes the Reader take up to n bytes at once from now on, for a protocol that carries much.
func (r *Reader) Grow(n int) {
	if len(r.buf) < n {
		b := make([]byte, n)
		r.from, r.to, r.buf = 0, copy(b, r.buf[r.from:r.to]), b
	}
}
