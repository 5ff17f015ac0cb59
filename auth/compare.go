package auth

import (
	"context"
	"crypto/subtle"
	"strings"

	"dproxy/event"
	"dproxy/passdb"
)

func newStored(value, scheme string, noScheme bool) stored {
	s := stored{present: true, name: strings.ToUpper(scheme), data: value}
	if end := strings.IndexByte(value, '}'); !noScheme && strings.HasPrefix(value, "{") && end > 0 {
		s.name, s.data = strings.ToUpper(value[1:end]), value[end+1:]
	}
	return s
}

// compare checks the client's password against the stored one.
func (t *attempt) compare(ctx context.Context, e *entry) (passdb.Status, outcome) {
	switch t.stored.name {
	case "PLAIN", "CLEAR", "CLEARTEXT":
		if subtle.ConstantTimeCompare([]byte(t.stored.data), []byte(t.password)) == 1 {
			return passdb.OK, outcome{}
		}
		o := outcome{text: "Password mismatch", level: event.Info}
		t.withPassword(&o, t.follows(e))
		return passdb.Mismatch, o
	}
	return passdb.SchemeNotAvailable, failure("Unknown scheme " + t.stored.name)
}
