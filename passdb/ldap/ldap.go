// Package ldap is the passdb that asks LDAP servers: it compares the password in an entry, or binds as the user.
// It imports passdb, conf and tlsconf; cmd/dproxy wires it.
//
// It speaks LDAP version 3 (RFC 4511) and follows no referrals.
package ldap

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"dproxy/conf"
	"dproxy/passdb"
)

// driver looks users up. binder adds the check of a password by a bind.
type driver struct {
	file           *conf.LDAPFile
	attrs          *conf.LDAPAttrs
	base, filter   template
	userDN         template // of auth_bind_userdn
	scope, deref   int
	searches       *pool
	binds          *pool // nil without auth_bind
	configWarnings []string
}

type binder struct{ *driver }

// New opens an ldap passdb of p.LDAP, or of the dovecot-ldap.conf.ext that p.Args name. No connection is made before the first question.
func New(p conf.Passdb) (passdb.Driver, error) {
	d, err := openInline(p)
	if err != nil {
		return nil, passdb.ConfigError(p, err.Error())
	}
	if d.binds != nil {
		return binder{d}, nil
	}
	return d, nil
}

func openInline(p conf.Passdb) (*driver, error) {
	if p.LDAP != nil {
		return openFile(p.LDAP)
	}
	return open(p.Args)
}

func open(path string) (*driver, error) {
	f, err := conf.LoadLDAPFile(path)
	if err != nil {
		return nil, err
	}
	return openFile(f)
}

// openFile opens what a dovecot-ldap.conf.ext says.
func openFile(f *conf.LDAPFile) (*driver, error) {
	fail := func(err error) (*driver, error) { return nil, fmt.Errorf("LDAP %s: %w", f.Path, err) }
	var err error
	if f.Version != 3 {
		return fail(fmt.Errorf("ldap_version=%d is not supported; only 3 is", f.Version))
	}
	d := &driver{
		file:  f,
		scope: map[string]int{"base": ldap.ScopeBaseObject, "onelevel": ldap.ScopeSingleLevel, "subtree": ldap.ScopeWholeSubtree}[f.Scope],
		deref: map[string]int{"never": ldap.NeverDerefAliases, "searching": ldap.DerefInSearching, "finding": ldap.DerefFindingBaseObj, "always": ldap.DerefAlways}[f.Deref],
	}
	skip := ""
	if f.AuthBind {
		skip = "password"
	}
	if d.attrs, err = conf.ParseLDAPAttrs(f.PassAttrs, skip); err != nil {
		return fail(fmt.Errorf("pass_attrs: %w", err))
	}
	for _, t := range []struct {
		to   *template
		text string
	}{{&d.base, f.Base}, {&d.filter, parenthesised(f.PassFilter)}, {&d.userDN, f.AuthBindUserDN}} {
		if *t.to, err = parse(t.text); err != nil {
			return fail(fmt.Errorf("%s: %w", t.text, err))
		}
	}
	dial, err := newDialer(f)
	if err != nil {
		return fail(err)
	}
	d.searches = newPool(dial, true)
	if f.AuthBind {
		d.binds = newPool(dial, false)
	}
	d.configWarnings = append(append(f.Warnings, d.attrs.Warnings...), dial.warnings...)
	return d, nil
}

// parenthesised completes a filter without outer parentheses, which libldap accepts.
func parenthesised(filter string) string {
	filter = strings.TrimSpace(filter)
	if filter != "" && filter[0] != '(' {
		return "(" + filter + ")"
	}
	return filter
}

// CacheVars implements passdb.Cacheable: the variables of all templates, also of auth_bind_userdn, which Dovecot
// leaves out.
func (d *driver) CacheVars() []string {
	var out []string
	seen := map[string]bool{}
	add := func(names []string) {
		for _, n := range names {
			prefix, _, _ := strings.Cut(n, ":")
			if n == "$" || n == "ldap_dn" || prefix == "ldap" || prefix == "ldap_ptr" || seen[n] {
				continue // the answer itself
			}
			seen[n] = true
			out = append(out, n)
		}
	}
	add(d.base.Names())
	add(d.filter.Names())
	add(d.userDN.Names())
	for _, f := range d.attrs.Fields {
		add(f.Name.Names())
		if f.Value != nil {
			add(f.Value.Names())
		}
	}
	return out
}

