package conf

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// passdb writes one passdb block, with what its file says.
func (w *writer24) passdb(n, expanded *node) {
	p := w.expanded.passdb(expanded)
	name := p.Name
	for i := 2; w.names[name]; i++ {
		name = fmt.Sprintf("%s%d", p.Name, i)
	}
	w.names[name] = true
	w.line("")
	w.open("passdb " + quote24(name))
	defer w.close()
	if name != p.Driver {
		w.set("driver", p.Driver)
	}
	for _, key := range []string{"deny", "master", "skip", "result_success", "result_failure", "result_internalfail", "username_filter"} {
		if _, set := n.vals[key]; set {
			w.set(key, expanded.vals[key].text)
		}
	}
	if p.Mechanisms != "" {
		w.flags("mechanisms_filter", p.Mechanisms)
	}
	if p.Pass {
		w.problem("passdb %s { pass = yes }: use result_success = continue", name)
	}
	if v := expanded.get("auth_verbose").text; v != expanded.defaultText(expanded.kind.row["auth_verbose"]) {
		w.problem("passdb %s { auth_verbose = %s }: 2.4 has no such setting", name, v)
	}
	f := &fields24{}
	f.words(p.DefaultFields, ":default")
	if err := w.driver(p, f); err != nil {
		w.problem("passdb %s { args = %s }: %v", name, p.Args, err)
	}
	f.words(p.OverrideFields, "")
	w.fields(name, f)
}

// fields24 are the lines of fields { }.
type fields24 struct {
	list [][2]string // name, template of 2.3
	ldap bool        // the templates are those of an ldap pass_attrs
}

// words adds fields as default_fields and override_fields have them.
func (f *fields24) words(text, suffix string) {
	for word := range strings.FieldsSeq(text) {
		name, v, _ := strings.Cut(word, "=")
		f.list = append(f.list, [2]string{name + suffix, v})
	}
}

func (w *writer24) fields(passdb string, f *fields24) {
	if len(f.list) == 0 {
		return
	}
	w.open("fields")
	defer w.close()
	letters := AuthLetters
	if f.ldap {
		letters = LDAPLetters()
	}
	for _, x := range f.list {
		t, err := template24(x[1], letters, nil)
		if err != nil {
			w.problem("passdb %s, field %s=%s: %v", passdb, x[0], x[1], err)
			continue
		}
		w.set(quote24(x[0]), t)
	}
}

// driver writes what a driver reads.
func (w *writer24) driver(p Passdb, f *fields24) error {
	switch p.Driver {
	case "static":
		return w.static(p, f)
	case "passwd-file":
		return w.passwdFile(p)
	case "sql":
		return w.sql(p)
	case "ldap":
		return w.ldap(p, f)
	case "imap":
		return w.imap(p)
	case "oauth2":
		return w.oauth2(p, f)
	case "http":
		return w.http(p)
	case "lua":
		return w.lua(p)
	case "dict":
		return fmt.Errorf("2.4 has no driver dict")
	}
	if p.Args != "" {
		return fmt.Errorf("the driver %s has to be written anew for 2.4", p.Driver)
	}
	return nil
}

