package relay

import (
	"strings"
	"syscall"
)

const (
	readOp  = "read(size=65536)"
	writeOp = "write()"
)

// Error is what the system said when a connection failed.
type Error struct {
	Op    string // as in Dovecot's log lines
	Errno syscall.Errno
}

// Error implements error with the wording of Dovecot's stream errors.
func (e *Error) Error() string {
	text := e.Errno.Error()
	return e.Op + " failed: " + strings.ToUpper(text[:1]) + text[1:]
}

// Unwrap returns the errno.
func (e *Error) Unwrap() error { return e.Errno }
