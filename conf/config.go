// Package conf reads a Dovecot configuration: its language, filters, %variables and external
// files, and turns them into one table of typed settings. It imports none of our rooms; every
// other room imports it.
package conf

import (
	"fmt"
	"net/netip"
)

// Position is a place in a configuration file.
type Position struct {
	File string
	Line int // 1-based; 0 when the text is about the whole file
}

// Error is a configuration error. Its text has Dovecot's wording:
// "Error in configuration file PATH line N: TEXT".
type Error struct {
	Position
	Text string
}

// Error implements error.
func (e *Error) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("Error in configuration file %s: %s", e.File, e.Text)
	}
	return fmt.Sprintf("Error in configuration file %s line %d: %s", e.File, e.Line, e.Text)
}

// Filter names the connection that settings are asked for. Zero values match only
// blocks that do not test them.
type Filter struct {
	Protocol  string // imap, pop3, submission, sieve, lmtp
	Local     netip.Addr
	Remote    netip.Addr
	LocalName string // TLS SNI
}

// Passdb is one passdb block.
type Passdb struct {
	Position
	Name               string // for logs; the driver's name when the block has none
	Driver             string
	Args               string
	DefaultFields      string
	OverrideFields     string
	Mechanisms         string
	UsernameFilter     string
	Skip               string // never, authenticated, unauthenticated
	ResultSuccess      string // return-ok, return, return-fail, continue, continue-ok, continue-fail
	ResultFailure      string
	ResultInternalfail string
	AuthVerbose        string // default, yes, no
	Deny, Pass, Master bool
	// Answers are the fields, name and template, that are set with each answer of the driver, whose own fields are
	// %{passdb:...} in them. With OnlyAnswers the driver's fields are not set themselves. Only the 2.4 dialect has
	// them.
	Answers     [][2]string
	OnlyAnswers bool
	NoCache     bool // its answers are not kept (passdb_use_cache = no)
	// SQL is what the driver's file would say. It is set when the configuration has it inline, as the
	// 2.4 dialect does; then Args names no file.
	SQL *SQLFile
	// LDAP is the same for LDAP.
	LDAP *LDAPFile
	// OAuth2 is the same for the oauth2 driver, HTTP for the http driver.
	OAuth2 *OAuth2File
	HTTP   *HTTPFile
	// Lua is the script of a lua passdb in the 2.4 dialect.
	Lua *LuaScript
	// Index is the entry's number in the whole configuration. It is part of the cache key, so two
	// entries with equal driver and args never share a cached answer.
	Index int
}

// LuaScript is what the 2.4 dialect says about a Lua script.
type LuaScript struct {
	File     string      // its path
	Text     string      // the script itself, instead of File
	Settings [][2]string // lua_settings, for script_init
	Scheme   string      // of passwords that name none
}

// Service is one service block whose protocol is enabled.
type Service struct {
	Position
	Name         string // imap-login, pop3-login, auth, ...
	Protocol     string // imap, pop3, ...; empty for services of no protocol
	ProcessLimit uint
	ClientLimit  uint
	Inet         []InetListener
	Unix         []UnixListener
}

// InetListener is one inet_listener block.
type InetListener struct {
	Position
	Name      string
	Address   []string // empty: the listen setting
	Port      uint16   // 0: switched off
	SSL       bool
	HAProxy   bool
	ReusePort bool
}

// UnixListener is one unix_listener block.
type UnixListener struct {
	Position
	Path        string
	Mode        uint32 // 0: switched off
	User, Group string
}
