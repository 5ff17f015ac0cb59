package conf

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Scope is which settings are printed.
type Scope uint8

// The scopes of doveconf.
const (
	ScopeAll     Scope = iota // all but hidden ones (-a)
	ScopeHidden               // all (-s)
	ScopeSet                  // set in the file, even to the default (-N)
	ScopeChanged              // differing from the default (-n)
)

// DumpOptions are the options of doveconf. What it prints in front of the settings, from "# 2.3..." to
// "# Hostname: ...", is the caller's.
type DumpOptions struct {
	Scope       Scope
	ShowSecrets bool     // -P
	NoKeys      bool     // -h: with Names, the values only
	Simple      bool     // -S: one key=value on each line
	Modules     []string // -m: only settings of these
	Names       []string // SETTING...
	// Filter is -f. With it the top level shows what a connection gets, and only blocks that may
	// match it follow.
	Filter Filter
}

// Dump prints the configuration as doveconf does.
func (c *Config) Dump(w io.Writer, o DumpOptions) error {
	d := &dumper{w: bufio.NewWriter(w), o: o}
	if len(o.Modules) > 0 {
		d.only = keysOf(o.Modules)
	}
	if len(o.Names) > 0 && o.Scope == ScopeAll {
		d.o.Scope = ScopeHidden
	}
	if c.version24 != "" {
		d.v24 = true
		d.dump24(c)
		return d.w.Flush()
	}
	root := c.mergedTree(&o.Filter)
	switch {
	case o.Simple:
		d.simple(root, "")
	case len(o.Names) > 0:
		for _, name := range o.Names {
			d.one(root, name)
		}
	default:
		d.section(d.entries(root, "", false), nil)
		d.o.Scope = ScopeSet
		for i := len(c.order) - 1; i >= 0; i-- {
			// The reverse of the order of precedence, but ties in the order of the file.
			j := i
			for j > 0 && c.order[j-1].filter.compare(&c.order[i].filter) == 0 {
				j--
			}
			for _, b := range c.order[j : i+1] {
				if b != c.buckets[0] && b.filter.listedFor(&o.Filter) {
					d.section(d.entries(b.root, "", false), b.filter.titles())
				}
			}
			i = j
		}
	}
	return d.w.Flush()
}

// listedFor tells whether the block may match what c leaves open.
func (f *filter) listedFor(c *Filter) bool {
	g := *f
	if c.LocalName == "" {
		g.hasName = false
	}
	if !c.Local.IsValid() {
		g.local = zeroNet
	}
	if !c.Remote.IsValid() {
		g.remote = zeroNet
	}
	return (c.Protocol == "" || g.matchesService(c.Protocol)) && g.matchesRest(c)
}

// dumper prints settings.
type dumper struct {
	w    *bufio.Writer
	o    DumpOptions
	v24  bool            // the 2.4 dialect
	only map[string]bool // top-level names of the modules asked for; nil: all
}

// entry is a setting or a section on its way out.
type entry struct {
	sort string // path up to here, with = or / at the end
	key  string
	text string
	sub  []entry // of a section; nil for a setting
	name string  // title of the section
	full string  // of a setting of the 2.4 dialect: its full name
}

// secretName is the name that tells whether a setting is a secret.
func (e *entry) secretName() string {
	if e.full != "" {
		return e.full
	}
	return e.key
}

