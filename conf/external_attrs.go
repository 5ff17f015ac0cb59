package conf

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// LDAPLetters are the one-letter variables of pass_attrs templates: those of the auth process, and
// %$ for the value of the item's attribute.
func LDAPLetters() Letters {
	l := maps.Clone(AuthLetters)
	l['$'] = "$"
	return l
}

// LDAPField is one item of pass_attrs. Its templates use LDAPLetters, %{ldap:attr:default},
// %{ldap_ptr:attr:default} and %{ldap_dn}.
type LDAPField struct {
	// Name is the field to set, as a template. With Subquery it is a plain name.
	Name *Template
	// Attr is the attribute that must be there for the field to be set; empty: none is needed.
	Attr string
	// Value computes the field. nil: the attribute's value. Text is the template as written.
	Value *Template
	Text  string
	// Subquery: Value is the DN of another entry, whose attributes count as "attr@Name".
	Subquery bool
	// Fetch: the attribute is only asked for, for the templates of other items; no field is set.
	Fetch bool
}

// LDAPAttrs is a parsed pass_attrs or user_attrs.
type LDAPAttrs struct {
	Fields []LDAPField
	// Request lists the attributes of the entry itself to ask for, those in templates too. Empty: all.
	Request []string
	// Subrequest lists the attributes of the entries that subqueries find, by their name.
	Subrequest map[string][]string
	// Warnings are items that Dovecot ignores with an error in the log.
	Warnings []string
}

// ParseLDAPAttrs parses pass_attrs: items "attr", "attr=field", "attr=field=template", "=field",
// "=field=template", "@name=%{ldap:attr}" and "!attr", cut at commas without any quoting. skip is a
// field name whose items are left out: auth_bind leaves out "password".
func ParseLDAPAttrs(list, skip string) (*LDAPAttrs, error) {
	a := &LDAPAttrs{Subrequest: map[string][]string{}}
	letters := LDAPLetters()
	for item := range strings.SplitSeq(list, ",") {
		if item == "" {
			continue
		}
		item = strings.TrimLeft(item, " ")
		if err := a.add(item, skip, letters); err != nil {
			return nil, fmt.Errorf("attrs entry %s: %w", item, err)
		}
	}
	return a, nil
}

func (a *LDAPAttrs) add(item, skip string, letters Letters) error {
	attr, name, renamed := strings.Cut(item, "=")
	switch {
	case !renamed:
		name = attr
	case strings.HasPrefix(item, "@"):
		attr, name = "", item
	}
	var value *Template
	name, text, computed := strings.Cut(name, "=")
	if computed || attr == "" {
		if computed && !strings.Contains(text, "%") {
			text += "%$"
		}
		t, err := ParseTemplate(text, letters)
		if err != nil {
			return err
		}
		value = t
		t.names(a.request)
	}
	switch {
	case name == "":
		a.Warnings = append(a.Warnings, "Invalid attrs entry: "+item)
		return nil
	case name == skip && skip != "":
		return nil
	}
	f := LDAPField{Attr: attr, Value: value, Text: text}
	if strings.HasPrefix(name, "@") {
		name, f.Subquery = name[1:], true
	} else if !renamed && strings.HasPrefix(name, "!") {
		f.Attr, name, f.Fetch = attr[1:], "", true
	}
	t, err := ParseTemplate(name, letters)
	if err != nil {
		return err
	}
	f.Name = t
	t.names(a.request)
	if f.Attr != "" {
		a.request("ldap:" + f.Attr)
	}
	a.Fields = append(a.Fields, f)
	return nil
}

// request notes the attribute that a variable asks for.
func (a *LDAPAttrs) request(variable string) {
	attr, ok := strings.CutPrefix(variable, "ldap:")
	if !ok {
		if attr, ok = strings.CutPrefix(variable, "ldap_ptr:"); !ok {
			return
		}
	}
	list := &a.Request
	name, entry, other := strings.Cut(attr, "@")
	if other {
		sub := a.Subrequest[entry]
		list = &sub
		defer func() { a.Subrequest[entry] = sub }()
	}
	if name != "" && !slices.Contains(*list, name) {
		*list = append(*list, name)
	}
}
