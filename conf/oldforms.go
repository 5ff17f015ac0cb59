package conf

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// oldForms is the state of the conversion of what Dovecot 1.x and early 2.x wrote.
type oldForms struct {
	noted   bool
	baseDir string
	// auth counts the sections open from auth {} on, socket those from its socket listen {} on.
	auth, socket int
	listener     oldSocket
}

// oldSocket is a client {} or master {} in auth { socket listen {} }.
type oldSocket struct {
	set    map[string]string
	master bool
}

// obsolete warns about an old form.
func (p *parser) obsolete(format string, args ...any) {
	if !p.old.noted {
		p.old.noted = true
		p.warnf("NOTE: You can get a new clean config file with: doveconf -Pn > dovecot-new.conf")
	}
	p.warnf("Obsolete setting in %s:%d: %s", p.in.path, p.in.line, fmt.Sprintf(format, args...))
}

// oldForm acts on a line when it is an old form.
func (p *parser) oldForm(l line) (handled bool, err error) {
	f := p.top()
	switch l.kind {
	case lineValue:
		if f.path != "" {
			return p.oldPlugin(f, l)
		}
		for _, convert := range []func(line) (bool, error){p.oldListen, p.oldService, p.oldAuthCache, p.oldListener, p.oldRoot} {
			if handled, err := convert(l); handled || err != nil {
				return true, err
			}
		}
	case lineBegin:
		return p.oldSection(f, l)
	case lineEnd:
		return p.oldEnd()
	}
	return false, nil
}

func (p *parser) oldPlugin(f *frame, l line) (bool, error) {
	if f.path != "plugin/0/" || l.key != "imap_zlib_compress_level" {
		return false, nil
	}
	p.obsolete("%s has been replaced by imap_compress_deflate_level", l.key)
	return true, p.assign(f, assignment{path: f.path + "imap_compress_deflate_level", key: l.key, text: l.value})
}

// setRoot sets a path at the top level, wherever the line stands.
func (p *parser) setRoot(key, path, text string) error {
	return p.assign(p.stack[0], assignment{path: path, key: key, text: text})
}

// eachProtocol runs fn for the protocols that the current block holds for. managesieve's failure is
// ignored, as it may not be installed.
func (p *parser) eachProtocol(fn func(service, protocol string) error) error {
	var first error
	for _, s := range []struct{ service, protocol string }{{"imap", "imap"}, {"pop3", "pop3"}, {"managesieve", "sieve"}} {
		if !p.top().bucket.filter.matches(&Filter{Protocol: s.protocol}) {
			continue
		}
		err := fn(s.service, s.protocol)
		switch {
		case s.service == "managesieve":
			first = nil
		case first == nil:
			first = err
		}
	}
	return first
}

// oldListen converts addresses with ports: listen = *:143.
func (p *parser) oldListen(l line) (bool, error) {
	f := &p.top().bucket.filter
	global := f.matches(&Filter{})
	if l.key != "ssl_listen" && (l.key != "listen" || !listenHasPort(l.value) && global) {
		return false, nil
	}
	if l.value == "" {
		return true, nil
	}
	suffix := ""
	if l.key == "ssl_listen" {
		suffix = "s"
	}
	value := l.value
	set := func(key, text string) error {
		return p.eachProtocol(func(service, protocol string) error {
			if service == "managesieve" {
				return nil // its listener has never had the name that the conversion sets
			}
			return p.setRoot(key, "service/"+service+"-login/inet_listener/"+service+suffix+"/"+key, text)
		})
	}
	if colon := strings.LastIndexByte(value, ':'); colon >= 0 && listenHasPort(value) {
		p.obsolete("%s=..:port has been replaced by service { inet_listener { port } }", l.key)
		port := value[colon+1:]
		value = value[:colon]
		if err := set("port", port); err != nil {
			return true, err
		}
	}
	if global && suffix == "" {
		return true, p.apply(line{lineValue, l.key, value})
	}
	p.obsolete("protocol { %s } has been replaced by service { inet_listener { address } }", l.key)
	return true, set("address", value)
}

// listenHasPort tells whether one of the addresses is more than an address.
func listenHasPort(value string) bool {
	if !strings.Contains(value, ":") {
		return false
	}
	for _, a := range strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' }) {
		in := strings.TrimSuffix(strings.TrimPrefix(a, "["), "]")
		switch {
		case a == "*", strings.Trim(a, "0123456789.") == "", strings.Trim(in, "0123456789abcdefABCDEF:") == "":
		default:
			return true
		}
	}
	return false
}

// oldServiceKeys are settings that became settings of services.
var oldServiceKeys = map[string]struct{ service, key, unit string }{
	"login_chroot":                 {"-login", "chroot", ""},
	"login_user":                   {"-login", "user", ""},
	"login_executable":             {"-login", "executable", ""},
	"login_process_size":           {"-login", "vsz_limit", " M"},
	"login_process_per_connection": {"-login", "service_count", ""},
	"login_processes_count":        {"-login", "process_min_avail", ""},
	"login_max_processes_count":    {"-login", "process_limit", ""},
	"login_max_connections":        {"-login", "client_limit", ""},
	"max_mail_processes":           {"", "process_limit", ""},
	"mail_executable":              {"", "executable", ""},
	"mail_process_size":            {"", "vsz_limit", " M"},
	"mail_drop_priv_before_exec":   {"", "drop_priv_before_exec", ""},
	"auth_executable":              {"auth", "executable", ""},
	"auth_process_size":            {"auth", "vsz_limit", " M"},
	"auth_user":                    {"auth", "user", ""},
	"auth_chroot":                  {"auth", "chroot", ""},
}

