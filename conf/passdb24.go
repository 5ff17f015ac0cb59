package conf

import (
	"fmt"
	"slices"
	"strings"
)

// passdb converts one passdb section.
func (cv *convert24) passdb(s *scope24) error {
	d := &passdb24{convert24: cv, s: s, inline: &Passdb{}}
	path, err := cv.section23("", "passdb", s.name)
	if err != nil {
		return err
	}
	d.path = path
	d.driver = s.name
	if v, ok := s.vals["passdb_driver"]; ok {
		d.driver = v.text
	}
	for _, step := range []func() error{d.common, d.fields, d.byDriver} {
		if err := step(); err != nil {
			return fmt.Errorf("passdb %s: %w", s.name, err)
		}
	}
	cv.parser.find(cv.b, path).inline = d.inline
	return cv.assign23(path+"/driver", d.driver, false)
}

// passdb24 converts one passdb section.
type passdb24 struct {
	*convert24
	s      *scope24
	path   string
	driver string
	inline *Passdb
	// override and defaults are the fields as words of 2.3.
	override, defaults []string
	pairs              [][2]string // all fields, as name and template
}

// get looks a setting up in the section and around it. The second result is false when it is not set.
func (d *passdb24) get(key, fallback string) (string, bool) {
	if v, ok := d.s.find(key); ok {
		return v.text, true
	}
	if v, ok := d.root.vals[key]; ok {
		return v.text, true
	}
	return fallback, false
}

// template looks a template up and writes it as one of 2.3.
func (d *passdb24) template(key, fallback string) (string, error) {
	text, _ := d.get(key, fallback)
	t, err := template23(text)
	if err != nil {
		return "", fmt.Errorf("%s: %w", key, err)
	}
	return t, nil
}

// word is template for a place in a list of words.
func (d *passdb24) word(key, fallback string) (string, error) {
	text, _ := d.get(key, fallback)
	t, err := word23(text)
	if err != nil {
		return "", fmt.Errorf("%s: %w", key, err)
	}
	return t, nil
}

// escaped is template for a text in which values are escaped. Nothing turns that off here.
func (d *passdb24) escaped(key, fallback string) (string, error) {
	if text, _ := d.get(key, fallback); usesSafe(text) {
		d.warnf("passdb %s: %s: values are escaped in spite of | safe", d.s.name, key)
	}
	return d.template(key, fallback)
}

// common converts the keys that every driver has.
func (d *passdb24) common() error {
	for _, key := range []string{"deny", "master", "skip", "result_success", "result_failure", "result_internalfail", "username_filter"} {
		v, ok := d.s.find("passdb_" + key)
		if !ok {
			v, ok = d.root.vals["passdb_"+key]
		}
		if ok {
			if err := d.in(v.pos, func() error { return d.assign23(d.path+"/"+key, v.text, v.raw) }); err != nil {
				return err
			}
		}
	}
	d.inline.NoCache = !yesUnless(d, "passdb_use_cache")
	if d.s.flags["passdb_mechanisms_filter"] != nil {
		words := d.s.flagsText("passdb_mechanisms_filter", nil)
		return d.assign23(d.path+"/mechanisms", strings.Join(words, " "), false)
	}
	return nil
}

// byDriver converts what the driver reads.
func (d *passdb24) byDriver() error {
	if d.driver != "passwd-file" && d.driver != "passwd_file" {
		if _, ok := d.s.vals["auth_username_format"]; ok {
			return fmt.Errorf("auth_username_format is only supported inside passdb passwd-file")
		}
	}
	switch d.driver {
	case "static":
		return d.static()
	case "sql":
		return d.sql()
	case "ldap":
		return d.ldap()
	case "passwd-file", "passwd_file":
		d.driver = "passwd-file"
		return d.passwdFile()
	case "imap":
		return d.imap()
	case "oauth2":
		return d.oauth2()
	case "http":
		return d.http()
	case "pam":
		return d.pam()
	case "lua":
		return d.lua()
	case "dict":
		return fmt.Errorf("2.4 has no driver dict; use lua, or a 2.3 configuration")
	}
	return d.setFields()
}

// setArgs sets args and the fields.
func (d *passdb24) setArgs(args string) error {
	if err := d.assign23(d.path+"/args", args, false); err != nil {
		return err
	}
	return d.setFields()
}

