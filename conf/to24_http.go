package conf

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// given writes a setting that has a value.
func (w *writer24) given(key, text string) {
	if text != "" {
		w.set(key, text)
	}
}

func (w *writer24) yes(key string, on bool) {
	if on {
		w.set(key, "yes")
	}
}

func (w *writer24) millis(key string, n, usual uint) {
	if n != usual {
		w.set(key, strconv.FormatUint(uint64(n), 10)+" msecs")
	}
}

func (w *writer24) oauth2(p Passdb, out *fields24) error {
	f, err := LoadOAuth2File(p.Args)
	if err != nil {
		return err
	}
	for _, t := range [][2]string{
		{"oauth2_tokeninfo_url", f.TokeninfoURL},
		{"oauth2_introspection_url", f.IntrospectionURL},
		{"oauth2_introspection_mode", f.IntrospectionMode},
		{"oauth2_username_attribute", f.UsernameAttribute},
		{"oauth2_active_attribute", f.ActiveAttribute},
		{"oauth2_active_value", f.ActiveValue},
		{"oauth2_client_id", f.ClientID},
		{"oauth2_client_secret", f.ClientSecret},
		{"oauth2_openid_configuration_url", f.OpenIDConfigurationURL},
		{"oauth2_local_validation_jwks", f.LocalValidationJWKS},
		{"ssl_client_ca_file", f.TLSCACertFile},
		{"ssl_client_ca_dir", f.TLSCACertDir},
		{"ssl_client_cert_file", f.TLSCertFile},
		{"ssl_client_key_file", f.TLSKeyFile},
		{"http_client_rawlog_dir", f.RawlogDir},
		{"oauth2_scope", f.Scope},
		{"oauth2_audience", f.Audience},
		{"oauth2_issuers", f.Issuers},
	} {
		w.given(t[0], t[1])
	}
	if f.UseGrantPassword {
		w.given("oauth2_grant_url", f.GrantURL)
	}
	w.yes("oauth2_force_introspection", f.ForceIntrospection)
	w.yes("oauth2_send_auth_headers", f.SendAuthHeaders)
	if f.TLSAllowInvalidCert {
		w.set("ssl_client_require_valid_cert", "no")
	}
	w.set("oauth2_token_expire_grace", strconv.FormatUint(uint64(f.TokenExpireGrace), 10)+" secs")
	w.millis("http_client_request_timeout", f.TimeoutMsecs, 0)
	w.millis("http_client_max_idle_time", f.MaxIdleTimeMsecs, 60000)
	if err := w.authTemplate("oauth2_username_validation_format", f.UsernameFormat); err != nil {
		return err
	}
	if dict := f.LocalValidationKeyDict; dict != "" {
		prefix, ok := strings.CutPrefix(dict, "fs:posix:prefix=")
		if !ok {
			return fmt.Errorf("local_validation_key_dict of %s has to be written anew for 2.4", f.Path)
		}
		w.open("oauth2_local_validation")
		w.open("dict fs")
		w.open("fs posix")
		w.set("prefix", prefix)
		w.close()
		w.close()
		w.close()
	}
	for word := range strings.FieldsSeq(f.PassAttrs) {
		name, t, _ := strings.Cut(word, "=")
		out.list = append(out.list, [2]string{name, t})
	}
	return nil
}

func (w *writer24) http(p Passdb) error {
	f, err := LoadHTTPFile(p.Args)
	if err != nil {
		return err
	}
	usual := newHTTPFile("")
	w.set("http_url", strings.Join(f.URLs, " "))
	w.millis("http_timeout", uint(f.Timeout/time.Millisecond), uint(usual.Timeout/time.Millisecond))
	w.millis("http_max_wait", uint(f.MaxWait/time.Millisecond), uint(usual.MaxWait/time.Millisecond))
	w.yes("http_strict_status", f.StrictStatus)
	w.yes("http_pass_client_cert", f.PassClientCert)
	w.given("http_client_rawlog_dir", f.RawlogDir)
	w.given("ssl_client_ca_file", f.TLSCACertFile)
	w.given("ssl_client_ca_dir", f.TLSCACertDir)
	w.given("ssl_client_cert_file", f.TLSCertFile)
	w.given("ssl_client_key_file", f.TLSKeyFile)
	if f.TLSAllowInvalidCert {
		w.set("ssl_client_require_valid_cert", "no")
	}
	if f.CacheKey != "" {
		if err := w.authTemplate("http_cache_key", f.CacheKey); err != nil {
			return err
		}
	}
	if len(f.Headers) == 0 {
		return nil
	}
	w.open("http_headers")
	defer w.close()
	for _, h := range f.Headers {
		if err := w.authTemplate(quote24(h[0]), h[1]); err != nil {
			return err
		}
	}
	return nil
}
