package conf

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Given is a setting that the configuration sets to something else than its default.
type Given struct {
	Position
	Name  string // with the sections around it: "service imap-login { client_limit"
	Block string // the filter block, empty at the top level
	Use   Use
	Why   string // for what is not used
}

// Given lists the settings that differ from their defaults, in the order of the files. Sections of
// kinds without an effect, as namespace, count as one.
func (c *Config) Given() []Given {
	var out []Given
	for _, b := range c.buckets {
		block := ""
		if b != c.buckets[0] {
			block = b.filter.String()
		}
		for _, g := range append(c.given(b.root, ""), c.given24(c.scopes[b], "")...) {
			g.Block = block
			out = append(out, g)
		}
	}
	slices.SortStableFunc(out, func(a, b Given) int {
		return cmp.Or(cmp.Compare(slices.Index(c.files, a.File), slices.Index(c.files, b.File)), cmp.Compare(a.Line, b.Line))
	})
	return out
}

const whyStorage = "it concerns mail storage, a proxy has none"

func (c *Config) given(n *node, path string) []Given {
	var out []Given
	for i := range n.kind.rows {
		s := &n.kind.rows[i]
		v, set := n.vals[s.Name]
		if !set || v.text == n.defaultText(s) || s.Name == n.kind.nameKey {
			continue
		}
		g := Given{Position: c.position(v.pos), Name: path + s.Name, Use: s.Use}
		if s.Use != Used {
			g.Why = cmp.Or(s.Why, whyStorage)
		}
		out = append(out, g)
	}
	for _, k := range n.kind.kinds {
		for _, sub := range n.lists[k.name] {
			if k.use != Used {
				out = append(out, Given{Position: c.firstPosition(sub), Name: path + sub.sectionTitle(), Why: whyStorage})
				continue
			}
			out = append(out, c.given(sub, path+sub.sectionTitle()+" { ")...)
		}
	}
	return out
}

// given24 lists the settings that only the 2.4 dialect has and that a proxy does not need.
func (c *Config) given24(s *scope24, path string) []Given {
	if s == nil {
		return nil
	}
	var out []Given
	for key, v := range s.vals {
		if n := names24()[key]; n.row == nil && !slices.Contains(converted24, key) {
			g := Given{Position: c.position(v.pos), Name: path + key, Why: cmp.Or(why24[key], whyStorage)}
			if slices.Contains(refused24, key) && v.text != "" {
				g.Use = Refused
			}
			if on, _, err := parseBool(v.text); key == "auth_allow_weak_schemes" && err == nil && on == 0 {
				g.Use, g.Why = Refused, "passwords of weak schemes are compared all the same; remove it, or set it to yes"
			}
			out = append(out, g)
		}
	}
	for _, lists := range []map[string]*list24{s.flags, s.strs} {
		for key, l := range lists {
			if names24()[key].row == nil && !slices.Contains(converted24, key) {
				out = append(out, Given{Position: c.position(l.pos), Name: path + key, Why: whyStorage})
			}
		}
	}
	for _, sub := range s.subs {
		switch sub.kind {
		case "service", "passdb", "userdb", "namespace", "metric", "ssl_server", "ssl_client", "mysql", "pgsql", "oauth2", "oauth2_local_validation":
			continue // converted, and listed as sections of 2.3
		}
		out = append(out, Given{Position: c.position(sub.pos), Name: path + strings.TrimSpace(sub.kind+" "+sub.name), Why: whyStorage})
	}
	return out
}

// refused24 are settings that only the 2.4 dialect has and that must not be ignored.
var refused24 = []string{"http_client_proxy_url", "http_client_proxy_socket_path"}

// why24 says why settings that only the 2.4 dialect has are not acted on, where it is not for want of storage.
var why24 = map[string]string{
	"http_client_proxy_url":                 "requests would not go through the HTTP proxy; remove it",
	"http_client_proxy_socket_path":         "requests would not go through the HTTP proxy; remove it",
	"auth_allow_weak_schemes":               "passwords of every scheme are compared, as in 2.3",
	"auth_internal_failure_delay":           "what failed inside is answered at once",
	"imap4rev2_enable":                      "clients are offered IMAP4rev1 before login",
	"ldap_connection_group":                 "each passdb has connections of its own",
	"ldap_debug_level":                      "there is no library to ask for it",
	"login_socket_path":                     "logins are authenticated within the process",
	"passdb_use_worker":                     "there are no worker processes",
	"sqlite_journal_mode":                   "the database is only read",
	"sqlite_readonly":                       "the database is only read",
	"sqlite_synchronous":                    "the database is only read",
	"ssl_peer_certificate_fingerprint_hash": "the variables for it are not supported",
}

