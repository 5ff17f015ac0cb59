package conf

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// set stores one value in a scope.
func (q *parser24) set(s *scope24, full string, n name24, v value24) error {
	switch n.kind {
	case filter24:
		return fmt.Errorf("Setting is a named filter, use '%s {'", full)
	case sections24:
		return fmt.Errorf("Setting is a named list filter, use '%s %s {'", full, v.text)
	case strings24:
		if v.text != "" {
			return fmt.Errorf("Setting is a string list, use '%s {'", full)
		}
		s.strs[full] = &list24{stop: true, pos: v.pos}
		return nil
	case flags24:
		return q.setFlags(s, full, v)
	case free24:
		return nil
	case file24:
		if v.raw && strings.Contains(v.text, "$SET:") {
			return fmt.Errorf("File settings must not contain $SET: %s", v.text)
		}
	}
	if v.raw {
		text, raw, err := q.expand24(s, full, v.text, false)
		if err != nil {
			return err
		}
		v.text, v.raw = text, raw
	}
	if err := check24(n, v); err != nil {
		return err
	}
	s.vals[full] = v
	return nil
}

// check24 checks a value that needs no more expansion against its type.
func check24(n name24, v value24) error {
	switch {
	case n.kind != scalar24 || v.raw || v.file:
		return nil
	case strings.Contains(v.text, "%{"):
		if err := syntax24(v.text); err != nil {
			return fmt.Errorf("%s: %w", v.text, err)
		}
		return nil
	case n.typ == Text || unlimited(n.typ, v.text):
		return nil
	}
	s := &Setting{Type: n.typ}
	if n.typ == Enum && n.row != nil {
		s.Enum = n.row.Enum
	}
	_, err := parseValue(s, v.text)
	return err
}

// unlimited tells whether text is the word for no limit of a type.
func unlimited(t Type, text string) bool {
	switch t {
	case Number, Size:
		return text == "unlimited"
	case Time, TimeMS:
		return text == "infinite" || text == "unlimited"
	}
	return false
}

// setFlags replaces a boolean list by the words of a value.
func (q *parser24) setFlags(s *scope24, full string, v value24) error {
	text, raw, err := q.expand24(s, full, v.text, false)
	if err != nil {
		return err
	}
	words, err := splitFlags(text)
	if err != nil {
		return err
	}
	l := &list24{stop: true, pos: v.pos}
	for _, w := range words {
		l.set(w, value24{text: "yes", pos: v.pos, raw: raw && strings.HasPrefix(w, "$")})
	}
	s.flags[full] = l
	return nil
}

