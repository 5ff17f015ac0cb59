package conf

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// parser24 reads the 2.4 dialect. Its result is turned into the sections of the 2.3 dialect.
type parser24 struct {
	*parser
	version string
	stack   []*frame24
	scopes  map[*bucket]*scope24
	groups  map[string]map[string]*scope24
}

// frame24 is one open section, or the top level.
type frame24 struct {
	bucket *bucket
	scope  *scope24
	key    string // the keyword
	list   string // the full name of the boolean or string list that is open
	free   bool   // a plugin's section
	pos    pos
}

// versions24 are the values of dovecot_config_version that Dovecot 2.4.4 accepts.
var versions24 = []string{"2.4.0", "2.4.1", "2.4.2", "2.4.3", "2.4.4"}

// start24 begins the 2.4 dialect when the first line asks for it.
func (p *parser) start24(text string) (bool, error) {
	if !strings.HasPrefix(text, "dovecot_config_version") {
		return false, nil
	}
	l := splitLine24(text)
	if l.key != "dovecot_config_version" {
		return false, nil
	}
	q := &parser24{parser: p, scopes: map[*bucket]*scope24{}, groups: map[string]map[string]*scope24{}}
	root := q.scope(p.conf.buckets[0])
	q.stack = []*frame24{{bucket: p.conf.buckets[0], scope: root}}
	p.v24 = q
	if l.kind != lineValue {
		return true, errors.New("Invalid dovecot_config_version: value is not a string")
	}
	q.version = l.value
	switch {
	case slices.Contains(versions24, l.value):
	case strings.HasPrefix(l.value, "2.4.") || l.value == "0.0.0":
		p.warnf("dovecot_config_version = %s is newer than %s, which is the newest that is known", l.value, versions24[len(versions24)-1])
	default:
		return true, fmt.Errorf("Invalid dovecot_config_version: Currently supported versions are: %s", strings.Join(versions24, " "))
	}
	p.conf.version24 = l.value
	return true, q.builtinGroups()
}

// scope is the top scope of a filter block.
func (q *parser24) scope(b *bucket) *scope24 {
	s := q.scopes[b]
	if s == nil {
		s = newScope24(nil, "", "", q.pos())
		q.scopes[b] = s
	}
	return s
}

func (q *parser24) top() *frame24 { return q.stack[len(q.stack)-1] }

// logical acts on one logical line.
func (q *parser24) logical(text string) error {
	l := splitLine24(text)
	if l.key == "dovecot_config_version" && l.kind == lineValue {
		if l.value != q.version {
			return errors.New("dovecot_config_version value can't be changed once set")
		}
		return nil
	}
	switch l.kind {
	case lineBad:
		return errors.New(l.value)
	case lineValue, lineFile, lineReference:
		return q.assign(l)
	case lineBegin:
		return q.begin(l)
	case lineEnd:
		return q.end()
	case lineInclude, lineIncludeTry:
		return q.include(l.value, l.kind == lineIncludeTry)
	}
	return nil
}

func (q *parser24) end() error {
	f := q.top()
	if len(q.stack) == 1 {
		return errors.New("Unexpected '}'")
	}
	if f.scope != nil && f.list == "" && f.scope.kind == "metric" && f.key == "metric" && !f.scope.required {
		return errors.New("Named filter metric is required to have metric_filter setting, but it is missing")
	}
	q.stack = q.stack[:len(q.stack)-1]
	return nil
}

// inGroup tells whether a section of a group is open.
func (q *parser24) inGroup() bool {
	return slices.ContainsFunc(q.stack, func(f *frame24) bool { return f.scope != nil && strings.HasPrefix(f.scope.kind, "@") })
}

// begin opens a section.
func (q *parser24) begin(l line24) error {
	if len(q.stack) >= maxNesting {
		return fmt.Errorf("More than %d sections inside each other", maxNesting)
	}
	parent := q.top()
	f := &frame24{bucket: parent.bucket, scope: parent.scope, key: l.key, pos: q.pos()}
	q.stack = append(q.stack, f)
	switch {
	case parent.free:
		f.free = true
		return nil
	case parent.list != "":
		return fmt.Errorf("Unknown section name: %s", l.key)
	case l.group:
		return q.beginGroup(f, l)
	}
	if handled, err := q.beginFilter24(f, parent, l); handled || err != nil {
		return err
	}
	key, n, attempts := q.sectionName(parent.scope, l.key)
	f.key = key
	switch n.kind {
	case flags24, strings24:
		if l.value != "" {
			return fmt.Errorf("Setting %s cannot have a value for the section", key)
		}
		f.list = key
		return nil
	case free24:
		f.free = true
		return nil
	case filter24, sections24:
		if err := checkSectionName(key, n.kind, l, parent.scope); err != nil {
			return err
		}
	default:
		if _, known := lookup24(key); known {
			return fmt.Errorf("Setting %s cannot be used as a section", key)
		}
		return fmt.Errorf("Unknown section name: %s%s", key, attempts)
	}
	f.scope = parent.scope.sub(key, l.value)
	if f.scope == nil {
		f.scope = newScope24(parent.scope, key, l.value, q.pos())
		f.scope.list = n.kind == sections24
		parent.scope.subs = append(parent.scope.subs, f.scope)
	}
	if key == "metric_filter" {
		f.scope.required = true
	}
	return nil
}

