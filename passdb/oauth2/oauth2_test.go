package oauth2

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dproxy/conf"
	"dproxy/passdb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// answers are what the identity provider says about a token: a status other than 200 before a blank, and the body.
var answers = map[string]string{
	"good":      `{"active":true,"username":"bob","email":"bob","scope":"mail other","aud":"cid","n":5,"f":1.5,"nul":null,"o":{"x":"y"},"l":["a",2,{"b":1},null]}`,
	"bare":      `{"email":"bob"}`,
	"case":      `{"active":"true","email":"BOB"}`,
	"other":     `{"active":true,"email":"alice"}`,
	"noname":    `{"active":true}`,
	"emptyname": `{"active":true,"email":""}`,
	"names":     `{"active":true,"email":["bob","alice"]}`,
	"numname":   `{"active":true,"email":7}`,
	"objname":   `{"active":true,"email":{"bob":1}}`,
	"inactive":  `{"active":false,"email":"bob"}`,
	"inactive2": `{"active":"no","email":"bob"}`,
	"inactive3": `{"active":0,"email":"bob"}`,
	"scopes":    `{"active":true,"email":"bob","scope":["mail","imap"]}`,
	"audiences": `{"active":true,"email":"bob","aud":["mail","imap","a","b"]}`,
	"error":     `{"error":"invalid_token","error_description":"x"}`,
	"exp":       `{"active":true,"email":"bob","expires_in":60}`,
	"exp2":      `{"active":true,"email":"bob","exp":4102444800}`,
	"badexp":    `{"active":true,"email":"bob","expires_in":"abc"}`,
	"mac":       `{"active":true,"email":"bob","token_type":"mac"}`,
	"control":   `{"active":true,"email":"bob","x":"a\r\nb","scope":"mail"}`,
	"renew":     `{"active":true,"email":"bob","access_token":"fresh"}`,
	"400":       `400 {"error":"invalid_token"}`,
	"401":       `401 {"error":"invalid_token"}`,
	"401client": `401 {"error":"invalid_client"}`,
	"401empty":  `401 `,
	"403":       `403 {"error":"access_denied"}`,
	"404":       `404 <html>`,
	"500":       `500 {"active":true,"email":"bob"}`,
	"503":       `503 busy`,
	"302":       `302 `,
	"204":       `204 `,
	"lie":       `400 {"active":true,"email":"bob"}`,
	"html":      `<html>hi`,
	"list":      `[{"active":true,"email":"bob"}]`,
	"null":      `null`,
	"twice":     `{"email":"bob"}{"email":"bob"}`,
	"cut":       `{"email":"bob"`,
	"empty":     ``,
	"deep":      strings.Repeat("[", 100000),
	"huge":      `{"email":"bob","x":"` + strings.Repeat("x", 300<<10) + `"}`,
}

// provider is an identity provider on loopback.
type provider struct {
	*httptest.Server
	mu       sync.Mutex
	requests []string
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

// ServeHTTP answers about the token in the query, the form, or the Authorization header, in this order.
func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	line := r.Method + " " + r.URL.String()
	if len(body) > 0 {
		line += " " + string(body)
	}
	for _, name := range []string{"Authorization", "X-Dovecot-Auth-Service", "X-Dovecot-Auth-Local", "X-Dovecot-Auth-Remote"} {
		if v := r.Header.Get(name); v != "" {
			line += " " + name + ": " + v
		}
	}
	p.mu.Lock()
	p.requests = append(p.requests, line)
	p.mu.Unlock()
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	_ = r.ParseForm()
	token := r.Form.Get("token")
	if r.URL.Path == "/grant" {
		token = r.Form.Get("password")
	}
	if token == "" {
		token = strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	}
	answer, ok := answers[token]
	if r.URL.Path == "/grant" {
		answer, ok = map[string]string{
			"secret": `{"access_token":"good","token_type":"Bearer"}`, "wrong": `400 {"error":"invalid_grant"}`, "wrong401": `401 {"error":"invalid_grant"}`,
			"client": `401 {"error":"invalid_client"}`, "none": `{}`, "badtoken": `{"access_token":"a b"}`, "down": `500 {"error":"invalid_grant_"}`,
			"whole": `{"access_token":"unknown","email":"bob"}`, "of other": `{"access_token":"other"}`,
		}[token]
	}
	if !ok {
		answer = "400 {}"
	}
	code := 200
	if len(answer) > 3 && answer[3] == ' ' {
		_, _ = fmt.Sscanf(answer, "%d", &code)
		answer = answer[4:]
	}
	if code == 302 {
		w.Header().Set("Location", p.URL+"/ti?token=good")
	}
	w.WriteHeader(code)
	_, _ = io.WriteString(w, answer)
}

