package lmtp

import (
	"strings"
	"time"

	"dproxy/wire"
)

// received is the header that a proxied message gets (RFC 5321 section 4.4), or nothing when
// lmtp_add_received_header is off.
func (t *transaction) received() string {
	f := t.f
	set := f.c.Settings()
	if !set.LMTPAddReceivedHeader {
		return ""
	}
	var b strings.Builder
	helo := f.helo
	if !wire.IsSMTPHost(helo) {
		helo = "unknown"
	}
	b.WriteString("Received: from " + helo + " ([" + f.address() + "])\r\n")
	with := "LMTP"
	if f.c.TLS() {
		with = "LMTPS"
		b.WriteString("\t(using " + f.c.Security() + ")\r\n")
	}
	b.WriteString("\tby " + f.c.Terms().Hostname + " with " + with + "\r\n")
	b.WriteString("\tid " + t.session + "\r\n")
	b.WriteString("\t(envelope-from <" + t.from.path() + ">)")
	if who := t.named(set.LMTPHdrDeliveryAddress); who != "" {
		b.WriteString("\r\n\tfor <" + who + ">")
	}
	b.WriteString("; " + time.Now().Format("Mon, 02 Jan 2006 15:04:05 -0700") + "\r\n")
	return b.String()
}

// named is the recipient that the header may name: the only one of the message.
func (t *transaction) named(how string) string {
	if len(t.accepted) != 1 || how == "none" {
		return ""
	}
	r := t.accepted[0]
	if how == "original" {
		kind, value, _ := strings.Cut(r.orcpt, ";")
		if path, err := wire.DecodeXtext(value); err == nil && strings.EqualFold(kind, "rfc822") {
			if at, rest, fault := parsePath("<"+path+">", leniency{}); fault == "" && rest == "" {
				return at.path()
			}
		}
	}
	return r.path
}
