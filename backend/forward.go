package backend

import (
	"strconv"
	"strings"

	"dproxy/passdb"
	"dproxy/wire"
)

// ForwardList joins forward_ fields as Dovecot does: tab-escaped NAME=VALUE, separated by tabs. It is
// empty when there are none.
func ForwardList(fields []passdb.Field) string {
	list := make([]string, len(fields))
	for i, f := range fields {
		list[i] = wire.TabEscape(f.Name) + "=" + wire.TabEscape(f.Value)
	}
	return strings.Join(list, "\t")
}

// XClient is the XCLIENT command of POP3 and ManageSieve, which tells the backend of the client (Dovecot
// 2.3): ADDR, PORT, SESSION, TTL and, when there are forward_ fields, FORWARD in base64.
func (l *Login) XClient() string {
	id := l.Identity
	var b strings.Builder
	b.WriteString("XCLIENT ADDR=" + id.Remote.Addr().String() + " PORT=" + strconv.Itoa(int(id.Remote.Port())))
	if !strings.Contains(id.Session, " ") { // it would be another argument
		b.WriteString(" SESSION=" + id.Session)
	}
	b.WriteString(" TTL=" + strconv.Itoa(id.TTL-1))
	if list := ForwardList(l.Target.Forward); list != "" {
		b.WriteString(" FORWARD=" + Base64(list))
	}
	b.WriteString("\r\n")
	return b.String()
}

// smtpLine is the longest command line of SMTP without its CRLF (RFC 5321 section 4.5.3.1.4).
const smtpLine = 512

// XClientField is an argument of SMTP's XCLIENT.
type XClientField struct{ Name, Value string }

// SMTPXClient makes the XCLIENT commands of SMTP and LMTP. Only the fields that the backend lists are
// sent, in the order given; values are xtext. A command that would pass 512 bytes is split, as Postfix
// asks.
func SMTPXClient(fields []XClientField, listed []string) []string {
	const verb = "XCLIENT"
	var out []string
	line := verb
	for _, f := range fields {
		if !lists(listed, f.Name) {
			continue
		}
		arg := " " + f.Name + "=" + wire.Xtext(f.Value)
		if len(line)+len(arg) > smtpLine && line != verb {
			out = append(out, line)
			line = verb
		}
		line += arg
	}
	if line != verb {
		out = append(out, line)
	}
	return out
}

func lists(list []string, name string) bool {
	for _, x := range list {
		if strings.EqualFold(x, name) {
			return true
		}
	}
	return false
}
