package capability

import (
	"slices"
	"strconv"
	"strings"
)

// Submission settings that shape the list of an EHLO reply.
type Submission struct {
	Unknown []string // words of submission_backend_capabilities that are no capability
	MaxSize uint64   // submission_max_mail_size in bytes, 0: no limit
	XClient bool     // the client may use XCLIENT

	backend []string
	exotic  bool
}

// smtpCapabilities are those that submission_backend_capabilities may name (Dovecot 2.3).
var smtpCapabilities = []string{
	"AUTH", "STARTTLS", "PIPELINING", "SIZE", "ENHANCEDSTATUSCODES", "8BITMIME", "CHUNKING", "BINARYMIME", "BURL", "DSN", "VRFY", "ETRN", "XCLIENT",
}

// NewSubmission reads submission_backend_capabilities, where "" stands for unset, and
// submission_client_workarounds.
func NewSubmission(backend, workarounds string) Submission {
	c := Submission{exotic: Has(workarounds, "exotic-backend")}
	if backend == "" {
		c.backend = []string{"8BITMIME"}
		return c
	}
	for word := range strings.FieldsFuncSeq(backend, func(r rune) bool { return r == ' ' || r == ',' }) {
		name := strings.ToUpper(word)
		if !slices.Contains(smtpCapabilities, name) {
			c.Unknown = append(c.Unknown, word)
			continue
		}
		c.backend = append(c.backend, name)
		if name == "BINARYMIME" {
			c.backend = append(c.backend, "CHUNKING")
		}
	}
	return c
}

// Lines returns the capabilities of an EHLO reply, one a line (Dovecot 2.3 order).
func (c Submission) Lines(s State) []string {
	has := func(name string) bool { return slices.Contains(c.backend, name) }
	always := func(name string) bool { return !c.exotic || has(name) }
	size := "SIZE"
	if c.MaxSize > 0 {
		size += " " + strconv.FormatUint(c.MaxSize, 10)
	}
	var out []string
	for _, x := range []struct {
		line string
		show bool
	}{
		{"8BITMIME", has("8BITMIME")},
		{"AUTH " + strings.Join(s.Visible(), " "), s.Secured || !s.RequireTLS},
		{"BINARYMIME", has("BINARYMIME")},
		{"BURL imap", always("BURL")},
		{"CHUNKING", always("CHUNKING")},
		{"DSN", has("DSN")},
		{"ENHANCEDSTATUSCODES", always("ENHANCEDSTATUSCODES")},
		{size, c.MaxSize > 0 || always("SIZE")},
		{"STARTTLS", s.OfferTLS && !s.TLS},
		{"PIPELINING", always("PIPELINING")},
		{"VRFY", has("VRFY")},
		{"XCLIENT ADDR PORT PROTO HELO LOGIN SESSION TTL TIMEOUT FORWARD", c.XClient},
	} {
		if x.show {
			out = append(out, x.line)
		}
	}
	return out
}
