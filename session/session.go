// Package session knows who is connected: session ids, the bounds on connections that have not
// logged in, and the list that shutdown and kick walk. It imports event only; login and admin
// import it.
package session

import (
	"encoding/base64"
	"net/netip"
	"time"
)

// ID makes a session id in Dovecot's format: base64 without padding of the low 48 bits of the
// microsecond clock (little endian), the client's port (little endian) and its address.
func ID(now time.Time, client netip.AddrPort) string {
	us := uint64(now.UnixMicro())
	b := make([]byte, 0, 24)
	for i := range 6 {
		b = append(b, byte(us>>(8*i)))
	}
	p := client.Port()
	b = append(b, byte(p), byte(p>>8))
	b = append(b, client.Addr().Unmap().AsSlice()...)
	return base64.RawStdEncoding.EncodeToString(b)
}

// Session is a connection that can be told to end.
type Session interface {
	// End asks the session to end soon, with a reason for the client and the log. It does not
	// block and may be called more than once.
	End(reason Reason)
}

// Reason is why a session is ended from our side.
type Reason int

// The reasons.
const (
	Shutdown  Reason = iota // the program stops
	QueueFull               // a newer connection needs the place
	Kicked                  // by an admin
)

// Limits bound the connections that have not logged in. 0 is no limit.
type Limits struct {
	PreLogin  int // in all
	PerSource int // from one IPv4 address or one IPv6 /64
}