func (d *passdb24) setFields() error {
	for key, words := range map[string][]string{"override_fields": d.override, "default_fields": d.defaults} {
		if len(words) > 0 {
			if err := d.assign23(d.path+"/"+key, strings.Join(words, " "), false); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *passdb24) static() error {
	words := d.override
	if _, ok := d.get("passdb_static_password", ""); ok {
		t, err := d.word("passdb_static_password", "")
		if err != nil {
			return err
		}
		words = append([]string{"password=" + t}, words...)
	}
	d.override = nil
	return d.setArgs(strings.Join(words, " "))
}

// pam writes the arguments of the pam driver.
func (d *passdb24) pam() error {
	var args []string
	for _, key := range []string{"session", "setcred", "failure_show_msg"} {
		if text, ok := d.get("passdb_pam_"+key, "no"); ok {
			args = append(args, key+"="+text)
		}
	}
	if text, ok := d.get("passdb_pam_max_requests", ""); ok && !unlimited(Number, text) {
		args = append(args, "max_requests="+text)
	}
	service, err := d.word("passdb_pam_service_name", "dovecot")
	if err != nil {
		return err
	}
	return d.setArgs(strings.Join(append(args, service), " "))
}

// scheme is the password scheme of passwords without one. It changed in 2.4.3.
func (d *passdb24) scheme() string {
	fallback := "CRYPT"
	if d.version == "2.4.0" || d.version == "2.4.1" || d.version == "2.4.2" {
		fallback = "PLAIN"
	}
	text, _ := d.get("passdb_default_password_scheme", fallback)
	return text
}

func (d *passdb24) passwdFile() error {
	file, err := d.template("passwd_file_path", "")
	if err != nil {
		return err
	}
	args := []string{"scheme=" + d.scheme()}
	if _, ok := d.s.vals["auth_username_format"]; ok {
		t, err := d.word("auth_username_format", "")
		if err != nil {
			return err
		}
		args = append(args, "username_format="+t)
	}
	return d.setArgs(strings.Join(append(args, file), " "))
}

func (d *passdb24) lua() error {
	file, _ := d.get("lua_file", "")
	script := &LuaScript{File: file, Scheme: d.scheme()}
	if text, inline := strings.CutPrefix(file, "inline:"); inline {
		script.File, script.Text = "", text
	}
	for _, s := range []*scope24{d.root, d.s} {
		if l := s.strs["lua_settings"]; l != nil {
			for _, k := range l.keys {
				script.Settings = append(script.Settings, [2]string{k, l.vals[k].text})
			}
		}
	}
	d.inline.Lua = script
	if script.File == "" {
		return d.setFields()
	}
	return d.setArgs("file=" + file)
}

func (d *passdb24) imap() error {
	var args []string
	for key, arg := range map[string]string{"imapc_host": "host", "imapc_port": "port", "imapc_ssl": "ssl", "imapc_user": "username"} {
		text, ok := d.get(key, "")
		if !ok || key == "imapc_ssl" && text == "no" {
			continue
		}
		t, err := word23(text)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		args = append(args, arg+"="+t)
	}
	for key, arg := range map[string]string{"ssl_client_ca_file": "ssl_ca_file", "ssl_client_ca_dir": "ssl_ca_dir"} {
		if text, _ := d.get(key, ""); text != "" {
			args = append(args, arg+"="+text)
		}
	}
	if !yesUnless(d, "ssl_client_require_valid_cert") {
		args = append(args, "allow_invalid_cert=yes")
	}
	slices.Sort(args)
	return d.setArgs(strings.Join(args, " "))
}

func (d *passdb24) ldap() error {
	f := &LDAPFile{
		Path: d.conf.position(d.s.pos).File, Version: 3, DebugLevel: "0", Deref: "never", Scope: "subtree",
		DefaultPassScheme: "crypt",
	}
	uris, _ := d.get("ldap_uris", "")
	if f.URIs = strings.FieldsFunc(uris, func(r rune) bool { return r == ' ' || r == ',' }); len(f.URIs) == 0 {
		return fmt.Errorf("ldap_uris is not set")
	}
	var err error
	for key, to := range map[string]*string{
		"ldap_base": &f.Base, "passdb_ldap_filter": &f.PassFilter, "passdb_ldap_bind_userdn": &f.AuthBindUserDN,
	} {
		if *to, err = d.escaped(key, ""); err != nil {
			return err
		}
	}
	for key, to := range map[string]*string{
		"ldap_auth_dn": &f.DN, "ldap_auth_dn_password": &f.DNPass, "ldap_auth_sasl_realm": &f.SASLRealm,
		"ldap_auth_sasl_authz_id": &f.SASLAuthzID, "ldap_scope": &f.Scope, "ldap_deref": &f.Deref,
		"ssl_client_ca_file": &f.TLSCACertFile, "ssl_client_ca_dir": &f.TLSCACertDir,
		"ssl_client_cert_file": &f.TLSCertFile, "ssl_client_key_file": &f.TLSKeyFile,
		"passdb_default_password_scheme": &f.DefaultPassScheme,
	} {
		*to, _ = d.get(key, *to)
	}
	yes := func(key string) bool {
		text, _ := d.get(key, "no")
		on, _, _ := parseBool(text)
		return on != 0
	}
	if err := d.number("ldap_version", &f.Version); err != nil {
		return err
	}
	f.AuthBind, f.TLS = yes("passdb_ldap_bind"), yes("ldap_starttls")
	if mechs := d.list("ldap_auth_sasl_mechanisms"); mechs != "" {
		mechs := strings.Fields(mechs)
		f.SASLBind, f.SASLMech = true, mechs[0]
	}
	if f.TLSRequireCert = "demand"; !yesUnless(d, "ssl_client_require_valid_cert") {
		f.TLSRequireCert = "never"
	}
	var attrs []string
	for _, p := range d.pairs {
		if strings.HasSuffix(p[0], ":protected") && !uses(p[1], "ldap:") {
			continue // a default_field
		}
		attrs = append(attrs, "="+p[0]+"="+p[1])
	}
	f.PassAttrs = strings.Join(attrs, ",")
	d.inline.LDAP = f
	d.override = nil
	return d.setFields()
}

// yesUnless is a boolean setting that is on by default.
func yesUnless(d *passdb24, key string) bool {
	text, _ := d.get(key, "yes")
	on, _, _ := parseBool(text)
	return on != 0
}
