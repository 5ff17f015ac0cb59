package conf

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// parser reads one configuration.
type parser struct {
	conf   *Config
	opt    Options
	in     *input
	fileID map[string]int32
	read   int // bytes so far

	byFilter map[string]*bucket
	stack    []*frame
	pending  []byte         // text of lines that end in a backslash
	seen     map[string]pos // paths set inside blocks, for the warning about their order
	unnamed  int            // sections without a name so far
	old      oldForms
	builtin  *node     // the built-in services; nil while they are being read themselves
	begun    bool      // a logical line was read
	v24      *parser24 // the 2.4 dialect, when the file is written in it
	where    *pos      // where the setting stands that is being converted
}

// frame is one open section, or the top level.
type frame struct {
	bucket  *bucket
	key     string // the keyword
	path    string // of the section within its bucket, ending in a slash; empty at the top
	filters bool   // opened by a filter block
	skip    bool   // unknown and passed over
	pos     pos
}

func newParser(c *Config, o Options) *parser {
	p := &parser{
		conf: c, opt: o, fileID: map[string]int32{},
		byFilter: map[string]*bucket{}, seen: map[string]pos{},
	}
	root := p.bucket(filter{})
	p.stack = []*frame{{bucket: root}}
	return p
}

// bucket finds or makes the bucket of a filter.
func (p *parser) bucket(f filter) *bucket {
	key := f.key()
	if b := p.byFilter[key]; b != nil {
		return b
	}
	b := &bucket{filter: f, pos: p.pos(), root: newNode(schema(), "", ""), links: map[string]*node{}}
	p.byFilter[key] = b
	p.conf.buckets = append(p.conf.buckets, b)
	return b
}

func (p *parser) top() *frame { return p.stack[len(p.stack)-1] }

func (p *parser) pos() pos {
	if p.where != nil {
		return *p.where
	}
	if p.in == nil {
		return pos{file: -1}
	}
	return pos{p.in.file, p.in.line}
}

func (p *parser) warnf(format string, args ...any) {
	n := len(p.conf.warnings)
	if n > maxWarnings {
		return
	}
	text := fmt.Sprintf(format, args...)
	if n == maxWarnings {
		text = "More warnings are left out"
	}
	p.conf.warnings = append(p.conf.warnings, text)
	if p.opt.Warn != nil {
		p.opt.Warn(text)
	}
}

const maxWarnings = 1000