// entries lists what is shown of n, sorted as doveconf sorts. named tells that n is a section of a
// kind whose sections are known by name.
func (d *dumper) entries(n *node, path string, named bool) []entry {
	var out []entry
	if n.kind.listing == stringMap {
		for _, k := range n.keys {
			out = append(out, entry{sort: k + "=", key: k, text: n.strs[k].text})
		}
	}
	for i := range n.kind.rows {
		s := &n.kind.rows[i]
		if s.Name == n.kind.nameKey && n.kind.listing == unique || path == "" && d.only != nil && !d.only[s.Name] {
			continue
		}
		if v, shown := d.shown(n, s, named); shown {
			out = append(out, entry{sort: s.Name + "=", key: s.Name, text: v.text})
		}
	}
	for _, k := range n.kind.kinds {
		if path == "" && d.only != nil && !d.only[k.name] {
			continue
		}
		for i, sub := range n.sections(k.name) {
			id := sub.pathPart(i)
			e := entry{sort: k.name + "/" + sub.sortPart(i) + "/", key: k.name + "/" + id, name: sub.sectionTitle()}
			e.sub = d.entries(sub, path+k.name+"/"+id+"/", k.listing == unique)
			if len(e.sub) > 0 {
				out = append(out, e)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b entry) int { return comparePaths(a.sort, b.sort) })
	return out
}

// comparePaths compares bytewise, with = below everything else and bytes above 127 below the others, as
// they are negative where Dovecot's char is signed.
func comparePaths(a, b string) int {
	for i := 0; i < len(a) && i < len(b); i++ {
		switch {
		case a[i] == b[i]:
			continue
		case a[i] == '=' || b[i] == '=':
			return order(a[i] == '=')
		}
		return order(int8(a[i]) < int8(b[i]))
	}
	return len(a) - len(b)
}

// shown tells whether a setting is printed, and as what.
func (d *dumper) shown(n *node, s *Setting, named bool) (value, bool) {
	v, set := n.vals[s.Name]
	if !set {
		v = n.defaultValue(s)
		switch {
		case s.Unset:
			return v, false
		case s.Own:
			return v, false
		case d.o.Scope == ScopeHidden, d.o.Scope == ScopeAll && !s.Hidden:
			return v, true
		}
		return v, named && s.Always
	}
	return v, named || d.o.Scope != ScopeChanged || s.Unset || v.text != s.Default || s.Other != ""
}

// pathPart is the section's part of a path; i is its place in the list.
func (n *node) pathPart(i int) string {
	switch {
	case n.kind.listing == stringMap:
		return ""
	case n.kind.listing == unique && n.title() != "":
		return escapeName(n.title())
	}
	return fmt.Sprint(i)
}

// sortPart is like pathPart, with numbers that sort by value. Dovecot sorts them as text, which
// changes the order of more than ten passdbs.
func (n *node) sortPart(i int) string {
	if n.kind.listing == unique && n.title() != "" {
		return escapeName(n.title())
	}
	return fmt.Sprintf("%06d", i)
}

// sectionTitle is what stands before the brace.
func (n *node) sectionTitle() string {
	if n.kind.listing != unique || n.title() == "" {
		return n.kind.name
	}
	return n.kind.name + " " + quoteName(n.title())
}

// section prints entries inside blocks with the given titles; without entries nothing.
func (d *dumper) section(entries []entry, titles []string) {
	if len(entries) == 0 {
		return
	}
	for i, t := range titles {
		d.line(i, t+" {")
	}
	for _, e := range entries {
		if e.sub == nil {
			d.line(len(titles), e.key+" = "+d.printed(e.secretName(), e.text))
			continue
		}
		d.nested(e, len(titles))
	}
	for i := len(titles) - 1; i >= 0; i-- {
		d.line(i, "}")
	}
}

func (d *dumper) nested(e entry, indent int) {
	d.line(indent, e.name+" {")
	for _, sub := range e.sub {
		if sub.sub == nil {
			d.line(indent+1, sub.key+" = "+d.printed(sub.secretName(), sub.text))
			continue
		}
		d.nested(sub, indent+1)
	}
	d.line(indent, "}")
}

func (d *dumper) line(indent int, text string) {
	// Errors stay in the writer until Flush.
	_, _ = d.w.WriteString(strings.Repeat("  ", indent) + text + "\n")
}

// printed is a value as it stands behind the =.
func (d *dumper) printed(key, text string) string {
	if !d.o.ShowSecrets {
		if d.v24 && text != "" && strings.HasSuffix(key, "_secret") {
			return hiddenValue
		}
		if hidden, ok := hideSecrets(key, text); ok {
			return hidden
		}
	}
	return quoteValue(text)
}

// simple prints paths and values, as doveconf -S: lists by the names of their sections, which come with
// all their settings.
func (d *dumper) simple(n *node, path string) {
	for i := range n.kind.rows {
		s := &n.kind.rows[i]
		if path == "" && d.only != nil && !d.only[s.Name] {
			continue
		}
		v, set := n.vals[s.Name]
		if !set {
			v = n.defaultValue(s)
		}
		if s.Own && !set {
			continue
		}
		all := d.o.Scope == ScopeHidden || d.o.Scope == ScopeAll && !s.Hidden || d.o.Scope != ScopeChanged && set
		if (!s.Unset || set) && (all || v.text != s.Default || set && s.Other != "") {
			d.simpleLine(path+s.Name, v.text)
		}
	}
	for _, k := range n.kind.kinds {
		subs := n.sections(k.name)
		if len(subs) == 0 || path == "" && d.only != nil && !d.only[k.name] {
			continue
		}
		if k.listing == stringMap {
			d.simpleLine(path+k.name, "")
			for _, key := range subs[0].keys {
				d.simpleLine(path+k.name+"/"+key, subs[0].strs[key].text)
			}
			continue
		}
		ids := make([]string, len(subs))
		for i, sub := range subs {
			ids[i] = sub.pathPart(i)
		}
		d.simpleLine(path+k.name, strings.Join(ids, " "))
		for i, sub := range subs {
			d.simple(sub, path+k.name+"/"+ids[i]+"/")
		}
	}
}

func (d *dumper) simpleLine(path, text string) {
	if d.wanted(path) {
		d.line(0, path+"="+text)
	}
}

func (d *dumper) wanted(path string) bool {
	if len(d.o.Names) == 0 {
		return true
	}
	for _, name := range d.o.Names {
		if path == name || strings.HasPrefix(path, name+"/") {
			return true
		}
	}
	return false
}

// one prints one setting or section by its path.
func (d *dumper) one(root *node, name string) {
	entries := pick(d.entries(root, "", false), name)
	for _, e := range entries {
		switch {
		case e.sub != nil:
			d.nested(e, 0)
		case d.o.NoKeys:
			d.line(0, e.text)
		default:
			d.line(0, name+" = "+e.text)
		}
	}
}

// pick reduces entries to those at a path. A setting comes alone, a section inside its parents.
func pick(entries []entry, path string) []entry {
	var out []entry
	for _, e := range entries {
		key := strings.TrimSuffix(e.key, "/")
		kind, _, _ := strings.Cut(key, "/")
		rest, below := strings.CutPrefix(path, key+"/")
		switch {
		case key == path || e.sub != nil && kind == path:
			out = append(out, e)
		case below && e.sub != nil:
			sub := pick(e.sub, rest)
			if len(sub) == 1 && sub[0].sub == nil {
				return sub
			}
			if len(sub) > 0 {
				e.sub = sub
				out = append(out, e)
			}
		}
	}
	return out
}
