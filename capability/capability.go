// Package capability knows what we advertise before login and how it merges with a backend's list.
// It imports none of our rooms; login, backend and their protocols import it.
package capability

import "strings"

// Mechanism is a SASL mechanism with what decides whether it is shown.
type Mechanism struct {
	Name      string
	Plaintext bool
	Private   bool
	Anonymous bool
	Binding   bool // needs our own TLS connection to bind to
}

// State is what the advertised list depends on.
type State struct {
	Mechanisms []Mechanism // in auth_mechanisms order
	Secured    bool        // TLS, a trusted network, or the same host
	TLS        bool        // TLS is active
	// OfferTLS: ssl is not "no" and there is a certificate. RequireTLS: ssl = required.
	OfferTLS, RequireTLS bool
	// NoPlaintext is disable_plaintext_auth.
	NoPlaintext bool
}

// PlaintextAllowed tells whether a password may be sent now.
func (s State) PlaintextAllowed() bool {
	return s.Secured || !s.NoPlaintext && !s.RequireTLS
}

// Visible lists the mechanisms shown to the client, in order (Dovecot 2.3: none under ssl=required
// without TLS, no plaintext ones when unsecured under disable_plaintext_auth, never private ones).
func (s State) Visible() []string {
	if s.RequireTLS && !s.Secured {
		return nil
	}
	var out []string
	for _, m := range s.Mechanisms {
		if m.Binding && !s.TLS {
			continue
		}
		if m.Private || m.Plaintext && !s.PlaintextAllowed() {
			continue
		}
		out = append(out, m.Name)
	}
	return out
}

// IMAP settings that shape the list.
type IMAP struct {
	Capability   string // imap_capability
	LiteralMinus bool   // imap_literal_minus
}

const imapBase = "IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE"

// String returns the pre-login CAPABILITY list (Dovecot 2.3 order).
func (c IMAP) String(s State) string {
	var b strings.Builder
	switch {
	case c.Capability == "":
		b.WriteString(imapBase)
	case c.Capability[0] == '+':
		b.WriteString(imapBase + " " + strings.TrimLeft(c.Capability[1:], " "))
	default:
		b.WriteString(c.Capability)
	}
	if c.Capability == "" || c.Capability[0] == '+' {
		if c.LiteralMinus {
			b.WriteString(" LITERAL-")
		} else {
			b.WriteString(" LITERAL+")
		}
	}
	if s.OfferTLS && !s.TLS {
		b.WriteString(" STARTTLS")
	}
	plain := false
	for _, m := range s.Mechanisms {
		plain = plain || m.Name == "PLAIN"
	}
	if s.Secured && !plain || !s.Secured && (s.NoPlaintext || s.RequireTLS) {
		b.WriteString(" LOGINDISABLED")
	}
	for _, m := range s.Visible() {
		b.WriteString(" AUTH=" + m)
	}
	return b.String()
}

// POP3 returns the lines of a CAPA reply between +OK and the dot (Dovecot 2.3 order).
func POP3(s State) []string {
	out := []string{"CAPA", "TOP", "UIDL", "RESP-CODES", "PIPELINING", "AUTH-RESP-CODE"}
	if s.OfferTLS && !s.TLS {
		out = append(out, "STLS")
	}
	if s.PlaintextAllowed() {
		out = append(out, "USER")
	}
	return append(out, strings.TrimRight("SASL "+strings.Join(s.Visible(), " "), " "))
}

// Has tells whether a space-separated list holds a capability, without regard to case.
func Has(list, name string) bool {
	for list != "" {
		var word string
		word, list, _ = strings.Cut(list, " ")
		if strings.EqualFold(word, name) {
			return true
		}
	}
	return false
}
