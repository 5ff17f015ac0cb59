package oauth2

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"dproxy/passdb"
	"dproxy/passdb/httpclient"
)

// maxToken bounds a token in bytes. It is what fits into a client's SASL response.
const maxToken = 8192

// refusal is a verdict on the token; other errors are faults of ours or of a server.
type refusal struct {
	status passdb.Status
	text   string
}

func (r *refusal) Error() string { return r.text }

func mismatch(format string, args ...any) error {
	return &refusal{passdb.Mismatch, fmt.Sprintf(format, args...)}
}

func disabled(format string, args ...any) error {
	return &refusal{passdb.Disabled, fmt.Sprintf(format, args...)}
}

// lookup is one token on its way.
type lookup struct {
	*driver
	r      *passdb.Request
	token  string
	claims claims
	until  time.Time // when the token expires, if that is known
}

// judge finds out whether the token is good. Its errors have Dovecot's wording.
func (l *lookup) judge(ctx context.Context) error {
	switch {
	case l.granting():
		if err := l.askGrant(ctx); err != nil {
			return fmt.Errorf("Password grant failed: %w", err)
		}
	case !validToken(l.token):
		return mismatch("Invalid token")
	}
	switch {
	case l.keys != nil:
		if err := l.validate(); err != nil {
			return fmt.Errorf("Local validation failed: %w", err)
		}
		return l.concluded("Local validation failed")
	case l.tokeninfo != nil && (!l.granting() || l.introspection == nil && !l.complete()):
		if err := l.askTokeninfo(ctx); err != nil {
			return fmt.Errorf("Token validation failed: %w", err)
		}
		if err := l.active(); err != nil {
			return fmt.Errorf("Token is not valid: %w", err)
		}
	}
	stage := "Token validation failed"
	if l.granting() {
		stage = "Password grant failed"
	}
	if l.introspection != nil && (l.file.ForceIntrospection || l.tokeninfo == nil && !l.granting() || !l.complete()) {
		stage = "Introspection failed"
		if err := l.askIntrospection(ctx); err != nil {
			return fmt.Errorf("%s: %w", stage, err)
		}
	}
	return l.concluded(stage)
}

func (l *lookup) concluded(stage string) error {
	if err := l.check(); err != nil {
		return fmt.Errorf("%s: %w", stage, err)
	}
	return nil
}

// granting tells whether the client's text is a password and no token. A mechanism for tokens brings a token, unless nothing
// but the grant can judge it.
func (l *lookup) granting() bool {
	if l.grant == nil {
		return false
	}
	bearer := l.r.Mech == "XOAUTH2" || l.r.Mech == "OAUTHBEARER"
	return !bearer || l.tokeninfo == nil && l.introspection == nil && l.keys == nil
}

// validToken tells whether a token can be sent as it is: printable ASCII without blanks, more than RFC 6750 allows.
func validToken(token string) bool {
	if token == "" || len(token) > maxToken {
		return false
	}
	for i := range len(token) {
		if token[i] <= ' ' || token[i] >= 0x7f {
			return false
		}
	}
	return true
}

func (l *lookup) askGrant(ctx context.Context) error {
	if l.token == "" {
		return mismatch("empty password")
	}
	form := [][2]string{{"grant_type", "password"}, {"username", l.r.User}, {"password", l.token}}
	form = append(form, l.client()...)
	if l.file.Scope != "" {
		form = append(form, [2]string{"scope", strings.Join(l.scope, " ")})
	}
	r, err := l.ask(ctx, l.grant, httpclient.Request{Method: http.MethodPost, Form: encode(form)})
	if err != nil {
		return err
	}
	c, err := l.parse(r)
	switch {
	case r.Code/100 != 2 && c.get("error") == "invalid_grant":
		return mismatch("invalid_grant")
	case r.Code/100 != 2 && c.get("error") != "":
		return fmt.Errorf("%s: %s", r.Status, c.get("error"))
	case r.Code/100 != 2:
		return errors.New(r.Status)
	case err != nil:
		return err
	}
	l.merge(c)
	if l.token = c.get("access_token"); !validToken(l.token) {
		return errors.New("OAuth2 token missing from reply")
	}
	return nil
}

