package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"dproxy/conf"
	"dproxy/listen"
	"dproxy/tlsconf"
)

// expirySoon is how long before its end a certificate is warned about.
const expirySoon = 30 * 24 * time.Hour

// certificates loads the certificates of the top level and of each filter block, as a handshake would.
func (k *checker) certificates() {
	if !k.whole {
		return
	}
	type site struct {
		title string
		at    place
		f     conf.Filter
	}
	sites := []site{{f: conf.Filter{}}}
	for _, p := range k.Protocols {
		sites = append(sites, site{f: conf.Filter{Protocol: p}})
	}
	for _, b := range k.config.FilterBlocks() {
		if !strings.HasPrefix(b.Example.Protocol, "!") {
			sites = append(sites, site{b.Title, place{File: b.File, Line: b.Line}, b.Example})
		}
	}
	seen := map[[4]string]bool{}
	for _, s := range sites {
		set := k.config.Settings(s.f)
		key := [4]string{set.SSLCert, set.SSLKey, set.SSLAltCert, set.SSLCA}
		if set.SSL == "no" || seen[key] {
			continue
		}
		seen[key] = true
		k.certificate(set, s.title, s.at)
	}
}

func (k *checker) certificate(set *conf.Settings, title string, at place) {
	for _, w := range tlsconf.Warnings(set) {
		k.addAt(levelWarning, "tls", w, at)
	}
	if _, err := tlsconf.Client(set, set.SSLClientRequireValidCert); err != nil {
		k.addAt(levelError, "tls", "connections to backends: "+err.Error(), at)
	}
	if set.SSLCert == "" {
		return
	}
	where := flag(title != "", " of "+title)
	c, err := tlsconf.Server(set, nil)
	if err != nil {
		k.addAt(levelError, "tls", err.Error()+where, at)
		return
	}
	end := tlsconf.NotAfter(c)
	k.Certificates = append(k.Certificates, certificateRow{title, end.UTC()})
	date := end.UTC().Format(time.DateOnly)
	switch left := time.Until(end); {
	case left <= 0:
		k.addAt(levelError, "tls", "the certificate"+where+" has expired on "+date, at)
	case left < expirySoon:
		k.addAt(levelWarning, "tls", "the certificate"+where+" expires on "+date, at)
	default:
		k.addAt(levelOK, "tls", "certificate and key"+where+" match; valid until "+date, at)
	}
}

// listeners lists the sockets and tries whether each can be bound.
func (k *checker) listeners() {
	specs, err := listen.Specs(k.config, func(p string) bool { return slices.Contains(k.Protocols, p) })
	if err != nil {
		k.addError("listeners", err)
	}
	owner := ""
	if path := pidFile(k.config.Settings(conf.Filter{}).BaseDir); runningPID(path) != 0 {
		owner = fmt.Sprintf("; process %d of %s is running", runningPID(path), path)
	}
	for _, s := range specs {
		k.Listeners = append(k.Listeners, listenerRow{s.Addr.String(), s.Protocol, s.Name, s.SSL, s.HAProxy})
		l, err := net.Listen("tcp", s.Addr.String())
		switch {
		case err == nil:
			_ = l.Close()
		case errors.Is(err, syscall.EADDRINUSE):
			k.add(levelWarning, "listeners", s.Addr.String()+" is in use"+owner)
		case errors.Is(err, syscall.EACCES):
			k.add(levelNote, "listeners", s.Addr.String()+" needs more rights than this command has: not tried")
		default:
			k.add(levelError, "listeners", fmt.Sprintf("%s cannot be listened on: %s", s.Addr, errnoText(err)))
		}
	}
	if err == nil && len(specs) == 0 {
		k.add(levelError, "listeners", "no port is listened on")
	}
}

// fileMode warns about a file that everybody can change, or can read when it holds a secret.
func (k *checker) fileMode(path, secret string) {
	st, err := os.Stat(path)
	if err != nil {
		return
	}
	switch mode := st.Mode().Perm(); {
	case mode&0o002 != 0:
		k.add(levelWarning, "files", fmt.Sprintf("everybody can write %s (mode %04o); chmod o= it", path, mode))
	case mode&0o004 != 0 && secret != "":
		k.add(levelWarning, "files", fmt.Sprintf("everybody can read %s (mode %04o), but %s should be secret; chmod o= it", path, mode, secret))
	}
}

// secrets looks at the files of keys, and at the configuration itself when there are passwords in it.
func (k *checker) secrets(path string) {
	c, err := conf.Load(path, conf.Options{Lenient: true})
	if err != nil {
		return
	}
	own := ""
	if c.Settings(conf.Filter{}).SSLKeyPassword != "" {
		own = "ssl_key_password"
	}
	k.fileMode(path, own)
	seen := map[string]bool{path: own != ""}
	filters := []conf.Filter{{}}
	for _, b := range c.FilterBlocks() {
		filters = append(filters, b.Example)
	}
	for _, f := range filters {
		s := c.Settings(f)
		for _, text := range []string{s.SSLKey, s.SSLAltKey, s.SSLClientKey} {
			file, isFile := strings.CutPrefix(text, "<")
			if file = strings.TrimSpace(file); !isFile || file == "" || seen[file] {
				continue
			}
			seen[file] = true
			if !filepath.IsAbs(file) {
				file = filepath.Join(filepath.Dir(path), file)
			}
			k.fileMode(file, "the key")
		}
	}
	for _, p := range k.uniquePassdbs() {
		inline := p.SQL != nil && strings.Contains(p.SQL.Connect, "password=") || p.LDAP != nil && p.LDAP.DNPass != ""
		if (inline || maskArgs(p) != p.Args) && p.File != "" && !seen[p.File] {
			seen[p.File] = true
			k.fileMode(p.File, "the password of passdb "+p.Name)
		}
	}
}

// differences tells what this configuration does otherwise than under Dovecot. docs/differences.md has all of them.
func (k *checker) differences() {
	s := k.config.Settings(conf.Filter{})
	note := func(on bool, text string) {
		if on {
			k.add(levelNote, "differences", text)
		}
	}
	has := func(name string) bool {
		return slices.ContainsFunc(append(slices.Clone(k.Settings.Ignored), k.Settings.Used...), func(x setting) bool {
			return x.Name == name || strings.HasSuffix(x.Name, "/"+name)
		})
	}
	note(true, "a reload changes nothing unless all of the new configuration works, and never cuts a session"+
		flag(has("shutdown_clients"), ", whatever shutdown_clients says"))
	note(true, "there is no local mail: a user without proxy is refused as temporarily unavailable"+
		flag(s.LoginProxyLocal == "", ", and so is one whose proxy_maybe names this host, unless login_proxy_local is set for the protocol"))
	note(has("process_limit") || has("service_count") || has("vsz_limit") || has("process_min_avail"),
		"there is one process: process_min_avail, service_count and vsz_limit have no effect; process_limit and client_limit bound connections")
	note(s.SSLClientCAFile != "" || s.SSLClientCADir != "", "backends are verified against ssl_ca, ssl_client_ca_file and ssl_client_ca_dir together; Dovecot's login processes use ssl_ca only")
	note(s.SSL != "no", "cipher suites are those of Go's crypto/tls: ECDHE with AES-GCM or ChaCha20")
	note(s.LoginSourceIPs != "", "login_source_ips: an address of the wrong family is passed over, where Dovecot connects from any address")
	note(s.AuthCacheSize > 0, "the auth cache keeps hashes, never clear text")
	note(len(k.Filters) > 1, "when two filter blocks set the same, the more specific one is used, where Dovecot refuses the connection")
}
