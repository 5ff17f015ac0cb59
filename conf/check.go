package conf

import (
	"errors"
	"fmt"
	"os/user"
	"slices"
	"strconv"
	"strings"
)

// check is one of the checks that Dovecot runs after parsing.
type check struct {
	keys string // the settings and sections that it looks at
	mail bool   // it means nothing to a proxy, so it never refuses to serve
	run  func(*checker) error
}

// checks lists all checks in Dovecot's order.
var checks = []check{
	{keys: "managesieve_client_workarounds", mail: true, run: checkManagesieve},
	{keys: "syslog_facility", run: checkFacility},
	{keys: "log_debug log_core_filter process_shutdown_filter", run: checkLogFilters},
	{keys: "ssl ssl_verify_client_cert ssl_ca ssl_options disable_plaintext_auth", run: checkSSL},
	{keys: "auth_worker_max_count auth_cache_size auth_verbose_passwords auth_policy_server_url " +
		"auth_policy_hash_nonce auth_policy_hash_mech auth_policy_hash_truncate", run: checkAuth},
	{keys: "passdb", run: checkPassdbs},
	{keys: "userdb", mail: true, run: checkUserdbs},
	{keys: "director_user_expire", mail: true, run: checkDirector},
	{keys: "dsync_hashed_headers dsync_alt_char dsync_features", mail: true, run: checkDsync},
	{keys: "imap_client_workarounds imap_fetch_failure", mail: true, run: checkIMAP},
	{keys: "imapc_max_idle_time imapc_features", mail: true, run: checkImapc},
	{keys: "lmtp_client_workarounds", run: checkLMTP},
	{keys: mailStorageKeys, mail: true, run: checkMailStorage},
	{keys: "mail_plugins mail_plugin_dir", mail: true, run: checkMailPlugins},
	{keys: "namespace", mail: true, run: checkNamespaces},
	{keys: masterKeys, run: checkMaster},
	{keys: "pop3_client_workarounds pop3_delete_type pop3_deleted_flag", mail: true, run: checkPOP3},
	{keys: "pop3c_features", mail: true, run: checkPop3c},
	{keys: "metric event_exporter", run: checkStats},
	{keys: "submission_client_workarounds", run: checkSubmission},
}

// checker runs checks on one block merged with what is around it.
type checker struct {
	c     *Config
	root  *node
	serve bool
	warn  func(format string, args ...any)
}

func (k *checker) text(key string) string { return k.root.get(key).text }
func (k *checker) num(key string) uint64  { return k.root.get(key).num }

// check runs all checks, on the top level and on every block that sets what one looks at. The first
// failure counts.
func (p *parser) check() error {
	c := p.conf
	if c.open != nil {
		at := c.position(c.open.pos)
		return fmt.Errorf("Missing '}' (section started at %s:%d)", at.File, at.Line)
	}
	warned := map[string]bool{}
	warn := func(format string, args ...any) {
		if text := fmt.Sprintf(format, args...); !warned[text] {
			warned[text] = true
			p.warnf("%s", text)
		}
	}
	global := c.buckets[0].root.get("ssl").text
	for i, b := range c.buckets {
		if ssl, ok := b.root.vals["ssl"]; ok && global == "no" && ssl.text != "no" {
			warn("SSL is disabled because global ssl=no, ignoring ssl=%s for subsection", ssl.text)
			global = ""
		}
		k := &checker{c: c, serve: p.opt.Serve, warn: warn}
		for j := range checks {
			t := &checks[j]
			if i > 0 && !b.root.hasAny(t.keys) || k.serve && t.mail {
				continue
			}
			if k.root == nil {
				k.root = c.mergedTree(b.filter.example())
			}
			if err := t.run(k); err != nil {
				return err
			}
		}
	}
	return nil
}

// hasAny tells whether one of the settings or sections is given in n.
func (n *node) hasAny(keys string) bool {
	for _, key := range strings.Fields(keys) {
		if _, ok := n.vals[key]; ok || len(n.lists[key]) > 0 {
			return true
		}
	}
	return false
}

// example is a connection that the block matches.
func (f *filter) example() *Filter {
	ex := &Filter{Protocol: f.service}
	if f.local.Bits() > 0 {
		ex.Local = f.local.Addr()
	}
	if f.remote.Bits() > 0 {
		ex.Remote = f.remote.Addr()
	}
	if f.hasName {
		ex.LocalName, _, _ = strings.Cut(f.localName, " ")
	}
	return ex
}

