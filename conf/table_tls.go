package conf

// tlsSettings are the settings of TLS towards clients and backends.
func tlsSettings() []Setting {
	return []Setting{
		{
			Name: "ssl", Type: Enum, Default: "yes", Enum: "yes no required", Use: Used,
			Doc:   "Whether clients may use TLS: no, yes, or required.",
			field: func(s *Settings) any { return &s.SSL },
		},
		{
			Name: "ssl_alt_cert", Type: Text, Name24: "ssl_server_alt_cert_file", Use: Used,
			Doc:   "Second certificate of another key type, normally <path.",
			field: func(s *Settings) any { return &s.SSLAltCert },
		},
		{
			Name: "ssl_alt_key", Type: Text, Name24: "ssl_server_alt_key_file", Use: Used,
			Doc:   "PEM key of ssl_alt_cert, normally <path.",
			field: func(s *Settings) any { return &s.SSLAltKey },
		},
		{
			Name: "ssl_ca", Type: Text, Name24: "ssl_server_ca_file", Use: Used,
			Doc:   "PEM certificates of the authorities that sign client and backend certificates, normally <path.",
			field: func(s *Settings) any { return &s.SSLCA },
		},
		{
			Name: "ssl_cert", Type: Text, Name24: "ssl_server_cert_file", Use: Used,
			Doc:   "PEM certificate chain of the server, normally <path.",
			field: func(s *Settings) any { return &s.SSLCert },
		},
		{
			Name: "ssl_cert_username_field", Type: Text, Default: "commonName", Name24: "ssl_server_cert_username_field", Use: Used,
			Doc:   "Field of the client certificate that holds the user name.",
			field: func(s *Settings) any { return &s.SSLCertUsernameField },
		},
		{
			Name: "ssl_cipher_list", Type: Text, Default: "ALL:!kRSA:!SRP:!kDHd:!DSS:!aNULL:!eNULL:!EXPORT:!DES:!3DES:!MD5:!PSK:!RC4:!ADH:!LOW@STRENGTH", Use: Used,
			Doc:   "Ciphers for TLS 1.2 and older, in OpenSSL's notation.",
			field: func(s *Settings) any { return &s.SSLCipherList },
		},
		{
			Name: "ssl_cipher_suites", Type: Text, Use: Used,
			Doc:   "Cipher suites for TLS 1.3.",
			field: func(s *Settings) any { return &s.SSLCipherSuites },
		},
		{
			Name: "ssl_client_ca_dir", Type: Text, Auth: true, Use: Used,
			Doc:   "Directory of authorities that sign backend certificates.",
			field: func(s *Settings) any { return &s.SSLClientCADir },
		},
		{
			Name: "ssl_client_ca_file", Type: Text, Auth: true, Use: Used,
			Doc:   "File of authorities that sign backend certificates.",
			field: func(s *Settings) any { return &s.SSLClientCAFile },
		},
		{
			Name: "ssl_client_cert", Type: Text, Name24: "ssl_client_cert_file", Use: Used,
			Doc:   "PEM certificate shown to backends, normally <path.",
			field: func(s *Settings) any { return &s.SSLClientCert },
		},
		{
			Name: "ssl_client_key", Type: Text, Name24: "ssl_client_key_file", Use: Used,
			Doc:   "PEM key of ssl_client_cert, normally <path.",
			field: func(s *Settings) any { return &s.SSLClientKey },
		},
		clientSideSetting("ssl_cipher_list", func(s *Settings) any { return &s.SSLClientCipherList }),
		clientSideSetting("ssl_cipher_suites", func(s *Settings) any { return &s.SSLClientCipherSuites }),
		clientSideSetting("ssl_curve_list", func(s *Settings) any { return &s.SSLClientCurveList }),
		clientSideSetting("ssl_min_protocol", func(s *Settings) any { return &s.SSLClientMinProtocol }),
		{
			Name: "ssl_client_require_valid_cert", Type: Bool, Default: "yes", Use: Used,
			Doc:   "Refuse backends without a valid certificate.",
			field: func(s *Settings) any { return &s.SSLClientRequireValidCert },
		},
		{
			Name: "ssl_curve_list", Type: Text, Use: Used,
			Doc:   "Elliptic curves, separated by colons.",
			field: func(s *Settings) any { return &s.SSLCurveList },
		},
		{
			Name: "ssl_dh", Type: Text, Name24: "ssl_server_dh_file", Use: Ignored,
			Why: "key exchange is by elliptic curves only",
			Doc: "PEM Diffie-Hellman parameters, normally <path. TLS 1.3 and ECDHE do not need them.",
		},
		{
			Name: "ssl_key", Type: Text, Name24: "ssl_server_key_file", Use: Used,
			Doc:   "PEM key of ssl_cert, normally <path.",
			field: func(s *Settings) any { return &s.SSLKey },
		},
		{
			Name: "ssl_key_password", Type: Text, Name24: "ssl_server_key_password", Use: Used,
			Doc:   "Password of ssl_key.",
			field: func(s *Settings) any { return &s.SSLKeyPassword },
		},
		{
			Name: "ssl_min_protocol", Type: Text, Default: "TLSv1.2", Use: Used,
			Doc:   "Lowest TLS version: TLSv1, TLSv1.1, TLSv1.2, TLSv1.3, ANY or LATEST.",
			field: func(s *Settings) any { return &s.SSLMinProtocol },
		},
		{
			Name: "ssl_options", Type: Text, Use: Used,
			Doc:   "Further options: compression, no_ticket.",
			field: func(s *Settings) any { return &s.SSLOptions },
		},
		{
			Name: "ssl_prefer_server_ciphers", Type: Bool, Default: "no", Name24: "ssl_server_prefer_ciphers", Default24: "client", Use: Ignored,
			Why: "the order is chosen by what both sides' hardware does well",
			Doc: "Whether the server's order of ciphers wins.",
		},
		{
			Name: "ssl_require_crl", Type: Bool, Default: "yes", Name24: "ssl_server_require_crl", Use: Used,
			Doc:   "Whether a revocation list must be there to accept a client certificate.",
			field: func(s *Settings) any { return &s.SSLRequireCRL },
		},
		{
			Name: "ssl_verify_client_cert", Type: Bool, Default: "no", Name24: "ssl_server_request_client_cert", Use: Used,
			Doc:   "Ask clients for a certificate and verify it.",
			field: func(s *Settings) any { return &s.SSLVerifyClientCert },
		},
		{
			Name: "verbose_ssl", Type: Bool, Default: "no", Name24: "-", Use: Ignored,
			Why: "failed handshakes are always logged",
			Doc: "Log TLS errors and alerts.",
		},
	}
}

// clientSideSetting is a setting of 2.4's ssl_client { }. Without it the one outside of the block counts for backends too.
func clientSideSetting(name string, field func(*Settings) any) Setting {
	return Setting{
		Name: clientSide + name, Type: Text, Unset: true, Name24: "-", Use: Used,
		Doc: "2.4 only, as ssl_client { " + name + " }: " + name + " of connections to backends.", field: field,
	}
}