// authTemplate writes a template of the auth process.
func (w *writer24) authTemplate(key, text string) error {
	t, err := template24(text, AuthLetters, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	w.set(key, t)
	return nil
}

func (w *writer24) static(p Passdb, f *fields24) error {
	for word := range strings.FieldsSeq(p.Args) {
		name, v, _ := strings.Cut(word, "=")
		if name == "password" {
			if err := w.authTemplate("password", v); err != nil {
				return err
			}
			continue
		}
		f.list = append(f.list, [2]string{name, v})
	}
	return nil
}

func (w *writer24) passwdFile(p Passdb) error {
	scheme, rest := "CRYPT", p.Args
	for rest != "" && rest[0] != '/' {
		word, tail, _ := strings.Cut(rest, " ")
		rest = tail
		name, v, _ := strings.Cut(word, "=")
		switch name {
		case "":
		case "scheme":
			scheme = v
		case "username_format":
			if err := w.authTemplate("auth_username_format", v); err != nil {
				return err
			}
		default:
			return fmt.Errorf("Unknown setting: %s", name)
		}
	}
	w.set("default_password_scheme", scheme)
	return w.authTemplate("passwd_file_path", rest)
}

func (w *writer24) lua(p Passdb) error {
	for word := range strings.FieldsSeq(p.Args) {
		switch name, v, _ := strings.Cut(word, "="); name {
		case "file":
			w.set("lua_file", v)
		case "blocking":
			w.set("use_worker", v)
		case "scheme":
			w.set("default_password_scheme", v)
		case "cache_key":
			w.problem("passdb %s { args = %s }: in 2.4 the script says it in auth_passdb_get_cache_key()", p.Name, word)
		default:
			return fmt.Errorf("Unsupported parameter %s", word)
		}
	}
	w.problem("passdb %s: in 2.4 the script answers with a table (or nil) beside PASSDB_RESULT_OK, not with a string", p.Name)
	return nil
}

func (w *writer24) imap(p Passdb) error {
	for word := range strings.FieldsSeq(p.Args) {
		name, v, _ := strings.Cut(word, "=")
		key, ok := map[string]string{"host": "imapc_host", "port": "imapc_port", "ssl": "imapc_ssl", "username": "imapc_user"}[name]
		if !ok {
			w.problem("passdb imap, %s: 2.4 takes it from the ssl_client settings", word)
			continue
		}
		if err := w.authTemplate(key, v); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer24) sql(p Passdb) error {
	f, err := LoadSQLFile(p.Args)
	if err != nil {
		return err
	}
	c, err := f.ConnectTo()
	if err != nil {
		return err
	}
	w.set("sql_driver", c.Driver)
	if c.Driver == "sqlite" {
		w.set("sqlite_path", c.File)
	}
	for _, h := range c.Hosts {
		if h.URI != "" {
			return fmt.Errorf("%s: write the postgresql:// URI as name=value words first", f.Path)
		}
		w.sqlHost(c, h)
	}
	w.set("default_password_scheme", f.DefaultPassScheme)
	return w.authTemplate("query", f.PasswordQuery)
}

// sqlHost writes one database server.
func (w *writer24) sqlHost(c *SQLConnect, h SQLHost) {
	w.open(c.Driver + " " + quote24(h.Name))
	defer w.close()
	if c.MaxConns != defaultMaxConns {
		w.set("connection_limit", fmt.Sprint(c.MaxConns))
	}
	keys := slices.Sorted(maps.Keys(h.Params))
	if c.Driver == "pgsql" {
		w.open("parameters")
		defer w.close()
		for _, k := range keys {
			w.set(quote24(k), h.Params[k])
		}
		return
	}
	for _, k := range keys {
		n, known := names24()["mysql_"+k]
		switch {
		case !known:
			w.problem("connect of a sql passdb, %s=%s: use the ssl_client settings", k, h.Params[k])
		case n.typ == Time:
			w.problem("connect of a sql passdb, %s=%s: the default of 2.4 is used", k, h.Params[k])
		default:
			w.set(k, h.Params[k])
		}
	}
}

func (w *writer24) ldap(p Passdb, out *fields24) error {
	f, err := LoadLDAPFile(p.Args)
	if err != nil {
		return err
	}
	yes := func(key string, on bool) {
		if on {
			w.set(key, "yes")
		}
	}
	given := func(key, text string) {
		if text != "" {
			w.set(key, text)
		}
	}
	given("ldap_uris", strings.Join(f.URIs, " "))
	given("ldap_auth_dn", f.DN)
	given("ldap_auth_dn_password", f.DNPass)
	given("ldap_scope", f.Scope)
	given("ldap_deref", f.Deref)
	given("ssl_client_ca_file", f.TLSCACertFile)
	given("ssl_client_ca_dir", f.TLSCACertDir)
	given("ssl_client_cert_file", f.TLSCertFile)
	given("ssl_client_key_file", f.TLSKeyFile)
	yes("ldap_starttls", f.TLS)
	yes("bind", f.AuthBind)
	if f.TLSRequireCert == "never" || f.TLSRequireCert == "allow" {
		w.set("ssl_client_require_valid_cert", "no")
	}
	if f.SASLBind {
		w.problem("%s: sasl_bind = yes: set ldap_auth_sasl_mechanisms at the top level", f.Path)
	}
	w.set("default_password_scheme", f.DefaultPassScheme)
	for _, t := range [][2]string{{"ldap_base", f.Base}, {"filter", f.PassFilter}, {"bind_userdn", f.AuthBindUserDN}} {
		if t[1] == "" {
			continue
		}
		if err := w.authTemplate(t[0], t[1]); err != nil {
			return err
		}
	}
	return ldapFields(f, out)
}

// ldapFields takes pass_attrs apart.
func ldapFields(f *LDAPFile, out *fields24) error {
	skip := ""
	if f.AuthBind {
		skip = "password"
	}
	attrs, err := ParseLDAPAttrs(f.PassAttrs, skip)
	if err != nil {
		return err
	}
	out.ldap = true
	for _, a := range attrs.Fields {
		name, plain := a.Name.Literal()
		if !plain || a.Subquery || a.Fetch {
			return fmt.Errorf("pass_attrs of %s has to be written anew for 2.4", f.Path)
		}
		text := "%{ldap:" + a.Attr + "}"
		if a.Value != nil {
			text = strings.ReplaceAll(a.Text, "%$", text)
			if a.Attr == "" {
				text = strings.ReplaceAll(a.Text, "%$", "")
			}
		}
		out.list = append(out.list, [2]string{name, text})
	}
	return nil
}