// checkWords tells about the first word of a list that is not one of the known ones.
func checkWords(text, known, format string) error {
	for _, w := range strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ',' }) {
		if !slices.ContainsFunc(strings.Fields(known), func(k string) bool { return strings.EqualFold(k, w) }) {
			return fmt.Errorf(format, w)
		}
	}
	return nil
}

func checkFacility(k *checker) error {
	const known = "auth authpriv cron daemon kern local0 local1 local2 local3 local4 local5 local6 local7 lpr mail news syslog user uucp"
	if f := k.text("syslog_facility"); !slices.Contains(strings.Fields(known), f) {
		return fmt.Errorf("Unknown syslog_facility: %s", f)
	}
	return nil
}

func checkLogFilters(k *checker) error {
	for _, key := range []string{"log_debug", "log_core_filter", "process_shutdown_filter"} {
		if err := parseEventFilter(k.text(key)); err != nil {
			return fmt.Errorf("Invalid %s: %w", key, err)
		}
	}
	return nil
}

func checkSSL(k *checker) error {
	if k.text("ssl") == "no" {
		return nil
	}
	if k.c.version24 != "" && k.text("ssl") == "required" && k.num("disable_plaintext_auth") == 0 {
		return errors.New("auth_allow_cleartext=yes has no effect with ssl=required")
	}
	if k.num("ssl_verify_client_cert") != 0 && k.text("ssl_ca") == "" {
		return errors.New("ssl_verify_client_cert set, but ssl_ca not")
	}
	return checkWords(k.text("ssl_options"), "compression no_compression no_ticket", "ssl_options: unknown flag: '%s'")
}

func checkAuth(k *checker) error {
	if k.num("auth_worker_max_count") == 0 {
		return errors.New("auth_worker_max_count must be above zero")
	}
	if size := k.num("auth_cache_size"); size > 0 && size < 1024 {
		return fmt.Errorf("auth_cache_size value is too small (%d bytes)", size)
	}
	kind, limit, cut := strings.Cut(k.text("auth_verbose_passwords"), ":")
	if cut {
		if n, err := parseNumber(limit); err != nil || n == 0 {
			return fmt.Errorf("auth_verbose_passwords: Invalid truncation number: '%s'", limit)
		}
	}
	if !slices.Contains([]string{"no", "plain", "sha1", "yes"}, kind) {
		return errors.New("auth_verbose_passwords: Invalid value")
	}
	if k.text("auth_policy_server_url") == "" {
		return nil
	}
	if k.text("auth_policy_hash_nonce") == "" {
		return errors.New("auth_policy_hash_nonce must be set when policy server is used")
	}
	bits := hashBits(k.text("auth_policy_hash_mech"))
	if bits == 0 {
		return errors.New("invalid auth_policy_hash_mech given")
	}
	if n := k.num("auth_policy_hash_truncate"); n > 0 && n >= uint64(bits) {
		return fmt.Errorf("policy_hash_truncate is not smaller than digest size (%d >= %d)", n, bits)
	}
	return nil
}

// hashBits is the digest size of a hash by Dovecot's name, 0 for an unknown one.
func hashBits(name string) int {
	return map[string]int{
		"md4": 128, "md5": 128, "sha1": 160, "sha256": 256, "sha384": 384, "sha512": 512,
		"sha3-256": 256, "sha3-512": 512, "size": 64,
	}[name]
}

func checkPassdbs(k *checker) error {
	for _, n := range k.root.lists["passdb"] {
		if n.get("driver").text == "" {
			return errors.New("passdb is missing driver")
		}
		if n.get("pass").num != 0 && n.get("result_success").text != "return-ok" {
			return errors.New("Obsolete pass=yes setting mixed with non-default result_success")
		}
	}
	return nil
}

func checkUserdbs(k *checker) error {
	for _, n := range k.root.lists["userdb"] {
		if n.get("driver").text == "" {
			return errors.New("userdb is missing driver")
		}
	}
	return nil
}

func checkDirector(k *checker) error {
	if k.num("director_user_expire") < 10 {
		return errors.New("director_user_expire is too low")
	}
	return nil
}

func checkLMTP(k *checker) error {
	return checkWords(k.text("lmtp_client_workarounds"), "whitespace-before-path mailbox-for-path",
		"lmtp_client_workarounds: Unknown workaround: %s")
}

