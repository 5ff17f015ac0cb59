package ldap

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"dproxy/conf"
	"dproxy/passdb"
)

// query is one search for at most one entry.
type query struct {
	base, filter string
	scope, deref int
	attrs        []string
}

// run returns no, one or two entries: two stand for any number.
func (q query) run(c *ldap.Conn) ([]*ldap.Entry, error) {
	attrs := q.attrs
	if len(attrs) == 0 {
		attrs = []string{"1.1"} // none (RFC 4511 section 4.5.1.8); an empty list asks for all
	}
	const limit = 2
	res, err := c.Search(ldap.NewSearchRequest(q.base, q.scope, q.deref, limit, int(requestTimeout.Seconds()), false, q.filter, attrs, nil))
	if res == nil {
		return nil, err
	}
	if ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded) && len(res.Entries) > 1 {
		err = nil
	}
	return res.Entries[:min(len(res.Entries), limit)], err
}

func searchError(q query, err error) error {
	var down *downError
	if errors.As(err, &down) {
		return err
	}
	return serverError(fmt.Sprintf("ldap_search(base=%s filter=%s) failed", q.base, q.filter), err)
}

// serverError words a server's refusal as libldap does: "Invalid DN syntax".
func serverError(what string, err error) error {
	var e *ldap.Error
	if !errors.As(err, &e) || e.ResultCode >= ldap.ErrorNetwork {
		return fmt.Errorf("%s: %w", what, err)
	}
	text := ldap.LDAPResultCodeMap[e.ResultCode]
	if text == "" {
		text = fmt.Sprintf("result code %d", e.ResultCode)
	}
	words := strings.Fields(text)
	for i := 1; i < len(words); i++ {
		if words[i] != "DN" && words[i] != "SASL" && words[i] != "DSA" {
			words[i] = strings.ToLower(words[i])
		}
	}
	text = strings.Join(words, " ")
	if e.Err != nil && e.Err.Error() != "" {
		text += " (" + e.Err.Error() + ")"
	}
	return &refusal{what + ": " + text, err}
}

// refusal has a text of its own and still is the library's error.
type refusal struct {
	text  string
	cause error
}

func (r *refusal) Error() string { return r.text }
func (r *refusal) Unwrap() error { return r.cause }

// lookup answers the variables of pass_attrs.
type lookup struct {
	r      passdb.Request // its User follows the fields set so far
	fields passdb.Fields  // of this answer
	entry  *ldap.Entry
	sub    map[string]*ldap.Entry
	value  string // %$
	warn   func(string)
}

// values returns an attribute's values; "attr@name" is one of the entry that the item @name found.
func (l *lookup) values(attr string) []string {
	entry := l.entry
	if name, from, ok := strings.Cut(attr, "@"); ok {
		attr, entry = name, l.sub[from]
	}
	if entry == nil {
		return nil
	}
	return entry.GetEqualFoldAttributeValues(attr)
}

// first is an attribute's first value. name is what the warning about further ones calls it.
func (l *lookup) first(attr, name string) (string, bool) {
	v := l.values(attr)
	if len(v) == 0 {
		return "", false
	}
	if len(v) > 1 {
		l.warn(fmt.Sprintf("Multiple values found for '%s', using value '%s'", name, v[0]))
	}
	return v[0], true
}

func (l *lookup) vars(name string) (string, bool) {
	switch name {
	case "$":
		return l.value, true
	case "ldap_dn":
		return l.entry.DN, true
	case "ldap:", "ldap_ptr:":
		return "", true
	}
	if attr, ok := strings.CutPrefix(name, "ldap:"); ok {
		return l.first(attr, attr)
	}
	if attr, ok := strings.CutPrefix(name, "ldap_ptr:"); ok {
		if attr, ok = l.first(attr, attr); !ok {
			return "", false
		}
		return l.first(attr, attr)
	}
	if field, ok := strings.CutPrefix(name, "passdb:"); ok {
		if v, ok := l.fields.Get(field); ok {
			return v, true
		}
	}
	return l.r.Var(name)
}

// expand replaces the variables of a pass_attrs template. An unknown variable is a warning only, and stands in
// the value as UNSUPPORTED_VARIABLE_name, as in Dovecot.
func (l *lookup) expand(t *conf.Template, text string) (string, error) {
	v, err := t.Expand(l.vars)
	var unknown *conf.UnknownVariableError
	if errors.As(err, &unknown) {
		l.warn(fmt.Sprintf("Failed to expand template %s: %v", text, err))
		err = nil
	}
	return v, err
}

// follow reads the entries that the items @name point to.
func (d *driver) follow(c *ldap.Conn, r *passdb.Request, entry *ldap.Entry, sub map[string]*ldap.Entry) error {
	l := &lookup{r: *r, entry: entry, sub: sub, warn: func(string) {}}
	for _, f := range d.attrs.Fields {
		if !f.Subquery {
			continue
		}
		name, err := f.Name.Expand(l.vars)
		if err != nil {
			return err
		}
		dn, err := f.Value.Expand(l.vars)
		if err != nil {
			return fmt.Errorf("Failed to expand subquery %s: %w", f.Text, err)
		}
		if dn == "" {
			continue
		}
		q := query{base: dn, filter: "(objectClass=*)", scope: ldap.ScopeBaseObject, deref: d.deref, attrs: d.attrs.Subrequest[name]}
		found, err := q.run(c)
		switch {
		case ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject):
		case err != nil:
			return fmt.Errorf("subquery %s of %q: %w", name, dn, err)
		case len(found) == 1:
			sub[name] = found[0]
		}
	}
	return nil
}

// answer turns an entry into fields.
func (d *driver) answer(r *passdb.Request, entry *ldap.Entry, sub map[string]*ldap.Entry) (passdb.Result, error) {
	res := passdb.Result{DefaultScheme: strings.ToUpper(d.file.DefaultPassScheme)}
	l := &lookup{r: *r, entry: entry, sub: sub, warn: func(text string) {
		if !slices.Contains(res.Warnings, text) {
			res.Warnings = append(res.Warnings, text)
		}
	}}
	for _, f := range d.attrs.Fields {
		if f.Fetch || f.Subquery {
			continue
		}
		name, err := l.expand(f.Name, f.Text)
		if err != nil {
			return passdb.Result{}, err
		}
		l.value = ""
		if f.Attr != "" {
			v, ok := l.first(f.Attr, name)
			if !ok {
				continue
			}
			l.value = v
		}
		value := l.value
		if f.Value != nil {
			if value, err = l.expand(f.Value, f.Text); err != nil {
				return passdb.Result{}, err
			}
		}
		l.set(&res, name, value)
	}
	return res, nil
}

// set adds a field. The first password goes to its own place, and a changed user name counts from here on.
func (l *lookup) set(res *passdb.Result, name, value string) {
	switch {
	case name == "":
		return
	case (name == "password" || name == "password_noscheme") && !res.HasPassword:
		res.Password, res.HasPassword, res.NoScheme = passdb.Secret(value), true, name == "password_noscheme"
		return
	case name == "user" && value != "":
		l.r.User = value
	}
	l.fields.Set(name, value)
	res.Fields = append(res.Fields, passdb.Field{Name: name, Value: value})
}
