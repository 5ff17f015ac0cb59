package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"time"

	"dproxy/conf"
	"dproxy/passdb"
)

// dialTimeout bounds one connection to a backend.
const dialTimeout = 5 * time.Second

// passdbs opens each driver as the auth room does and asks its servers for a sign of life.
func (k *checker) passdbs(ctx context.Context) {
	list := k.uniquePassdbs()
	if len(list) == 0 {
		k.add(levelError, "passdb", "there is no passdb: nobody can log in")
	}
	for _, p := range list {
		at := place{File: p.File, Line: p.Line}
		k.Passdbs = append(k.Passdbs, passdbRow{p.Name, p.Driver, maskArgs(p), at})
		factory := drivers()[p.Driver]
		if factory == nil {
			k.addError("passdb", passdb.ConfigError(p, "Unknown passdb driver '"+p.Driver+"'"))
			continue
		}
		d, err := factory(p)
		if err != nil {
			k.addError("passdb", err)
			continue
		}
		if pinger, ok := d.(passdb.Pinger); ok && !k.Offline {
			pinger.Ping(ctx, func(server string, err error) {
				if err != nil {
					k.addAt(levelError, "passdb", server+" cannot be used: "+err.Error(), at)
				} else {
					k.addAt(levelOK, "passdb", server+" answers", at)
				}
			})
		}
		closeDriver(d)
		k.passdbFiles(p)
		k.backends(ctx, p)
	}
}

// maskArgs is a passdb's args without passwords.
func maskArgs(p conf.Passdb) string {
	words := strings.Split(p.Args, " ")
	for i, w := range words {
		name, value, _ := strings.Cut(w, "=")
		if value != "" && (name == "pass" || name == "password" || strings.HasSuffix(name, "_pass") || strings.HasSuffix(name, "_password") || name == "headers") {
			words[i] = name + "=..."
		}
	}
	return strings.Join(words, " ")
}

// passdbFiles looks at the files that a passdb reads.
func (k *checker) passdbFiles(p conf.Passdb) {
	path, secret := p.Args, true
	switch p.Driver {
	case "passwd-file":
		_, path, _ = strings.Cut(" "+p.Args, " /")
		path = "/" + path
		if strings.Contains(path, "%") {
			k.addAt(levelNote, "passdb", path+" depends on the login: not looked at", place{File: p.File, Line: p.Line})
			return
		}
	case "lua":
		if _, path, _ = strings.Cut(" "+p.Args, " file="); p.Lua != nil {
			path = p.Lua.File
		}
		path, _, _ = strings.Cut(path, " ")
		if path == "" {
			return
		}
		secret = false
	case "sql", "ldap", "dict", "oauth2", "http":
		if p.SQL != nil || p.LDAP != nil || p.OAuth2 != nil || p.HTTP != nil || p.Driver == "http" && !strings.HasPrefix(p.Args, "/") {
			return
		}
		secret = k.external(p)
	default:
		return
	}
	k.fileMode(path, flag(secret, "the passwords in it"))
	if f, err := os.Open(path); err == nil {
		_ = f.Close()
		if p.Driver == "passwd-file" {
			k.add(levelOK, "passdb", path+" can be read")
		}
	} else {
		k.addAt(levelError, "passdb", path+" cannot be read: "+reason(err), place{File: p.File, Line: p.Line})
	}
}

// external tells the warnings about an external file, and whether there is a password in it.
func (k *checker) external(p conf.Passdb) (secret bool) {
	var warnings []string
	switch p.Driver {
	case "sql":
		if f, err := conf.LoadSQLFile(p.Args); err == nil {
			warnings, secret = f.Warnings, strings.Contains(f.Connect, "pass") || strings.Contains(f.Connect, "://")
		}
	case "dict":
		if f, err := conf.LoadDictFile(p.Args); err == nil {
			warnings, secret = f.Warnings, strings.Contains(f.URI, ":password=")
		}
	case "oauth2":
		if f, err := conf.LoadOAuth2File(p.Args); err == nil {
			warnings, secret = f.Warnings, f.ClientSecret != ""
		}
	case "http":
		if f, err := conf.LoadHTTPFile(p.Args); err == nil {
			warnings, secret = f.Warnings, len(f.Headers) > 0
		}
	default:
		if f, err := conf.LoadLDAPFile(p.Args); err == nil {
			warnings, secret = f.Warnings, f.DNPass != ""
		}
	}
	for _, w := range warnings {
		k.add(levelWarning, "passdb", w)
	}
	return secret
}

// reason is the system's word for an error, without the path that stands before it already.
func reason(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}

// backends resolves and dials the backends that are written into the configuration.
func (k *checker) backends(ctx context.Context, p conf.Passdb) {
	texts := []string{p.DefaultFields, p.OverrideFields}
	if p.Driver == "static" {
		texts = append(texts, p.Args)
	}
	fields := map[string]string{}
	for word := range strings.FieldsSeq(strings.Join(texts, " ")) {
		name, value, _ := strings.Cut(word, "=")
		fields[name] = value
	}
	at := place{File: p.File, Line: p.Line}
	_, proxy := fields["proxy"]
	_, maybe := fields["proxy_maybe"]
	if p.Driver == "static" && !proxy && !maybe && !p.Deny && !p.Master && !p.Pass {
		k.addAt(levelWarning, "passdb", "a static passdb without proxy or proxy_maybe: its users are refused, as there is no local mail", at)
	}
	host := fields["host"]
	if host == "" || k.Offline {
		return
	}
	if strings.Contains(host, "%") {
		k.addAt(levelNote, "backend", host+" depends on the login: not looked up", at)
		return
	}
	if hostip := fields["hostip"]; hostip != "" {
		host = hostip
	}
	if _, err := net.DefaultResolver.LookupNetIP(ctx, "ip", strings.Trim(host, "[]")); err != nil {
		k.addAt(levelError, "backend", fmt.Sprintf("%s cannot be resolved: %v", host, err), at)
		return
	}
	for _, port := range k.ports(fields) {
		k.dial(ctx, net.JoinHostPort(strings.Trim(host, "[]"), port), at)
	}
}

// ports lists the ports at a backend that the served protocols lead to.
func (k *checker) ports(fields map[string]string) []string {
	if port := fields["port"]; port != "" {
		if strings.Contains(port, "%") {
			return nil
		}
		return []string{port}
	}
	_, tls := fields["ssl"]
	var out []string
	for _, p := range k.Protocols {
		ports := k.protocols[p].Ports
		port := ports.Plain
		if tls && ports.TLS != 0 {
			port = ports.TLS
		}
		if port != 0 {
			out = append(out, fmt.Sprint(port))
		}
	}
	return out
}

func (k *checker) dial(ctx context.Context, address string, at place) {
	nc, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "tcp", address)
	if err != nil {
		k.addAt(levelWarning, "backend", fmt.Sprintf("%s cannot be reached: %v", address, err), at)
		return
	}
	_ = nc.Close()
	k.addAt(levelOK, "backend", address+" answers", at)
}
