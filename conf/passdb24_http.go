package conf

import (
	"fmt"
	"strings"
	"time"
)

// httpOptions fills what the oauth2 and http drivers take from ssl_client_* and http_client_*.
func (d *passdb24) httpOptions(ca, dir, cert, key, rawlog *string, conns *uint, insecure *bool) error {
	for name, to := range map[string]*string{
		"ssl_client_ca_file": ca, "ssl_client_ca_dir": dir, "ssl_client_cert_file": cert, "ssl_client_key_file": key,
		"http_client_rawlog_dir": rawlog,
	} {
		*to, _ = d.get(name, *to)
	}
	for _, key := range refused24 {
		if text, _ := d.get(key, ""); text != "" {
			return fmt.Errorf("%s is not supported: %s", key, why24[key])
		}
	}
	*insecure = !yesUnless(d, "ssl_client_require_valid_cert")
	return d.number("http_client_max_parallel_connections", conns)
}

func (d *passdb24) number(key string, to *uint) error {
	text, ok := d.get(key, "")
	if !ok {
		return nil
	}
	n, ok := leadingInteger(text)
	if !ok {
		return fmt.Errorf("%s: Invalid number: %s", key, text)
	}
	*to = n
	return nil
}

// duration looks a time up, in which a number without a unit is refused as everywhere in 2.4.
func (d *passdb24) duration(key string, to *time.Duration) error {
	text, ok := d.get(key, "")
	if !ok {
		return nil
	}
	n, err := parseTime(text, true)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	*to = time.Duration(n) * time.Millisecond
	return nil
}

// list is a boolean list of the section or of the top level as words.
func (d *passdb24) list(key string) string {
	return strings.Join(d.s.flagsText(key, d.root.flagsText(key, nil)), " ")
}

// takeFields turns fields { } into pairs of the driver: they may use what its server answered.
func (d *passdb24) takeFields() [][2]string {
	var out [][2]string
	out = append(out, d.pairs...)
	d.override, d.defaults = nil, nil
	return out
}

// oauth2 reads the settings of the oauth2 driver.
func (d *passdb24) oauth2() error {
	f := newOAuth2File(d.conf.position(d.s.pos).File)
	f.TokenExpireGrace = 60
	for key, to := range map[string]*string{
		"oauth2_tokeninfo_url": &f.TokeninfoURL, "oauth2_grant_url": &f.GrantURL,
		"oauth2_introspection_url": &f.IntrospectionURL, "oauth2_introspection_mode": &f.IntrospectionMode,
		"oauth2_username_attribute": &f.UsernameAttribute, "oauth2_active_attribute": &f.ActiveAttribute,
		"oauth2_active_value": &f.ActiveValue, "oauth2_client_id": &f.ClientID, "oauth2_client_secret": &f.ClientSecret,
		"oauth2_openid_configuration_url": &f.OpenIDConfigurationURL,
		"oauth2_local_validation_jwks":    &f.LocalValidationJWKS,
	} {
		*to, _ = d.get(key, *to)
	}
	f.Scope, f.Issuers, f.Audience = d.list("oauth2_scope"), d.list("oauth2_issuers"), d.list("oauth2_audience")
	var err error
	if f.UsernameFormat, err = d.template("oauth2_username_validation_format", "%{user}"); err != nil {
		return err
	}
	yes := func(key string) bool {
		text, _ := d.get(key, "no")
		on, _, _ := parseBool(text)
		return on != 0
	}
	f.ForceIntrospection, f.SendAuthHeaders = yes("oauth2_force_introspection"), yes("oauth2_send_auth_headers")
	// In 2.4 a grant_url is there to be used for passwords.
	f.UseGrantPassword = f.GrantURL != ""
	if err := d.httpOptions(&f.TLSCACertFile, &f.TLSCACertDir, &f.TLSCertFile, &f.TLSKeyFile, &f.RawlogDir, &f.MaxParallelConnections, &f.TLSAllowInvalidCert); err != nil {
		return err
	}
	var timeout, idle, grace time.Duration
	for key, to := range map[string]*time.Duration{
		"http_client_request_timeout": &timeout, "http_client_max_idle_time": &idle, "oauth2_token_expire_grace": &grace,
	} {
		if err := d.duration(key, to); err != nil {
			return err
		}
	}
	f.TimeoutMsecs = uint(timeout / time.Millisecond)
	if idle != 0 {
		f.MaxIdleTimeMsecs = uint(idle / time.Millisecond)
	}
	if _, set := d.get("oauth2_token_expire_grace", ""); set {
		f.TokenExpireGrace = uint(grace / time.Second)
	}
	if f.LocalValidationKeyDict, err = d.keyDict(); err != nil {
		return err
	}
	f.Fields = d.takeFields()
	if l := d.s.strs["oauth2_fields"]; l != nil {
		for _, k := range l.keys {
			t, err := template23(l.vals[k].text)
			if err != nil {
				return fmt.Errorf("oauth2_fields { %s }: %w", k, err)
			}
			f.Fields = append(f.Fields, [2]string{k, t})
		}
	}
	if err := f.check(); err != nil {
		return err
	}
	d.inline.OAuth2 = f
	return d.setFields()
}

