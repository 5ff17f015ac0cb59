package auth

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"dproxy/conf"
	"dproxy/event"
	"dproxy/passdb"
)

// maxDelay bounds delay_until (Dovecot 2.3).
const maxDelay = 300 * time.Second

// fieldTemplate is one "name=value" of default_fields or override_fields.
type fieldTemplate struct {
	name  string
	value *conf.Template
}

// parseFieldTemplates splits at blanks first, as Dovecot does: a value cannot hold one.
func parseFieldTemplates(s string) ([]fieldTemplate, error) {
	var out []fieldTemplate
	for _, f := range fields(s, " ") {
		name, value, _ := strings.Cut(f, "=")
		t, err := conf.ParseTemplate(value, conf.AuthLetters)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out = append(out, fieldTemplate{name, t})
	}
	return out, nil
}

// setTemplates sets the fields of default_fields or override_fields. An error is an internal
// failure.
func (t *attempt) setTemplates(list []fieldTemplate) error {
	for _, f := range list {
		v, err := f.value.Expand(t.req.Var)
		if err != nil {
			return err
		}
		t.setField(f.name, v, "PLAIN")
	}
	return nil
}

// hidden are the fields that auth acts on and a reply never shows.
var hidden = [...]string{
	"user", "username", "domain", "login_user", "allow_nets", "allow_real_nets", "fail", "delay_until",
	"noauthenticate", "nopassword", "password", "password_noscheme",
}

// unsetWhenEmpty are the fields whose empty value means nothing was said. Dovecot 2.3 takes an empty
// text as a value, which breaks the schema that its manual shows (destuser NOT NULL with an empty default).
var unsetWhenEmpty = [...]string{
	"destuser", "host", "hostip", "port", "pass", "master", "source_ip", "proxy_timeout", "proxy_mech",
}

// flags are set by their presence, whatever the value.
var flags = [...]string{"proxy", "proxy_maybe", "nopassword", "ssl", "starttls"}

// setField takes one field from a passdb. scheme is the default one of a password in it.
func (t *attempt) setField(name, value, scheme string) {
	if n, ok := strings.CutSuffix(name, ":protected"); ok {
		if t.fields.Has(n) {
			return
		}
		name = n
	} else if n, ok := strings.CutSuffix(name, ":remove"); ok {
		t.fields.Remove(n)
		return
	}
	switch name {
	case "":
		return
	case "password", "password_noscheme":
		t.setPassword(value, scheme, name == "password_noscheme")
		return
	case "passdb_import":
		for _, f := range strings.Split(value, "\t") {
			n, v, _ := strings.Cut(f, "=")
			if n != "passdb_import" {
				t.setField(n, v, scheme)
			}
		}
		return
	case "nopassword":
		if t.stored.present && !t.stored.empty && !t.fields.Has("noauthenticate") {
			t.entryError("nopassword set but password is non-empty")
			return
		}
		t.stored = stored{}
	case "noauthenticate":
		t.fields.Set("nopassword", "")
	case "user", "username", "domain":
		t.changeUser(name, value)
	case "login_user":
		t.req.LoginUser = value
	case "allow_nets":
		t.allowNets(name, value, t.req.Remote.Addr())
	case "allow_real_nets":
		real := t.req.RealRemote.Addr()
		if !real.IsValid() {
			real = t.req.Remote.Addr()
		}
		t.allowNets(name, value, real)
	case "fail":
		t.refused = true
	case "nodelay":
		// Dovecot 2.3 forgets it when the passdb fails; 2.4 remembers it, which is what it is for.
		t.noDelay = true
	case "delay_until":
		t.setDelay(value)
	}
	if value == "" && contains(unsetWhenEmpty[:], name) {
		return
	}
	if contains(flags[:], name) {
		t.warnFlag(name, value)
	}
	t.fields.Set(name, value)
}