// run reads all lines of the current input and of what it includes. An error is about the line that
// p.pos tells.
func (p *parser) run() error {
	for p.in != nil {
		text, err := p.readLine()
		if errors.Is(err, io.EOF) {
			p.pop()
			continue
		}
		if err == nil {
			err = p.line(text)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// line handles one physical line.
func (p *parser) line(text string) error {
	if p.read <= 3+len(text)+1 && p.in.line == 1 && p.in.prev == nil && strings.HasPrefix(text, bom) {
		p.warnf("Configuration file %s line 1: Ignoring a byte order mark at the start of the file", p.in.path)
		text = text[len(bom):]
	}
	text, more, ambiguous := physicalLine(text)
	if ambiguous {
		p.warnf("Configuration file %s line %d: Ambiguous '#' character in line, treating it as comment. "+
			"Add a space before it to remove this warning.", p.in.path, p.in.line)
	}
	if more {
		if len(p.pending)+len(text) > maxLine {
			return tooLarge("Line is", maxLine)
		}
		if text != "" {
			p.pending = append(append(p.pending, text...), ' ')
		}
		return nil
	}
	if text == "" {
		p.pending = p.pending[:0]
		return nil
	}
	if len(p.pending) > 0 {
		text = string(p.pending) + text
		p.pending = p.pending[:0]
	}
	if p.v24 != nil {
		return p.v24.logical(text)
	}
	if !p.begun {
		p.begun = true
		if ok, err := p.start24(text); ok {
			return err
		}
	}
	l := splitLine(text)
	if p.top().skip && p.skip(l) {
		return nil
	}
	handled, err := p.oldForm(l)
	if handled || err != nil {
		return err
	}
	return p.apply(l)
}

// skip passes over a line in an unknown section.
func (p *parser) skip(l line) bool {
	switch l.kind {
	case lineBegin:
		p.stack = append(p.stack, &frame{bucket: p.top().bucket, skip: true, pos: p.pos()})
		return len(p.stack) < maxNesting
	case lineEnd, lineInclude, lineIncludeTry:
		return false
	}
	return true
}

const bom = "\ufeff"

// apply acts on one logical line.
func (p *parser) apply(l line) error {
	switch l.kind {
	case lineBad:
		return errors.New(l.value)
	case lineValue, lineFile, lineReference:
		f := p.top()
		path := f.path + l.key
		p.checkOrder(path, l.key)
		if l.key == "" && f.path == "" {
			return errors.New("Missing key name ('=' at the beginning of line)")
		}
		v, raw, err := p.resolve(l)
		if err != nil {
			return err
		}
		return p.assign(f, assignment{path: path, key: l.key, text: v, raw: raw})
	case lineBegin:
		return p.begin(l.key, l.value)
	case lineEnd:
		if len(p.stack) == 1 {
			return errors.New("Unexpected '}'")
		}
		p.stack = p.stack[:len(p.stack)-1]
	case lineInclude, lineIncludeTry:
		return p.include(l.value, l.kind == lineIncludeTry)
	}
	return nil
}

// checkOrder warns when a global setting comes after a block that set the same.
func (p *parser) checkOrder(path, key string) {
	first, seen := p.seen[path]
	if len(p.stack) > 1 {
		if !seen && len(p.seen) < maxSeen {
			p.seen[path] = p.pos()
		}
		return
	}
	if seen {
		at := p.conf.position(first)
		where := fmt.Sprintf("%s line %d", at.File, at.Line)
		p.warnf("%s line %d: Global setting %s won't change the setting inside an earlier filter at %s "+
			"(if this is intentional, avoid this warning by moving the global setting before %s)",
			p.in.path, p.in.line, key, where, where)
	}
}

const maxSeen = 100_000

// begin opens a section.
func (p *parser) begin(key, name string) error {
	if len(p.stack) >= maxNesting {
		return fmt.Errorf("More than %d sections inside each other", maxNesting)
	}
	parent := p.top()
	f := &frame{bucket: parent.bucket, key: key, path: parent.path, pos: p.pos()}
	p.stack = append(p.stack, f)
	isFilter, err := p.beginFilter(f, parent.bucket.filter, name)
	if isFilter || err != nil {
		return err
	}
	id := escapeName(name)
	if name == "" {
		id = strconv.Itoa(p.unnamed)
		p.unnamed++
	}
	a := assignment{path: f.path + key, key: key, text: id, section: true, name: name}
	if err := p.assign(f, a); err != nil {
		return err
	}
	f.path += key + "/" + id + "/"
	return nil
}

// unknown is the error of a setting that nobody knows.
func (p *parser) unknown(a assignment) error {
	var b strings.Builder
	b.WriteString("Unknown setting: ")
	for _, f := range p.stack[1:] {
		if !f.filters && f.key != "" {
			b.WriteString(f.key + " { ")
		}
	}
	b.WriteString(a.key)
	if p.opt.Lenient {
		p.warnf("%s line %d: %s", p.in.path, p.in.line, b.String())
		p.top().skip = a.section
		return nil
	}
	return errors.New(b.String())
}

// assignment is key = text at a path, or the start of a section.
type assignment struct {
	path string // within the bucket
	key  string // as written
	text string // for a section: its id
	raw  bool   // text is not final

	section bool
	name    string // of the section
}

// assign sets one value or opens one section in f's bucket.
func (p *parser) assign(f *frame, a assignment) error {
	b := f.bucket
	parent, key := b.root, a.path
	if slash := strings.LastIndexByte(a.path, '/'); slash >= 0 {
		parent, key = p.find(b, a.path[:slash]), a.path[slash+1:]
	}
	if parent == nil {
		return p.unknown(a)
	}
	if parent.kind.listing == stringMap {
		if a.section {
			return errors.New("Section not allowed here")
		}
		parent.setString(key, value{text: a.text, pos: p.pos(), raw: a.raw})
		return p.allowed(f, parent.kind.auth, a.key)
	}
	if s := parent.kind.row[key]; s != nil {
		if a.section && parent.kind.nameKey != "" {
			return p.unknown(a) // Dovecot 2.3 crashes
		}
		v, err := parseValue(s, a.text)
		if err != nil {
			return err
		}
		v.pos, v.raw = p.pos(), a.raw
		parent.vals[s.Name] = v
		return p.allowed(f, s.Auth || parent.kind.auth, a.key)
	}
	k := parent.kind.kind[key]
	if k == nil {
		return p.unknown(a)
	}
	if err := p.addSections(b, parent, k, a); err != nil {
		return err
	}
	return p.allowed(f, k.auth, a.key)
}

// allowed refuses settings of the authentication process in blocks that depend on addresses.
func (p *parser) allowed(f *frame, auth bool, key string) error {
	if auth && f.bucket.filter.byAddress() {
		return fmt.Errorf("Auth settings not supported inside local/remote blocks: %s", key)
	}
	return nil
}

// find returns the section at a path, nil when there is none. The first look at a string map or at a
// built-in service makes it.
func (p *parser) find(b *bucket, path string) *node {
	path = strings.ToLower(path)
	if n := b.links[path]; n != nil {
		return n
	}
	if k := b.root.kind.kind[path]; k != nil && k.listing == stringMap {
		return p.stringMap(b, k, path)
	}
	parts := strings.Split(path, "/")
	if p.builtin == nil || parts[0] != "service" || len(parts) != 2 && len(parts) != 4 || p.builtin.at(parts[1:]) == nil {
		return nil
	}
	parent, at := b.root, ""
	for i := 0; i+1 < len(parts); i += 2 {
		at += parts[i] + "/" + parts[i+1]
		n := b.links[at]
		if n == nil {
			builtin := p.builtin.at(parts[1 : i+2])
			n = newNode(parent.kind.kind[parts[i]], builtin.name, builtin.id)
			n.builtin = builtin
			parent.add(n)
			b.links[at] = n
		}
		parent, at = n, at+"/"
	}
	return parent
}

func (p *parser) stringMap(b *bucket, k *kind, path string) *node {
	n := b.root.child(k.name, "")
	if n == nil {
		n = newNode(k, "", "")
		b.root.add(n)
	}
	b.links[path] = n
	return n
}

// addSections makes the sections that a.text names.
func (p *parser) addSections(b *bucket, parent *node, k *kind, a assignment) error {
	if k.listing == stringMap {
		p.stringMap(b, k, strings.ToLower(a.path))
	}
	for _, id := range strings.FieldsFunc(a.text, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }) {
		full := a.path + "/" + id
		low := strings.ToLower(full)
		n := p.find(b, low)
		switch {
		case k.listing == stringMap:
			p.stringMap(b, k, low)
			continue
		case n != nil && k.listing == ordered:
			return fmt.Errorf("%s already exists", full)
		case n == nil:
			n = newNode(k, a.name, id)
			parent.add(n)
			b.links[low] = n
		}
		if a.section {
			n.vals[k.nameKey] = value{text: a.name, pos: p.pos()}
		}
	}
	return nil
}

// setString sets a key of a string map.
func (n *node) setString(key string, v value) {
	if _, have := n.strs[key]; !have {
		n.keys = append(n.keys, key)
	}
	n.strs[key] = v
}
