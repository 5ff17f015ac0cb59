package conf

import "strings"

// listing tells how sections of one kind come together.
type listing uint8

const (
	ordered   listing = iota // unnamed ones are appended, names must be unique: passdb
	unique                   // keyed by name, repeating one merges: service
	stringMap                // free keys, all sections of the kind are one: plugin
)

// kind is one kind of section: what may stand in it.
type kind struct {
	name    string
	listing listing
	nameKey string // the key that holds the section's name
	auth    bool   // read by the authentication process
	use     Use
	doc     string
	rows    []Setting
	kinds   []*kind
	aliases map[string]string // other names of rows

	row  map[string]*Setting
	kind map[string]*kind
}

// index builds the look-up maps of k and everything below it.
func (k *kind) index() {
	k.row = make(map[string]*Setting, len(k.rows))
	for i := range k.rows {
		k.row[k.rows[i].Name] = &k.rows[i]
	}
	for alias, name := range k.aliases {
		k.row[alias] = k.row[name]
	}
	k.kind = make(map[string]*kind, len(k.kinds))
	for _, sub := range k.kinds {
		k.kind[sub.name] = sub
		sub.index()
	}
}

func newRootKind() *kind {
	root := &kind{rows: Table(), aliases: map[string]string{"mail": "mail_location", "doveadm_proxy_port": "doveadm_port"}, kinds: []*kind{
		serviceKind(), passdbKind(), userdbKind(), namespaceKind(), metricKind(), exporterKind(),
		{name: "plugin", listing: stringMap, doc: "Settings of mail plugins."},
		{name: "dict", listing: stringMap, doc: "Names of dictionaries."},
	}}
	root.index()
	return root
}

func serviceKind() *kind {
	files := []Setting{
		{Name: "path", Type: Text},
		{Name: "mode", Type: Octal, Default: "0600", Use: Used, Doc: "Permissions of the socket. 0: no socket."},
		{Name: "user", Type: Text, Use: Used, Doc: "Owner of the socket."},
		{Name: "group", Type: Text, Use: Used, Doc: "Group of the socket."},
	}
	return &kind{
		name: "service", listing: unique, nameKey: "name", use: Used,
		doc: "One service of Dovecot. dproxy is one process; it takes listeners and limits from here.",
		rows: []Setting{
			{Name: "name", Type: Text},
			{Name: "protocol", Type: Text, Use: Used, Doc: "Protocol that must be enabled for the service to exist."},
			{Name: "type", Type: Text, Why: "dproxy is one process"},
			{Name: "executable", Type: Text, Why: "dproxy is one process"},
			{Name: "user", Type: Text, Why: "dproxy is one process"},
			{Name: "group", Type: Text, Why: "dproxy is one process"},
			{Name: "privileged_group", Type: Text, Why: "dproxy is one process"},
			{Name: "extra_groups", Type: Text, Why: "dproxy is one process"},
			{Name: "chroot", Type: Text, Why: "dproxy is one process"},
			{Name: "drop_priv_before_exec", Type: Bool, Default: "no", Why: "dproxy is one process"},
			{Name: "process_min_avail", Type: Number, Default: "0", Why: "dproxy is one process"},
			{Name: "process_limit", Type: Number, Default: "0", Use: Used, Doc: "With client_limit: most connections at a time. 0: default_process_limit."},
			{Name: "client_limit", Type: Number, Default: "0", Use: Used, Doc: "With process_limit: most connections at a time. 0: default_client_limit."},
			{Name: "service_count", Type: Number, Default: "0", Why: "dproxy is one process"},
			{Name: "idle_kill", Type: Time, Default: "0", Why: "dproxy is one process"},
			{Name: "vsz_limit", Type: Size, Default: "18446744073709551615 B", Why: "dproxy is one process"},
		},
		kinds: []*kind{
			{name: "unix_listener", listing: unique, nameKey: "path", use: Used, rows: files, doc: "A socket in the file system."},
			{name: "fifo_listener", listing: unique, nameKey: "path", rows: files, doc: "A FIFO in the file system."},
			{name: "inet_listener", listing: unique, nameKey: "name", use: Used, doc: "A TCP listener.", rows: []Setting{
				{Name: "name", Type: Text},
				{Name: "address", Type: Text, Use: Used, Doc: "Addresses to listen on, in place of the listen setting."},
				{Name: "port", Type: Port, Default: "0", Use: Used, Doc: "Port. 0: switched off."},
				{Name: "ssl", Type: Bool, Default: "no", Use: Used, Doc: "TLS from the start of the connection."},
				{Name: "reuse_port", Type: Bool, Default: "no", Use: Used, Doc: "Set SO_REUSEPORT."},
				{Name: "haproxy", Type: Bool, Default: "no", Use: Used, Doc: "Expect a PROXY protocol header from haproxy_trusted_networks."},
			}},
		},
	}
}

const (
	skipWords    = "never authenticated unauthenticated"
	successWords = "return-ok return return-fail continue continue-ok continue-fail"
	failureWords = "continue return return-ok return-fail continue-ok continue-fail"
)

