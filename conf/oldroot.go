package conf

import (
	"fmt"
	"slices"
	"strings"
)

// oldRemoved are settings that are gone, with what is said of them.
var oldRemoved = map[string]string{
	"ssl_parameters_regenerate":      "is no longer needed",
	"ssl_dh_parameters_length":       "is no longer needed",
	"login_dir":                      "has been removed",
	"dbox_rotate_min_size":           "has been removed",
	"dbox_rotate_days":               "has been removed",
	"director_consistent_hashing":    "has been removed",
	"mail_log_max_lines_per_sec":     "has been removed",
	"maildir_copy_preserve_filename": "has been removed",
}

// oldNames are settings that were renamed, with the values that changed.
var oldNames = map[string]struct{ key, yes, no string }{
	"ssl_disable":      {"ssl", "no", "yes"},
	"fsync_disable":    {"mail_fsync", "never", "optimized"},
	"dbox_rotate_size": {"mdbox_rotate_size", "", ""},
}

// oldRoot converts the settings that stand at the top level or directly in a block.
func (p *parser) oldRoot(l line) (bool, error) {
	if text, ok := oldRemoved[l.key]; ok {
		p.obsolete("%s %s", l.key, text)
		return true, nil
	}
	if to, ok := oldNames[l.key]; ok {
		value := l.value
		switch {
		case to.yes != "" && strings.EqualFold(value, "yes"):
			value = to.yes
		case to.no != "" && strings.EqualFold(value, "no"):
			value = to.no
		}
		return true, p.renamed(l.key, to.key, value)
	}
	if rest, ok := strings.CutPrefix(l.key, "mail_cache_compress_"); ok {
		return true, p.renamed(l.key, "mail_cache_purge_"+rest, l.value)
	}
	switch l.key {
	case "base_dir":
		p.old.baseDir = strings.TrimSuffix(l.value, "/")
	case "protocols":
		return true, p.oldProtocols(l)
	case "ssl_cert_file", "ssl_key_file", "ssl_ca_file":
		if l.value == "" {
			return true, nil
		}
		key := strings.TrimSuffix(l.key, "_file")
		p.obsolete("%s has been replaced by %s = <file", l.key, key)
		return true, p.apply(line{lineFile, key, l.value})
	case "ssl_protocols":
		return true, p.oldSSLProtocols(l)
	case "sieve", "sieve_storage":
		return true, p.oldSieve(l)
	case "imap_client_workarounds":
		return true, p.oldWorkarounds(l)
	}
	if p.old.auth == 1 {
		key := l.key
		if !strings.HasPrefix(key, "auth_") {
			key = "auth_" + key
		}
		return true, p.apply(line{lineValue, key, l.value})
	}
	return false, nil
}

func (p *parser) renamed(old, key, value string) error {
	p.obsolete("%s has been renamed to %s", old, key)
	return p.apply(line{lineValue, key, value})
}

// oldProtocols replaces imaps and pop3s, which are listeners now.
func (p *parser) oldProtocols(l line) error {
	var words []string
	have := map[string]bool{}
	for _, w := range strings.Split(l.value, " ") {
		have[w] = true
		switch w {
		case "", "imaps", "pop3s":
		case "managesieve":
			p.obsolete("protocols=managesieve has been renamed to protocols=sieve")
			words = append(words, "sieve")
		default:
			words = append(words, w)
		}
	}
	for _, proto := range []string{"imap", "pop3"} {
		switch {
		case have[proto+"s"] && !have[proto]:
			p.obsolete("'%[1]ss' protocol can no longer be specified (use protocols=%[1]s). to disable non-ssl %[1]s, "+
				"use service %[1]s-login { inet_listener %[1]s { port=0 } }", proto)
			words = append(words, proto)
			path := "service/" + proto + "-login/inet_listener/" + proto + "/port"
			if err := p.assign(p.top(), assignment{path: path, key: "port", text: "0"}); err != nil {
				return err
			}
		case have[proto+"s"]:
			p.obsolete("'%ss' protocol is no longer necessary, remove it", proto)
		}
	}
	return p.apply(line{lineValue, l.key, strings.Join(words, " ")})
}

// oldSSLProtocols makes ssl_min_protocol of a list of protocols.
func (p *parser) oldSSLProtocols(l line) error {
	p.obsolete("%s has been replaced by ssl_min_protocol", l.key)
	lowest, err := lowestProtocol(l.value)
	if err != nil {
		p.warnf("Could not find a minimum ssl_min_protocol setting from ssl_protocols = %s: %s", l.value, err)
		return nil
	}
	return p.apply(line{lineValue, "ssl_min_protocol", lowest})
}

func lowestProtocol(list string) (string, error) {
	versions := []string{"SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2"}
	var on, off []string
	for _, w := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' }) {
		name, disable := strings.CutPrefix(w, "!")
		switch {
		case !slices.Contains(versions, name):
			return "", fmt.Errorf("Unrecognized protocol '%s'", name)
		case disable:
			off = append(off, name)
		default:
			on = append(on, name)
			off = slices.DeleteFunc(off, func(v string) bool { return v == name })
		}
	}
	anyOn := len(on) > 0
	for _, v := range versions {
		if anyOn && slices.Contains(on, v) && !slices.Contains(off, v) || !anyOn && !slices.Contains(off, v) {
			return v, nil
		}
	}
	return "", fmt.Errorf("All protocols disabled")
}

func (p *parser) oldSieve(l line) error {
	if l.key == "sieve_storage" {
		p.obsolete("sieve_storage has been moved into plugin { sieve_dir }")
	} else {
		p.obsolete("%s has been moved into plugin {} section", l.key)
	}
	f := p.top()
	return p.assign(f, assignment{path: "plugin/" + l.key, key: l.key, text: l.value})
}

func (p *parser) oldWorkarounds(l line) error {
	var words []string
	for _, w := range strings.FieldsFunc(l.value, func(r rune) bool { return r == ',' || r == ' ' }) {
		switch w {
		case "outlook-idle":
			p.obsolete("imap_client_workarounds=outlook-idle is no longer necessary")
			w = ""
		case "netscape-eoh":
			p.obsolete("imap_client_workarounds=netscape-eoh is no longer supported")
			w = ""
		}
		words = append(words, w)
	}
	return p.apply(line{lineValue, l.key, strings.Join(words, " ")})
}
