package conf

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// OAuth2File is a dovecot-oauth2.conf.ext, or what a passdb of the 2.4 dialect has in its place.
type OAuth2File struct {
	Path                                 string
	TokeninfoURL, GrantURL               string // the token is appended to TokeninfoURL
	IntrospectionURL                     string
	IntrospectionMode                    string // auth, get, post, local; empty without introspection
	Scope, Audience, Issuers             string // words; of Scope and Audience a token needs all
	UsernameFormat                       string // a template, applied to both names that are compared
	UsernameAttribute                    string
	ActiveAttribute, ActiveValue         string
	ClientID, ClientSecret               string
	OpenIDConfigurationURL               string
	LocalValidationKeyDict               string      // fs:posix:prefix=PATH
	LocalValidationJWKS                  string      // path of a JSON web key set; not in Dovecot
	PassAttrs                            string      // "name=template" words
	Fields                               [][2]string // name and template, of 2.4's fields { }; in addition to PassAttrs
	RawlogDir                            string
	TimeoutMsecs, MaxIdleTimeMsecs       uint // 0: the default
	MaxParallelConnections               uint
	MaxPipelinedRequests                 uint // no effect: requests are not pipelined
	TokenExpireGrace                     uint // seconds
	ForceIntrospection, UseGrantPassword bool
	SendAuthHeaders, Debug               bool
	TLSCACertFile, TLSCACertDir          string // paths, as the next two
	TLSCertFile, TLSKeyFile              string
	TLSCipherSuite                       string
	TLSAllowInvalidCert                  bool
	// Warnings are what Dovecot would warn about while it reads the file.
	Warnings []string
}

func newOAuth2File(path string) *OAuth2File {
	return &OAuth2File{Path: path, UsernameFormat: "%Lu", UsernameAttribute: "email", MaxIdleTimeMsecs: 60000, MaxParallelConnections: 10}
}

// LoadOAuth2File reads the file that an oauth2 passdb's args name. Errors have Dovecot's wording.
func LoadOAuth2File(path string) (*OAuth2File, error) {
	if path == "" {
		return nil, errors.New("oauth2: Configuration file path not given")
	}
	f := newOAuth2File(path)
	warnings, err := readExternal(path, externalKeys{
		"tokeninfo_url":             &f.TokeninfoURL,
		"grant_url":                 &f.GrantURL,
		"introspection_url":         &f.IntrospectionURL,
		"introspection_mode":        &f.IntrospectionMode,
		"scope":                     &f.Scope,
		"audience":                  &f.Audience,
		"issuers":                   &f.Issuers,
		"username_format":           &f.UsernameFormat,
		"username_attribute":        &f.UsernameAttribute,
		"active_attribute":          &f.ActiveAttribute,
		"active_value":              &f.ActiveValue,
		"client_id":                 &f.ClientID,
		"client_secret":             &f.ClientSecret,
		"openid_configuration_url":  &f.OpenIDConfigurationURL,
		"local_validation_key_dict": &f.LocalValidationKeyDict,
		"local_validation_jwks":     &f.LocalValidationJWKS,
		"pass_attrs":                &f.PassAttrs,
		"rawlog_dir":                &f.RawlogDir,
		"timeout_msecs":             &f.TimeoutMsecs,
		"max_idle_time_msecs":       &f.MaxIdleTimeMsecs,
		"max_parallel_connections":  &f.MaxParallelConnections,
		"max_pipelined_requests":    &f.MaxPipelinedRequests,
		"token_expire_grace":        &f.TokenExpireGrace,
		"force_introspection":       &f.ForceIntrospection,
		"use_grant_password":        &f.UseGrantPassword,
		"send_auth_headers":         &f.SendAuthHeaders,
		"debug":                     &f.Debug,
		"tls_ca_cert_file":          &f.TLSCACertFile,
		"tls_ca_cert_dir":           &f.TLSCACertDir,
		"tls_cert_file":             &f.TLSCertFile,
		"tls_key_file":              &f.TLSKeyFile,
		"tls_cipher_suite":          &f.TLSCipherSuite,
		"tls_allow_invalid_cert":    &f.TLSAllowInvalidCert,
	})
	if err != nil {
		return nil, fmt.Errorf("oauth2 %s: %w", path, err)
	}
	f.Warnings = warnings
	if err := f.check(); err != nil {
		return nil, fmt.Errorf("oauth2: %w (%s)", err, path)
	}
	return f, nil
}

// Local tells whether tokens are validated here.
func (f *OAuth2File) Local() bool { return f.IntrospectionMode == "local" }

// check tells mistakes in Dovecot's order.
func (f *OAuth2File) check() error {
	f.IntrospectionMode = strings.ToLower(f.IntrospectionMode)
	switch {
	case f.TokeninfoURL == "" && f.IntrospectionURL == "" && (f.GrantURL == "" || !f.UseGrantPassword) && f.LocalValidationKeyDict == "" && f.LocalValidationJWKS == "":
		return errors.New("Password grant, tokeninfo, introspection URL or validation key dictionary must be given")
	case f.UseGrantPassword && f.GrantURL == "":
		return errors.New("use_grant_password=yes needs grant_url")
	case f.ActiveAttribute != "" && f.ActiveValue == "":
		return errors.New("Cannot have empty active_value if active_attribute is set")
	case f.ActiveAttribute == "" && f.ActiveValue != "":
		return errors.New("Cannot have empty active_attribute is active_value is set")
	case f.Local() && f.LocalValidationKeyDict == "" && f.LocalValidationJWKS == "":
		return errors.New("local_validation_key_dict is required for local introspection.")
	case !f.Local() && f.TokeninfoURL == "" && f.IntrospectionURL == "" && !f.UseGrantPassword:
		return errors.New("local_validation_key_dict is used with introspection_mode=local only")
	}
	switch f.IntrospectionMode {
	case "auth", "get", "post", "local":
	case "":
		if f.IntrospectionURL != "" {
			return errors.New("Invalid value '' for introspection mode, must be on auth, get, post or local")
		}
	default:
		return fmt.Errorf("Invalid value '%s' for introspection mode, must be on auth, get, post or local", f.IntrospectionMode)
	}
	return f.checkURLs()
}

// checkURLs refuses what can never be asked.
func (f *OAuth2File) checkURLs() error {
	for _, u := range []struct{ name, text string }{
		{"tokeninfo_url", f.TokeninfoURL},
		{"grant_url", f.GrantURL},
		{"introspection_url", f.IntrospectionURL},
		{"openid_configuration_url", f.OpenIDConfigurationURL},
	} {
		if u.text == "" {
			continue
		}
		if err := checkHTTPURL(u.text); err != nil {
			return fmt.Errorf("Invalid %s: %w", u.name, err)
		}
	}
	return nil
}

// checkHTTPURL accepts http and https URLs. Its errors do not quote the text: there may be a password in it.
func checkHTTPURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		var bad *url.Error
		if errors.As(err, &bad) {
			err = bad.Err
		}
		return err
	case u.Scheme != "http" && u.Scheme != "https":
		return errors.New("it must begin with http:// or https://")
	case u.Hostname() == "":
		return errors.New("it names no host")
	}
	return nil
}
