package conf

import "sync"

// Type is the type of a setting's value. Each has Dovecot 2.3's syntax and messages.
type Type uint8

// The types of values.
const (
	Text   Type = iota // any text
	Bool               // yes, y, 1 or no
	Number             // decimal, 0 to 4294967295
	Octal              // octal with a leading 0, else decimal (sic: Dovecot 2.3)
	Port               // 0 to 65535
	Time               // seconds, with units
	TimeMS             // milliseconds, with units
	Size               // bytes, with units
	Enum               // one of the words of Setting.Enum
)

// String names the type for the manual.
func (t Type) String() string {
	return [...]string{"text", "yes/no", "number", "octal number", "port", "time", "time", "size", "choice"}[t]
}

// Use tells what dproxy does with a setting that differs from its default.
type Use uint8

// How settings are used.
const (
	Ignored Use = iota // checked and printed, but without effect on a proxy
	Used               // acted on
	Refused            // would change security or routing and is not supported: an error when serving
)

// String names the use for the manual.
func (u Use) String() string { return [...]string{"ignored", "used", "refused"}[u] }

// Reload tells when a changed setting takes effect.
type Reload uint8

// When changes take effect.
const (
	Live    Reload = iota // at reload, for new connections
	Restart               // when the process starts
)

// String names the reload class for the manual.
func (r Reload) String() string { return [...]string{"reload", "restart"}[r] }

// Setting is one row of the settings table: everything that is known of one setting.
type Setting struct {
	Name    string // in Dovecot 2.3
	Type    Type
	Default string // in Dovecot 2.3, written as doveconf prints it
	Other   string // default of another of Dovecot's modules that knows the setting too
	Unset   bool   // no default at all: not even printed while it is not set
	Enum    string // the choices, separated by blanks, the default first

	Name24    string // in Dovecot 2.4; empty: the same; "-": gone
	Default24 string // in Dovecot 2.4; empty: the same

	Auth   bool // read by the authentication process: not allowed in local and remote blocks
	Hidden bool // not printed by doveconf -a unless set
	Own    bool // dproxy's own: Dovecot does not know it, so it is printed only when set
	Always bool // in a named section: printed by doveconf -n even when not set

	Use    Use
	Reload Reload
	// Why tells what a Refused setting would have done, or what to do without an Ignored one.
	Why string
	Doc string // one or more sentences

	field func(*Settings) any // where the typed value goes; nil unless Used at top level
}

// Table lists every setting that may stand at the top level, in order of group and name.
func Table() []Setting {
	var rows []Setting
	for _, group := range [][]Setting{
		processSettings(), loginSettings(), ownSettings(), authSettings(), tlsSettings(), lmtpSettings(), ignoredSettings(),
	} {
		rows = append(rows, group...)
	}
	return rows
}

// schema is the whole language: the top level and everything below it. It is built once and never
// changes.
var schema = sync.OnceValue(newRootKind)
