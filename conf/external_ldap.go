package conf

import (
	"errors"
	"fmt"
	"strings"
)

// LDAPFile is a dovecot-ldap.conf.ext. Times and limits are Dovecot's own: see the passdb.
type LDAPFile struct {
	Path string
	// URIs are the servers in the order to try: uris, or hosts as ldap:// URIs.
	URIs                             []string
	DN, DNPass                       string // empty: anonymous
	AuthBind                         bool
	AuthBindUserDN                   string // a template
	SASLBind                         bool
	SASLMech, SASLRealm, SASLAuthzID string
	TLS                              bool   // StartTLS
	TLSCACertFile, TLSCACertDir      string // paths, as the next two
	TLSCertFile, TLSKeyFile          string
	TLSCipherSuite                   string
	TLSRequireCert                   string // empty (the library's default), never, hard, demand, allow, try
	LDAPRCPath, DebugLevel           string
	Version                          uint   // 2 or 3
	Base                             string // a template
	Deref                            string // never, searching, finding, always
	Scope                            string // subtree, onelevel, base
	PassAttrs, PassFilter            string
	UserAttrs, UserFilter            string
	IterateAttrs, IterateFilter      string
	DefaultPassScheme                string
	Blocking, UserdbWarningDisable   bool
	hosts, uris                      string
	// Warnings are what Dovecot would warn about while it reads the file.
	Warnings []string
}

// LoadLDAPFile reads the file that an ldap passdb's args name. Errors have Dovecot's wording.
func LoadLDAPFile(path string) (*LDAPFile, error) {
	if path == "" {
		return nil, errors.New("LDAP: Configuration file path not given")
	}
	f := &LDAPFile{
		Path: path, Version: 3, DebugLevel: "0", Deref: "never", Scope: "subtree",
		PassAttrs:     "uid=user,userPassword=password",
		PassFilter:    "(&(objectClass=posixAccount)(uid=%u))",
		UserAttrs:     "homeDirectory=home,uidNumber=uid,gidNumber=gid",
		UserFilter:    "(&(objectClass=posixAccount)(uid=%u))",
		IterateAttrs:  "uid=user",
		IterateFilter: "(objectClass=posixAccount)", DefaultPassScheme: "crypt",
	}
	warnings, err := readExternal(path, f.keys())
	if err != nil {
		return nil, fmt.Errorf("ldap %s: %w", path, err)
	}
	f.Warnings = warnings
	f.Deref, f.Scope, f.TLSRequireCert = strings.ToLower(f.Deref), strings.ToLower(f.Scope), strings.ToLower(f.TLSRequireCert)
	if err := f.check(); err != nil {
		return nil, fmt.Errorf("LDAP %s: %w", path, err)
	}
	return f, nil
}

func (f *LDAPFile) keys() externalKeys {
	return externalKeys{
		"hosts":                  &f.hosts,
		"uris":                   &f.uris,
		"dn":                     &f.DN,
		"dnpass":                 &f.DNPass,
		"auth_bind":              &f.AuthBind,
		"auth_bind_userdn":       &f.AuthBindUserDN,
		"tls":                    &f.TLS,
		"sasl_bind":              &f.SASLBind,
		"sasl_mech":              &f.SASLMech,
		"sasl_realm":             &f.SASLRealm,
		"sasl_authz_id":          &f.SASLAuthzID,
		"tls_ca_cert_file":       &f.TLSCACertFile,
		"tls_ca_cert_dir":        &f.TLSCACertDir,
		"tls_cert_file":          &f.TLSCertFile,
		"tls_key_file":           &f.TLSKeyFile,
		"tls_cipher_suite":       &f.TLSCipherSuite,
		"tls_require_cert":       &f.TLSRequireCert,
		"deref":                  &f.Deref,
		"scope":                  &f.Scope,
		"base":                   &f.Base,
		"ldap_version":           &f.Version,
		"debug_level":            &f.DebugLevel,
		"ldaprc_path":            &f.LDAPRCPath,
		"user_attrs":             &f.UserAttrs,
		"user_filter":            &f.UserFilter,
		"pass_attrs":             &f.PassAttrs,
		"pass_filter":            &f.PassFilter,
		"iterate_attrs":          &f.IterateAttrs,
		"iterate_filter":         &f.IterateFilter,
		"default_pass_scheme":    &f.DefaultPassScheme,
		"userdb_warning_disable": &f.UserdbWarningDisable,
		"blocking":               &f.Blocking,
	}
}

// check tells mistakes in Dovecot's order and fills URIs.
func (f *LDAPFile) check() error {
	f.URIs = strings.Fields(f.uris)
	for _, h := range strings.Fields(f.hosts) {
		if f.uris != "" {
			break
		}
		if strings.Count(h, ":") > 1 && !strings.HasPrefix(h, "[") {
			h = "[" + h + "]"
		}
		f.URIs = append(f.URIs, "ldap://"+h)
	}
	oneOf := func(s string, words ...string) bool {
		for _, w := range words {
			if s == w {
				return true
			}
		}
		return false
	}
	switch {
	case f.Base == "":
		return errors.New("No base given")
	case len(f.URIs) == 0:
		return errors.New("No uris or hosts set")
	case f.Version < 3 && f.SASLBind:
		return errors.New("sasl_bind=yes requires ldap_version=3")
	case f.Version < 3 && f.TLS:
		return errors.New("tls=yes requires ldap_version=3")
	case f.TLSRequireCert != "" && !oneOf(f.TLSRequireCert, "never", "hard", "demand", "allow", "try"):
		return fmt.Errorf("Unknown tls_require_cert value '%s'", f.TLSRequireCert)
	case !oneOf(f.Deref, "never", "searching", "finding", "always"):
		return fmt.Errorf("Unknown deref option '%s'", f.Deref)
	case !oneOf(f.Scope, "base", "onelevel", "subtree"):
		return fmt.Errorf("Unknown scope option '%s'", f.Scope)
	case f.TLS && strings.Contains(strings.ToLower(f.uris), "ldaps:"):
		return errors.New("Don't use both tls=yes and ldaps URI")
	}
	return nil
}
