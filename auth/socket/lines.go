package socket

import (
	"encoding/base64"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"dproxy/auth"
	"dproxy/passdb"
	"dproxy/wire"
)

// maxForward bounds the forward_ fields of a request.
const maxForward = 100

// hello is what a client is greeted with: the version, the mechanisms with what Postfix's
// smtpd_sasl_security_options asks about, and who is speaking.
func hello(mechs []auth.Mechanism, connection uint64, cookie string) string {
	var b strings.Builder
	b.WriteString("VERSION\t1\t2\n")
	for _, m := range mechs {
		if m.Binding {
			continue // the TLS connection is the mail server's
		}
		b.WriteString("MECH\t" + m.Name)
		for _, p := range m.Properties() {
			b.WriteString("\t" + p)
		}
		b.WriteByte('\n')
	}
	b.WriteString("SPID\t" + strconv.Itoa(os.Getpid()) + "\nCUID\t" + strconv.FormatUint(connection, 10) + "\nCOOKIE\t" + cookie + "\nDONE\n")
	return b.String()
}

// question is a client's AUTH line.
type question struct {
	id uint32
	auth.Request
	service bool
	resp    string
	hasResp bool
	// finalOK: data that goes with a success may stand in the OK line.
	finalOK bool
}

// readAuth reads the fields of an AUTH line; the text says what is wrong with it, in Dovecot's words.
func readAuth(fields []string) (q question, text string) {
	if len(fields) < 2 {
		return q, "sent broken AUTH request"
	}
	var ok bool
	if q.id, ok = readID(fields[0]); !ok {
		return q, "sent broken AUTH request"
	}
	q.Mech = fields[1]
	for i, f := range fields[2:] {
		name, value, _ := strings.Cut(wire.TabUnescape(f), "=")
		if name == "resp" {
			if i != len(fields)-3 {
				return q, "sent AUTH parameters after 'resp'"
			}
			q.resp, q.hasResp = value, true
			continue
		}
		q.service = q.service || name == "service"
		switch name {
		case "final-resp-ok":
			q.finalOK = true
		case "no-penalty":
			q.NoPenalty = true
		default:
			setPeer(&q.Peer, name, value)
		}
	}
	if !q.service || q.Service == "" {
		return q, "didn't specify service in request"
	}
	complete(&q.Peer)
	return q, ""
}

// readID reads a request's number.
func readID(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && n > 0
}

// setPeer takes one parameter about the connection of the one who logs in. Unknown ones are ignored.
func setPeer(p *passdb.Peer, name, value string) {
	switch name {
	case "service":
		p.Service = value
	case "session":
		p.Session = value
	case "lip":
		setAddr(&p.Local, value)
	case "rip":
		setAddr(&p.Remote, value)
	case "lport":
		setPort(&p.Local, value)
	case "rport":
		setPort(&p.Remote, value)
	case "real_lip":
		setAddr(&p.RealLocal, value)
	case "real_rip":
		setAddr(&p.RealRemote, value)
	case "real_lport":
		setPort(&p.RealLocal, value)
	case "real_rport":
		setPort(&p.RealRemote, value)
	case "local_name":
		p.LocalName = value
	case "client_id":
		p.ClientID = value
	case "secured":
		p.Secured = "secured"
		if value == "tls" {
			p.Secured = "TLS"
		}
	case "valid-client-cert":
		p.CertValid = true
	case "cert_username":
		p.CertName = value
	case "forward_fields":
		for f := range strings.SplitSeq(value, "\t") {
			name, value, _ := strings.Cut(wire.TabUnescape(f), "=")
			if name != "" && len(p.Forward) < maxForward {
				p.Forward = append(p.Forward, passdb.Field{Name: name, Value: value})
			}
		}
	}
}

