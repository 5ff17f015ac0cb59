package http

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"dproxy/passdb"
	"dproxy/passdb/httpclient"
)

const (
	// maxFields bounds the Auth-Field headers of an answer.
	maxFields = 64
	// maxValue bounds each value of an answer, in bytes. nginx takes 1,024 for the whole block of headers.
	maxValue = 4096
)

// answer is what a server says.
type answer struct {
	server   string
	status   string // OK, WAIT, or the text of a refusal
	said     bool   // there was an Auth-Status
	host     string
	port     string
	user     string
	pass     string
	hasUser  bool
	hasPass  bool
	wait     time.Duration
	code     string
	fields   []passdb.Field
	warning  string
	httpCode int
}

// parse reads the headers. An error means that this is no answer of an auth_http service.
func (d *driver) parse(server string, r *httpclient.Response) (*answer, error) {
	a := &answer{server: server, httpCode: r.Code}
	for _, h := range []struct {
		name string
		to   *string
		has  *bool
	}{
		{"Auth-Status", &a.status, &a.said},
		{"Auth-Server", &a.host, nil},
		{"Auth-Port", &a.port, nil},
		{"Auth-User", &a.user, &a.hasUser},
		{"Auth-Pass", &a.pass, &a.hasPass},
		{"Auth-Error-Code", &a.code, nil},
	} {
		v, ok, err := single(r.Header, h.name)
		if err != nil {
			return nil, err
		}
		*h.to = v
		if h.has != nil {
			*h.has = ok
		}
	}
	success := r.Code/100 == 2
	switch {
	case !success && d.file.StrictStatus:
		return nil, errors.New(r.Status)
	case !a.said && !success:
		return nil, errors.New(r.Status)
	case !a.said && (a.host == "" || a.port == ""):
		return nil, errors.New("the answer has no Auth-Status") // a page of some other service
	case !success:
		a.warning = fmt.Sprintf("%s answers %s with Auth-Status: the headers count; set strict_status=yes to refuse that", server, r.Status)
	}
	if !a.said {
		a.status = "OK"
	}
	if err := a.parseWait(r.Header); err != nil {
		return nil, err
	}
	return a, a.parseFields(r.Header)
}

// single is the value of a header that may be there once.
func single(h http.Header, name string) (string, bool, error) {
	v := h[http.CanonicalHeaderKey(name)]
	switch {
	case len(v) == 0:
		return "", false, nil
	case len(v) > 1:
		return "", false, fmt.Errorf("the answer has %s twice", name)
	}
	return v[0], true, checkValue(name, v[0])
}

func checkValue(name, v string) error {
	switch {
	case len(v) > maxValue:
		return fmt.Errorf("%s is longer than %d bytes", name, maxValue)
	case strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return fmt.Errorf("%s has control characters", name)
	}
	return nil
}

func (a *answer) parseWait(h http.Header) error {
	text, ok, err := single(h, "Auth-Wait")
	if err != nil || !ok {
		return err
	}
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return fmt.Errorf("Auth-Wait is no number of seconds: %q", text)
	}
	a.wait = time.Duration(n) * time.Second
	return nil
}

// extra are the headers that dproxy adds to the protocol, beside Auth-Field.
var extra = []struct{ header, field string }{
	{"Auth-Master", "master"},
	{"Auth-Source-IP", "source_ip"},
	{"Auth-Proxy-Protocol", "proxy_protocol"},
}

// parseFields reads the headers that nginx ignores: Auth-Field: NAME=VALUE, several times, and shorter ones.
func (a *answer) parseFields(h http.Header) error {
	list := h["Auth-Field"]
	if len(list) > maxFields {
		return fmt.Errorf("more than %d fields", maxFields)
	}
	for _, text := range list {
		name, value, _ := strings.Cut(text, "=")
		if name = strings.TrimSpace(name); name == "" || strings.ContainsAny(name, " \t") {
			return errors.New("Auth-Field needs the form NAME=VALUE")
		}
		if err := checkValue("Auth-Field "+name, value); err != nil {
			return err
		}
		a.fields = append(a.fields, passdb.Field{Name: name, Value: value})
	}
	for _, x := range extra {
		v, ok, err := single(h, x.header)
		if err != nil {
			return err
		}
		if ok {
			a.fields = append(a.fields, passdb.Field{Name: x.field, Value: v})
		}
	}
	return a.parseTLS(h)
}

