package conf

import (
	"fmt"
	"maps"
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
	pairs              [][2]string // all fields of the first kind, as templates
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

// common converts the keys that every driver has.
func (d *passdb24) common() error {
	for _, key := range []string{"deny", "master", "skip", "result_success", "result_failure", "result_internalfail", "username_filter"} {
		if v, ok := d.s.vals["passdb_"+key]; ok {
			if err := d.in(v.pos, func() error { return d.assign23(d.path+"/"+key, v.text, v.raw) }); err != nil {
				return err
			}
		}
	}
	if d.s.flags["passdb_mechanisms_filter"] != nil {
		words := d.s.flagsText("passdb_mechanisms_filter", nil)
		return d.assign23(d.path+"/mechanisms", strings.Join(words, " "), false)
	}
	return nil
}

// fields converts fields { }.
func (d *passdb24) fields() error {
	l := d.s.strs["passdb_fields"]
	if l == nil {
		return nil
	}
	for _, k := range l.keys {
		t, err := template23(l.vals[k].text)
		if err != nil {
			return fmt.Errorf("fields { %s }: %w", k, err)
		}
		name, kind, _ := strings.Cut(k, ":")
		word := name + "=" + t
		if t == "" {
			word = name
		}
		if d.driver != "ldap" && (d.driver != "oauth2" || kind != "") && strings.ContainsAny(word, " \t") {
			return fmt.Errorf("fields { %s }: values with blanks are not supported", k)
		}
		// In 2.4 a variable of the driver names what the database answered.
		for _, provider := range []string{"sql", "passwd_file"} {
			word = strings.ReplaceAll(word, "{"+provider+":", "{passdb:")
		}
		switch kind {
		case "default":
			d.defaults = append(d.defaults, word)
		case "":
			d.override = append(d.override, word)
			d.pairs = append(d.pairs, [2]string{name, t})
		default:
			return fmt.Errorf("fields { %s }: this form is not supported", k)
		}
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
		service, _ := d.get("passdb_pam_service_name", "dovecot")
		return d.setArgs(service)
	case "lua":
		file, _ := d.get("lua_file", "")
		return d.setArgs("file=" + file)
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
		t, err := d.template("passdb_static_password", "")
		if err != nil {
			return err
		}
		if strings.ContainsAny(t, " \t") {
			return fmt.Errorf("passdb_static_password: a password with blanks is not supported")
		}
		words = append([]string{"password=" + t}, words...)
	}
	d.override = nil
	return d.setArgs(strings.Join(words, " "))
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
		t, err := d.template("auth_username_format", "")
		if err != nil {
			return err
		}
		args = append(args, "username_format="+t)
	}
	return d.setArgs(strings.Join(append(args, file), " "))
}

func (d *passdb24) imap() error {
	var args []string
	for key, arg := range map[string]string{"imapc_host": "host", "imapc_port": "port", "imapc_ssl": "ssl", "imapc_user": "username"} {
		text, ok := d.get(key, "")
		if !ok || key == "imapc_ssl" && text == "no" {
			continue
		}
		t, err := template23(text)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		args = append(args, arg+"="+t)
	}
	slices.Sort(args)
	return d.setArgs(strings.Join(args, " "))
}

// hosts finds the database servers of a driver: those of the section, or those of the top level.
func (d *passdb24) hosts(kind string) []*scope24 {
	for _, s := range []*scope24{d.s, d.convert24.s, d.root} {
		var out []*scope24
		for _, sub := range s.subs {
			if sub.kind == kind {
				out = append(out, sub)
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	return nil
}

func (d *passdb24) sql() error {
	f := &SQLFile{DefaultPassScheme: d.scheme()}
	f.Path = d.conf.position(d.s.pos).File
	f.Driver, _ = d.get("sql_driver", "")
	var err error
	if f.PasswordQuery, err = d.template("passdb_sql_query", ""); err != nil {
		return err
	}
	if f.UpdateQuery, err = d.template("passdb_sql_update_query", ""); err != nil {
		return err
	}
	switch {
	case f.Driver == "":
		return fmt.Errorf("sql_driver is not set")
	case f.PasswordQuery == "":
		return fmt.Errorf("query is not set")
	}
	if v, ok := d.s.vals["passdb_fields_import_all"]; ok && strings.EqualFold(v.text, "no") {
		return fmt.Errorf("fields_import_all = no is not supported")
	}
	switch f.Driver {
	case "sqlite":
		f.Connect, _ = d.get("sqlite_path", "")
	case "mysql", "pgsql":
		f.Connect, err = d.connect(f.Driver)
	default:
		return fmt.Errorf("sql_driver = %s is not supported; use mysql, pgsql or sqlite", f.Driver)
	}
	if err == nil && f.Connect == "" {
		err = fmt.Errorf("no database is given: sqlite_path, mysql HOST { } or pgsql HOST { }")
	}
	d.inline.SQL = f
	if err != nil {
		return err
	}
	return d.setFields()
}

// connect writes database servers as a connect string. The servers must only differ in their host.
func (d *passdb24) connect(driver string) (string, error) {
	var hosts, first []string
	for i, h := range d.hosts(driver) {
		var words []string
		add := func(name, text string) {
			if text != "" {
				words = append(words, name+"="+text)
			}
		}
		for _, key := range slices.Sorted(maps.Keys(h.vals)) {
			name := strings.TrimPrefix(key, driver+"_")
			switch name {
			case "connection_limit":
				name = "maxconns"
			case "ssl", "host":
				continue
			}
			add(name, h.vals[key].text)
		}
		if l := h.strs[driver+"_parameters"]; l != nil {
			for _, k := range l.keys {
				add(k, l.vals[k].text)
			}
		}
		for _, w := range words {
			if strings.ContainsAny(w, " \t") {
				return "", fmt.Errorf("%s %s { }: values with blanks are not supported", driver, h.name)
			}
		}
		if i > 0 && !slices.Equal(words, first) {
			return "", fmt.Errorf("%s %s { }: all servers must have the same settings", driver, h.name)
		}
		first = words
		host := h.name
		if v, ok := h.vals[driver+"_host"]; ok {
			host = v.text
		}
		hosts = append(hosts, "host="+host)
	}
	return strings.Join(append(hosts, first...), " "), nil
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
		if *to, err = d.template(key, ""); err != nil {
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
	f.AuthBind, f.TLS = yes("passdb_ldap_bind"), yes("ldap_starttls")
	if mechs := d.root.flagsText("ldap_auth_sasl_mechanisms", nil); len(mechs) > 0 {
		f.SASLBind, f.SASLMech = true, mechs[0]
	}
	if f.TLSRequireCert = "demand"; !yesUnless(d, "ssl_client_require_valid_cert") {
		f.TLSRequireCert = "never"
	}
	var attrs []string
	for _, p := range d.pairs {
		if strings.Contains(p[1], ",") {
			return fmt.Errorf("fields { %s }: values with commas are not supported", p[0])
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
