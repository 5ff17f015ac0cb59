package conf

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// finish turns what was read into the sections and settings of the 2.3 dialect.
func (q *parser24) finish() error {
	c := q.conf
	root := q.scopes[c.buckets[0]]
	if len(q.stack) > 1 {
		q.parser.stack = append(q.parser.stack, &frame{bucket: c.buckets[0], pos: q.top().pos})
	}
	if v, ok := root.vals["dovecot_storage_version"]; !ok || v.text == "" {
		return &Error{Position: Position{File: c.path}, Text: "dovecot_storage_version setting must be set"}
	}
	buckets := slices.Clone(c.buckets)
	for _, b := range buckets {
		s := q.scope(b)
		q.takeGroups(s)
		if q.opt.resolves() {
			if err := q.resolveAll(s); err != nil {
				return err
			}
		}
	}
	c.scopes = q.scopes
	for _, b := range buckets {
		cv := &convert24{parser24: q, b: b, s: q.scopes[b], root: root}
		if err := cv.run(); err != nil {
			return err
		}
	}
	return nil
}

// convert24 converts one filter block.
type convert24 struct {
	*parser24
	b    *bucket
	s    *scope24
	root *scope24 // the top level
}

func (cv *convert24) run() error {
	for _, key := range slices.Sorted(maps.Keys(cv.s.vals)) {
		v := cv.s.vals[key]
		if err := cv.in(v.pos, func() error { return cv.setting(key, names24()[key], v) }); err != nil {
			return err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(cv.s.flags)) {
		at := cv.s.flags[key].pos
		if err := cv.in(at, func() error { return cv.flagsSetting(key, names24()[key]) }); err != nil {
			return err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(cv.s.strs)) {
		at := cv.s.strs[key].pos
		if err := cv.in(at, func() error { return cv.stringsSetting(key, names24()[key]) }); err != nil {
			return err
		}
	}
	for _, sub := range cv.s.subs {
		if err := cv.in(sub.pos, func() error { return cv.section(sub) }); err != nil {
			return err
		}
	}
	return nil
}

// in runs fn as if the file were at a place. Errors name the place.
func (cv *convert24) in(at pos, fn func() error) error {
	outer := cv.where
	cv.where = &at
	err := fn()
	cv.where = outer
	var e *Error
	if err == nil || errors.As(err, &e) {
		return err
	}
	return &Error{Position: cv.conf.position(at), Text: err.Error()}
}

// assign23 sets a path of the 2.3 dialect.
func (cv *convert24) assign23(path, text string, raw bool) error {
	key := path[strings.LastIndexByte(path, '/')+1:]
	return cv.parser.assign(&frame{bucket: cv.b}, assignment{path: path, key: key, text: text, raw: raw})
}

// section23 opens a section of the 2.3 dialect and returns its path.
func (cv *convert24) section23(parent, kind, name string) (string, error) {
	path, id := parent+kind, escapeName(name)
	err := cv.parser.assign(&frame{bucket: cv.b}, assignment{path: path, key: kind, text: id, section: true, name: name})
	return path + "/" + id, err
}

// templates24 are the settings whose values are templates.
var templates24 = strings.Fields("login_greeting login_log_format login_log_format_elements auth_username_format " +
	"lmtp_rawlog_dir lmtp_proxy_rawlog_dir login_proxy_rawlog_dir login_proxy_notify_path")

// setting converts one setting of the top level or of a filter block.
func (cv *convert24) setting(key string, n name24, v value24) error {
	s := n.row
	switch {
	case key == "auth_allow_cleartext":
		return cv.assign23("disable_plaintext_auth", inverted(v.text), v.raw)
	case key == "ssl_server_prefer_ciphers":
		return cv.assign23("ssl_prefer_server_ciphers", map[string]string{"server": "yes", "client": "no"}[v.text], v.raw)
	case key == "ssl_server_request_client_cert":
		if v.text == "any-cert" {
			return fmt.Errorf("%s = any-cert is not supported: a certificate that nobody has verified proves nothing; use yes", key)
		}
		return cv.assign23("ssl_verify_client_cert", v.text, v.raw)
	case key == "ssl_client_key_password" && v.text != "":
		return fmt.Errorf("%s is not supported: take the password off ssl_client_key_file", key)
	case s == nil:
		return nil
	case n.kind == file24:
		return cv.file(key, s, v)
	case unlimited(s.Type, v.text):
		return cv.assign23(s.Name, unlimited23(s), false)
	case s.Use == Used && slices.Contains(templates24, key) && strings.Contains(v.text, "%") && !v.raw:
		write := template23
		if key == "login_log_format_elements" {
			write = words23
		}
		text, err := write(v.text)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		return cv.assign23(s.Name, text, false)
	}
	return cv.assign23(s.Name, v.text, v.raw || v.file && !cv.opt.resolves())
}

func inverted(text string) string {
	on, _, err := parseBool(text)
	switch {
	case err != nil:
		return text
	case on != 0:
		return "no"
	}
	return "yes"
}

// unlimited23 is how 2.3 says that there is no limit.
func unlimited23(s *Setting) string {
	switch {
	case s.Name == "mail_max_userip_connections", s.Name == "lmtp_user_concurrency_limit", s.Type == Size:
		return "0"
	case s.Type == Time:
		return "4294967295 secs"
	case s.Type == TimeMS:
		return "4294967295 ms"
	}
	return "4294967295"
}

// file converts a setting that names a file. In 2.3 its value is the content, except for those that
// are paths there too.
func (cv *convert24) file(key string, s *Setting, v value24) error {
	inline, isInline := strings.CutPrefix(v.text, "inline:")
	switch {
	case v.text == "":
		return cv.assign23(s.Name, "", false)
	case isInline:
		return cv.assign23(s.Name, inline, false)
	case strings.HasPrefix(key, "ssl_client_ca"):
		return cv.assign23(s.Name, cv.absolute(v), v.raw)
	case strings.Contains(v.text, "%{"):
		return fmt.Errorf("%s: variables in the path of a certificate are not supported", key)
	case !cv.opt.resolves() || cv.opt.Serve && s.Use != Used:
		return cv.assign23(s.Name, "<"+v.text, true)
	}
	text, err := cv.readFile(key, cv.absolute(v))
	if err != nil {
		return err
	}
	return cv.assign23(s.Name, text, false)
}

// absolute makes the path of a file relative to the directory of the file that names it.
func (cv *convert24) absolute(v value24) string {
	if strings.HasPrefix(v.text, "/") || v.pos.file < 0 {
		return v.text
	}
	from := cv.conf.files[v.pos.file]
	return from[:strings.LastIndexByte(from, '/')+1] + v.text
}

// flagsSetting converts a boolean list.
func (cv *convert24) flagsSetting(key string, n name24) error {
	if n.row == nil {
		return nil
	}
	inherited, _ := splitFlags(n.row.default24())
	if cv.s != cv.root {
		inherited = cv.root.flagsText(key, inherited)
	}
	words := cv.s.flagsText(key, inherited)
	return cv.assign23(n.row.Name, strings.Join(words, " "), false)
}

// stringsSetting converts a string list.
func (cv *convert24) stringsSetting(key string, n name24) error {
	if n.row == nil || n.row.Use != Used {
		return nil
	}
	l := &list24{}
	l.merge(cv.s.strs[key])
	if cv.s != cv.root && cv.root.strs[key] != nil {
		l.merge(cv.root.strs[key])
	}
	var words []string
	for _, k := range l.keys {
		text := l.vals[k].text
		if key != "auth_policy_request_attributes" && strings.ContainsAny(k+text, " \t") && !strings.Contains(text, "%{") {
			return fmt.Errorf("%s: values with blanks are not supported: %s = %s", key, k, text)
		}
		switch key {
		case "imap_id_send":
			words = append(words, k, text)
		case "auth_policy_request_attributes":
			t, err := word23(text)
			if err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
			words = append(words, k+"="+t)
		default:
			if text == "" || text == "yes" {
				words = append(words, k)
			} else {
				words = append(words, k+"="+text)
			}
		}
	}
	return cv.assign23(n.row.Name, strings.Join(words, " "), false)
}

// section converts a section.
func (cv *convert24) section(s *scope24) error {
	switch s.kind {
	case "service":
		return cv.service(s)
	case "passdb":
		return cv.passdb(s)
	case "ssl_server", "ssl_client":
		return cv.side(s)
	case "userdb", "namespace", "metric", "event_exporter":
		return cv.ignored(s)
	}
	return nil
}

// ignored makes a section that only has to be there to be counted or printed.
func (cv *convert24) ignored(s *scope24) error {
	switch s.kind {
	case "userdb":
		path, err := cv.section23("", "userdb", s.name)
		if err != nil {
			return err
		}
		return cv.assign23(path+"/driver", s.name, false)
	case "metric":
		path, err := cv.section23("", "metric", s.name)
		if err != nil {
			return err
		}
		for _, key := range []string{"filter", "description", "exporter"} {
			if v, ok := s.vals["metric_"+key]; ok {
				if err := cv.assign23(path+"/"+key, v.text, v.raw); err != nil {
					return err
				}
			}
		}
		for _, key := range []string{"fields", "exporter_include"} {
			if s.flags["metric_"+key] != nil {
				if err := cv.assign23(path+"/"+key, strings.Join(s.flagsText("metric_"+key, nil), " "), false); err != nil {
					return err
				}
			}
		}
		return cv.groupBy(s, path)
	case "namespace":
		_, err := cv.section23("", "namespace", s.name)
		return err
	}
	return nil
}

// groupBy writes group_by FIELD { method NAME { } } as 2.3's list of words.
func (cv *convert24) groupBy(s *scope24, path string) error {
	var words []string
	for _, g := range s.subs {
		if g.kind != "metric_group_by" {
			continue
		}
		word := g.name
		for _, m := range g.subs {
			get := func(key, fallback string) string {
				if v, ok := m.vals["metric_group_by_method_"+key]; ok {
					return v.text
				}
				return fallback
			}
			switch m.name {
			case "exponential":
				word += ":exponential:" + get("exponential_min_magnitude", "0") + ":" + get("exponential_max_magnitude", "0") + ":" + get("exponential_base", "10")
			case "linear":
				word += ":linear:" + get("linear_min", "0") + ":" + get("linear_max", "0") + ":" + get("linear_step", "0")
			}
		}
		words = append(words, word)
	}
	if len(words) == 0 {
		return nil
	}
	return cv.assign23(path+"/group_by", strings.Join(words, " "), false)
}

// serviceKeys are the keys of a service that have another name in 2.3.
var serviceKeys = map[string]string{"restart_request_count": "service_count", "idle_kill_interval": "idle_kill"}

func (cv *convert24) service(s *scope24) error {
	path, err := cv.section23("", "service", s.name)
	if err != nil {
		return err
	}
	n := cv.find(cv.b, path)
	for _, full := range slices.Sorted(maps.Keys(s.vals)) {
		key, ok := strings.CutPrefix(full, "service_")
		if !ok || key == "reuse_port" || key == "name" {
			continue
		}
		if to, ok := serviceKeys[key]; ok {
			key = to
		}
		row := n.kind.row[key]
		if row == nil {
			continue
		}
		v := s.vals[full]
		text := v.text
		if unlimited(row.Type, text) {
			text = map[string]string{"service_count": "0", "vsz_limit": "18446744073709551615 B"}[key]
			if text == "" {
				text = unlimited23(row)
			}
		}
		if err := cv.in(v.pos, func() error { return cv.assign23(path+"/"+key, text, v.raw) }); err != nil {
			return err
		}
	}
	if s.flags["service_extra_groups"] != nil {
		if err := cv.assign23(path+"/extra_groups", strings.Join(s.flagsText("service_extra_groups", nil), " "), false); err != nil {
			return err
		}
	}
	for _, l := range s.subs {
		if err := cv.in(l.pos, func() error { return cv.listener(s, l, path) }); err != nil {
			return err
		}
	}
	return nil
}

func (cv *convert24) listener(service, s *scope24, path string) error {
	if !strings.HasSuffix(s.kind, "_listener") {
		return nil
	}
	at, err := cv.section23(path+"/", s.kind, s.name)
	if err != nil {
		return err
	}
	for _, full := range slices.Sorted(maps.Keys(s.vals)) {
		key := strings.TrimPrefix(full, s.kind+"_")
		if key == "type" || key == full {
			continue
		}
		v := s.vals[full]
		if err := cv.in(v.pos, func() error { return cv.assign23(at+"/"+key, v.text, v.raw) }); err != nil {
			return err
		}
	}
	if s.kind != "inet_listener" {
		return nil
	}
	if words := s.flagsText("listen", nil); len(words) > 0 {
		if err := cv.assign23(at+"/address", strings.Join(words, ", "), false); err != nil {
			return err
		}
	}
	if v, ok := service.vals["service_reuse_port"]; ok {
		return cv.assign23(at+"/reuse_port", v.text, v.raw)
	}
	return nil
}
