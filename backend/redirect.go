package backend

import (
	"fmt"
	"net/netip"
	"strings"

	"dproxy/event"
	"dproxy/wire"
)

// maxRedirects bounds how often a login, or a recipient, is sent on.
const maxRedirects = 10

// Redirect reads where a backend refers a user to: [USER@]HOST[:PORT], or a URL of that. The host has to be an
// address; without a port the one in use stays. What stands for the user is not used: the backend has no say in
// who logs in. The error is for the operator.
func Redirect(text string, from netip.AddrPort) (netip.AddrPort, error) {
	place := text
	if _, rest, ok := strings.Cut(place, "://"); ok {
		place, _, _ = strings.Cut(rest, "/")
	}
	place = place[strings.LastIndexByte(place, '@')+1:]
	if ap, err := netip.ParseAddrPort(place); err == nil && ap.Port() != 0 && ap.Addr().Zone() == "" {
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), nil
	}
	ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(place, "["), "]"))
	if err != nil || ip.Zone() != "" {
		return netip.AddrPort{}, fmt.Errorf("Redirect to %q can't be followed: the host has to be an address", event.Clean(text, 160))
	}
	return netip.AddrPortFrom(ip.Unmap(), from.Port()), nil
}

// Visited are the backends that a login, or a recipient, was sent to already.
type Visited map[netip.AddrPort]bool

// Follow is Redirect, which leads to no backend twice and not for ever. The error is for the operator.
func (v Visited) Follow(text string, from netip.AddrPort) (netip.AddrPort, error) {
	v[from] = true
	to, err := Redirect(text, from)
	switch {
	case err != nil:
		return to, err
	case v[to]:
		return to, fmt.Errorf("Redirecting to %s again: backends refer the user to each other", to)
	case len(v) > maxRedirects:
		return to, fmt.Errorf("Redirected more than %d times", maxRedirects)
	}
	return to, nil
}

// follow makes the backend that another refers to the target. It returns nil when the login goes on there.
func (r *run) follow(err *Error) *Error {
	if err.Redirect == "" || !r.dialer.settings.LoginProxyFollowReferrals {
		return err
	}
	if r.visited == nil {
		r.visited = Visited{}
	}
	to, why := r.visited.Follow(err.Redirect, r.target.Addr)
	if why != nil {
		return &Error{Kind: InternalConfig, Text: why.Error(), Target: r.target}
	}
	l := *r.login
	l.Target.Host, l.Target.Addr, l.Target.Others = to.Addr().String(), to, nil
	if s := l.Target.Source; s.IsValid() && s.Is4() != to.Addr().Is4() {
		l.Target.Source = l.Target.Sources.Next(to.Addr())
	}
	r.login, r.target = &l, l.Target
	return nil
}

// SMTPRedirect is where an SMTP or LMTP backend refers a user to: 550 5.2.900 <USER@HOST:PORT> (Dovecot 2.4); ""
// when it does not.
func SMTPRedirect(r wire.Reply) string {
	text, ok := strings.CutPrefix(r.Lines[0], "5.2.900 <")
	if r.Code != 550 || !ok {
		return ""
	}
	where, _, _ := strings.Cut(text, ">")
	return where
}
