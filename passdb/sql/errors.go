package sql

import (
	"errors"
	"fmt"
)

var (
	errClosed  = errors.New("the database was closed")
	errTimeout = errors.New("Query timed out")
	// errBroken marks errors after which a connection is of no more use.
	errBroken = errors.New("broken connection")
	// errTooMany says that a result was so large that the connection was closed instead of read.
	errTooMany = errors.New("too many rows")
	// errRefused marks what a server says when it does not understand a query.
	errRefused = errors.New("refused query")
)

// broken adds errBroken to an error and keeps its text.
type broken struct{ error }

func (b broken) Is(target error) bool { return target == errBroken }
func (b broken) Unwrap() error        { return b.error }

// caught is deferred around the client libraries: one of them may run out of bounds in what a broken server says,
// which must cost a connection and not the process.
func caught(err *error) {
	if r := recover(); r != nil {
		*err = broken{fmt.Errorf("the server's answer makes no sense: %v", r)}
	}
}

// refused adds errRefused to an error and keeps its text.
type refused struct{ error }

func (r refused) Is(target error) bool { return target == errRefused }
func (r refused) Unwrap() error        { return r.error }
