package conf

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"sync"
)

// merged answers which blocks match a connection and what settings they make together.
type merged struct {
	base  Settings // the defaults
	table []*Setting

	plain    []*bucket            // test no name and no address
	names    map[string][]*bucket // by exact local_name, in lower case
	tails    map[string][]*bucket // by what follows "*" in a local_name of the form *.example.org
	patterns []*bucket            // other local_names with wildcards
	locals   nets                 // test local and no name
	remotes  nets                 // test remote and neither

	mu   sync.RWMutex
	seen map[string]*Settings // by the ranks of the blocks
}

// nets finds the buckets whose network holds an address.
type nets struct {
	bits []int // lengths in use
	by   map[netip.Prefix][]*bucket
}

func (n *nets) add(p netip.Prefix, b *bucket) {
	if n.by == nil {
		n.by = map[netip.Prefix][]*bucket{}
	}
	p = p.Masked()
	n.by[p] = append(n.by[p], b)
	if !slices.Contains(n.bits, p.Bits()) {
		n.bits = append(n.bits, p.Bits())
	}
}

// build fills the indexes.
func (m *merged) build(c *Config) {
	m.seen = map[string]*Settings{}
	root := schema()
	global := c.buckets[0].root
	for i := range root.rows {
		if s := &root.rows[i]; s.field != nil {
			m.table = append(m.table, s)
			v := newNode(root, "", "").defaultValue(s)
			if c.version24 != "" && s.Default24 != "" && s.Name24 == "" && !strings.Contains(s.Default24, "%{") {
				if d, err := parseValue(s, s.Default24); err == nil {
					v = d
				}
			}
			s.store(&m.base, v)
		}
	}
	m.names, m.tails = map[string][]*bucket{}, map[string][]*bucket{}
	for _, b := range c.buckets {
		if b.root != global && len(b.root.vals) == 0 && len(b.root.lists) == 0 {
			continue
		}
		for _, s := range m.table {
			if v, ok := b.root.vals[s.Name]; ok {
				b.typed = append(b.typed, typed{s, v})
			}
		}
		m.index(b)
	}
}

func (m *merged) index(b *bucket) {
	f := &b.filter
	switch {
	case f.hasName:
		m.indexName(b)
	case f.local.Bits() > 0:
		m.locals.add(f.local, b)
	case f.remote.Bits() > 0:
		m.remotes.add(f.remote, b)
	default:
		m.plain = append(m.plain, b)
	}
}

// indexName files b under each of its names.
func (m *merged) indexName(b *bucket) {
	for _, name := range strings.Split(strings.ToLower(b.filter.localName), " ") {
		tail, star := strings.CutPrefix(name, "*")
		switch {
		case !strings.ContainsAny(name, "*?"):
			m.names[name] = append(m.names[name], b)
		case star && strings.HasPrefix(tail, ".") && !strings.ContainsAny(tail, "*?"):
			m.tails[tail] = append(m.tails[tail], b)
		default:
			m.patterns = append(m.patterns, b)
		}
	}
}

// match appends the blocks that match f to out, the most specific first. It does not allocate while
// out has room.
func (m *merged) match(f *Filter, out []*bucket) []*bucket {
	try := func(candidates []*bucket) {
		for _, b := range candidates {
			if b.filter.matches(f) {
				out = append(out, b)
			}
		}
	}
	try(m.plain)
	m.locals.match(f.Local, try)
	m.remotes.match(f.Remote, try)
	if f.LocalName != "" {
		var buf [256]byte
		name := buf[:0]
		for i := 0; i < len(f.LocalName) && i < len(buf); i++ {
			name = append(name, lower(f.LocalName[i]))
		}
		try(m.names[string(name)])
		if dot := bytes.IndexByte(name, '.'); dot >= 0 {
			try(m.tails[string(name[dot:])])
		}
		try(m.patterns)
	}
	// Few match, so this is quicker than sorting by a function value.
	for i := 1; i < len(out); i++ {
		for j := i; j > 0 && out[j].rank < out[j-1].rank; j-- {
			out[j], out[j-1] = out[j-1], out[j]
		}
	}
	return slices.Compact(out)
}

func (n *nets) match(a netip.Addr, try func([]*bucket)) {
	if !a.IsValid() {
		return
	}
	a = a.Unmap()
	for _, bits := range n.bits {
		if p, err := a.Prefix(bits); err == nil {
			try(n.by[p])
		}
	}
}

// Settings merges the blocks that match f. Equal sets of blocks give the same pointer; a call
// that has seen its set of blocks before does not allocate.
func (c *Config) Settings(f Filter) *Settings {
	m := &c.merged
	var matchBuf [32]*bucket
	var keyBuf [4 * len(matchBuf)]byte
	blocks := m.match(&f, matchBuf[:0])
	key := keyBuf[:0]
	for _, b := range blocks {
		if len(b.typed) > 0 {
			key = binary.BigEndian.AppendUint32(key, uint32(b.rank))
		}
	}
	m.mu.RLock()
	set := m.seen[string(key)]
	m.mu.RUnlock()
	if set != nil {
		return set
	}
	return m.make(blocks, string(key))
}

func (m *merged) make(blocks []*bucket, key string) *Settings {
	set := m.base
	for i := len(blocks) - 1; i >= 0; i-- {
		for _, t := range blocks[i].typed {
			t.setting.store(&set, t.value)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if have := m.seen[key]; have != nil {
		return have
	}
	m.seen[key] = &set
	return &set
}

// Blocks names the filter blocks that match f, most specific first ("local_name mail.example.org").
func (c *Config) Blocks(f Filter) []string {
	var names []string
	for _, b := range c.merged.match(&f, nil) {
		if b != c.buckets[0] {
			names = append(names, b.filter.String())
		}
	}
	return names
}

// String names the block as it would be written, the parts of nested ones separated by " / ".
func (f *filter) String() string {
	return strings.Join(f.titles(), " / ")
}

// titles are the titles of the nested blocks that make up f, the outermost first.
func (f *filter) titles() []string {
	var t []string
	if f.local.Bits() > 0 {
		t = append(t, "local "+netTitle(f.local))
	}
	if f.hasName {
		t = append(t, "local_name "+quoteName(f.localName))
	}
	if f.remote.Bits() > 0 {
		t = append(t, "remote "+netTitle(f.remote))
	}
	if f.hasService {
		t = append(t, "protocol "+f.service)
	}
	return t
}

func netTitle(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// quoteName quotes a section's name when it would not be one word.
func quoteName(name string) string {
	if strings.Contains(name, " ") {
		return `"` + escapeQuoted(name) + `"`
	}
	return name
}