func (p *provider) asked() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := p.requests
	p.requests = nil
	return out
}

// openText opens a driver from the text of a file, in which @URL@ is the provider's.
func openText(t *testing.T, p *provider, text string) *driver {
	t.Helper()
	if p != nil {
		text = strings.ReplaceAll(text, "@URL@", p.URL)
	}
	path := filepath.Join(t.TempDir(), "dovecot-oauth2.conf.ext")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := New(conf.Passdb{Args: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.(passdb.Closer).Close() })
	return d.(*driver)
}

func ask(t *testing.T, d *driver, mech, user, token string) (string, passdb.Result) {
	t.Helper()
	r := &passdb.Request{User: user, Mech: mech, Password: passdb.Secret(token)}
	r.Service = "imap"
	r.Local, r.Remote = netip.MustParseAddrPort("192.0.2.1:143"), netip.MustParseAddrPort("[2001:db8::1]:5000")
	res, err := d.Verify(t.Context(), r, passdb.Secret(token))
	if err != nil {
		return "error: " + err.Error(), res
	}
	if res.Status != passdb.OK {
		return res.Status.String() + ": " + res.Detail, res
	}
	return "ok", res
}

// The texts are those of Dovecot 2.3.19 where it has one for the case.
func TestVerify(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	const (
		post   = "introspection_url = @URL@/in\nintrospection_mode = post\n"
		auth   = "introspection_url = @URL@/in\nintrospection_mode = auth\n"
		info   = "tokeninfo_url = @URL@/ti?token=\n"
		in     = "oauth2 failed: Introspection failed: "
		ti     = "oauth2 failed: Token validation failed: "
		noUser = "No username returned"
		noJSON = "the answer is no JSON object"
	)
	for _, c := range []struct{ file, token, want string }{
		{post, "good", "ok"},
		{post, "bare", "ok"},
		{post, "case", "ok"},
		{post, "other", "password_mismatch: " + in + "Username 'bob' did not match 'alice'"},
		{post, "noname", "error: " + in + noUser},
		{post, "emptyname", "error: " + in + noUser},
		{post, "names", "error: " + in + noUser},
		{post, "objname", "error: " + in + noUser},
		{post, "numname", "password_mismatch: " + in + "Username 'bob' did not match '7'"},
		{post, "inactive", "password_mismatch: " + in + "Provided token is not valid"},
		{post, "inactive2", "password_mismatch: " + in + "Provided token is not valid"},
		{post, "inactive3", "password_mismatch: " + in + "Provided token is not valid"},
		{post, "error", "error: " + in + noUser},
		{post, "badexp", "error: " + in + "Malformed number 'abc' in expires_in"},
		{post, "mac", "error: " + in + "Expected Bearer token, got 'mac'"},
		{post, "400", "error: " + in + "400 Bad Request: invalid_token"},
		{post, "401", "error: " + in + "401 Unauthorized: invalid_token"},
		{post, "lie", "error: " + in + "400 Bad Request"},
		{post, "500", "error: " + in + "500 Internal Server Error"},
		{post, "503", "error: " + in + "503 Service Unavailable"},
		{post, "302", "error: " + in + "Redirect refused"},
		{post, "204", "error: " + in + noJSON},
		{post, "html", "error: " + in + noJSON},
		{post, "list", "error: " + in + noJSON},
		{post, "null", "error: " + in + noJSON},
		{post, "twice", "error: " + in + noJSON},
		{post, "cut", "error: " + in + noJSON},
		{post, "empty", "error: " + in + noJSON},
		{post, "deep", "error: " + in + noJSON},
		{post, "huge", "error: " + in + "the answer is larger than 262144 bytes"},
		{post, "", "password_mismatch: oauth2 failed: Invalid token"},
		{post, "a b", "password_mismatch: oauth2 failed: Invalid token"},
		{post, "good\r\nX: y", "password_mismatch: oauth2 failed: Invalid token"},
		{post, "g\x00", "password_mismatch: oauth2 failed: Invalid token"},
		{post, "gööd", "password_mismatch: oauth2 failed: Invalid token"},
		{post, strings.Repeat("x", maxToken+1), "password_mismatch: oauth2 failed: Invalid token"},

		// Where the token is the request's own authorization, a refusal of that is one of the token.
		{auth, "good", "ok"},
		{auth, "401", "password_mismatch: " + in + "Invalid token"},
		{auth, "401client", "error: " + in + "401 Unauthorized: invalid_client"},
		{auth, "401empty", "error: " + in + "401 Unauthorized"},
		{auth, "403", "error: " + in + "403 Forbidden: access_denied"},

		{info, "good", "ok"},
		{info, "400", "password_mismatch: " + ti + "Invalid token"},
		{info, "401empty", "password_mismatch: " + ti + "Invalid token"},
		{info, "404", "error: " + ti + "404 Not Found"},
		{info, "500", "error: " + ti + "500 Internal Server Error"},
		{info, "noname", "error: " + ti + noUser},
		{info, "inactive", "password_mismatch: oauth2 failed: Token is not valid: Provided token is not valid"},
		{info, "error", "error: " + ti + noUser},

		{post + "scope = mail\n", "good", "ok"},
		{post + "scope = mail other\n", "good", "ok"},
		{post + "scope = mail foo\n", "good", "user_disabled: " + in + "Token is not valid for scope 'mail foo'"},
		{post + "scope = mai\n", "good", "user_disabled: " + in + "Token is not valid for scope 'mai'"},
		{post + "scope = mail\n", "scopes", "ok"},
		{post + "scope = mail\n", "bare", "user_disabled: " + in + "Token is not valid for scope 'mail'"},
		{post + "scope = mail\n", "audiences", "ok"}, // without a scope the audience counts
		{post + "audience = cid\n", "good", "ok"},
		{post + "audience = a b\n", "audiences", "ok"},
		{post + "audience = cid x\n", "good", "user_disabled: " + in + "Token audience does not include 'cid x'"},
		{post + "audience = x\n", "bare", "user_disabled: " + in + "Token audience does not include 'x'"},

		{post + "username_attribute = username\n", "good", "ok"},
		{post + "username_attribute = username\n", "bare", "error: " + in + noUser},
		{post + "username_format = %u\n", "case", "password_mismatch: " + in + "Username 'bob' did not match 'BOB'"},
		{post + "active_attribute = scope\nactive_value = mail other\n", "good", "ok"},
		{post + "active_attribute = n\nactive_value = 6\n", "good", "password_mismatch: " + in + "Provided token is not valid"},
		{post + "active_attribute = enabled\nactive_value = 1\n", "good", "password_mismatch: " + in + "Provided token is not valid"},
		// With an attribute of its own, "active" is one among others.
		{post + "active_attribute = email\nactive_value = bob\n", "inactive", "ok"},
	} {
		t.Run(strings.NewReplacer("\n", " ", "@URL@/", "").Replace(c.file)+printable(c.token), func(t *testing.T) {
			if got, _ := ask(t, openText(t, p, c.file), "XOAUTH2", "bob", c.token); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestVerify_stages(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	const (
		client = "client_id = c id\nclient_secret = s&ec\n"
		info   = "tokeninfo_url = @URL@/ti?token=\n"
		in     = "introspection_url = @URL@/in\n"
		grant  = "grant_url = @URL@/grant\nuse_grant_password = yes\n"
		who    = "client_id=c%20id&client_secret=s%26ec"
	)
	for _, c := range []struct {
		file, mech, token, want string
		asked                   []string
	}{
		{in + "introspection_mode = auth\n", "XOAUTH2", "good", "ok", []string{"GET /in Authorization: Bearer good"}},
		{"introspection_url = @URL@/in?a=b&token=\nintrospection_mode = get\n" + client, "XOAUTH2", "good", "ok", []string{"GET /in?a=b&token=good&" + who}},
		{"introspection_url = @URL@/in?token=\nintrospection_mode = get\n", "PLAIN", "a&b+c%", "error: oauth2 failed: Introspection failed: 400 Bad Request", []string{"GET /in?token=a%26b%2Bc%25"}},
		{in + "introspection_mode = post\n" + client, "OAUTHBEARER", "good", "ok", []string{"POST /in token=good&" + who}},
		{info + "send_auth_headers = yes\n", "PLAIN", "good", "ok", []string{
			"GET /ti?token=good Authorization: Bearer good X-Dovecot-Auth-Service: imap X-Dovecot-Auth-Local: 192.0.2.1:143 X-Dovecot-Auth-Remote: [2001:db8::1]:5000",
		}},
		// A token info answer with all that is needed spares the introspection, unless it is asked for.
		{info + in + "introspection_mode = post\n", "XOAUTH2", "good", "ok", []string{"GET /ti?token=good Authorization: Bearer good"}},
		{info + in + "introspection_mode = post\nforce_introspection = yes\n", "XOAUTH2", "good", "ok", []string{
			"GET /ti?token=good Authorization: Bearer good", "POST /in token=good",
		}},
		{info + in + "introspection_mode = post\n", "XOAUTH2", "noname", "error: oauth2 failed: Introspection failed: No username returned", []string{
			"GET /ti?token=noname Authorization: Bearer noname", "POST /in token=noname",
		}},
		{info + in + "introspection_mode = post\npass_attrs = host=%{oauth2:host}\n", "XOAUTH2", "good", "ok", []string{
			"GET /ti?token=good Authorization: Bearer good", "POST /in token=good",
		}},
		{info + in + "introspection_mode = post\n", "XOAUTH2", "inactive", "password_mismatch: oauth2 failed: Token is not valid: Provided token is not valid", []string{
			"GET /ti?token=inactive Authorization: Bearer inactive",
		}},
		// The password grant turns a password into a token, which is then judged.
		{grant + in + "introspection_mode = post\n" + client + "scope = mail\n", "PLAIN", "secret", "ok", []string{
			"POST /grant grant_type=password&username=bob&password=secret&" + who + "&scope=mail", "POST /in token=good&" + who,
		}},
		{grant + info, "LOGIN", "secret", "ok", []string{
			"POST /grant grant_type=password&username=bob&password=secret", "GET /ti?token=good Authorization: Bearer good",
		}},
		{grant + in + "introspection_mode = post\n", "PLAIN", "of other", "password_mismatch: oauth2 failed: Introspection failed: Username 'bob' did not match 'alice'", []string{
			"POST /grant grant_type=password&username=bob&password=of%20other", "POST /in token=other",
		}},
		{grant + in + "introspection_mode = post\n", "PLAIN", "whole", "ok", []string{"POST /grant grant_type=password&username=bob&password=whole"}},
		{grant + in + "introspection_mode = post\n", "PLAIN", "wrong", "password_mismatch: oauth2 failed: Password grant failed: invalid_grant", []string{"POST /grant grant_type=password&username=bob&password=wrong"}},
		{grant, "PLAIN", "wrong401", "password_mismatch: oauth2 failed: Password grant failed: invalid_grant", []string{"POST /grant grant_type=password&username=bob&password=wrong401"}},
		{grant, "PLAIN", "client", "error: oauth2 failed: Password grant failed: 401 Unauthorized: invalid_client", []string{"POST /grant grant_type=password&username=bob&password=client"}},
		{grant, "PLAIN", "none", "error: oauth2 failed: Password grant failed: OAuth2 token missing from reply", []string{"POST /grant grant_type=password&username=bob&password=none"}},
		{grant, "PLAIN", "badtoken", "error: oauth2 failed: Password grant failed: OAuth2 token missing from reply", []string{"POST /grant grant_type=password&username=bob&password=badtoken"}},
		{grant, "PLAIN", "down", "error: oauth2 failed: Password grant failed: 500 Internal Server Error: invalid_grant_", []string{"POST /grant grant_type=password&username=bob&password=down"}},
		{grant, "PLAIN", "secret", "error: oauth2 failed: Password grant failed: No username returned", []string{"POST /grant grant_type=password&username=bob&password=secret"}},
		{grant, "PLAIN", "", "password_mismatch: oauth2 failed: Password grant failed: empty password", nil},
		// A mechanism for tokens brings a token.
		{grant + in + "introspection_mode = post\n", "XOAUTH2", "good", "ok", []string{"POST /in token=good"}},
	} {
		d := openText(t, p, c.file)
		p.asked()
		if got, _ := ask(t, d, c.mech, "bob", c.token); got != c.want {
			t.Errorf("%s %s %s:\ngot  %s\nwant %s", c.file, c.mech, c.token, got, c.want)
		}
		if got := p.asked(); !slices.Equal(got, c.asked) {
			t.Errorf("%s %s %s:\nasked %q\nwant  %q", c.file, c.mech, c.token, got, c.asked)
		}
	}
}

func TestVerify_fields(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	const post = "introspection_url = @URL@/in\nintrospection_mode = post\n"
	d := openText(t, p, post+`pass_attrs = sc=%{oauth2:scope} n=%{oauth2:n} f=%{oauth2:f} nul=%{oauth2:nul} o=%{oauth2:o} l=%{oauth2:l} def=%{oauth2:nosuch:dflt} pass=%{oauth2:access_token} proxy_mech=%m proxy u=%n
`)
	got, res := ask(t, d, "XOAUTH2", "bob", "good")
	want := []passdb.Field{
		{Name: "sc", Value: "mail other"},
		{Name: "n", Value: "5"},
		{Name: "f", Value: "1.5"},
		{Name: "nul"},
		{Name: "o"},
		{Name: "l", Value: "a 2"},
		{Name: "def", Value: "dflt"},
		{Name: "pass", Value: "good"},
		{Name: "proxy_mech", Value: "XOAUTH2"},
		{Name: "proxy"},
		{Name: "u", Value: "bob"},
	}
	if got != "ok" || !slices.Equal(res.Fields, want) {
		t.Errorf("%s\ngot  %q\nwant %q", got, res.Fields, want)
	}
	if _, res := ask(t, d, "XOAUTH2", "bob", "renew"); res.Fields[7].Value != "fresh" {
		t.Errorf("a token in the answer does not count: %q", res.Fields)
	}
	if got, _ := ask(t, openText(t, p, post+"pass_attrs = x=%{oauth2:x}\n"), "XOAUTH2", "bob", "control"); got != "error: oauth2 failed: the value of x has control characters" {
		t.Error(got)
	}
	if got, _ := ask(t, openText(t, p, post+"pass_attrs = x=%{nosuch}\n"), "XOAUTH2", "bob", "good"); !strings.Contains(got, "Failed to expand x=%{nosuch}: Unknown variable") {
		t.Error(got)
	}
	if _, res := ask(t, openText(t, p, post), "XOAUTH2", "bob", "good"); len(res.Fields) != 0 {
		t.Errorf("fields that nobody asked for: %q", res.Fields)
	}
}

func TestVerify_tells_until_when_it_is_true(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	d := openText(t, p, "tokeninfo_url = @URL@/ti?token=\n")
	now := time.Now()
	d.now = func() time.Time { return now }
	for token, want := range map[string]time.Time{"good": {}, "exp": now.Add(time.Minute), "exp2": time.Unix(4102444800, 0)} {
		if got, res := ask(t, d, "XOAUTH2", "bob", token); got != "ok" || !res.Until.Equal(want) {
			t.Errorf("%s: %s until %s, want %s", token, got, res.Until, want)
		}
	}
}

func TestCacheVars(t *testing.T) {
	d := openText(t, nil, "tokeninfo_url = http://127.0.0.1/\npass_attrs = a=%{oauth2:x} b=%r c=%u d=%{oauth2:y:z}\n")
	if got, want := d.CacheVars(), []string{"user", "password", "rip"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestLookup_needs_a_token(t *testing.T) {
	d := openText(t, nil, "tokeninfo_url = http://127.0.0.1/\n")
	if res, err := d.Lookup(t.Context(), &passdb.Request{User: "bob"}); err != nil || res.Status != passdb.SchemeNotAvailable {
		t.Errorf("%+v %v", res, err)
	}
}

func TestAServerThatIsDownIsNoBadToken(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	d := openText(t, p, "introspection_url = @URL@/in\nintrospection_mode = post\n")
	if got, _ := ask(t, d, "XOAUTH2", "bob", "good"); got != "ok" {
		t.Fatal(got)
	}
	addr := p.Listener.Addr().String()
	p.CloseClientConnections()
	p.Close()
	for range 3 {
		got, _ := ask(t, d, "XOAUTH2", "bob", "good")
		if !strings.HasPrefix(got, "error: oauth2 failed: Introspection failed: ") || !strings.HasSuffix(got, "connect("+addr+") failed: Connection refused") {
			t.Errorf("%s", got)
		}
	}
	var reports []string
	d.Ping(t.Context(), func(server string, err error) { reports = append(reports, fmt.Sprint(server, " ", err)) })
	if len(reports) != 1 || !strings.HasPrefix(reports[0], p.URL+" connect(") {
		t.Errorf("%q", reports)
	}
}

func TestNew_refuses(t *testing.T) {
	for text, want := range map[string]string{
		"tokeninfo_url = http://x/\npass_attrs = =x\n":                                            "pass_attrs: =x has no name",
		"tokeninfo_url = https://x/\ntls_ca_cert_file = /nonexistent\n":                           "tokeninfo_url: Can't load CA certs from file",
		"introspection_mode = local\nlocal_validation_key_dict = redis:host=x\n":                  "local_validation_key_dict: only fs:posix:prefix=/PATH/ is supported",
		"introspection_mode = local\nlocal_validation_key_dict = fs:posix:prefix=keys/\n":         "only fs:posix:prefix=/PATH/",
		"introspection_mode = local\nlocal_validation_jwks = /nonexistent\n":                      "local_validation_jwks: ",
		"introspection_mode = local\n":                                                            "Password grant, tokeninfo, introspection URL or validation key dictionary must be given",
		"local_validation_key_dict = fs:posix:prefix=/x/\n":                                       "local_validation_key_dict is used with introspection_mode=local only",
		"introspection_url = http://x/\nintrospection_mode = auth\ntls_cert_file = /x\nnosuch=\n": "Unknown setting: nosuch",
	} {
		path := filepath.Join(t.TempDir(), "x")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := New(conf.Passdb{Args: path}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestSetReport_warns(t *testing.T) {
	d := openText(t, nil, "tokeninfo_url = http://idp.example/\ntls_allow_invalid_cert = yes\n")
	var got []string
	d.SetReport(func(text string) { got = append(got, text) })
	if len(got) != 2 || !strings.Contains(got[0], "http://idp.example is asked without TLS") || !strings.Contains(got[1], "tls_allow_invalid_cert=yes") {
		t.Errorf("%q", got)
	}
}

func fuzzBlock(path string) conf.Passdb { return conf.Passdb{Args: path} }
