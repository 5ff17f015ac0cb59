package conf

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// Conversion is a 2.3 configuration written in the 2.4 dialect.
type Conversion struct {
	Text string
	// Problems are settings with an effect that could not be converted. Each stands as a comment in
	// the text too.
	Problems []string
}

// Convert24 reads a 2.3 configuration, with the files of its sql and ldap passdbs, and writes it for
// Dovecot 2.4. What has no effect on a proxy becomes a comment.
func Convert24(path string) (*Conversion, error) {
	raw, err := Load(path, Options{})
	if err != nil {
		return nil, err
	}
	if raw.version24 != "" {
		return nil, &Error{Position: Position{File: path}, Text: "the configuration is in the 2.4 dialect already"}
	}
	expanded, err := Load(path, Options{Expand: true})
	if err != nil {
		return nil, err
	}
	w := &writer24{raw: raw, expanded: expanded, names: map[string]bool{}}
	w.line("# Converted from " + path)
	w.line("dovecot_config_version = 2.4.4")
	w.line("dovecot_storage_version = 2.4.4")
	for i, b := range raw.buckets {
		w.block(b, expanded.buckets[i])
	}
	return &Conversion{w.b.String(), w.problems}, nil
}

// writer24 writes the 2.4 dialect.
type writer24 struct {
	raw, expanded *Config // the same file with and without <files and $references
	b             strings.Builder
	depth         int
	names         map[string]bool // of passdbs
	problems      []string
}

func (w *writer24) line(text string) {
	if text != "" {
		w.b.WriteString(strings.Repeat("  ", w.depth))
	}
	w.b.WriteString(text + "\n")
}

func (w *writer24) open(title string) {
	w.line(title + " {")
	w.depth++
}

func (w *writer24) close() {
	w.depth--
	w.line("}")
}

// set writes name = value.
func (w *writer24) set(name, text string) {
	if strings.ContainsAny(text, "\r\n") {
		w.problem("%s: a value of several lines", name)
		return
	}
	if text != strings.TrimSpace(text) || strings.ContainsAny(text, "#$\\") || text != "" && strings.IndexByte(`'"<`, text[0]) >= 0 {
		text = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
	}
	w.line(name + " = " + text)
}

// comment writes what takes no effect. Every line of the text stays in the comment.
func (w *writer24) comment(text string) {
	for l := range strings.Lines(text) {
		w.line("# " + strings.TrimRight(l, "\r\n"))
	}
}

// problem writes a comment about something that has an effect and could not be converted.
func (w *writer24) problem(format string, a ...any) {
	text := fmt.Sprintf(format, a...)
	w.problems = append(w.problems, text)
	w.comment("NOT CONVERTED: " + text)
}

// block writes a filter block, once for each of its names.
func (w *writer24) block(b, expanded *bucket) {
	names := []string{""}
	if b.filter.hasName {
		names = strings.Fields(b.filter.localName)
	}
	for _, name := range names {
		f := b.filter
		f.localName = name
		titles := f.titles()
		if len(titles) > 0 {
			w.line("")
		}
		for _, t := range titles {
			w.open(t)
		}
		w.settings(b.root, expanded.root)
		if len(titles) == 0 {
			w.defaults(b.root)
		}
		for i, n := range b.root.lists["service"] {
			w.service(n, expanded.root.lists["service"][i])
		}
		for i, n := range b.root.lists["passdb"] {
			w.passdb(n, expanded.root.lists["passdb"][i])
		}
		for _, k := range b.root.kind.kinds {
			if k.use == Used {
				continue
			}
			for _, n := range b.root.lists[k.name] {
				w.comment(n.sectionTitle() + " { } has no effect on a proxy")
			}
		}
		for range titles {
			w.close()
		}
	}
}

// settings writes the settings of the top level or of a filter block in the order of the file.
func (w *writer24) settings(n, expanded *node) {
	keys := slices.SortedFunc(maps.Keys(n.vals), func(a, b string) int {
		x, y := n.vals[a].pos, n.vals[b].pos
		if x.file != y.file {
			return int(x.file - y.file)
		}
		if x.line != y.line {
			return int(x.line - y.line)
		}
		return strings.Compare(a, b)
	})
	for _, key := range keys {
		s := n.kind.row[key]
		if s == nil {
			continue
		}
		if s.Use == Ignored && s.Why == "" {
			w.comment(key + " = " + n.vals[key].text + ": no effect on a proxy")
			continue
		}
		w.setting(s, n.vals[key], expanded.vals[key])
	}
}

// defaults writes what changed between 2.3 and 2.4 and is not set.
func (w *writer24) defaults(n *node) {
	for i := range n.kind.rows {
		s := &n.kind.rows[i]
		if _, set := n.vals[s.Name]; set || s.Use != Used || s.Default24 == "" || s.Name == "listen" {
			continue
		}
		if s.Name24 != "" || strings.Contains(s.Default24, "%{") {
			continue // the same meaning
		}
		w.setting(s, value{text: s.Default}, n.defaultValue(s))
	}
}