// setAddr and setPort keep the other half; what cannot be read is as if it were not there.
func setAddr(to *netip.AddrPort, value string) {
	if a, err := netip.ParseAddr(value); err == nil {
		*to = netip.AddrPortFrom(a.Unmap().WithZone(""), to.Port())
	}
}

func setPort(to *netip.AddrPort, value string) {
	if n, err := strconv.ParseUint(value, 10, 16); err == nil {
		*to = netip.AddrPortFrom(to.Addr(), uint16(n))
	}
}

// complete makes the real addresses those of the client when nobody said otherwise.
func complete(p *passdb.Peer) {
	if !p.RealLocal.IsValid() {
		p.RealLocal = p.Local
	}
	if !p.RealRemote.IsValid() {
		p.RealRemote = p.Remote
	}
}

// reply is a line that answers a request.
type reply struct{ strings.Builder }

func newReply(word string, id uint32) *reply {
	r := &reply{}
	r.WriteString(word + "\t" + strconv.FormatUint(uint64(id), 10))
	return r
}

// add appends a field; without a value it is the bare name.
func (r *reply) add(name, value string) {
	r.WriteString("\t" + wire.TabEscape(name))
	if value != "" {
		r.WriteString("=" + wire.TabEscape(value))
	}
}

func (r *reply) line() string { return r.String() + "\n" }

// withheld are fields that a mail server has no use for: what the proxy itself logs in to backends with.
var withheld = [...]string{"pass", "master"}

// flags are fields whose value says nothing.
var flags = [...]string{"proxy", "proxy_maybe", "proxy_always", "nologin"}

// fields appends the visible fields.
func (r *reply) fields(v *auth.Reply, but ...string) {
	skip := func(name string, lists ...[]string) bool {
		for _, l := range lists {
			for _, n := range l {
				if n == name {
					return true
				}
			}
		}
		return false
	}
	for _, f := range v.Fields.All() {
		switch {
		case skip(f.Name, withheld[:], but):
		case skip(f.Name, flags[:]):
			r.add(f.Name, "")
		default:
			r.add(f.Name, f.Value)
		}
	}
}

// names appends the names that the client gave, when they are not the user's.
func (r *reply) names(v *auth.Reply) {
	if v.OrigUser != v.User && v.OrigUser != "" && !v.Fields.Has("original_user") {
		r.add("original_user", v.OrigUser)
	}
	if v.MasterUser != "" && !v.Fields.Has("auth_user") {
		r.add("auth_user", v.AuthUser)
	}
}

// verdict is the OK or FAIL line.
func verdict(id uint32, v *auth.Reply) string {
	if v.OK {
		r := newReply("OK", id)
		r.add("user", v.User)
		r.fields(v)
		r.names(v)
		if v.Final != nil {
			r.add("resp", base64.StdEncoding.EncodeToString(v.Final))
		}
		return r.line()
	}
	r := newReply("FAIL", id)
	if v.User != "" {
		r.add("user", v.User)
	}
	if v.NoDelay {
		r.add("nodelay", "")
	}
	if v.Code != auth.CodeNone {
		r.add("code", v.Code.String())
	}
	if v.Reason != "" {
		r.add("reason", v.Reason)
	}
	r.fields(v, "nodelay", "code", "reason")
	r.names(v)
	return r.line()
}

// refusal is a FAIL line about the protocol, not about a user.
func refusal(id uint32, code, reason string) string {
	r := newReply("FAIL", id)
	if code != "" {
		r.add("code", code)
	}
	r.add("reason", reason)
	return r.line()
}

// masked is a client's line for the debug log: passwords stay out of it.
func masked(line string) string {
	command, rest, _ := strings.Cut(line, "\t")
	switch command {
	case "AUTH":
		if i := strings.LastIndex(line, "\tresp="); i >= 0 {
			return line[:i] + "\tresp=<hidden>"
		}
	case "CONT":
		id, _, _ := strings.Cut(rest, "\t")
		return "CONT\t" + id + "\t<hidden>"
	}
	return line
}
