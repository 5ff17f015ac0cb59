package passdb

import "log/slog"

const hidden = "<hidden>"

// Secret is a password or token. Every printing verb, slog and JSON show <hidden>; only an
// explicit conversion to string reveals it.
type Secret string

// String implements fmt.Stringer.
func (Secret) String() string { return hidden }

// GoString implements fmt.GoStringer.
func (Secret) GoString() string { return hidden }

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText implements encoding.TextMarshaler, which JSON uses too.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }
