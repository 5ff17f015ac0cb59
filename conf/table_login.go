package conf

// loginSettings are the settings of the login fronts and of the hand-over to a backend.
func loginSettings() []Setting {
	return []Setting{
		{
			Name: "disable_plaintext_auth", Type: Bool, Default: "yes", Name24: "auth_allow_cleartext", Default24: "no", Use: Used,
			Doc:   "Refuse plaintext passwords without TLS, except from the same host or a trusted network.",
			field: func(s *Settings) any { return &s.DisablePlaintextAuth },
		},
		{
			Name: "imap_capability", Type: Text, Use: Used,
			Doc:   "IMAP capabilities shown before login; with a leading + they are added to the usual ones.",
			field: func(s *Settings) any { return &s.IMAPCapability },
		},
		{
			Name: "imap_id_log", Type: Text, Name24: "-", Use: Used,
			Doc:   "Fields of a client's IMAP ID command to log. *: all.",
			field: func(s *Settings) any { return &s.IMAPIDLog },
		},
		{
			Name: "imap_id_retain", Type: Bool, Default: "no", Use: Used,
			Doc:   "Whether the client's IMAP ID fields are passed on to the backend.",
			field: func(s *Settings) any { return &s.IMAPIDRetain },
		},
		{
			Name: "imap_id_send", Type: Text, Default: "name *", Use: Used,
			Doc:   "Fields of the reply to the IMAP ID command; * is the default value.",
			field: func(s *Settings) any { return &s.IMAPIDSend },
		},
		{
			Name: "imap_literal_minus", Type: Bool, Default: "no", Use: Used,
			Doc:   "Offer LITERAL- in place of LITERAL+.",
			field: func(s *Settings) any { return &s.IMAPLiteralMinus },
		},
		{
			Name: "login_greeting", Type: Text, Default: "Dovecot (Debian) ready.", Default24: "Dovecot ready.", Use: Used,
			Doc:   "Greeting to clients. %l, %r, %p, %s and %{local_name} are replaced.",
			field: func(s *Settings) any { return &s.LoginGreeting },
		},
		{
			Name: "login_log_format", Type: Text, Default: "%$: %s", Default24: "%{message}: %{elements}", Use: Used,
			Doc:   "Shape of login log lines: %$ is the message, %s the elements.",
			field: func(s *Settings) any { return &s.LoginLogFormat },
		},
		{
			Name: "login_log_format_elements", Type: Text, Default: "user=<%u> method=%m rip=%r lip=%l mpid=%e %c session=<%{session}>", Default24: "user=<%{user}> method=%{mechanism} rip=%{remote_ip} lip=%{local_ip} mpid=%{mail_pid} %{secured} session=<%{session}>", Use: Used,
			Doc:   "Elements of login log lines, separated by blanks. An element whose variables are all empty is left out.",
			field: func(s *Settings) any { return &s.LoginLogFormatElements },
		},
		{
			Name: "login_proxy_max_disconnect_delay", Type: Time, Default: "0", Use: Used,
			Doc:   "Time over which clients of a lost backend are disconnected, to spread their reconnects. 0: at once.",
			field: func(s *Settings) any { return &s.LoginProxyMaxDisconnectDelay },
		},
		{
			Name: "login_proxy_max_reconnects", Type: Number, Default: "3", Use: Used,
			Doc:   "How often a failed connection to the backend is tried again.",
			field: func(s *Settings) any { return &s.LoginProxyMaxReconnects },
		},
		{
			Name: "login_proxy_notify_path", Type: Text, Default: "proxy-notify", Use: Used,
			Doc:   "FIFO that hears the user names of proxied sessions whose passdb answer has proxy_refresh. A relative path is below the directory login of base_dir.",
			field: func(s *Settings) any { return &s.LoginProxyNotifyPath },
		},
		{
			Name: "login_proxy_rawlog_dir", Type: Text, Use: Used,
			Doc:   "Existing directory for raw logs of logins at backends: one .in and one .out file for each connection, up to the hand-over, with passwords masked. A relative path is below the directory login of base_dir.",
			field: func(s *Settings) any { return &s.LoginProxyRawlogDir },
		},
		{
			Name: "login_proxy_timeout", Type: TimeMS, Default: "30 secs", Use: Used,
			Doc:   "How long connecting and logging in to a backend may take.",
			field: func(s *Settings) any { return &s.LoginProxyTimeout },
		},
		{
			Name: "login_source_ips", Type: Text, Use: Used,
			Doc:   "Local addresses that outgoing connections are spread over. A leading ? drops those that are not on this machine.",
			field: func(s *Settings) any { return &s.LoginSourceIPs },
		},
		{
			Name: "login_trusted_networks", Type: Text, Use: Used,
			Doc:   "Networks of trusted proxies and web mails: they may log in without TLS and may name the client's real address.",
			field: func(s *Settings) any { return &s.LoginTrustedNetworks },
		},
		{
			Name: "mail_max_userip_connections", Type: Number, Default: "10", Use: Used,
			Doc:   "Most connections of one user from one address, for each protocol. 0: no limit. Proxied sessions are counted only with login_proxy_userip_limit = yes.",
			field: func(s *Settings) any { return &s.MailMaxUserIPConnections },
		},
		{
			Name: "managesieve_implementation_string", Type: Text, Default: "Dovecot (Debian) Pigeonhole", Default24: "Dovecot Pigeonhole", Use: Used,
			Doc:   "IMPLEMENTATION capability of ManageSieve.",
			field: func(s *Settings) any { return &s.ManagesieveImplementationString },
		},
		{
			Name: "managesieve_notify_capability", Type: Text, Default: "mailto", Use: Used,
			Doc:   "NOTIFY capability of ManageSieve.",
			field: func(s *Settings) any { return &s.ManagesieveNotifyCapability },
		},
		{
			Name: "managesieve_sieve_capability", Type: Text, Default: "fileinto reject envelope encoded-character vacation subaddress comparator-i;ascii-numeric relational regex imap4flags copy include variables body enotify environment mailbox date index ihave duplicate mime foreverypart extracttext", Use: Used,
			Doc:   "SIEVE capability of ManageSieve.",
			field: func(s *Settings) any { return &s.ManagesieveSieveCapability },
		},
		{
			Name: "submission_backend_capabilities", Type: Text, Unset: true, Use: Used,
			Doc:   "EHLO capabilities of the backends. Unset: asked from the backend.",
			field: func(s *Settings) any { return &s.SubmissionBackendCapabilities },
		},
		{
			Name: "submission_client_workarounds", Type: Text, Use: Used,
			Doc:   "Submission client bugs to work around.",
			field: func(s *Settings) any { return &s.SubmissionClientWorkarounds },
		},
		{
			Name: "submission_max_mail_size", Type: Size, Default: "0", Other: "40 M", Default24: "40 M", Use: Used,
			Doc:   "SIZE offered to submission clients. 0: no limit.",
			field: func(s *Settings) any { return &s.SubmissionMaxMailSize },
		},
	}
}

