package conf

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// external writes a *.conf.ext and returns its path.
func external(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.conf.ext")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadOAuth2File(t *testing.T) {
	path := external(t, `tokeninfo_url = https://i.example/ti?access_token=
introspection_url = https://i.example/in
introspection_mode = POST
scope = mail imap
client_id = cid
client_secret = "a # b"
use_grant_password = no
timeout_msecs = 2500
pass_attrs = pass=%{oauth2:access_token} proxy_mech=%{mech}
`)
	f, err := LoadOAuth2File(path)
	if err != nil {
		t.Fatal(err)
	}
	want := &OAuth2File{
		Path: path, TokeninfoURL: "https://i.example/ti?access_token=", IntrospectionURL: "https://i.example/in",
		IntrospectionMode: "post", Scope: "mail imap", ClientID: "cid", ClientSecret: "a # b", TimeoutMsecs: 2500,
		PassAttrs:      "pass=%{oauth2:access_token} proxy_mech=%{mech}",
		UsernameFormat: "%Lu", UsernameAttribute: "email", MaxIdleTimeMsecs: 60000, MaxParallelConnections: 10,
	}
	if d := cmp.Diff(want, f); d != "" {
		t.Error(d)
	}
}

// The texts are those of Dovecot 2.3.19's auth process, but for the ones about URLs and use_grant_password.
func TestLoadOAuth2File_mistakes(t *testing.T) {
	const url = "tokeninfo_url = http://i/\n"
	for text, want := range map[string]string{
		"":                                                  "Password grant, tokeninfo, introspection URL or validation key dictionary must be given",
		"use_grant_password = yes\n":                        "Password grant, tokeninfo, introspection URL or validation key dictionary must be given",
		url + "active_attribute = a\n":                      "Cannot have empty active_value if active_attribute is set",
		url + "active_value = a\n":                          "Cannot have empty active_attribute is active_value is set",
		"introspection_url = http://i/":                     "Invalid value '' for introspection mode, must be on auth, get, post or local",
		url + "introspection_mode = x":                      "Invalid value 'x' for introspection mode, must be on auth, get, post or local",
		url + "introspection_mode = local":                  "local_validation_key_dict is required for local introspection.",
		url + "use_grant_password = yes":                    "use_grant_password=yes needs grant_url",
		url + "nosuch = 1":                                  "Unknown setting: nosuch",
		url + "debug = maybe":                               "Invalid boolean: maybe",
		"tokeninfo_url = ldap://i/":                         "Invalid tokeninfo_url: it must begin with http:// or https://",
		"tokeninfo_url = http:///x":                         "Invalid tokeninfo_url: it names no host",
		"tokeninfo_url = http://u:secret@[x/":               "Invalid tokeninfo_url: ",
		url + "openid_configuration_url = javascript:x":     "Invalid openid_configuration_url: it must begin",
		"grant_url = http://g/\n":                           "Password grant, tokeninfo, introspection URL or validation key dictionary must be given",
		"introspection_mode = local\nintrospection_mode = ": "Password grant, tokeninfo",
	} {
		_, err := LoadOAuth2File(external(t, text))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if _, err := LoadOAuth2File(""); err == nil || err.Error() != "oauth2: Configuration file path not given" {
		t.Error(err)
	}
}

func TestLoadHTTPFile(t *testing.T) {
	path := external(t, `url = https://a.example/auth unix:/run/auth.sock:/x
timeout = 2s
headers = X-Auth-Key: s3cret; X-Listener: %{lport}
strict_status = yes
`)
	f, err := LoadHTTPFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := &HTTPFile{
		Path: path, URLs: []string{"https://a.example/auth", "unix:/run/auth.sock:/x"}, Timeout: 2 * time.Second, MaxWait: 15 * time.Second,
		Headers: [][2]string{{"X-Auth-Key", "s3cret"}, {"X-Listener", "%{lport}"}}, StrictStatus: true, MaxParallelConnections: 64,
	}
	if d := cmp.Diff(want, f); d != "" {
		t.Error(d)
	}
	f, err = LoadHTTPFile("http://127.0.0.1:9000/a url=http://127.0.0.2/?x=y timeout=500ms cache_key=%u")
	if err != nil {
		t.Fatal(err)
	}
	want = &HTTPFile{
		Path: "args", URLs: []string{"http://127.0.0.1:9000/a", "http://127.0.0.2/?x=y"}, Timeout: 500 * time.Millisecond,
		MaxWait: 15 * time.Second, MaxParallelConnections: 64, CacheKey: "%u",
	}
	if d := cmp.Diff(want, f); d != "" {
		t.Error(d)
	}
}

func TestLoadHTTPFile_mistakes(t *testing.T) {
	for args, want := range map[string]string{
		"":                         "http: no server is given; set args to its URL or to the path of a file",
		"timeout=1s":               "no url is given",
		"nonsense":                 `"nonsense" is neither a URL nor key=value`,
		"http://a/ timeout=1":      "timeout: Time interval '1' is missing units",
		"http://a/ timeout=0":      "timeout must be more than 0",
		"http://a/ timeout=2h":     "timeout must be more than 0 and at most 60 secs",
		"http://a/ strict_status=": "Invalid boolean",
		"http://a/ nosuch=1":       "Unknown setting: nosuch",
		"http://a/ headers=x":      "headers: each needs the form Name: value",
		"url=ftp://a/":             "url: it must begin with http:// or https://",
		"unix:run/x":               "unix: must be followed by an absolute path",
		"/nonexistent/x":           "Can't open configuration file",
	} {
		if _, err := LoadHTTPFile(args); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
	}
}

func TestDialect24OAuth2(t *testing.T) {
	c := mustLoad(t, head24+`
oauth2 {
  client_id = outer
  scope = mail imap
}
ssl_client {
  ca_file = /etc/ca.pem
}
passdb oauth2 {
  mechanisms_filter = xoauth2 oauthbearer
  oauth2 {
    introspection_url = https://i.example/in
    introspection_mode = post
    client_id = cid
    client_secret = sec
    username_attribute = preferred_username
    issuers = https://i.example
    token_expire_grace = 5 secs
    oauth2_local_validation {
      dict fs {
        fs posix {
          prefix = /etc/keys/
        }
      }
    }
  }
  http_client_request_timeout = 2 secs
  fields {
    pass = %{oauth2:access_token}
    proxy_mech = %{mechanism}
    reason = one two
  }
}
`, Options{Serve: true})
	f := c.Passdbs("imap")[0].OAuth2
	if f == nil {
		t.Fatal("not there")
	}
	f.Path = ""
	want := &OAuth2File{
		IntrospectionURL: "https://i.example/in", IntrospectionMode: "post", ClientID: "cid", ClientSecret: "sec",
		UsernameAttribute: "preferred_username", UsernameFormat: "%u", Scope: "mail imap", Issuers: "https://i.example",
		TokenExpireGrace: 5, TimeoutMsecs: 2000, MaxIdleTimeMsecs: 60000, MaxParallelConnections: 10,
		TLSCACertFile: "/etc/ca.pem", LocalValidationKeyDict: "fs:posix:prefix=/etc/keys/",
		Fields: [][2]string{{"pass", "%{oauth2:access_token}"}, {"proxy_mech", "%{mech}"}, {"reason", "one two"}},
	}
	if d := cmp.Diff(want, f); d != "" {
		t.Error(d)
	}
	if p := c.Passdbs("imap")[0]; p.OverrideFields != "" {
		t.Errorf("the fields are there twice: %q", p.OverrideFields)
	}
	for _, w := range c.Warnings() {
		if strings.Contains(w, "no effect") {
			t.Error(w)
		}
	}
}

func TestDialect24HTTP(t *testing.T) {
	c := mustLoad(t, head24+`
passdb auth {
  driver = http
  http_url = http://127.0.0.1:9000/a https://b.example/a
  http_timeout = 1500 msecs
  http_cache_key = %{user}%{protocol}
  http_headers {
    X-Auth-Key = a b
    X-Port = %{local_port}
  }
  ssl_client_require_valid_cert = no
  fields {
    proxy = y
  }
}
`, Options{Serve: true})
	p := c.Passdbs("imap")[0]
	if p.HTTP == nil || p.OverrideFields != "proxy=y" {
		t.Fatalf("%+v", p)
	}
	p.HTTP.Path = ""
	want := &HTTPFile{
		URLs: []string{"http://127.0.0.1:9000/a", "https://b.example/a"}, Timeout: 1500 * time.Millisecond, MaxWait: 15 * time.Second,
		MaxParallelConnections: 64, CacheKey: "%u%{service}", Headers: [][2]string{{"X-Auth-Key", "a b"}, {"X-Port", "%{lport}"}}, TLSAllowInvalidCert: true,
	}
	if d := cmp.Diff(want, p.HTTP); d != "" {
		t.Error(d)
	}
}

func TestConvert24_oauth2_and_http_are_read_as_the_same(t *testing.T) {
	file := external(t, `tokeninfo_url = https://i.example/ti?access_token=
introspection_url = https://i.example/in
introspection_mode = get
scope = mail imap
audience = a
issuers = https://i https://j
active_attribute = active
active_value = true
client_id = cid
client_secret = s ec
local_validation_key_dict = fs:posix:prefix=/etc/keys/
force_introspection = yes
send_auth_headers = yes
timeout_msecs = 2500
tls_allow_invalid_cert = yes
pass_attrs = pass=%{oauth2:access_token} proxy_mech=%{mech}
`)
	httpFile := external(t, "url = http://a/ unix:/x:/y\ntimeout = 3s\nheaders = A: b c; D: %u\nstrict_status = yes\ncache_key = %u%{rip}\n")
	conv, err := Convert24(external(t, "passdb {\n driver = oauth2\n args = "+file+"\n}\npassdb {\n driver = http\n args = "+httpFile+"\n}\n"))
	if err != nil || len(conv.Problems) > 0 {
		t.Fatal(err, conv.Problems)
	}
	c := mustRead(t, external(t, conv.Text))
	wantOAuth2, err := LoadOAuth2File(file)
	if err != nil {
		t.Fatal(err)
	}
	wantHTTP, err := LoadHTTPFile(httpFile)
	if err != nil {
		t.Fatal(err)
	}
	got := c.Passdbs("imap")
	for _, f := range []*OAuth2File{wantOAuth2, got[0].OAuth2} {
		f.Path = ""
		for word := range strings.FieldsSeq(f.PassAttrs) {
			name, text, _ := strings.Cut(word, "=")
			f.Fields = append(f.Fields, [2]string{name, text})
		}
		f.PassAttrs = ""
	}
	wantHTTP.Path, got[1].HTTP.Path = "", ""
	if d := cmp.Diff(wantOAuth2, got[0].OAuth2); d != "" {
		t.Errorf("%s\n%s", d, conv.Text)
	}
	if d := cmp.Diff(wantHTTP, got[1].HTTP); d != "" {
		t.Errorf("%s\n%s", d, conv.Text)
	}
}
