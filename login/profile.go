package login

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"strings"
	"sync"

	"dproxy/backend"
	"dproxy/capability"
	"dproxy/conf"
	"dproxy/event"
	"dproxy/route"
	"dproxy/tlsconf"
)

// profile is everything derived from one set of settings for one protocol. Connections share it.
type profile struct {
	made sync.Once
	Terms
	tls        *tls.Config // nil: no TLS towards clients
	tlsErr     error
	trusted    networks // login_trusted_networks
	haproxy    networks // haproxy_trusted_networks
	log        *conf.LogFormat
	greeting   *conf.Template
	dialer     *backend.Dialer
	sources    *route.Sources
	local      netip.AddrPort // login_proxy_local
	invalid    error          // a setting whose value is none
	mechanisms map[string]capability.Mechanism

	derive  sync.Once
	derived any // the front's
}

// Terms are what a protocol's texts may depend on, beside the connection's own state.
type Terms struct {
	Protocol   string
	Settings   *conf.Settings
	Hostname   string // the hostname setting, or the machine's name
	Mechanisms []capability.Mechanism
	OfferTLS   bool // ssl is on and there is a certificate
}

// State is what a protocol's list of capabilities depends on.
func (t *Terms) State(secured, tls bool) capability.State {
	return capability.State{
		Mechanisms: t.Mechanisms, Secured: secured, TLS: tls, OfferTLS: t.OfferTLS,
		RequireTLS: t.Settings.SSL == "required", NoPlaintext: t.Settings.DisablePlaintextAuth,
	}
}

// make fills a profile.
func (s *Snapshot) make(p *profile, key profileKey) {
	set := key.settings
	p.Terms = Terms{Protocol: key.protocol, Settings: set, Hostname: orElse(set.Hostname, s.hostname)}
	p.dialer = backend.NewDialer(set, s.events, s.shared)
	p.dialer.Loops = s.loops
	p.mechanisms = map[string]capability.Mechanism{}
	source := event.LoginSource(key.protocol)
	report := func(text string) {
		s.events.Emit(event.Notice{Level: event.Error, Source: source, Text: text})
	}
	if set.SSL != "no" && set.SSLCert != "" {
		if p.tls, p.tlsErr = tlsconf.Server(set, s.protocols[key.protocol].ALPN); p.tlsErr != nil {
			p.tls = nil
			report("Failed to initialize SSL server context: " + p.tlsErr.Error())
		} else {
			p.tls.GetConfigForClient = configForName
		}
	}
	p.OfferTLS = p.tls != nil
	p.trusted = parseNetworks("login_trusted_networks", set.LoginTrustedNetworks, report)
	p.haproxy = parseNetworks("haproxy_trusted_networks", set.HAProxyTrustedNetworks, report)
	var err error
	if p.log, err = conf.NewLogElements(set.LoginLogFormat, set.LoginLogFormatElements); err != nil {
		report(err.Error())
	}
	if p.greeting, err = conf.ParseTemplate(set.LoginGreeting, conf.LoginLetters); err != nil {
		report("login_greeting: " + err.Error())
		p.greeting = &conf.Template{}
	}
	if p.local, err = localTarget(set.LoginProxyLocal); err != nil {
		p.invalid = err
		report(err.Error())
	}
	if set.LoginSourceIPs != "" {
		p.sources = route.NewSources(s.ctx, set.LoginSourceIPs, s.resolver, s.events)
	}
	if s.auth != nil {
		for _, m := range s.auth.Mechanisms() {
			if m.Anonymous && s.protocols[key.protocol].NoAnonymous {
				continue
			}
			x := capability.Mechanism{Name: m.Name, Plaintext: m.Plaintext, Private: m.Private, Anonymous: m.Anonymous, Binding: m.Binding}
			p.Mechanisms = append(p.Mechanisms, x)
			p.mechanisms[m.Name] = x
		}
	}
}

// localTarget reads login_proxy_local.
func localTarget(value string) (netip.AddrPort, error) {
	if value == "" {
		return netip.AddrPort{}, nil
	}
	a, err := netip.ParseAddrPort(value)
	if err != nil || a.Port() == 0 {
		return netip.AddrPort{}, fmt.Errorf("login_proxy_local: %q is not ADDRESS:PORT, as in 127.0.0.1:10143 or [::1]:10143", event.Clean(value, 80))
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), nil
}

// networks is a list of address ranges.
type networks []netip.Prefix

// parseNetworks reads addresses and CIDR ranges separated by blanks or commas. The first that cannot
// be read is reported and ends the list (Dovecot 2.3).
func parseNetworks(setting, value string, report func(string)) networks {
	var out networks
	for word := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' }) {
		p, err := netip.ParsePrefix(word)
		if err != nil {
			var a netip.Addr
			if a, err = netip.ParseAddr(strings.Trim(word, "[]")); err == nil {
				p = netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen())
			}
		}
		if err != nil {
			report(setting + ": Invalid network '" + event.Clean(word, 80) + "'")
			return out
		}
		out = append(out, p.Masked())
	}
	return out
}

func (n networks) contain(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	for _, p := range n {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