// SetReport implements passdb.Reporter.
func (d *driver) SetReport(report func(text string)) {
	prefixed := func(text string) { report("ldap(" + d.file.Path + "): " + text) }
	for _, w := range d.configWarnings {
		prefixed(w)
	}
	d.searches.setReport(prefixed)
	if d.binds != nil {
		d.binds.setReport(prefixed)
	}
}

// Close implements passdb.Closer. Questions that are running end with an error.
func (d *driver) Close() error {
	d.searches.close()
	if d.binds != nil {
		d.binds.close()
	}
	return nil
}

// Lookup searches for the user's entry with pass_filter, whatever auth_bind says.
func (d *driver) Lookup(ctx context.Context, r *passdb.Request) (passdb.Result, error) {
	res, _, err := d.search(ctx, r)
	return res, err
}

// search finds the entry and its DN.
func (d *driver) search(ctx context.Context, r *passdb.Request) (passdb.Result, string, error) {
	base, err := d.base.expand(r.Var)
	if err != nil {
		return passdb.Result{}, "", fmt.Errorf("Failed to expand base=%s: %w", d.base.text, err)
	}
	filter, err := d.filter.expand(r.Var)
	if err != nil {
		return passdb.Result{}, "", fmt.Errorf("Failed to expand pass_filter=%s: %w", d.filter.text, err)
	}
	if _, err := ldap.CompileFilter(filter); err != nil {
		return passdb.Result{}, "", fmt.Errorf("ldap_search(%s) parsing failed: Bad search filter", filter)
	}
	q := query{base: base, filter: filter, scope: d.scope, deref: d.deref, attrs: d.attrs.Request}
	if r.Trace != nil {
		base, _ := d.base.expand(r.Masked) // they have just been expanded
		filter, _ := d.filter.expand(r.Masked)
		r.Trace("search: base " + base + ", filter " + filter)
	}
	var entries []*ldap.Entry
	sub := map[string]*ldap.Entry{}
	err = d.searches.do(ctx, func(c *ldap.Conn) error {
		clear(sub)
		if entries, err = q.run(c); err != nil || len(entries) != 1 {
			return err
		}
		return d.follow(c, r, entries[0], sub)
	})
	switch {
	case ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject) && d.base.constant():
		// Dovecot takes it for an unknown user; but no user will ever be found.
		return passdb.Result{}, "", fmt.Errorf("base %q not found; check base in %s", base, d.file.Path)
	case ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject), err == nil && len(entries) == 0:
		return passdb.Result{Status: passdb.Unknown}, "", nil
	case err != nil:
		return passdb.Result{}, "", searchError(q, err)
	case len(entries) > 1:
		return passdb.Result{}, "", errors.New("LDAP search returned multiple entries")
	}
	res, err := d.answer(r, entries[0], sub)
	return res, entries[0].DN, err
}

// Verify implements passdb.Verifier: the password is right when the server accepts a bind with it.
func (b binder) Verify(ctx context.Context, r *passdb.Request, password passdb.Secret) (passdb.Result, error) {
	if password == "" { // an unauthenticated bind (RFC 4513 section 5.1.2) succeeds for anybody
		return passdb.Result{Status: passdb.Mismatch, Detail: "Login attempt with empty password"}, nil
	}
	var res passdb.Result
	var dn string
	var err error
	if b.file.AuthBindUserDN != "" {
		if dn, err = b.userDN.expand(r.Var); err != nil {
			return passdb.Result{}, fmt.Errorf("Failed to expand auth_bind_userdn=%s: %w", b.userDN.text, err)
		}
	} else if res, dn, err = b.search(ctx, r); err != nil || res.Status != passdb.OK {
		return res, err
	}
	if dn == "" { // an anonymous bind
		return passdb.Result{}, errors.New("the DN to bind as is empty")
	}
	err = b.binds.do(ctx, func(c *ldap.Conn) error { return c.Bind(dn, string(password)) })
	switch {
	case err == nil:
		return res, nil
	case ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials):
		return passdb.Result{Status: passdb.Mismatch, Detail: "Password mismatch (for LDAP bind)"}, nil
	case ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject):
		return passdb.Result{Status: passdb.Unknown}, nil
	}
	return passdb.Result{}, serverError("ldap_bind() failed", err)
}
