package conf

import (
	"net/netip"
	"strconv"
	"strings"
)

// node is one section: the settings given in it and its sub-sections. The top level of the file and
// of each filter block is a node too.
type node struct {
	kind  *kind
	name  string // as first written; empty when it has none
	id    string // how its parent knows it: the escaped name, or a number
	vals  map[string]value
	lists map[string][]*node
	keys  []string         // of a string map, in order
	strs  map[string]value // of a string map
	// builtin is the built-in section that this one changes; it has the defaults.
	builtin *node
	// inline is what a passdb of the 2.4 dialect says beyond the keys of 2.3.
	inline *Passdb
}

func newNode(k *kind, name, id string) *node {
	n := &node{kind: k, name: name, id: id}
	if k.listing == stringMap {
		n.strs = map[string]value{}
	} else {
		n.vals = map[string]value{}
	}
	return n
}

// child returns the sub-section of a kind with an id.
func (n *node) child(kind, id string) *node {
	for _, c := range n.lists[kind] {
		if strings.EqualFold(c.id, id) {
			return c
		}
	}
	return nil
}

func (n *node) add(c *node) {
	if n.lists == nil {
		n.lists = map[string][]*node{}
	}
	n.lists[c.kind.name] = append(n.lists[c.kind.name], c)
}

// defaultText is what s is without being set.
func (n *node) defaultText(s *Setting) string { return n.defaultValue(s).text }

// defaultValue is what s is without being set.
func (n *node) defaultValue(s *Setting) value {
	if n.builtin != nil {
		if v, ok := n.builtin.vals[s.Name]; ok {
			return v
		}
	}
	v, err := parseValue(s, s.Default)
	if err != nil && s.Default != "" {
		panic("conf: default of " + s.Name + ": " + err.Error())
	}
	v.text = s.Default
	return v
}

// get is the value of a setting, its default when it is not set.
func (n *node) get(key string) value {
	if v, ok := n.vals[key]; ok {
		return v
	}
	return n.defaultValue(n.kind.row[key])
}

// bucket is one filter block. Blocks with the same filter share one, and nested blocks are flat:
// a bucket tests everything that its parents test too.
type bucket struct {
	filter filter
	pos    pos // where it first starts
	root   *node
	// links finds the sections by their path in lower case, as Dovecot ignores case in paths.
	links map[string]*node
	rank  int // position in the order of precedence, the most specific first
	typed []typed
}

// typed is a setting of a block that has a field in Settings.
type typed struct {
	setting *Setting
	value   value
}

// filter is what a block tests. Zero values test nothing.
type filter struct {
	service    string // imap, or !imap
	hasService bool
	localName  string
	hasName    bool
	local      netip.Prefix // host bits are kept: they are printed
	remote     netip.Prefix
}

// key is equal for equal filters.
func (f *filter) key() string {
	var b strings.Builder
	if f.hasService {
		b.WriteString("p" + f.service)
	}
	b.WriteByte(0)
	if f.hasName {
		b.WriteString("n" + strings.ToLower(f.localName))
	}
	b.WriteByte(0)
	for _, p := range []netip.Prefix{f.local, f.remote} {
		if p.IsValid() {
			b.WriteString(p.Addr().String() + "/" + strconv.Itoa(p.Bits()))
		}
		b.WriteByte(0)
	}
	return b.String()
}

// byAddress tells whether the filter tests the connection and not only the protocol.
func (f *filter) byAddress() bool { return f.hasName || f.local.Bits() > 0 || f.remote.Bits() > 0 }

// compare is negative when f is more specific than g, 0 when neither is.
func (f *filter) compare(g *filter) int {
	switch {
	case f.hasName != g.hasName:
		return order(f.hasName)
	case max(f.local.Bits(), 0) != max(g.local.Bits(), 0):
		return order(f.local.Bits() > g.local.Bits())
	case max(f.remote.Bits(), 0) != max(g.remote.Bits(), 0):
		return order(f.remote.Bits() > g.remote.Bits())
	case f.hasService != g.hasService:
		return order(f.hasService)
	}
	return 0
}

func order(first bool) int {
	if first {
		return -1
	}
	return 1
}

// matches tells whether a connection passes the filter.
func (f *filter) matches(c *Filter) bool {
	return f.matchesService(c.Protocol) && f.matchesRest(c)
}

func (f *filter) matchesService(protocol string) bool {
	switch {
	case !f.hasService:
		return true
	case protocol == "":
		return false
	case strings.HasPrefix(f.service, "!"):
		return f.service[1:] != protocol
	}
	return f.service == protocol
}

func (f *filter) matchesRest(c *Filter) bool {
	if f.hasName && (c.LocalName == "" || !matchNames(f.localName, c.LocalName)) {
		return false
	}
	return inNet(f.remote, c.Remote) && inNet(f.local, c.Local)
}

func inNet(p netip.Prefix, a netip.Addr) bool {
	if p.Bits() <= 0 {
		return true
	}
	return a.IsValid() && p.Contains(a.Unmap())
}

// matchNames tells whether name is one of patterns, which are separated by single blanks.
func matchNames(patterns, name string) bool {
	for more := true; more; {
		var p string
		p, patterns, more = strings.Cut(patterns, " ")
		if matchName(p, name) {
			return true
		}
	}
	return false
}

// matchName compares a host name with a pattern, ignoring case: * stands for one label, ? for one
// character.
func matchName(pattern, name string) bool {
	for pattern != "" {
		c := pattern[0]
		pattern = pattern[1:]
		if c == '*' {
			if name == "" && pattern == "" {
				return true
			}
			// The star takes everything up to the next dot, which must be there.
			if !strings.HasPrefix(pattern, ".") {
				return false
			}
			dot := strings.IndexByte(name, '.')
			if dot < 0 {
				return false
			}
			name = name[dot:]
			continue
		}
		if name == "" {
			return false
		}
		if c != '?' && lower(c) != lower(name[0]) {
			return false
		}
		name = name[1:]
	}
	return name == ""
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// escapeName makes a section's name a part of a path.
func escapeName(name string) string {
	if !strings.ContainsAny(name, `=/\ ,`) {
		return name
	}
	return nameEscaper.Replace(name)
}

var nameEscaper = strings.NewReplacer("=", `\e`, "/", `\s`, `\`, `\\`, " ", `\_`, ",", `\+`)