func checkSubmission(k *checker) error {
	return checkWords(k.text("submission_client_workarounds"),
		"whitespace-before-path mailbox-for-path implicit-auth-external exotic-backend",
		"submission_client_workarounds: Unknown workaround: %s")
}

func checkStats(k *checker) error {
	exporters := map[string]bool{}
	for _, n := range k.root.lists["event_exporter"] {
		exporters[n.title()] = true
	}
	for _, n := range k.root.lists["metric"] {
		if e := n.get("exporter").text; e != "" && len(exporters) > 0 && !exporters[e] {
			return fmt.Errorf("metric %s refers to non-existent exporter '%s'", n.title(), e)
		}
	}
	for _, n := range k.root.lists["metric"] {
		if err := checkMetric(n); err != nil {
			return err
		}
	}
	for _, n := range k.root.lists["event_exporter"] {
		if err := checkExporter(n); err != nil {
			return err
		}
	}
	return nil
}

func checkMetric(n *node) error {
	switch {
	case n.title() == "":
		return errors.New("Metric name can't be empty")
	case n.get("filter").text == "":
		return fmt.Errorf("metric %s { filter } is empty - will not match anything", n.title())
	}
	if err := parseEventFilter(n.get("filter").text); err != nil {
		return err
	}
	for _, field := range strings.FieldsFunc(n.get("group_by").text, func(r rune) bool { return r == ' ' }) {
		if err := checkGroupBy(strings.Split(field, ":")); err != nil {
			return err
		}
	}
	return nil
}

func checkGroupBy(part []string) error {
	if len(part) == 1 {
		return nil
	}
	switch part[1] {
	case "discrete":
		if len(part) > 2 {
			return errors.New("group_by 'discrete' aggregate function does not take any args")
		}
		return nil
	case "exponential", "linear":
	default:
		return fmt.Errorf("unknown aggregation function '%s' on field '%s'", part[1], part[0])
	}
	var n []int64
	for _, arg := range part[2:] {
		if v, err := strconv.ParseInt(arg, 10, 64); err == nil && !strings.HasPrefix(arg, "+") {
			n = append(n, v)
		}
	}
	switch {
	case len(part) != 5 || len(n) != 3:
		return fmt.Errorf("group_by '%s' aggregate function takes 3 int args", part[1])
	case n[0] < 0 || n[1] < 0 || n[2] < 0:
		return fmt.Errorf("group_by '%s' aggregate function arguments must be >= 0", part[1])
	case n[0] >= n[1]:
		return fmt.Errorf("group_by '%s' aggregate function min must be < max (%d must be < %d)", part[1], n[0], n[1])
	case part[1] == "exponential" && n[2] != 2 && n[2] != 10:
		return fmt.Errorf("group_by 'exponential' aggregate function base must be one of: 2, 10 (base=%d)", n[2])
	case part[1] == "linear" && n[2] > n[1]-n[0]:
		return fmt.Errorf("group_by 'linear' aggregate function min+step must be <= max (%d must be <= %d)", n[0]+n[2], n[1])
	}
	return nil
}

func checkExporter(n *node) error {
	format, transport := n.get("format").text, n.get("transport").text
	switch {
	case n.title() == "":
		return errors.New("Exporter name can't be empty")
	case format == "":
		return errors.New("Exporter format name can't be empty")
	case !slices.Contains([]string{"none", "json", "tab-text"}, format):
		return fmt.Errorf("Unknown exporter format '%s'", format)
	case transport == "":
		return errors.New("Exporter transport name can't be empty")
	case !slices.Contains([]string{"drop", "http-post", "log"}, transport):
		return fmt.Errorf("Unknown transport type '%s'", transport)
	}
	seen := ""
	for _, arg := range strings.FieldsFunc(n.get("format_args").text, func(r rune) bool { return r == ' ' }) {
		switch {
		case arg != "time-rfc3339" && arg != "time-unix":
			return fmt.Errorf("Unknown exporter format arg: %s", arg)
		case seen != "" && seen != arg:
			return fmt.Errorf("Exporter '%s' specifies multiple time format args", n.title())
		}
		seen = arg
	}
	if seen == "" && format != "none" {
		return fmt.Errorf("%s exporter format requires a time-* argument", format)
	}
	return nil
}

// userExists tells whether the system knows a user.
func userExists(name string) bool {
	_, err := user.Lookup(name)
	return err == nil
}
