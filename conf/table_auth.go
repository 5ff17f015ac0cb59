package conf

// authSettings are the settings of authentication.
func authSettings() []Setting {
	return []Setting{
		{
			Name: "auth_anonymous_username", Type: Text, Default: "anonymous", Auth: true, Use: Used,
			Doc:   "User name of ANONYMOUS logins.",
			field: func(s *Settings) any { return &s.AuthAnonymousUsername },
		},
		{
			Name: "auth_cache_negative_ttl", Type: Time, Default: "1 hours", Auth: true, Use: Used,
			Doc:   "How long \"no such user\" and a wrong password are cached. 0: not at all.",
			field: func(s *Settings) any { return &s.AuthCacheNegativeTTL },
		},
		{
			Name: "auth_cache_size", Type: Size, Default: "0", Auth: true, Use: Used,
			Doc:   "Memory for the cache of passdb answers. 0: no cache.",
			field: func(s *Settings) any { return &s.AuthCacheSize },
		},
		{
			Name: "auth_cache_ttl", Type: Time, Default: "1 hours", Auth: true, Use: Used,
			Doc:   "How long a cached answer is used.",
			field: func(s *Settings) any { return &s.AuthCacheTTL },
		},
		{
			Name: "auth_debug", Type: Bool, Default: "no", Auth: true, Use: Used,
			Doc:   "Log the steps of authentication.",
			field: func(s *Settings) any { return &s.AuthDebug },
		},
		{
			Name: "auth_debug_passwords", Type: Bool, Default: "no", Auth: true, Use: Used,
			Doc:   "Log passwords too when they do not match.",
			field: func(s *Settings) any { return &s.AuthDebugPasswords },
		},
		{
			Name: "auth_default_realm", Type: Text, Name24: "auth_default_domain", Auth: true, Use: Used,
			Doc:   "Domain added to user names that have none.",
			field: func(s *Settings) any { return &s.AuthDefaultRealm },
		},
		{
			Name: "auth_failure_delay", Type: Time, Default: "2 secs", Auth: true, Use: Used,
			Doc:   "Delay before a failed authentication is answered.",
			field: func(s *Settings) any { return &s.AuthFailureDelay },
		},
		{
			Name: "auth_master_user_separator", Type: Text, Auth: true, Use: Used,
			Doc:   "Character between the user and the master user in a login name.",
			field: func(s *Settings) any { return &s.AuthMasterUserSeparator },
		},
		{
			Name: "auth_mechanisms", Type: Text, Default: "plain", Auth: true, Use: Used,
			Doc:   "SASL mechanisms offered, separated by blanks.",
			field: func(s *Settings) any { return &s.AuthMechanisms },
		},
		{
			Name: "auth_policy_check_after_auth", Type: Bool, Default: "yes", Auth: true, Use: Used,
			Doc:   "Ask the policy server again after a successful authentication.",
			field: func(s *Settings) any { return &s.AuthPolicyCheckAfterAuth },
		},
		{
			Name: "auth_policy_check_before_auth", Type: Bool, Default: "yes", Auth: true, Use: Used,
			Doc:   "Ask the policy server before the password is checked.",
			field: func(s *Settings) any { return &s.AuthPolicyCheckBeforeAuth },
		},
		{
			Name: "auth_policy_hash_mech", Type: Text, Default: "sha256", Auth: true, Use: Used,
			Doc:   "Hash of the password that is sent to the policy server.",
			field: func(s *Settings) any { return &s.AuthPolicyHashMech },
		},
		{
			Name: "auth_policy_hash_nonce", Type: Text, Auth: true, Use: Used,
			Doc:   "Secret prefix of hashed passwords. Required with a policy server.",
			field: func(s *Settings) any { return &s.AuthPolicyHashNonce },
		},
		{
			Name: "auth_policy_hash_truncate", Type: Number, Default: "12", Auth: true, Use: Used,
			Doc:   "Bits of the hashed password that are sent. 0: all.",
			field: func(s *Settings) any { return &s.AuthPolicyHashTruncate },
		},
		{
			Name: "auth_policy_log_only", Type: Bool, Default: "no", Auth: true, Use: Used,
			Doc:   "Log what the policy server says and do not act on it.",
			field: func(s *Settings) any { return &s.AuthPolicyLogOnly },
		},
		{
			Name: "auth_policy_reject_on_fail", Type: Bool, Default: "no", Auth: true, Use: Used,
			Doc:   "Refuse authentication while the policy server does not answer.",
			field: func(s *Settings) any { return &s.AuthPolicyRejectOnFail },
		},
		{
			Name: "auth_policy_report_after_auth", Type: Bool, Default: "yes", Auth: true, Use: Used,
			Doc:   "Report the outcome of authentication to the policy server.",
			field: func(s *Settings) any { return &s.AuthPolicyReportAfterAuth },
		},
		{
			Name: "auth_policy_request_attributes", Type: Text, Default: "login=%{requested_username} pwhash=%{hashed_password} remote=%{rip} device_id=%{client_id} protocol=%s session_id=%{session}", Auth: true, Use: Used,
			Doc:   "What is sent to the policy server, as name=template.",
			field: func(s *Settings) any { return &s.AuthPolicyRequestAttributes },
		},
		{
			Name: "auth_policy_server_api_header", Type: Text, Auth: true, Use: Used,
			Doc:   "Header line added to requests, as \"Authorization: Basic ...\".",
			field: func(s *Settings) any { return &s.AuthPolicyServerAPIHeader },
		},
		{
			Name: "auth_policy_server_timeout_msecs", Type: Number, Default: "2000", Name24: "-", Auth: true, Use: Used,
			Doc:   "Milliseconds until a request to the policy server fails.",
			field: func(s *Settings) any { return &s.AuthPolicyServerTimeoutMsecs },
		},
		{
			Name: "auth_policy_server_url", Type: Text, Auth: true, Use: Used,
			Doc:   "URL of the policy server (weakforced). Empty: none is asked.",
			field: func(s *Settings) any { return &s.AuthPolicyServerURL },
		},
		{
			Name: "auth_proxy_self", Type: Text, Auth: true, Use: Used,
			Doc:   "Further addresses that are this proxy itself, for proxy_maybe.",
			field: func(s *Settings) any { return &s.AuthProxySelf },
		},
		{
			Name: "auth_realms", Type: Text, Auth: true, Use: Used,
			Doc:   "SASL realms offered to mechanisms that need them.",
			field: func(s *Settings) any { return &s.AuthRealms },
		},
		{
			Name: "auth_ssl_require_client_cert", Type: Bool, Default: "no", Auth: true, Use: Used,
			Doc:   "Refuse authentication without a valid client certificate.",
			field: func(s *Settings) any { return &s.AuthSSLRequireClientCert },
		},
		{
			Name: "auth_ssl_username_from_cert", Type: Bool, Default: "no", Auth: true, Use: Used,
			Doc:   "Take the user name from the client's certificate.",
			field: func(s *Settings) any { return &s.AuthSSLUsernameFromCert },
		},
		{
			Name: "auth_username_chars", Type: Text, Default: "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01234567890.-_@", Auth: true, Use: Used,
			Doc:   "Characters allowed in user names. Empty: all.",
			field: func(s *Settings) any { return &s.AuthUsernameChars },
		},
		{
			Name: "auth_username_format", Type: Text, Default: "%Lu", Default24: "%{user | lower}", Auth: true, Use: Used,
			Doc:   "Template applied to the user name before any lookup.",
			field: func(s *Settings) any { return &s.AuthUsernameFormat },
		},
		{
			Name: "auth_username_translation", Type: Text, Auth: true, Use: Used,
			Doc:   "Pairs of characters: the first of each is replaced by the second in user names.",
			field: func(s *Settings) any { return &s.AuthUsernameTranslation },
		},
		{
			Name: "auth_verbose", Type: Bool, Default: "no", Auth: true, Use: Used,
			Doc:   "Log why authentication failed.",
			field: func(s *Settings) any { return &s.AuthVerbose },
		},
		{
			Name: "auth_verbose_passwords", Type: Text, Default: "no", Auth: true, Use: Used,
			Doc:   "How a failed password is logged: no, plain, sha1 or yes, with :N to cut it to N characters.",
			field: func(s *Settings) any { return &s.AuthVerbosePasswords },
		},
		{
			Name: "auth_worker_max_count", Type: Number, Default: "30", Name24: "-", Auth: true, Use: Ignored,
			Why: "there are no worker processes; pools have their own bounds",
			Doc: "Most blocking passdb lookups at a time.",
		},
	}
}
