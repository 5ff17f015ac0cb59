package sql

import "errors"

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

// refused adds errRefused to an error and keeps its text.
type refused struct{ error }

func (r refused) Is(target error) bool { return target == errRefused }
func (r refused) Unwrap() error        { return r.error }
