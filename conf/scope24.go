package conf

import (
	"slices"
	"strings"
)

// scope24 holds what a 2.4 configuration sets in one place: the top level, a filter block, a section
// or a group.
type scope24 struct {
	parent *scope24
	kind   string // the keyword of a section: service, passdb, ssl_server; @label of a group
	name   string // of a section that has one
	list   bool   // the section has a name
	pos    pos

	vals     map[string]value24
	flags    map[string]*list24 // boolean lists
	strs     map[string]*list24 // string lists
	subs     []*scope24
	includes []include24
	required bool // the setting that the section must have was seen
}

// value24 is one setting as given.
type value24 struct {
	text string
	pos  pos
	raw  bool // $references are not resolved
	file bool // from <file, or the content of a file
}

// list24 is a boolean or string list as given in one place.
type list24 struct {
	stop bool // nothing is inherited
	keys []string
	vals map[string]value24
	pos  pos
}

// include24 is @label = name.
type include24 struct {
	label, name string
	pos         pos
}

func newScope24(parent *scope24, kind, name string, at pos) *scope24 {
	return &scope24{
		parent: parent, kind: kind, name: name, pos: at,
		vals: map[string]value24{}, flags: map[string]*list24{}, strs: map[string]*list24{},
	}
}

func (s *scope24) sub(kind, name string) *scope24 {
	for _, sub := range s.subs {
		if sub.kind == kind && sub.name == name {
			return sub
		}
	}
	return nil
}

// prefixes are what a key inside s may need in front of it, the most exact first.
func (s *scope24) prefixes() []string {
	kind := strings.TrimPrefix(s.kind, "@")
	switch {
	case s.kind == "":
		return nil
	case s.list:
		return []string{kind + "_" + strings.ReplaceAll(s.name, "/", "_") + "_", kind + "_"}
	}
	return []string{kind + "_"}
}

// resolve finds the full name of a key inside s and the scope that it is set in.
func (s *scope24) resolve(key string) (full string, in *scope24, n name24, ok bool) {
	in = s
	if s.kind != "" && !s.list {
		in = s.parent
		if strings.HasPrefix(key, s.kind+"_") {
			if n, ok := lookup24(key); ok && n.kind != filter24 {
				return key, in, n, true
			}
		}
	}
	for _, p := range s.prefixes() {
		if n, ok := names24()[p+key]; ok && n.kind != filter24 {
			return p + key, in, n, true
		}
	}
	n, ok = lookup24(key)
	return key, s, n, ok
}

// setFlag sets one entry of a list.
func (l *list24) set(key string, v value24) {
	if l.vals == nil {
		l.vals = map[string]value24{}
	}
	if _, have := l.vals[key]; !have {
		l.keys = append(l.keys, key)
	}
	l.vals[key] = v
}

// merge adds what dst does not have.
func (l *list24) merge(from *list24) {
	if l.stop {
		return
	}
	for _, k := range from.keys {
		if _, have := l.vals[k]; !have {
			l.set(k, from.vals[k])
		}
	}
	l.stop = from.stop
}

// take adds the contents of a group where s has nothing of its own.
func (s *scope24) take(from *scope24) {
	for k, v := range from.vals {
		if _, have := s.vals[k]; !have {
			s.vals[k] = v
		}
	}
	for _, lists := range []struct{ to, from map[string]*list24 }{{s.flags, from.flags}, {s.strs, from.strs}} {
		for k, l := range lists.from {
			if lists.to[k] == nil {
				lists.to[k] = &list24{pos: l.pos}
			}
			lists.to[k].merge(l)
		}
	}
	for _, sub := range from.subs {
		own := s.sub(sub.kind, sub.name)
		if own == nil {
			own = newScope24(s, sub.kind, sub.name, sub.pos)
			own.list = sub.list
			s.subs = append(s.subs, own)
		}
		own.take(sub)
	}
}

// flagsText is the text of a boolean list in s: what is set there and, unless it starts anew, what
// is inherited.
func (s *scope24) flagsText(key string, inherited []string) []string {
	l := s.flags[key]
	if l == nil {
		return inherited
	}
	var words []string
	if !l.stop {
		words = slices.Clone(inherited)
	}
	for _, k := range l.keys {
		words = slices.DeleteFunc(words, func(w string) bool { return w == k })
		if on, _, err := parseBool(l.vals[k].text); err == nil && on != 0 {
			words = append(words, k)
		}
	}
	return words
}

// find looks up a setting in s and the scopes around it.
func (s *scope24) find(key string) (value24, bool) {
	for ; s != nil; s = s.parent {
		if v, ok := s.vals[key]; ok {
			return v, true
		}
	}
	return value24{}, false
}