func passdbKind() *kind {
	return &kind{
		name: "passdb", listing: ordered, nameKey: "name", auth: true, use: Used,
		doc: "One password database. They are asked in order.",
		rows: []Setting{
			{Name: "name", Type: Text, Use: Used, Doc: "Name for logs."},
			{Name: "driver", Type: Text, Use: Used, Doc: "Kind of database: static, passwd-file, sql, ldap, oauth2, http, ..."},
			{Name: "args", Type: Text, Use: Used, Doc: "Arguments of the driver, or the path of its file."},
			{Name: "default_fields", Type: Text, Use: Used, Doc: "Fields for what the database does not answer."},
			{Name: "override_fields", Type: Text, Use: Used, Doc: "Fields that replace what the database answers."},
			{Name: "mechanisms", Type: Text, Use: Used, Doc: "SASL mechanisms that the entry is for. Empty: all."},
			{Name: "username_filter", Type: Text, Use: Used, Doc: "Patterns of user names that the entry is for."},
			{Name: "skip", Type: Enum, Default: "never", Enum: skipWords, Use: Used, Doc: "When the entry is passed over."},
			{Name: "result_success", Type: Enum, Default: "return-ok", Enum: successWords, Use: Used, Doc: "What follows a match."},
			{Name: "result_failure", Type: Enum, Default: "continue", Enum: failureWords, Use: Used, Doc: "What follows a mismatch."},
			{Name: "result_internalfail", Type: Enum, Default: "continue", Enum: failureWords, Use: Used, Doc: "What follows an internal failure."},
			{Name: "deny", Type: Bool, Default: "no", Use: Used, Doc: "Users found here are refused."},
			{Name: "pass", Type: Bool, Default: "no", Use: Used, Doc: "After a match the next entry decides. Old form of result_success = continue."},
			{Name: "master", Type: Bool, Default: "no", Use: Used, Doc: "The entry holds master users."},
			{Name: "auth_verbose", Type: Enum, Default: "default", Enum: "default yes no", Use: Used, Doc: "auth_verbose for this entry."},
		},
	}
}

func userdbKind() *kind {
	return &kind{
		name: "userdb", listing: ordered, nameKey: "name", auth: true,
		doc: "One user database. A proxy needs none.",
		rows: []Setting{
			{Name: "name", Type: Text},
			{Name: "driver", Type: Text},
			{Name: "args", Type: Text},
			{Name: "default_fields", Type: Text},
			{Name: "override_fields", Type: Text},
			{Name: "skip", Type: Enum, Default: "never", Enum: "never found notfound"},
			{Name: "result_success", Type: Enum, Default: "return-ok", Enum: successWords},
			{Name: "result_failure", Type: Enum, Default: "continue", Enum: failureWords},
			{Name: "result_internalfail", Type: Enum, Default: "continue", Enum: failureWords},
			{Name: "auth_verbose", Type: Enum, Default: "default", Enum: "default yes no"},
		},
	}
}

func namespaceKind() *kind {
	return &kind{
		name: "namespace", listing: unique, nameKey: "name",
		doc:     "A namespace of mailboxes.",
		aliases: map[string]string{"mail": "location", "mail_location": "location"},
		rows: []Setting{
			{Name: "name", Type: Text},
			{Name: "type", Type: Enum, Default: "private", Enum: "private shared public"},
			{Name: "separator", Type: Text},
			{Name: "prefix", Type: Text, Always: true},
			{Name: "location", Type: Text, Always: true},
			{Name: "alias_for", Type: Text, Unset: true},
			{Name: "inbox", Type: Bool, Default: "no"},
			{Name: "hidden", Type: Bool, Default: "no"},
			{Name: "list", Type: Enum, Default: "yes", Enum: "yes no children"},
			{Name: "subscriptions", Type: Bool, Default: "yes"},
			{Name: "ignore_on_failure", Type: Bool, Default: "no"},
			{Name: "disabled", Type: Bool, Default: "no"},
			{Name: "order", Type: Number, Default: "0"},
		},
		kinds: []*kind{{name: "mailbox", listing: unique, nameKey: "name", doc: "One mailbox.", rows: []Setting{
			{Name: "name", Type: Text},
			{Name: "auto", Type: Enum, Default: "no", Enum: "no create subscribe"},
			{Name: "special_use", Type: Text},
			{Name: "driver", Type: Text},
			{Name: "comment", Type: Text},
			{Name: "autoexpunge", Type: Time, Default: "0"},
			{Name: "autoexpunge_max_mails", Type: Number, Default: "0"},
		}}},
	}
}

func metricKind() *kind {
	return &kind{
		name: "metric", listing: unique, nameKey: "metric_name", use: Used,
		doc: "A counter of events.",
		rows: []Setting{
			{Name: "metric_name", Type: Text},
			{Name: "filter", Type: Text, Use: Used, Doc: "Events to count."},
			{Name: "fields", Type: Text, Use: Used, Doc: "Fields to sum up."},
			{Name: "group_by", Type: Text, Use: Used, Doc: "Fields to group by."},
			{Name: "exporter", Type: Text, Use: Used, Doc: "event_exporter to send the events to."},
			{Name: "exporter_include", Type: Text, Default: "name hostname timestamps categories fields", Use: Used, Doc: "What is sent."},
			{Name: "description", Type: Text, Use: Used, Doc: "Text for people."},
		},
	}
}

func exporterKind() *kind {
	return &kind{
		name: "event_exporter", listing: unique, nameKey: "name", use: Used,
		doc: "Where the events of metrics are sent.",
		rows: []Setting{
			{Name: "name", Type: Text},
			{Name: "transport", Type: Text, Use: Used, Doc: "log, http-post or drop."},
			{Name: "transport_args", Type: Text, Use: Used, Doc: "URL of http-post."},
			{Name: "transport_timeout", Type: TimeMS, Default: "250 ms", Use: Used, Doc: "How long sending may take."},
			{Name: "format", Type: Text, Use: Used, Doc: "json, tab-text or none."},
			{Name: "format_args", Type: Text, Use: Used, Doc: "Format of times."},
		},
	}
}

// choices lists the words of an Enum setting.
func (s *Setting) choices() []string { return strings.Fields(s.Enum) }
