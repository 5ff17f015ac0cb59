package conf

import (
	"slices"
	"strings"
)

// splitProtocols lists the enabled protocols.
func splitProtocols(text string) []string {
	words := strings.FieldsFunc(text, func(r rune) bool { return r == ' ' })
	if len(words) == 1 && words[0] == "none" {
		return nil
	}
	return words
}

// sections lists the sections of a kind below n, built-in ones first.
func (n *node) sections(kind string) []*node {
	var out []*node
	base := n.builtin
	if n.kind.kind["service"] != nil {
		base = builtins()
	}
	if base != nil {
		for _, b := range base.lists[kind] {
			if own := n.child(kind, b.id); own != nil {
				out = append(out, own)
				continue
			}
			blank := newNode(b.kind, b.name, b.id)
			blank.builtin = b
			out = append(out, blank)
		}
	}
	for _, own := range n.lists[kind] {
		if !slices.Contains(out, own) {
			out = append(out, own)
		}
	}
	return out
}

// Services lists the services whose protocol is enabled, including those built in.
func (c *Config) Services() []Service {
	root := c.buckets[0].root
	protocols := splitProtocols(root.get("protocols").text)
	var out []Service
	for _, n := range root.sections("service") {
		s := Service{
			Position: c.firstPosition(n),
			Name:     n.title(), Protocol: n.get("protocol").text,
			ProcessLimit: uint(n.get("process_limit").num), ClientLimit: uint(n.get("client_limit").num),
		}
		if s.Protocol != "" && !slices.Contains(protocols, s.Protocol) {
			continue
		}
		if s.ProcessLimit == 0 {
			s.ProcessLimit = uint(root.get("default_process_limit").num)
		}
		if s.ClientLimit == 0 {
			s.ClientLimit = uint(root.get("default_client_limit").num)
		}
		for _, l := range n.sections("inet_listener") {
			s.Inet = append(s.Inet, InetListener{
				Position: c.firstPosition(l),
				Name:     l.title(), Port: uint16(l.get("port").num),
				Address: strings.FieldsFunc(l.get("address").text, func(r rune) bool { return r == ' ' || r == ',' }),
				SSL:     l.get("ssl").num != 0, HAProxy: l.get("haproxy").num != 0, ReusePort: l.get("reuse_port").num != 0,
			})
		}
		for _, l := range n.sections("unix_listener") {
			s.Unix = append(s.Unix, UnixListener{
				Position: c.firstPosition(l),
				Path:     c.underBase(l.title()), Mode: uint32(l.get("mode").num),
				User: c.internalName(l.get("user").text), Group: c.internalName(l.get("group").text),
			})
		}
		out = append(out, s)
	}
	return out
}

// title is the section's name.
func (n *node) title() string {
	if k := n.kind.nameKey; k != "" {
		return n.get(k).text
	}
	return n.name
}

// firstPosition is where the first setting of a section stands.
func (c *Config) firstPosition(n *node) Position {
	first := pos{file: -1}
	for _, v := range n.vals {
		if first.file < 0 || v.pos.file == first.file && v.pos.line < first.line {
			first = v.pos
		}
	}
	return c.position(first)
}

// underBase makes the path of a socket absolute.
func (c *Config) underBase(path string) string {
	if strings.HasPrefix(path, "/") || path == "" {
		return path
	}
	return strings.TrimSuffix(c.buckets[0].root.get("base_dir").text, "/") + "/" + path
}

// internalName resolves the references that the built-in services make.
func (c *Config) internalName(text string) string {
	switch text {
	case "$default_internal_user", "$default_login_user", "$default_internal_group":
		return c.buckets[0].root.get(text[1:]).text
	}
	return text
}

// Passdbs lists the passdb blocks for a protocol, those of its own protocol block first.
func (c *Config) Passdbs(protocol string) []Passdb {
	var out []Passdb
	f := Filter{Protocol: protocol}
	for _, b := range c.merged.match(&f, nil) {
		for _, n := range b.root.lists["passdb"] {
			out = append(out, c.passdb(n))
		}
	}
	return out
}

func (c *Config) passdb(n *node) Passdb {
	text := func(key string) string { return n.get(key).text }
	flag := func(key string) bool { return n.get(key).num != 0 }
	p := Passdb{
		Position: c.firstPosition(n),
		Name:     text("name"), Driver: text("driver"), Args: text("args"),
		DefaultFields: text("default_fields"), OverrideFields: text("override_fields"),
		Mechanisms: text("mechanisms"), UsernameFilter: text("username_filter"), Skip: text("skip"),
		ResultSuccess: text("result_success"), ResultFailure: text("result_failure"),
		ResultInternalfail: text("result_internalfail"), AuthVerbose: text("auth_verbose"),
		Deny: flag("deny"), Pass: flag("pass"), Master: flag("master"),
		Index: c.passdbIndex(n),
	}
	if p.Name == "" {
		p.Name = p.Driver
	}
	if n.inline != nil {
		p.SQL, p.LDAP, p.OAuth2, p.HTTP, p.Lua = n.inline.SQL, n.inline.LDAP, n.inline.OAuth2, n.inline.HTTP, n.inline.Lua
		p.Answers, p.OnlyAnswers, p.NoCache = n.inline.Answers, n.inline.OnlyAnswers, n.inline.NoCache
	}
	return p
}

// passdbIndex numbers the passdb blocks of the whole file.
func (c *Config) passdbIndex(n *node) int {
	i := 0
	for _, b := range c.buckets {
		for _, other := range b.root.lists["passdb"] {
			if other == n {
				return i
			}
			i++
		}
	}
	return i
}