// listEntry sets key = value inside the block of a list.
func (q *parser24) listEntry(s *scope24, list, key string, v value24) error {
	full, in, n, ok := s.resolve(list)
	if !ok {
		full, in = list, s
		n, _ = lookup24(list)
	}
	lists := in.strs
	if n.kind == flags24 {
		lists = in.flags
		if _, _, err := parseBool(v.text); err != nil && !v.raw {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	if lists[full] == nil {
		lists[full] = &list24{pos: v.pos}
	}
	lists[full].set(key, v)
	if q.isAuth(full, n) && q.top().bucket.filter.byAddress() {
		return fmt.Errorf("%s: Auth settings not supported inside local/remote blocks: %s", key, full)
	}
	q.checkOrder24(full+"/"+key, q.top())
	return nil
}

// includeGroup notes that a scope takes the settings of a group.
func (q *parser24) includeGroup(f *frame24, label string, v value24) error {
	switch {
	case q.inGroup():
		return errors.New("Recursive include groups not allowed")
	case v.raw && strings.Contains(v.text, "$"):
		return errors.New("Include groups cannot contain $variables")
	case q.groups[label] == nil:
		return fmt.Errorf("Unknown group label @%s", label)
	case q.groups[label][v.text] == nil:
		return fmt.Errorf("Unknown group @%s=%s", label, v.text)
	}
	for i := range f.scope.includes {
		if f.scope.includes[i].label == label {
			f.scope.includes[i].name = v.text
			return nil
		}
	}
	f.scope.includes = append(f.scope.includes, include24{label, v.text, v.pos})
	return nil
}

// takeGroups adds the settings of groups, in s and everything below it.
func (q *parser24) takeGroups(s *scope24) {
	for _, in := range s.includes {
		s.take(q.groups[in.label][in.name])
	}
	for _, sub := range s.subs {
		q.takeGroups(sub)
	}
}

// groupsText are the groups that are built in: metrics of a proxy, which is all a proxy can use.
const groupsText = `
group @metric_defaults proxy {
  metric auth_successes {
    filter = event=auth_request_finished AND success=yes
  }
  metric auth_failures {
    filter = event=auth_request_finished AND NOT success=yes
  }
  metric login_aborted {
    filter = event=login_aborted
    group_by reason {
    }
  }
  metric proxy_session_established {
    filter = event=proxy_session_established
  }
}
group @metric_defaults backend {
}
group @mailbox_defaults english {
}
`

func (q *parser24) builtinGroups() error {
	for l := range strings.Lines(groupsText) {
		if l = strings.TrimSpace(l); l != "" {
			if err := q.logical(l); err != nil {
				return fmt.Errorf("built-in groups: %w", err)
			}
		}
	}
	return nil
}

// expand24 replaces $SET:name and $ENV:NAME in text. References other than to the setting itself are
// left while all is false, as they are resolved once the whole file is read. Then raw is set.
func (q *parser24) expand24(s *scope24, key, text string, all bool) (string, bool, error) {
	if !strings.Contains(text, "$") {
		return text, false, nil
	}
	var b strings.Builder
	raw := false
	for {
		word, rest, more := strings.Cut(text, " ")
		set, isSet := strings.CutPrefix(word, "$SET:")
		env, isEnv := strings.CutPrefix(word, "$ENV:")
		switch {
		case isEnv && q.opt.resolves():
			b.WriteString(os.Getenv(env))
		case isSet && (all || set == key):
			v, err := q.lookup24(s, set)
			if err != nil {
				return "", false, fmt.Errorf("Failed to expand $SET:%s: %w", set, err)
			}
			b.WriteString(v.text)
			raw = raw || v.raw
		default:
			b.WriteString(word)
			raw = raw || isSet
		}
		if b.Len() > maxLine {
			return "", false, tooLarge("Line is", maxLine)
		}
		if !more {
			return b.String(), raw, nil
		}
		b.WriteByte(' ')
		text = strings.TrimLeft(rest, space24)
	}
}

// lookup24 finds the setting that a $SET: names: in the scope and those around it, or by its path
// from the top level.
func (q *parser24) lookup24(s *scope24, name string) (value24, error) {
	path := strings.Split(name, "/")
	if len(path) > 1 {
		for s = q.scopes[q.conf.buckets[0]]; len(path) > 1; {
			n, _ := lookup24(path[0])
			var sub *scope24
			if n.kind == sections24 && len(path) > 2 {
				sub, path = s.sub(path[0], path[1]), path[2:]
			} else {
				sub, path = s.sub(path[0], ""), path[1:]
			}
			if sub == nil {
				return value24{}, fmt.Errorf("Unknown filter path: %s", name[:strings.LastIndexByte(name, '/')])
			}
			s = sub
		}
		name = path[0]
	}
	n, ok := names24()[name]
	switch {
	case !ok:
		return value24{}, fmt.Errorf("Unknown setting: %s", name)
	case n.kind == flags24:
		return value24{text: strings.Join(s.flagsText(name, nil), " ")}, nil
	case n.kind != scalar24:
		return value24{}, errors.New("Setting type can't be expanded to string")
	}
	if v, ok := s.find(name); ok {
		return v, nil
	}
	if v, ok := q.scopes[q.conf.buckets[0]].vals[name]; ok {
		return v, nil
	}
	if n.row != nil {
		return value24{text: n.row.default24()}, nil
	}
	return value24{}, nil
}

// resolveAll expands the references that were left, in s and everything below it.
func (q *parser24) resolveAll(s *scope24) error {
	for key, v := range s.vals {
		text := v.text
		for i := 0; v.raw && strings.Contains(text, "$SET:"); i++ {
			if i > 10 {
				return q.at(v.pos, fmt.Errorf("%s: Chained $SET:%s loops back to itself", key, key))
			}
			var err error
			if text, v.raw, err = q.expand24(s, key, text, true); err != nil {
				return q.at(v.pos, fmt.Errorf("%s: %w", key, err))
			}
		}
		v.text = text
		if err := check24(names24()[key], v); err != nil {
			return q.at(v.pos, fmt.Errorf("%s: %w", key, err))
		}
		s.vals[key] = v
	}
	for _, sub := range s.subs {
		if err := q.resolveAll(sub); err != nil {
			return err
		}
	}
	return nil
}

// at makes an error of a place that was read before.
func (q *parser24) at(p pos, err error) error {
	return &Error{Position: q.conf.position(p), Text: err.Error()}
}

// default24 is the default in the 2.4 dialect.
func (s *Setting) default24() string {
	if s.Default24 != "" {
		return s.Default24
	}
	return s.Default
}