// parseTLS reads Auth-Proxy-SSL.
func (a *answer) parseTLS(h http.Header) error {
	v, ok, err := single(h, "Auth-Proxy-SSL")
	if err != nil || !ok {
		return err
	}
	field, ok := map[string]passdb.Field{
		"no": {}, "tls": {Name: "ssl", Value: "yes"}, "any-cert": {Name: "ssl", Value: "any-cert"},
		"starttls": {Name: "starttls", Value: "yes"}, "starttls-any-cert": {Name: "starttls", Value: "any-cert"},
	}[strings.ToLower(v)]
	if !ok {
		return fmt.Errorf("Auth-Proxy-SSL: %q is none of no, tls, starttls, any-cert, starttls-any-cert", v)
	}
	if field.Name != "" {
		a.fields = append(a.fields, field)
	}
	return nil
}

// result turns an answer into the passdb's. An error is a fault of the server.
func (d *driver) result(r *passdb.Request, q question, a *answer) (passdb.Result, error) {
	if a.status != "OK" {
		return d.refused(a), nil
	}
	var res passdb.Result
	add := func(name, value string) { res.Fields = append(res.Fields, passdb.Field{Name: name, Value: value}) }
	// The port comes before ssl, so that ssl does not change it.
	if a.host != "" {
		host, err := serverName(a.host)
		if err != nil {
			return res, err
		}
		add("proxy", "")
		add("host", host)
	}
	if a.port != "" {
		n, err := strconv.ParseUint(a.port, 10, 16)
		if err != nil || n == 0 {
			return res, fmt.Errorf("sent invalid server port: %q", a.port)
		}
		add("port", strconv.FormatUint(n, 10))
	}
	if a.hasUser && a.user != "" {
		add("destuser", a.user)
	}
	if a.hasPass {
		add("pass", a.pass)
	}
	for _, f := range a.fields {
		add(f.Name, f.Value)
	}
	if needsPassword(q.method) && a.host != "" && !has(res.Fields, "pass") && !has(res.Fields, "proxy_noauth") && (r.Fields == nil || !r.Fields.Has("pass")) {
		return res, fmt.Errorf("did not send password: Auth-Pass is needed for %s", q.method)
	}
	if q.method == "none" {
		add("nopassword", "") // it is not asked for
	}
	return res, nil
}

// needsPassword tells whether the client's own text cannot be used at the backend.
func needsPassword(method string) bool {
	switch method {
	case "cram-md5", "apop", "external":
		return true
	}
	return false
}

func has(list []passdb.Field, name string) bool {
	for _, f := range list {
		if f.Name == name {
			return true
		}
	}
	return false
}

// refused is the answer to a status that is neither OK nor WAIT: it is the text for the client. A code 4xx says that the
// service cannot tell now.
func (d *driver) refused(a *answer) passdb.Result {
	res := passdb.Result{Status: passdb.Mismatch, Reason: a.status, Wait: min(a.wait, d.file.MaxWait)}
	res.Detail = "auth_http: " + a.status
	if strings.HasPrefix(a.code, "4") {
		res.Status = passdb.InternalFailure
		res.Detail = "auth_http: " + a.code + " " + a.status
	}
	return res
}

// serverName checks Auth-Server: an address, also in brackets, or a host name.
func serverName(s string) (string, error) {
	inner := strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
	if a, err := netip.ParseAddr(inner); err == nil {
		return a.WithZone("").String(), nil
	}
	const longest = 253
	ok := len(s) <= longest && !strings.HasPrefix(s, ".") && !strings.HasPrefix(s, "-")
	for i := range len(s) {
		c := s[i]
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_')
	}
	if !ok {
		return "", fmt.Errorf("sent invalid server address: %q", s)
	}
	return s, nil
}
