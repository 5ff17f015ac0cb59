package capability

import (
	"slices"
	"strings"
	"testing"
)

var mechanisms = []Mechanism{{Name: "PLAIN", Plaintext: true}, {Name: "SCRAM-SHA-256"}, {Name: "APOP", Private: true}}

func TestSubmission(t *testing.T) {
	open := State{Mechanisms: mechanisms, Secured: true, OfferTLS: true}
	for name, tt := range map[string]struct {
		backend, workarounds string
		state                State
		want                 string
	}{
		"nothing set":                       {"", "", open, "8BITMIME|AUTH PLAIN SCRAM-SHA-256|BURL imap|CHUNKING|ENHANCEDSTATUSCODES|SIZE|STARTTLS|PIPELINING"},
		"a password only with TLS":          {"", "exotic-backend", State{Mechanisms: mechanisms, NoPlaintext: true, OfferTLS: true}, "8BITMIME|AUTH SCRAM-SHA-256|STARTTLS"},
		"nothing but TLS is no AUTH at all": {"", "exotic-backend", State{Mechanisms: mechanisms, RequireTLS: true, OfferTLS: true}, "8BITMIME|STARTTLS"},
		"BINARYMIME brings CHUNKING":        {"binarymime,vrfy", "exotic-backend", State{Secured: true, TLS: true, OfferTLS: true}, "AUTH |BINARYMIME|CHUNKING|VRFY"},
	} {
		if got := strings.Join(NewSubmission(tt.backend, tt.workarounds).Lines(tt.state), "|"); got != tt.want {
			t.Errorf("%s: got %s, want %s", name, got, tt.want)
		}
	}
	if got := NewSubmission("SIZE smtputf8, X", "").Unknown; !slices.Equal(got, []string{"smtputf8", "X"}) {
		t.Errorf("unknown: %q", got)
	}
}

func TestSieve(t *testing.T) {
	c := Sieve{Implementation: `a "b\`, Sieve: "fileinto", XClient: true}
	got := strings.Join(c.Lines(State{OfferTLS: true}), "|")
	if want := `"IMPLEMENTATION" "a \"b\\"|"SIEVE" "fileinto"|"SASL" ""|"STARTTLS"|"VERSION" "1.0"|"XCLIENT"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
