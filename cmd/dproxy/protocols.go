package main

import (
	"dproxy/backend/imap"
	"dproxy/backend/managesieve"
	"dproxy/backend/pop3"
	"dproxy/backend/submission"
	"dproxy/conf"
	"dproxy/login"
	imapfront "dproxy/login/imap"
	lmtpfront "dproxy/login/lmtp"
	managesievefront "dproxy/login/managesieve"
	pop3front "dproxy/login/pop3"
	submissionfront "dproxy/login/submission"
	"dproxy/passdb"
	"dproxy/passdb/checkpassword"
	"dproxy/passdb/dict"
	passdbhttp "dproxy/passdb/http"
	passdbimap "dproxy/passdb/imap"
	"dproxy/passdb/ldap"
	"dproxy/passdb/lua"
	"dproxy/passdb/oauth2"
	"dproxy/passdb/passwdfile"
	"dproxy/passdb/sql"
	"dproxy/passdb/static"
	"dproxy/route"
)

// protocols is one row per protocol: its default ports at backends, its two halves, and the ALPN names a client may offer.
func protocols() map[string]login.Protocol {
	rows := []login.Protocol{
		{Name: "imap", Ports: route.Ports{Plain: 143, TLS: 993}, ALPN: []string{"imap"}, Handshake: imap.Handshake{}, NewFront: imapfront.New},
		{Name: "pop3", Ports: route.Ports{Plain: 110, TLS: 995}, ALPN: []string{"pop3"}, Handshake: pop3.Handshake{}, NewFront: pop3front.New},
		{Name: "submission", Ports: route.Ports{Plain: 587, TLS: 587}, ALPN: []string{"smtp", "submission"}, Handshake: submission.Handshake{}, NoAnonymous: true, NewFront: submissionfront.New},
		{Name: "sieve", Ports: route.Ports{Plain: 4190, TLS: 4190}, ALPN: []string{"managesieve", "sieve"}, Handshake: managesieve.Handshake{}, NoAnonymous: true, NewFront: managesievefront.New},
		{Name: "lmtp", ALPN: []string{"lmtp", "smtp"}, NewFront: lmtpfront.New}, // it speaks to backends itself
	}
	out := map[string]login.Protocol{}
	for _, p := range rows {
		out[p.Name] = p
	}
	return out
}

// drivers are the passdb drivers by the name that the driver setting has.
func drivers() map[string]passdb.Factory {
	return map[string]passdb.Factory{
		"static":        static.New,
		"passwd-file":   passwdfile.New,
		"passwd":        passwdfile.NewPasswd,
		"shadow":        passwdfile.NewShadow,
		"sql":           sql.New,
		"ldap":          ldap.New,
		"imap":          passdbimap.New,
		"checkpassword": checkpassword.New,
		"pam":           without("needs C libraries, which dproxy is built without; use ldap, sql, imap or checkpassword instead"),
		"bsdauth":       without("exists on BSD only"),
		"oauth2":        oauth2.New,
		"http":          passdbhttp.New,
		"lua":           lua.New,
		"dict":          dict.New,
	}
}

// without is a driver that Dovecot has and dproxy has not: its error says so, where an unknown name may be a misspelling.
func without(why string) passdb.Factory {
	return func(p conf.Passdb) (passdb.Driver, error) {
		return nil, passdb.ConfigError(p, "passdb driver '"+p.Driver+"' "+why)
	}
}
