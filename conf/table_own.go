package conf

// ownSettings are those that Dovecot does not have. Their names begin as its own of the same kind do.
func ownSettings() []Setting {
	return []Setting{
		{
			Name: "login_proxy_follow_referrals", Type: Bool, Default: "no", Default24: "yes", Own: true, Use: Used,
			Doc:   "Whether a backend's referral (IMAP and ManageSieve REFERRAL, POP3 [REFERRAL/...], SMTP and LMTP 5.2.900) is followed, as by Dovecot 2.4. The host has to be an address.",
			field: func(s *Settings) any { return &s.LoginProxyFollowReferrals },
		},
		{
			Name: "login_proxy_local", Type: Text, Own: true, Use: Used,
			Doc:   "Address and port (as in 127.0.0.1:10143 or [::1]:10143) of the mail server that serves the users whose proxy_maybe points at this host. Set it for each protocol. Empty: such users are refused.",
			field: func(s *Settings) any { return &s.LoginProxyLocal },
		},
		{
			Name: "login_proxy_protocol", Type: Enum, Default: "no", Enum: "no v1 v2", Own: true, Use: Used,
			Doc:   "PROXY protocol header that backends get ahead of everything else. The passdb field proxy_protocol overrides it.",
			field: func(s *Settings) any { return &s.LoginProxyProtocol },
		},
		{
			Name: "login_proxy_userip_limit", Type: Bool, Default: "no", Own: true, Use: Used,
			Doc:   "Whether mail_max_userip_connections counts proxied sessions too.",
			field: func(s *Settings) any { return &s.LoginProxyUserIPLimit },
		},
	}
}
