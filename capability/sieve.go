package capability

import "strings"

// Sieve settings that shape ManageSieve's list.
type Sieve struct {
	Implementation string // managesieve_implementation_string
	Sieve          string // managesieve_sieve_capability
	Notify         string // managesieve_notify_capability; "" leaves it out
	XClient        bool   // the client may use XCLIENT
}

// Lines returns the capabilities of a greeting, one a line (Pigeonhole 0.5 order).
func (c Sieve) Lines(s State) []string {
	pair := func(name, value string) string { return `"` + name + `" "` + escaper.Replace(value) + `"` }
	out := []string{pair("IMPLEMENTATION", c.Implementation), pair("SIEVE", c.Sieve)}
	if c.Notify != "" {
		out = append(out, pair("NOTIFY", c.Notify))
	}
	out = append(out, pair("SASL", strings.Join(s.Visible(), " ")))
	if s.OfferTLS && !s.TLS {
		out = append(out, `"STARTTLS"`)
	}
	out = append(out, pair("VERSION", "1.0"))
	if c.XClient {
		out = append(out, `"XCLIENT"`)
	}
	return out
}

// escaper makes a text fit for a quoted string (RFC 5804 section 1.2).
var escaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`)