// converted24 are settings that only the 2.4 dialect has and that are acted on.
var converted24 = strings.Fields("dovecot_storage_version sql_driver sqlite_path ldap_uris ldap_base ldap_auth_dn " +
	"ldap_auth_dn_password ldap_auth_sasl_realm ldap_auth_sasl_authz_id ldap_scope ldap_deref ldap_starttls " +
	"passwd_file_path passdb_default_password_scheme oauth2_introspection_url oauth2_tokeninfo_url oauth2_grant_url " +
	"oauth2_introspection_mode oauth2_username_attribute oauth2_username_validation_format oauth2_active_attribute " +
	"oauth2_active_value oauth2_client_id oauth2_client_secret oauth2_openid_configuration_url oauth2_local_validation_jwks " +
	"oauth2_force_introspection oauth2_send_auth_headers oauth2_token_expire_grace oauth2_scope oauth2_issuers oauth2_audience " +
	"passdb_use_cache ldap_version ldap_auth_sasl_mechanisms passdb_fields_import_all http_client_rawlog_dir http_client_request_timeout http_client_max_idle_time http_client_max_parallel_connections")

// checkServe refuses what would be dangerous to ignore, and tells about the rest.
func (p *parser) checkServe() error {
	c := p.conf
	ignored := map[string]bool{}
	var names []string
	for _, g := range c.Given() {
		switch {
		case g.Use == Refused:
			return &Error{g.Position, fmt.Sprintf("%s is not supported: %s", g.Name, g.Why)}
		case g.Use == Ignored && !ignored[g.Name]:
			ignored[g.Name] = true
			names = append(names, strings.ReplaceAll(g.Name, " { ", "/"))
		}
	}
	if err := c.checkDirectors(); err != nil {
		return err
	}
	const shown = 8
	switch n := len(names); {
	case n > shown:
		p.warnf("%d settings have no effect on a proxy: %s, ...", n, strings.Join(names[:shown], ", "))
	case n > 0:
		p.warnf("%d settings have no effect on a proxy: %s", n, strings.Join(names, ", "))
	}
	protocols := splitProtocols(c.buckets[0].root.get("protocols").text)
	if len(protocols) == 0 {
		p.warnf("protocols is empty: nothing is served. Set it, for example protocols = imap pop3")
	}
	for _, proto := range protocols {
		set := c.Settings(Filter{Protocol: proto})
		if set.SSL != "no" && (set.SSLCert == "" || set.SSLKey == "") {
			p.warnf("ssl = %s, but ssl_cert or ssl_key is not set: %s offers no STARTTLS and no TLS ports", set.SSL, proto)
		}
	}
	return nil
}

// checkDirectors refuses services that ask a Director for the backend.
func (c *Config) checkDirectors() error {
	const why = "is not supported: the Director is not built in. Let the passdb name the host"
	protocols := splitProtocols(c.buckets[0].root.get("protocols").text)
	for _, n := range c.buckets[0].root.lists["service"] {
		v := n.get("executable")
		if slices.Contains(protocols, n.get("protocol").text) && slices.Contains(strings.Fields(v.text), "director") {
			return &Error{c.position(v.pos), fmt.Sprintf("service %s { executable = %s } %s", n.title(), v.text, why)}
		}
	}
	var blocks []*bucket
	if slices.Contains(protocols, "lmtp") {
		blocks = c.merged.match(&Filter{Protocol: "lmtp"}, nil)
	}
	for _, b := range blocks {
		if v, ok := b.root.vals["auth_socket_path"]; ok {
			if strings.Contains(v.text, "director") {
				return &Error{c.position(v.pos), fmt.Sprintf("auth_socket_path = %s %s", v.text, why)}
			}
			break
		}
	}
	return nil
}

// warnConflicts warns about blocks that set the same and neither is inside the other. Dovecot refuses
// such connections; here the order of precedence settles it.
func (p *parser) warnConflicts() {
	c := p.conf
	warned := map[string]bool{}
	for _, b := range c.buckets[1:] {
		blocks := c.merged.match(b.filter.example(), nil)
		taken := map[string]*bucket{}
		for i, g := range blocks {
			loose := i > 0 && !g.filter.covers(&blocks[i-1].filter)
			for key := range g.root.vals {
				first := taken[key]
				if first == nil {
					taken[key] = g
					continue
				}
				at := c.position(g.pos)
				text := fmt.Sprintf("Conflict in setting %s found from filter at %s:%d: the value in %s is used",
					key, at.File, at.Line, first.filter.String())
				if loose && !warned[text] {
					warned[text] = true
					p.warnf("%s", text)
				}
			}
		}
	}
}

// covers tells whether f tests nothing that g leaves open, given that both match a connection.
func (f *filter) covers(g *filter) bool {
	return f.local.Bits() <= max(g.local.Bits(), 0) && f.remote.Bits() <= max(g.remote.Bits(), 0) &&
		(!f.hasName || g.hasName) && (!f.hasService || g.hasService)
}
