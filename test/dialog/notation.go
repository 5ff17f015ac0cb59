package dialog

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// line is a line of a view: as it is when all of it is printable ASCII, otherwise bin"..." with Go escapes.
func line(b []byte) string {
	for _, c := range b {
		if c < ' ' || c > '~' {
			return "bin" + quote(b)
		}
	}
	return string(b)
}

func quote(b []byte) string { return strconv.QuoteToASCII(string(b)) }

// saslData is a decoded SASL response in the notation: the three parts of a PLAIN message by name, others as data.
func saslData(mechanism, b64 string) string {
	if b64 == "=" || b64 == "" {
		return "(empty)"
	}
	raw, err := base64.StdEncoding.DecodeString(b64)
	if err != nil {
		return "(no base64) " + quote([]byte(b64))
	}
	if parts := bytes.Split(raw, []byte{0}); mechanism == "PLAIN" && len(parts) == 3 {
		return fmt.Sprintf("authzid=%s authcid=%s pass=%s", quote(parts[0]), quote(parts[1]), quote(parts[2]))
	}
	return "data=" + quote(raw)
}

// xclient is the notation of an XCLIENT command: arguments sorted, the session hidden, FORWARD decoded.
func xclient(args string) string {
	list := strings.Fields(args)
	for i, a := range list {
		name, value, _ := strings.Cut(a, "=")
		switch strings.ToUpper(name) {
		case "SESSION":
			list[i] = name + "=<session>"
		case "FORWARD":
			if raw, err := base64.StdEncoding.DecodeString(value); err == nil {
				list[i] = name + "=" + quote(raw)
			}
		}
	}
	slices.Sort(list)
	return strings.Join(append([]string{"XCLIENT"}, list...), " ")
}

// normalizer replaces what differs from run to run by names. It is safe for use by several goroutines.
type normalizer struct {
	mu    sync.Mutex
	ports map[string]string
	dirs  *strings.Replacer
}

func newNormalizer(base, certs string) *normalizer {
	return &normalizer{ports: map[string]string{}, dirs: strings.NewReplacer(base, "@BASE@", certs, "@CERTS@")}
}

// port gives a port number its placeholder.
func (n *normalizer) port(number int, placeholder string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ports[strconv.Itoa(number)] = placeholder
}

var (
	numbers  = regexp.MustCompile(`\b[0-9]{4,5}\b`)
	hostTime = regexp.MustCompile(`\[[^\[\]\s:]+:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\]`)
	mailDate = regexp.MustCompile(`(Mon|Tue|Wed|Thu|Fri|Sat|Sun), [ \d]\d (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d\d:\d\d:\d\d [+-]\d{4}`)

	receivedID = regexp.MustCompile(`^\\tid [^\s"]+`)
	tlsDetails = regexp.MustCompile(`\(using TLSv[^)]*\)`)

	base64Challenge = regexp.MustCompile(`^(\+ |334 |")([A-Za-z0-9+/]{8,}=*)("?)$`)
	cramChallenge   = regexp.MustCompile(`^<[^<>\s]+@[^<>\s]*>$`)
	scramFirst      = regexp.MustCompile(`^r=.*,s=.*,(i=\d+)$`)
	apopStamp       = regexp.MustCompile(`^(\+OK .*)<[^<>\s]+\.[^<>\s]+@[^<>\s]+>$`)
	savedSession    = regexp.MustCompile(`(<[^>\s]*> )[A-Za-z0-9+/]{16,40}(?::\w+)?( Saved)`)
	lmtpSession     = regexp.MustCompile(`\bsession=[A-Za-z0-9+/]{16,40}(:[^\s,)]*)?`)
)

// text replaces ports, directories, hosts and times: what is normalised in all views.
func (n *normalizer) text(s string) string {
	s = n.dirs.Replace(s)
	n.mu.Lock()
	s = numbers.ReplaceAllStringFunc(s, func(d string) string {
		if p, ok := n.ports[d]; ok {
			return p
		}
		return d
	})
	n.mu.Unlock()
	s = hostTime.ReplaceAllString(s, "[@HOST@:TIME]")
	return mailDate.ReplaceAllString(s, "DATE")
}

// received normalises a line a client got.
func (n *normalizer) received(s string) string {
	s = savedSession.ReplaceAllString(s, "$1<session>$2")
	s = lmtpSession.ReplaceAllString(s, "session=<session>")
	s = apopStamp.ReplaceAllString(s, "$1(challenge: apop)")
	if m := base64Challenge.FindStringSubmatch(s); m != nil {
		if name := challenge(m[2]); name != "" {
			return m[1] + name + m[3]
		}
		if prompt, ok := promptText(m[2]); ok && m[1] == "+ " {
			return "+ (challenge: " + prompt + ")"
		}
	}
	return n.text(s)
}

// promptText decodes a challenge that is meant to be read, as those of the mechanism LOGIN are.
func promptText(b64 string) (string, bool) {
	raw, err := base64.StdEncoding.DecodeString(b64)
	if err != nil || bytes.ContainsFunc(raw, func(r rune) bool { return r < ' ' || r > '~' }) {
		return "", false
	}
	return quote(raw), true
}

// challenge names a SASL challenge that is different each time. Empty: it is none.
func challenge(b64 string) string {
	raw, err := base64.StdEncoding.DecodeString(b64)
	if err != nil {
		return ""
	}
	if cramChallenge.Match(raw) {
		return "(challenge: cram)"
	}
	if m := scramFirst.FindSubmatch(raw); m != nil {
		return fmt.Sprintf("(challenge: scram server-first,%s)", m[1])
	}
	if bytes.HasPrefix(raw, []byte("v=")) {
		return "(challenge: scram server-final)"
	}
	return ""
}

// messageLine is a line of a message a backend got, without what a proxy writes anew each time.
func messageLine(b []byte) string {
	s := line(b)
	if inner, ok := strings.CutPrefix(s, `bin"`); ok {
		s = `bin"` + receivedID.ReplaceAllString(inner, `\tid ID`)
	}
	return tlsDetails.ReplaceAllString(s, "(using TLS)")
}