// setting writes one setting that concerns a proxy, also what dproxy itself leaves out or refuses: Dovecot may not.
func (w *writer24) setting(s *Setting, raw, v value) {
	key := s.Name
	if s.Name24 != "" {
		key = s.Name24
	}
	n, known := names24()[key]
	switch {
	case known:
	case raw.text == s.Default:
		return
	case s.Use == Ignored:
		w.comment(s.Name + " = " + raw.text + ": 2.4 has no such setting")
		return
	default:
		w.problem("%s = %s: 2.4 has no such setting", s.Name, raw.text)
		return
	}
	switch {
	case s.Name == "disable_plaintext_auth" && v.num == 0 && w.expanded.buckets[0].root.get("ssl").text == "required":
		w.problem("%s = %s: 2.4 refuses it together with ssl = required", s.Name, v.text)
	case s.Name == "disable_plaintext_auth":
		w.set(key, inverted(v.text))
	case s.Name == "ssl_prefer_server_ciphers":
		w.set(key, map[bool]string{true: "server", false: "client"}[v.num != 0])
	case n.kind == file24:
		w.file(key, raw)
	case n.kind == flags24:
		w.flags(key, v.text)
	case n.kind == strings24:
		w.strings(key, v.text)
	case v.num == 0 && (key == "mail_max_userip_connections" || key == "lmtp_user_concurrency_limit" || key == "submission_max_mail_size"):
		w.set(key, "unlimited")
	case slices.Contains(templates24, key):
		w.template(key, v.text)
	default:
		w.set(key, v.text)
	}
}

// file writes the path of a certificate or key.
func (w *writer24) file(key string, raw value) {
	path, isFile := strings.CutPrefix(raw.text, "<")
	switch {
	case raw.text == "" || strings.HasPrefix(key, "ssl_client_ca"):
		w.set(key, raw.text)
	case !isFile:
		w.problem("%s: put the text into a file and name it here", key)
	default:
		if path = strings.TrimSpace(path); !filepath.IsAbs(path) && raw.pos.file >= 0 {
			path = filepath.Join(filepath.Dir(w.raw.files[raw.pos.file]), path)
		}
		w.set(key, path)
	}
}

// flags writes a boolean list.
func (w *writer24) flags(key, text string) {
	words := strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ',' })
	if slices.ContainsFunc(words, func(s string) bool { return strings.ContainsAny(s, `"\+$`) && key == "imap_capability" }) {
		w.problem("%s = %s: a list that adds to another one is a block in 2.4", key, text)
		return
	}
	w.set(key, strings.Join(words, " "))
}

// strings writes a string list.
func (w *writer24) strings(key, text string) {
	words := strings.Fields(text)
	w.open(key)
	defer w.close()
	for i := 0; i < len(words); i++ {
		name, v, pair := strings.Cut(words[i], "=")
		switch {
		case key == "imap_id_send":
			if name, v = words[i], "*"; i+1 < len(words) {
				v = words[i+1]
			}
			i++
		case !pair:
			v = "yes"
		}
		if key == "auth_policy_request_attributes" {
			w.template(name, v)
			continue
		}
		w.set(quote24(name), v)
	}
}

// template writes a setting that is a template.
func (w *writer24) template(key, text string) {
	letters, extra := LoginLetters, map[byte]string(nil)
	switch {
	case strings.HasPrefix(key, "auth_"):
		letters = AuthLetters
	case key == "login_log_format":
		extra = map[byte]string{'$': "message", 's': "elements"}
	}
	t, err := template24(text, letters, extra)
	if err != nil {
		w.problem("%s = %s: %v", key, text, err)
		return
	}
	w.set(key, t)
}

// service24Keys are the keys of a service that have another name in 2.4.
var service24Keys = map[string]string{"service_count": "restart_request_count", "idle_kill": "idle_kill_interval"}

func (w *writer24) service(n, expanded *node) {
	w.line("")
	w.open("service " + quote24(n.title()))
	defer w.close()
	for _, key := range slices.Sorted(maps.Keys(n.vals)) {
		v := expanded.vals[key]
		name := key
		if to, ok := service24Keys[key]; ok {
			name = to
		}
		full, known := names24()["service_"+name]
		switch {
		case key == "name":
		case !known:
			w.comment(key + " = " + v.text + ": 2.4 has no such setting")
		case key == "service_count" && v.num == 0, key == "vsz_limit" && v.num == 1<<64-1:
			w.set(name, "unlimited")
		case key == "idle_kill" && v.num >= 1<<32-1:
			w.set(name, "infinite")
		case full.kind == flags24:
			w.flags(name, v.text)
		default:
			w.set(name, v.text)
		}
	}
	reuse := false
	for _, kind := range []string{"inet_listener", "unix_listener", "fifo_listener"} {
		for i, l := range n.lists[kind] {
			reuse = w.listener(l, expanded.lists[kind][i]) || reuse
		}
	}
	if reuse {
		w.set("reuse_port", "yes")
	}
}

// listener writes a listener and tells whether it has reuse_port, which belongs to the service in 2.4.
func (w *writer24) listener(n, expanded *node) (reuse bool) {
	w.open(n.kind.name + " " + quote24(n.title()))
	defer w.close()
	for _, key := range slices.Sorted(maps.Keys(n.vals)) {
		switch v := expanded.vals[key]; key {
		case n.kind.nameKey:
		case "reuse_port":
			reuse = v.num != 0
		case "address":
			w.flags("listen", v.text)
		default:
			w.set(key, v.text)
		}
	}
	return reuse
}
