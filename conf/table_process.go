package conf

// processSettings are the settings of the whole process: where it listens and logs.
func processSettings() []Setting {
	return []Setting{
		{
			Name: "base_dir", Type: Text, Default: "/run/dovecot", Auth: true, Use: Used, Reload: Restart,
			Doc:   "Directory of the process's own sockets.",
			field: func(s *Settings) any { return &s.BaseDir },
		},
		{
			Name: "debug_log_path", Type: Text, Use: Used,
			Doc:   "Where debug messages are logged. Empty: info_log_path.",
			field: func(s *Settings) any { return &s.DebugLogPath },
		},
		{
			Name: "default_client_limit", Type: Number, Default: "1000", Use: Used,
			Doc:   "client_limit of services that do not set one.",
			field: func(s *Settings) any { return &s.DefaultClientLimit },
		},
		{
			Name: "default_internal_group", Type: Text, Default: "dovecot", Use: Used, Reload: Restart,
			Doc:   "Group that owns internal sockets.",
			field: func(s *Settings) any { return &s.DefaultInternalGroup },
		},
		{
			Name: "default_internal_user", Type: Text, Default: "dovecot", Use: Used, Reload: Restart,
			Doc:   "User that owns internal sockets.",
			field: func(s *Settings) any { return &s.DefaultInternalUser },
		},
		{
			Name: "default_login_user", Type: Text, Default: "dovenull", Use: Used, Reload: Restart,
			Doc:   "User that untrusted login work runs as.",
			field: func(s *Settings) any { return &s.DefaultLoginUser },
		},
		{
			Name: "default_process_limit", Type: Number, Default: "100", Use: Used,
			Doc:   "process_limit of services that do not set one.",
			field: func(s *Settings) any { return &s.DefaultProcessLimit },
		},
		{
			Name: "doveadm_api_key", Type: Text, Use: Used,
			Doc:   "Key that /metrics wants when it is set, as a bearer token. Listeners of service stats on other addresses than loopback need one.",
			field: func(s *Settings) any { return &s.DoveadmAPIKey },
		},
		{
			Name: "haproxy_timeout", Type: Time, Default: "3 secs", Use: Used,
			Doc:   "How long to wait for a PROXY protocol header.",
			field: func(s *Settings) any { return &s.HAProxyTimeout },
		},
		{
			Name: "haproxy_trusted_networks", Type: Text, Use: Used,
			Doc:   "Networks that may send a PROXY protocol header to listeners with haproxy = yes. Empty: none.",
			field: func(s *Settings) any { return &s.HAProxyTrustedNetworks },
		},
		{
			Name: "hostname", Type: Text, Use: Used,
			Doc:   "Host name shown to clients and backends. Empty: the machine's full name.",
			field: func(s *Settings) any { return &s.Hostname },
		},
		{
			Name: "import_environment", Type: Text, Default: "TZ CORE_OUTOFMEM CORE_ERROR LISTEN_PID LISTEN_FDS NOTIFY_SOCKET", Default24: "", Use: Ignored, Reload: Restart,
			Why: "there is one process, with the environment it was started in",
			Doc: "Environment variables that are kept, as NAME or NAME=value.",
		},
		{
			Name: "info_log_path", Type: Text, Use: Used,
			Doc:   "Where informational messages are logged. Empty: log_path.",
			field: func(s *Settings) any { return &s.InfoLogPath },
		},
		{
			Name: "instance_name", Type: Text, Default: "dovecot", Use: Used,
			Doc:   "Name of this instance, shown in process titles and by the administration commands.",
			field: func(s *Settings) any { return &s.InstanceName },
		},
		{
			Name: "listen", Type: Text, Default: "*, ::", Default24: "* ::", Use: Used,
			Doc:   "Addresses or host names that listeners without an address of their own bind, separated by commas or blanks. * is every IPv4 address, :: every IPv6 address.",
			field: func(s *Settings) any { return &s.Listen },
		},
		{
			Name: "log_path", Type: Text, Default: "syslog", Use: Used,
			Doc:   "Where errors and warnings are logged: a file, \"syslog\" or /dev/stderr.",
			field: func(s *Settings) any { return &s.LogPath },
		},
		{
			Name: "log_timestamp", Type: Text, Default: "%b %d %H:%M:%S ", Use: Used,
			Doc:   "strftime(3) prefix of lines in log files.",
			field: func(s *Settings) any { return &s.LogTimestamp },
		},
		{
			Name: "protocols", Type: Text, Use: Used,
			Doc:   "Protocols to serve, separated by blanks: imap, pop3, submission, sieve, lmtp. Empty, the default as in Debian's Dovecot, or \"none\": nothing is served.",
			field: func(s *Settings) any { return &s.Protocols },
		},
		{
			Name: "shutdown_clients", Type: Bool, Default: "yes", Use: Used,
			Doc:   "Whether clients are disconnected when the process stops.",
			field: func(s *Settings) any { return &s.ShutdownClients },
		},
		{
			Name: "state_dir", Type: Text, Default: "/var/lib/dovecot", Use: Used,
			Doc:   "Directory for state that survives a restart.",
			field: func(s *Settings) any { return &s.StateDir },
		},
		{
			Name: "syslog_facility", Type: Text, Default: "mail", Use: Used,
			Doc:   "Syslog facility.",
			field: func(s *Settings) any { return &s.SyslogFacility },
		},
		{
			Name: "verbose_proctitle", Type: Bool, Default: "no", Auth: true, Use: Ignored, Reload: Restart,
			Why: "there is one process for all connections",
			Doc: "Whether the process title shows who is connected.",
		},
	}
}