// keyDict finds oauth2_local_validation { dict fs { fs posix { prefix = PATH } } } of the section or of the top level.
func (d *passdb24) keyDict() (string, error) {
	for _, s := range []*scope24{d.s, d.root} {
		if v := s.below("oauth2_local_validation"); v != nil {
			fs := v.below("dict").below("fs")
			if fs == nil || fs.name != "posix" {
				return "", fmt.Errorf("oauth2_local_validation { }: only dict fs { fs posix { prefix = ... } } is supported")
			}
			prefix, ok := fs.vals["fs_posix_prefix"]
			if !ok {
				return "", fmt.Errorf("oauth2_local_validation { }: fs posix has no prefix")
			}
			return "fs:posix:prefix=" + prefix.text, nil
		}
	}
	return "", nil
}

// below is the first section of a kind inside s, also inside groups of settings such as oauth2 { }; nil when there is none.
func (s *scope24) below(kind string) *scope24 {
	if s == nil {
		return nil
	}
	for _, sub := range s.subs {
		if sub.kind == kind {
			return sub
		}
		if sub.kind == "oauth2" {
			if in := sub.below(kind); in != nil {
				return in
			}
		}
	}
	return nil
}

// http reads the settings of the http driver, which only dproxy has.
func (d *passdb24) http() error {
	f := newHTTPFile(d.conf.position(d.s.pos).File)
	urls, _ := d.get("passdb_http_url", "")
	f.URLs = strings.Fields(urls)
	f.CacheKey, _ = d.get("passdb_http_cache_key", "")
	if f.CacheKey != "" {
		var err error
		if f.CacheKey, err = d.template("passdb_http_cache_key", ""); err != nil {
			return err
		}
	}
	for key, to := range map[string]*bool{"passdb_http_strict_status": &f.StrictStatus, "passdb_http_pass_client_cert": &f.PassClientCert} {
		text, _ := d.get(key, "no")
		on, _, _ := parseBool(text)
		*to = on != 0
	}
	for key, to := range map[string]*time.Duration{"passdb_http_timeout": &f.Timeout, "passdb_http_max_wait": &f.MaxWait} {
		if err := d.duration(key, to); err != nil {
			return err
		}
	}
	if err := d.httpOptions(&f.TLSCACertFile, &f.TLSCACertDir, &f.TLSCertFile, &f.TLSKeyFile, &f.RawlogDir, &f.MaxParallelConnections, &f.TLSAllowInvalidCert); err != nil {
		return err
	}
	if l := d.s.strs["passdb_http_headers"]; l != nil {
		for _, k := range l.keys {
			t, err := template23(l.vals[k].text)
			if err != nil {
				return fmt.Errorf("http_headers { %s }: %w", k, err)
			}
			f.Headers = append(f.Headers, [2]string{k, t})
		}
	}
	if err := f.check(); err != nil {
		return err
	}
	d.inline.HTTP = f
	return d.setFields()
}