// checkSectionName tells whether a section may have the name that it has, or none.
func checkSectionName(key string, kind kind24, l line24, parent *scope24) error {
	unnamed := l.value == "" && !l.valueQuoted
	switch {
	case kind == filter24 && !unnamed:
		return fmt.Errorf("%s { } must not have a section name", key)
	case kind == filter24:
		return nil
	case unnamed:
		return fmt.Errorf("%s { } is missing section name", key)
	case strings.HasPrefix(l.value, "__"):
		return fmt.Errorf("Named list filter name must not begin with '__': %s", l.value)
	case key == "service" && parent.list && !strings.HasPrefix(parent.kind, "@"):
		return fmt.Errorf("%s { .. } not allowed under %s { .. }", key, parent.kind)
	}
	return nil
}

// sectionName finds the full name of a section inside s.
func (q *parser24) sectionName(s *scope24, key string) (full string, n name24, attempts string) {
	for i, p := range s.prefixes() {
		if n, ok := names24()[p+key]; ok && n.kind != filter24 {
			return p + key, n, ""
		}
		if i == 0 {
			attempts += " (" + p + key
		} else {
			attempts += ", " + p + key
		}
	}
	if attempts != "" {
		attempts += " not found either.)"
	}
	n, ok := lookup24(key)
	if !ok {
		n.kind = scalar24
	}
	return key, n, attempts
}

// beginFilter24 opens a filter block.
func (q *parser24) beginFilter24(f, parent *frame24, l line24) (bool, error) {
	name := l.value
	switch l.key {
	case "protocol", "local", "remote":
	case "local_name":
		if strings.Contains(name, " ") {
			return true, errors.New("Multiple names no longer supported in local_name value")
		}
		name = strings.ToLower(name)
	default:
		return false, nil
	}
	g := &frame{key: l.key}
	if _, err := q.beginFilter(g, parent.bucket.filter, name); err != nil {
		return true, err
	}
	if k := parent.scope.kind; k != "" {
		return true, fmt.Errorf("%[1]s { %[2]s { .. } } not allowed (use %[2]s { %[1]s { .. } } instead)", k, l.key)
	}
	f.bucket = g.bucket
	f.scope = q.scope(g.bucket)
	return true, nil
}

func (q *parser24) beginGroup(f *frame24, l line24) error {
	if f.scope.kind != "" || f.bucket != q.conf.buckets[0] {
		return errors.New("groups must defined at top-level, not under filters")
	}
	label := strings.TrimPrefix(l.key, "@")
	if q.groups[label] == nil {
		q.groups[label] = map[string]*scope24{}
	}
	s := q.groups[label][l.value]
	if s == nil {
		s = newScope24(nil, "@"+label, l.value, q.pos())
		s.list = true
		q.groups[label][l.value] = s
	}
	f.scope = s
	return nil
}

// assign sets one value.
func (q *parser24) assign(l line24) error {
	f := q.top()
	v := value24{text: l.value, pos: q.pos()}
	switch l.kind {
	case lineFile:
		v.file = true
		if v.text = "<" + l.value; q.opt.resolves() {
			text, err := q.readFile(l.key, q.relative(l.value))
			if err != nil {
				return err
			}
			v.text = text
		}
	case lineReference:
		v.raw = true
	}
	if f.free {
		return nil
	}
	if label, ok := strings.CutPrefix(l.key, "@"); ok && !l.keyQuoted {
		return q.includeGroup(f, label, v)
	}
	if f.list != "" {
		return q.listEntry(f.scope, f.list, l.key, v)
	}
	full, in, n, ok := f.scope.resolve(l.key)
	if !ok {
		return q.unknown24(f.scope, l.key)
	}
	if err := q.set(in, full, n, v); err != nil {
		return fmt.Errorf("%s: %w", l.key, err)
	}
	if full == "metric_filter" {
		f.scope.required = true
	}
	if q.isAuth(full, n) && f.bucket.filter.byAddress() {
		return fmt.Errorf("%s: Auth settings not supported inside local/remote blocks: %s", l.key, full)
	}
	q.checkOrder24(full, f)
	return nil
}

// isAuth tells whether the authentication process reads a setting.
func (q *parser24) isAuth(full string, n name24) bool {
	return n.row != nil && n.row.Auth || strings.HasPrefix(full, "passdb_") || strings.HasPrefix(full, "userdb_")
}

// checkOrder24 warns when a global setting comes after a block that set the same.
func (q *parser24) checkOrder24(full string, f *frame24) {
	first, seen := q.seen[full]
	if f.bucket != q.conf.buckets[0] {
		if !seen && len(q.seen) < maxSeen {
			q.seen[full] = q.pos()
		}
		return
	}
	if seen && f.scope.kind == "" {
		at := q.conf.position(first)
		q.warnf("%[1]s line %[2]d: Global setting %[3]s won't change the setting inside an earlier filter at %[4]s line %[5]d "+
			"(if this is intentional, avoid this warning by moving the global setting before %[4]s line %[5]d)",
			q.in.path, q.in.line, full, at.File, at.Line)
	}
}

func (q *parser24) unknown24(s *scope24, key string) error {
	text := "Unknown setting: " + key
	if p := s.prefixes(); len(p) > 0 {
		text += " (" + p[len(p)-1] + key
		if s.list {
			text += " or " + p[0] + key
		}
		text += " not found either."
		if s.list {
			text += didYouMean(strings.TrimPrefix(s.kind, "@")+"_", key)
		}
		text += ")"
	}
	if q.opt.Lenient {
		q.warnf("%s line %d: %s", q.in.path, q.in.line, text)
		return nil
	}
	return fmt.Errorf("%s: %s", key, text)
}

// didYouMean finds settings that end in key with one more word in between.
func didYouMean(prefix, key string) string {
	var found []string
	for name := range names24() {
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		if _, after, ok := strings.Cut(rest, "_"); ok && after == key {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	switch len(found) {
	case 0:
		return ""
	case 1:
		return " Did you mean " + found[0] + "?"
	}
	return " Did you mean one of: " + strings.Join(found, ", ") + "?"
}