func (p *parser) oldService(l line) (bool, error) {
	name := l.key
	to, ok := oldServiceKeys[name]
	if p.old.auth == 1 && !ok && !strings.HasPrefix(name, "auth_") {
		name = "auth_" + name
		to, ok = oldServiceKeys[name]
	}
	if !ok {
		return false, nil
	}
	value := l.value + to.unit
	switch name {
	case "login_chroot":
		value = "login"
		if l.value == "no" {
			value = ""
		}
	case "login_process_per_connection":
		value = "1"
		if l.value == "no" {
			value = "0"
		}
	}
	if to.service == "auth" {
		p.obsolete("%s has been replaced by service auth { %s }", name, to.key)
		return true, p.setRoot(to.key, "service/auth/"+to.key, value)
	}
	p.obsolete("%s has been replaced by service { %s }", name, to.key)
	return true, p.eachProtocol(func(service, _ string) error {
		return p.setRoot(to.key, "service/"+service+to.service+"/"+to.key, value)
	})
}

func (p *parser) oldAuthCache(l line) (bool, error) {
	key := l.key
	if p.old.auth == 1 && !strings.HasPrefix(key, "auth_") {
		key = "auth_" + key
	}
	switch key {
	case "auth_cache_size":
		n, err := strconv.ParseUint(l.value, 10, 64)
		if err != nil || strings.HasPrefix(l.value, "+") || n == 0 || n >= 1024 {
			return false, nil
		}
		p.obsolete("auth_cache_size value no longer defaults to megabytes. Use %sM", l.value)
		return true, p.setRoot(key, key, l.value+"M")
	case "auth_count":
		if l.value == "count" {
			p.obsolete("auth_count has been removed")
		} else {
			p.obsolete("auth_count has been removed, and its value must be 1")
		}
		return true, nil
	}
	return false, nil
}

// oldListener takes the keys of client {} and master {}.
func (p *parser) oldListener(l line) (bool, error) {
	if p.old.socket != 2 {
		return false, nil
	}
	switch l.key {
	case "path", "mode", "user", "group":
		p.old.listener.set[l.key] = l.value
		return true, nil
	}
	return false, nil
}

// oldSection converts the start of a section.
func (p *parser) oldSection(f *frame, l line) (bool, error) {
	if p.old.auth > 0 {
		return p.oldAuthSection(l)
	}
	if f.path != "" {
		return false, nil
	}
	switch {
	case l.key == "auth":
		p.obsolete("add auth_ prefix to all settings inside auth {} and remove the auth {} section completely")
		p.old.auth = 1
		return true, nil
	case l.key == "protocol" && l.value == "managesieve":
		p.obsolete("protocol managesieve {} has been replaced by protocol sieve { }")
		return true, p.begin("protocol", "sieve")
	case l.key == "service" && l.value == "dns_client":
		p.obsolete("service dns_client {} has been replaced by service dns-client { }")
		return true, p.begin("service", "dns-client")
	}
	return false, nil
}

func (p *parser) oldAuthSection(l line) (bool, error) {
	if p.old.auth++; p.old.auth > maxNesting {
		return true, fmt.Errorf("More than %d sections inside each other", maxNesting)
	}
	p.old.listener = oldSocket{set: map[string]string{}}
	if p.old.auth == 2 {
		switch l.key {
		case "passdb", "userdb":
			p.obsolete("%s %s {} has been replaced by %s { driver=%s }", l.key, l.value, l.key, l.value)
			if err := p.begin(l.key, ""); err != nil {
				return true, err
			}
			return true, p.apply(line{lineValue, "driver", l.value})
		case "socket":
			if l.value == "connect" {
				p.obsolete("socket connect {} is no longer supported, configure external auth server separately")
			}
			if l.value != "listen" {
				return false, nil
			}
			p.old.socket++
			return true, nil
		}
	}
	if p.old.socket > 0 {
		p.old.socket++
	}
	if p.old.socket == 2 && (l.key == "master" || l.key == "client") {
		p.old.listener.master = l.key == "master"
		return true, nil
	}
	return false, nil
}

func (p *parser) oldEnd() (bool, error) {
	if p.old.auth > 0 {
		if p.old.auth--; p.old.auth == 0 {
			return true, nil
		}
	}
	if p.old.socket == 0 {
		return false, nil
	}
	p.old.socket--
	if p.old.socket == 1 {
		return true, p.addOldListener()
	}
	return true, nil
}

// addOldListener makes a unix_listener of a client {} or master {}.
func (p *parser) addOldListener() error {
	s := p.old.listener
	path, ok := s.set["path"]
	if !ok {
		return errors.New("socket listen {} is missing path")
	}
	base := p.old.baseDir
	if base == "" {
		base = "/run/dovecot"
	}
	path = strings.TrimPrefix(path, base+"/")
	suffix := strings.HasSuffix(path, "-master") || strings.HasSuffix(path, "-userdb")
	switch {
	case s.master && !suffix:
		return errors.New("socket listen { master { path=.. } } must end with -master (or -userdb) suffix")
	case !s.master && suffix:
		return errors.New("socket listen { client { path=.. } } must end not with -master or -userdb suffix")
	}
	f, at := p.top(), "service/auth/unix_listener"
	err := p.assign(f, assignment{path: at, key: "unix_listener", text: escapeName(path), section: true, name: path})
	for _, key := range []string{"mode", "user", "group"} {
		if text, ok := s.set[key]; ok && err == nil {
			err = p.assign(f, assignment{path: at + "/" + escapeName(path) + "/" + key, key: key, text: text})
		}
	}
	return err
}