func (l *lookup) askTokeninfo(ctx context.Context) error {
	r, err := l.ask(ctx, l.tokeninfo, httpclient.Request{
		Method: http.MethodGet, URL: l.file.TokeninfoURL + url.QueryEscape(l.token), Header: l.bearer(),
	})
	switch {
	case err != nil:
		return err
	case r.Code == http.StatusBadRequest || r.Code == http.StatusUnauthorized:
		return mismatch("Invalid token")
	}
	return l.take(r)
}

func (l *lookup) askIntrospection(ctx context.Context) error {
	q := httpclient.Request{Method: http.MethodGet, Header: http.Header{}}
	switch l.file.IntrospectionMode {
	case "auth":
		q.Header = l.bearer()
	case "get":
		q.URL = l.file.IntrospectionURL + url.QueryEscape(l.token)
		if more := encode(l.client()); more != "" {
			q.URL += "&" + more
		}
	case "post":
		q.Method, q.Form = http.MethodPost, encode(append([][2]string{{"token", l.token}}, l.client()...))
	}
	r, err := l.ask(ctx, l.introspection, q)
	if err != nil {
		return err
	}
	if r.Code == http.StatusUnauthorized && l.file.IntrospectionMode == "auth" && l.refused(r) {
		return mismatch("Invalid token")
	}
	return l.take(r)
}

// refused tells whether an answer 401 is about the token, which was the request's own authorization (RFC 6750 section 3.1).
func (l *lookup) refused(r *httpclient.Response) bool {
	if strings.Contains(r.Header.Get("WWW-Authenticate"), "invalid_token") {
		return true
	}
	c, _ := l.parse(r)
	return c.get("error") == "invalid_token"
}

// take adds an answer's claims.
func (l *lookup) take(r *httpclient.Response) error {
	c, err := l.parse(r)
	switch {
	case r.Code/100 != 2 && c.get("error") != "":
		return fmt.Errorf("%s: %s", r.Status, printable(c.get("error")))
	case r.Code/100 != 2:
		return errors.New(r.Status)
	case err != nil:
		return err
	}
	if kind := c.get("token_type"); kind != "" && !strings.EqualFold(kind, "bearer") {
		return fmt.Errorf("Expected Bearer token, got '%s'", printable(kind))
	}
	l.merge(c)
	return l.setUntil(c)
}

func (l *lookup) ask(ctx context.Context, s *httpclient.Server, q httpclient.Request) (*httpclient.Response, error) {
	if q.Header == nil {
		q.Header = http.Header{}
	}
	if l.file.SendAuthHeaders {
		q.Header["X-Dovecot-Auth-Service"] = []string{printable(l.r.Service)}
		q.Header["X-Dovecot-Auth-Local"] = []string{l.r.Local.String()}
		q.Header["X-Dovecot-Auth-Remote"] = []string{l.r.Remote.String()}
	}
	q.Secrets = []string{l.token, l.file.ClientSecret}
	r, err := s.Do(ctx, q)
	if err == nil && r.Code/100 == 3 {
		return nil, errors.New("Redirect refused")
	}
	return r, err
}

func (l *lookup) bearer() http.Header {
	return http.Header{"Authorization": {"Bearer " + l.token}}
}

// client is who we are to the server.
func (l *lookup) client() (out [][2]string) {
	if l.file.ClientID != "" {
		out = append(out, [2]string{"client_id", l.file.ClientID})
	}
	if l.file.ClientSecret != "" {
		out = append(out, [2]string{"client_secret", l.file.ClientSecret})
	}
	return out
}

// encode writes a form in the given order. Blanks are %20, which both the query and the form encoding know.
func encode(form [][2]string) string {
	var parts []string
	for _, p := range form {
		parts = append(parts, p[0]+"="+strings.ReplaceAll(url.QueryEscape(p[1]), "+", "%20"))
	}
	return strings.Join(parts, "&")
}
