package backend

import (
	"runtime"

	"dproxy/tlsconf"
)

// Shared is what all logins of a process share, whatever their settings, and what a reload does not change.
type Shared struct {
	Hosts *Hosts // remembers failing backends
	// Handshakes bound the TLS handshakes of both sides that compute at the same time.
	Handshakes tlsconf.Slots
}

// handshakesPerCPU leaves the processors to others as well, and is enough to keep them busy.
const handshakesPerCPU = 4

// NewShared makes what a process needs once.
func NewShared() *Shared {
	return &Shared{Hosts: NewHosts(), Handshakes: tlsconf.NewSlots(handshakesPerCPU * runtime.NumCPU())}
}