// lmtpSettings are the settings of the LMTP front.
func lmtpSettings() []Setting {
	return []Setting{
		{
			Name: "lmtp_add_received_header", Type: Bool, Default: "yes", Use: Used,
			Doc:   "Whether a Received header is added.",
			field: func(s *Settings) any { return &s.LMTPAddReceivedHeader },
		},
		{
			Name: "lmtp_client_workarounds", Type: Text, Use: Used,
			Doc:   "LMTP client bugs to work around.",
			field: func(s *Settings) any { return &s.LMTPClientWorkarounds },
		},
		{
			Name: "lmtp_hdr_delivery_address", Type: Enum, Default: "final", Enum: "final none original", Use: Used,
			Doc:   "Address in the Delivered-To header: the final one, none, or the original one.",
			field: func(s *Settings) any { return &s.LMTPHdrDeliveryAddress },
		},
		{
			Name: "lmtp_proxy", Type: Bool, Default: "no", Use: Used,
			Doc:   "Whether the passdb may send LMTP recipients to another host.",
			field: func(s *Settings) any { return &s.LMTPProxy },
		},
		{
			Name: "lmtp_proxy_rawlog_dir", Type: Text, Use: Ignored,
			Why: "there are no raw logs; capture the traffic instead",
			Doc: "Directory for raw logs of proxied LMTP connections.",
		},
		{
			Name: "lmtp_rawlog_dir", Type: Text, Use: Ignored,
			Why: "there are no raw logs; capture the traffic instead",
			Doc: "Directory for raw logs of LMTP clients.",
		},
		{
			Name: "lmtp_user_concurrency_limit", Type: Number, Default: "0", Default24: "10", Use: Used,
			Doc:   "Most concurrent deliveries of one user. 0: no limit.",
			field: func(s *Settings) any { return &s.LMTPUserConcurrencyLimit },
		},
		{
			Name: "lmtp_verbose_replies", Type: Bool, Default: "no", Use: Used,
			Doc:   "Whether error replies tell details that are otherwise only logged.",
			field: func(s *Settings) any { return &s.LMTPVerboseReplies },
		},
		{
			Name: "recipient_delimiter", Type: Text, Default: "+", Use: Used,
			Doc:   "Characters that separate a user from the detail in an address.",
			field: func(s *Settings) any { return &s.RecipientDelimiter },
		},
	}
}
