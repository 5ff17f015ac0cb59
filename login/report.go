package login

import (
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"dproxy/conf"
	"dproxy/event"
	"dproxy/session"
)

// maxLogged is how much of a client's value a line shows (Dovecot 2.3).
const maxLogged = 80

// Shown makes a client's value fit for a log line; what is cut ends in dots.
func Shown(s string) string {
	clean := event.Clean(s, maxLogged)
	if len(s) > maxLogged {
		clean = event.Clean(clean, maxLogged-3) + "..."
	}
	return clean
}

// Session returns the session id. It is made when it is first needed, so that an address that a
// trusted peer has stated by then is in it.
func (c *Client) Session() string {
	if c.peer.Session == "" {
		c.peer.Session = session.ID(time.Now(), c.peer.Remote)
		c.elementsOK = false
	}
	return c.peer.Session
}

// Log reports a line of the front.
func (c *Client) Log(level event.Level, text string) {
	c.server.Events.Emit(event.ClientLine{Client: c.event(), Level: level, Text: text})
}

// quietEvent is the connection for reports that make no line. It does not make a session id.
func (c *Client) quietEvent() event.Client {
	return event.Client{
		Service: c.spec.Protocol, Session: c.peer.Session, User: c.user, Mech: c.mech, Local: c.peer.Local, Remote: c.peer.Remote,
		RealLocal: c.peer.RealLocal, RealRemote: c.peer.RealRemote,
	}
}

// event is the connection as reports show it. It holds on to nothing of the connection.
func (c *Client) event() event.Client {
	c.Session()
	e := c.quietEvent()
	if !c.elementsOK {
		c.elements, c.elementsOK = c.profile.log.Elements(c.logVar), true
	}
	e.Line = line{c.profile.log, c.elements}.text
	return e
}

// line makes log lines from elements that are expanded already.
type line struct {
	format   *conf.LogFormat
	elements string
}

func (l line) text(message string) string { return l.format.Join(l.elements, message) }

// logVar answers a variable of login_log_format_elements.
func (c *Client) logVar(name string) (string, bool) {
	switch name {
	case "service", "protocol":
		return c.spec.Protocol, true
	case "pid":
		return strconv.Itoa(os.Getpid()), true
	case "mech", "mechanism":
		return c.mech, true
	case "secured":
		return c.securedText(), true
	case "ssl_security":
		return c.tlsText(), true
	case "session":
		return c.Session(), true
	case "listener":
		return Shown(c.spec.Name), true
	case "local_name":
		return Shown(c.peer.LocalName), true
	case "mail_pid", "home":
		return "", true
	}
	if field, ok := strings.CutPrefix(name, "passdb:"); ok {
		if c.reply == nil {
			return "", true
		}
		v, ok := c.reply.Fields.Get(field)
		return Shown(v), ok
	}
	if v, ok := c.addrVar(name); ok {
		return v, true
	}
	return c.userVar(name)
}

// addrVar answers the variables of addresses and ports.
func (c *Client) addrVar(name string) (string, bool) {
	p := &c.peer
	switch name {
	case "lip", "local_ip":
		return ipText(p.Local), true
	case "rip", "remote_ip":
		return ipText(p.Remote), true
	case "lport", "local_port":
		return portText(p.Local), true
	case "rport", "remote_port":
		return portText(p.Remote), true
	case "real_lip", "real_local_ip":
		return ipText(p.RealLocal), true
	case "real_rip", "real_remote_ip":
		return ipText(p.RealRemote), true
	case "real_lport", "real_local_port":
		return portText(p.RealLocal), true
	case "real_rport", "real_remote_port":
		return portText(p.RealRemote), true
	}
	return "", false
}

// userVar answers the variables of user names.
func (c *Client) userVar(name string) (string, bool) {
	orig, auth := c.user, c.user
	if c.reply != nil {
		orig, auth = orElse(c.reply.OrigUser, c.user), orElse(c.reply.AuthUser, c.user)
	}
	switch name {
	case "user":
		return Shown(c.user), true
	case "username":
		return Shown(localPart(c.user)), true
	case "domain":
		return Shown(domainPart(c.user)), true
	case "orig_user", "original_user":
		return Shown(orig), true
	case "orig_username", "original_username":
		return Shown(localPart(orig)), true
	case "orig_domain", "original_domain":
		return Shown(domainPart(orig)), true
	case "auth_user":
		return Shown(auth), true
	case "auth_username":
		return Shown(localPart(auth)), true
	case "auth_domain":
		return Shown(domainPart(auth)), true
	}
	return "", false
}

// securedText is %c: how the connection is secured, and why a handshake failed.
func (c *Client) securedText() string {
	switch {
	case c.proxiedSSL, c.tls == tlsOn:
		return "TLS"
	case c.tls == tlsHandshaking && c.tlsErr != "":
		return "TLS handshaking: " + c.tlsErr
	case c.tls == tlsHandshaking:
		return "TLS handshaking"
	case c.secured:
		return "secured"
	}
	return ""
}

func localPart(user string) string  { l, _, _ := strings.Cut(user, "@"); return l }
func domainPart(user string) string { _, d, _ := strings.Cut(user, "@"); return d }

func ipText(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.Addr().String()
}

func portText(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return strconv.Itoa(int(a.Port()))
}