// warnFlag tells once that a flag that looks like "no" means yes.
func (t *attempt) warnFlag(name, value string) {
	switch strings.ToLower(value) {
	case "n", "no", "0", "false":
		t.a.warnOnce("flag "+strconv.Itoa(t.entry.Index)+" "+name,
			fmt.Sprintf("%s: the field %s=%s counts as yes: flags are set by being there; return NULL or leave it out for no", t.entry.Name, name, event.Clean(value, 16)))
	}
}

func (t *attempt) setPassword(value, scheme string, noScheme bool) {
	if t.stored.present {
		t.entryError("Multiple password values not supported")
		return
	}
	t.stored = newStored(value, scheme, noScheme)
}

// changeUser renames the user. Later passdbs look the new name up, even when this one fails.
func (t *attempt) changeUser(field, value string) {
	name := value
	local, domain, hasDomain := strings.Cut(t.req.User, "@")
	switch {
	case value == "":
	case field == "domain":
		name = local + "@" + value
	case field == "username" && hasDomain && !strings.Contains(value, "@"):
		name = value + "@" + domain
	}
	if name == "" {
		t.entryError("username attempted to be changed to empty")
		t.refused = true
		return
	}
	if name != t.req.User {
		t.debug("username changed " + event.Clean(t.req.User, 64) + " -> " + event.Clean(name, 64))
		t.req.User = name
	}
}

// allowNets refuses the login unless addr is in one of the networks. "local" is a login without an
// address.
func (t *attempt) allowNets(field, networks string, addr netip.Addr) {
	addr = addr.Unmap()
	found := false
	for _, n := range fields(networks, ", ") {
		if n == "local" {
			found = found || !addr.IsValid()
			continue
		}
		p, err := parseNet(n)
		if err != nil {
			t.entryInfo(field + ": Invalid network '" + event.Clean(n, 64) + "'")
			continue
		}
		found = found || p.Contains(addr)
	}
	switch {
	case found:
		return
	case !addr.IsValid():
		t.entryInfo(field + " check failed: Remote IP not known and 'local' missing")
	default:
		t.entryInfo(field + " check failed: IP " + addr.String() + " not in allowed networks")
	}
	t.refused = true
}

func parseNet(s string) (netip.Prefix, error) {
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return p, err
		}
		if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
		}
		return p, nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	a = a.Unmap()
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// setDelay reads "unixtime[+maxrandom]" in seconds.
func (t *attempt) setDelay(value string) {
	at, random, has := strings.Cut(value, "+")
	var extra time.Duration
	if has {
		n, err := strconv.ParseUint(random, 10, 31)
		if err != nil {
			t.entryError("Invalid delay_until randomness number '" + event.Clean(random, 32) + "'")
			t.refused = true
			return
		}
		if n > 0 {
			extra = time.Duration(rand.Uint64N(n)) * time.Second
		}
	}
	secs, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		t.entryError("Invalid delay_until timestamp '" + event.Clean(at, 32) + "'")
		t.refused = true
		return
	}
	now := time.Now()
	switch {
	case secs <= now.Unix():
		return
	case secs-now.Unix() > int64(maxDelay/time.Second):
		t.entryError("delay_until timestamp " + event.Clean(at, 32) + " is too much in the future, failing")
		t.refused = true
		return
	}
	wait := min(time.Until(time.Unix(secs, 0))+extra, maxDelay)
	t.delayUntil = now.Add(wait)
}

// visible returns the fields that a reply shows.
func (t *attempt) visible(ok bool) passdb.Fields {
	out := t.fields.Clone()
	for _, n := range hidden {
		out.Remove(n)
	}
	for _, f := range out.WithPrefix("userdb_") {
		out.Remove(f.Name)
	}
	if !ok {
		for _, n := range [...]string{"proxy", "proxy_maybe", "proxy_always", "host", "port", "destuser"} {
			out.Remove(n)
		}
	}
	return out
}

func forwardName(name string) string {
	if strings.HasPrefix(name, "forward_") {
		return name
	}
	return "forward_" + name
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}
