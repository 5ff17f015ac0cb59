package sql

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"time"
)

// maxGreeting bounds a server's first packet, in bytes.
const maxGreeting = 4096

var errGreeting = errors.New("the server's greeting makes no sense")

// greeted is a connection whose first packet has been read and is read again.
type greeted struct {
	net.Conn
	first []byte
}

// Read implements net.Conn.
func (g *greeted) Read(p []byte) (int, error) {
	if len(g.first) == 0 {
		return g.Conn.Read(p)
	}
	n := copy(p, g.first)
	g.first = g.first[n:]
	return n, nil
}

// greeting reads and checks the first packet: the client library runs out of bounds in one that is cut off.
func greeting(ctx context.Context, nc net.Conn) (net.Conn, error) {
	until, _ := ctx.Deadline()
	if err := nc.SetReadDeadline(until); err != nil {
		return nil, err
	}
	packet := make([]byte, 4) // length, number
	if _, err := io.ReadFull(nc, packet); err != nil {
		return nil, err
	}
	n := int(packet[0]) | int(packet[1])<<8 | int(packet[2])<<16
	if n == 0 || n > maxGreeting {
		return nil, errGreeting
	}
	packet = append(packet, make([]byte, n)...)
	if _, err := io.ReadFull(nc, packet[4:]); err != nil {
		return nil, err
	}
	if !plausible(packet[4:]) {
		return nil, errGreeting
	}
	return &greeted{nc, packet}, nc.SetReadDeadline(time.Time{})
}

// plausible tells whether a packet is an error, a greeting of another protocol, or one of protocol 10 with all its
// parts (MySQL manual, Protocol::HandshakeV10).
func plausible(b []byte) bool {
	const (
		protocol10 = 10
		oldParts   = 4 + 8 + 1 + 2                      // connection, scramble, filler, capabilities
		parts      = oldParts + 1 + 2 + 2 + 1 + 10 + 13 // character set, status, capabilities, length, reserved, scramble
	)
	if b[0] < protocol10 {
		return true
	}
	if b[0] == 0xff {
		return len(b) >= 3
	}
	end := bytes.IndexByte(b, 0)
	if end < 0 {
		return false
	}
	rest := len(b) - end - 1
	return rest == oldParts || rest >= parts
}
