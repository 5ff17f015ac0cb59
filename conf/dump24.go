package conf

import (
	"maps"
	"slices"
	"strings"
)

// dump24 prints a configuration of the 2.4 dialect as doveconf 2.4 does: what is set, with the prefix
// that a section stands for left out.
func (d *dumper) dump24(c *Config) {
	if len(d.o.Names) > 0 {
		for _, name := range d.o.Names {
			d.one24(c, name)
		}
		return
	}
	if !d.o.Simple {
		d.line(0, "dovecot_config_version = "+c.version24)
	}
	for i := len(c.order) - 1; i >= 0; i-- {
		b := c.order[i]
		s := c.scopes[b]
		if s == nil || b != c.buckets[0] && !b.filter.listedFor(&d.o.Filter) {
			continue
		}
		entries := d.entries24(s, b == c.buckets[0])
		if d.o.Simple {
			for _, e := range entries {
				d.simpleEntry(e, "")
			}
			continue
		}
		d.section(entries, b.filter.titles())
	}
}

func (d *dumper) simpleEntry(e entry, path string) {
	if e.sub == nil {
		d.simpleLine(path+e.key, e.text)
		return
	}
	for _, sub := range e.sub {
		d.simpleEntry(sub, path+e.key+"/")
	}
}

// one24 prints one setting by its full name, or a section by its keyword.
func (d *dumper) one24(c *Config, name string) {
	s := c.scopes[c.buckets[0]]
	n := names24()[name]
	text, ok := "", false
	switch {
	case name == "dovecot_config_version":
		text, ok = c.version24, true
	case n.kind == flags24:
		var inherited []string
		if n.row != nil {
			inherited, _ = splitFlags(n.row.default24())
		}
		text, ok = strings.Join(s.flagsText(name, inherited), " "), true
	case n.kind == scalar24 || n.kind == file24:
		var v value24
		if v, ok = s.vals[name]; ok {
			text = v.printed(n)
		} else if n.row != nil {
			text, ok = n.row.default24(), true
		}
	}
	switch {
	case ok && d.o.NoKeys:
		d.line(0, text)
	case ok:
		d.line(0, name+" = "+text)
	default:
		for _, e := range d.entries24(s, true) {
			if e.sub != nil && (e.name == name || strings.HasPrefix(e.name, name+" ")) {
				d.nested(e, 0)
			}
		}
	}
}

// entries24 lists what a scope sets. top tells that it is the global one.
func (d *dumper) entries24(s *scope24, top bool) []entry {
	var flat []entry
	for key, v := range s.vals {
		n := names24()[key]
		text := v.printed(n)
		if top && d.o.Scope == ScopeChanged && n.row != nil && text == n.row.default24() {
			continue
		}
		flat = append(flat, entry{key: key, full: key, text: text})
	}
	for key, l := range s.flags {
		if l.stop {
			flat = append(flat, entry{key: key, text: strings.Join(s.flagsText(key, nil), " ")})
			continue
		}
		flat = append(flat, listEntries(key, l))
	}
	for key, l := range s.strs {
		if len(l.keys) == 0 {
			flat = append(flat, entry{key: key})
			continue
		}
		flat = append(flat, listEntries(key, l))
	}
	if top && (d.o.Scope == ScopeAll || d.o.Scope == ScopeHidden) {
		flat = append(flat, d.defaults24(s)...)
	}
	out := group24(s, flat)
	for _, sub := range s.subs {
		title := sub.kind
		for _, p := range s.prefixes() {
			if short, ok := strings.CutPrefix(title, p); ok {
				title = short
				break
			}
		}
		if sub.list {
			title += " " + quote24(sub.name)
		}
		if e := (entry{name: title, sort: title + "/", sub: d.entries24(sub, false)}); len(e.sub) > 0 || sub.list {
			if e.sub == nil {
				e.sub = []entry{}
			}
			out = append(out, e)
		}
	}
	for _, in := range s.includes {
		out = append(out, entry{key: "@" + in.label, text: in.name, sort: "@" + in.label + "="})
	}
	slices.SortStableFunc(out, func(a, b entry) int { return comparePaths(a.sort, b.sort) })
	return out
}

func listEntries(key string, l *list24) entry {
	e := entry{key: key, name: key, sub: []entry{}}
	for _, k := range l.keys {
		e.sub = append(e.sub, entry{key: quote24(k), text: l.vals[k].text})
	}
	slices.SortStableFunc(e.sub, func(a, b entry) int { return strings.Compare(a.key, b.key) })
	return e
}

// defaults24 lists the settings of the table that s does not set.
func (d *dumper) defaults24(s *scope24) []entry {
	var out []entry
	for _, key := range slices.Sorted(maps.Keys(names24())) {
		n := names24()[key]
		_, set := s.vals[key]
		if n.row == nil || set || s.flags[key] != nil || s.strs[key] != nil || n.row.Unset || n.row.Own || n.kind == strings24 ||
			n.row.Hidden && d.o.Scope == ScopeAll {
			continue
		}
		out = append(out, entry{key: key, text: n.row.default24()})
	}
	return out
}

// group24 puts settings whose names start with that of a section into it, and takes the prefix of s
// off.
func group24(s *scope24, flat []entry) []entry {
	groups := map[string]*entry{}
	var out []entry
	for _, e := range flat {
		short := e.key
		for _, p := range s.prefixes() {
			if rest, ok := strings.CutPrefix(short, p); ok {
				short = rest
				break
			}
		}
		e.sort = short + "="
		name := ""
		for key := e.key; short == e.key; {
			cut := strings.LastIndexByte(key, '_')
			if cut < 0 {
				break
			}
			if key = key[:cut]; names24()[key].kind == filter24 && names24()[key] != (name24{}) && key != s.kind {
				name = key
				break
			}
		}
		e.key = short
		if e.sub != nil {
			e.name, e.sort = short, short+"/"
		}
		if name == "" {
			out = append(out, e)
			continue
		}
		if groups[name] == nil {
			groups[name] = &entry{key: name, name: name, sort: name + "/"}
		}
		e.key = strings.TrimPrefix(e.key, name+"_")
		if e.sub != nil {
			e.name = e.key
		}
		groups[name].sub = append(groups[name].sub, e)
	}
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		g := groups[name]
		slices.SortStableFunc(g.sub, func(a, b entry) int { return comparePaths(a.key+"=", b.key+"=") })
		out = append(out, *g)
	}
	return out
}

// printed is a value as doveconf prints it.
func (v *value24) printed(n name24) string {
	if n.kind != scalar24 || v.raw || n.typ == Enum || unlimited(n.typ, v.text) {
		return v.text
	}
	p, err := parseValue(&Setting{Type: n.typ}, v.text)
	if err != nil {
		return v.text
	}
	return p.text
}

// quote24 quotes a name that would not be one word.
func quote24(s string) string {
	if s == "" || strings.ContainsAny(s, " \t\"'\\#={}") {
		return `"` + strings.NewReplacer(`"`, `\"`, `\`, `\\`).Replace(s) + `"`
	}
	return s
}
