package http

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"dproxy/conf"
	"dproxy/passdb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script is an auth_http service: it answers with lines "Name: value"; a line without a colon is the status code.
type script struct {
	*httptest.Server
	mu      sync.Mutex
	answers []string // one after the other; the last one stays
	asked   []http.Header
}

func newScript(t *testing.T, answers ...string) *script {
	t.Helper()
	s := &script{answers: answers}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked = append(s.asked, r.Header.Clone())
	answer := s.answers[0]
	if len(s.answers) > 1 {
		s.answers = s.answers[1:]
	}
	s.mu.Unlock()
	code := 200
	for line := range strings.Lines(answer) {
		name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		if !ok {
			_, _ = fmt.Sscanf(name, "%d", &code)
			continue
		}
		w.Header()[name] = append(w.Header()[name], value)
	}
	w.WriteHeader(code)
}

func (s *script) last() http.Header {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[len(s.asked)-1]
}

func (s *script) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

func openArgs(t *testing.T, args string) passdb.Driver {
	t.Helper()
	d, err := New(conf.Passdb{Args: args})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.(passdb.Closer).Close() })
	return d
}

// show is a result in one line.
func show(res passdb.Result, err error) string {
	if err != nil {
		return "error: " + err.Error()
	}
	out := res.Status.String()
	for _, f := range res.Fields {
		out += " " + f.Name + "=" + f.Value
	}
	if res.Reason != "" {
		out += " (" + res.Reason + ")"
	}
	if res.Wait != 0 {
		out += " after " + res.Wait.String()
	}
	return out
}

func verify(t *testing.T, d passdb.Driver, user, password string) string {
	t.Helper()
	res, err := d.(passdb.Verifier).Verify(t.Context(), &passdb.Request{User: user, Mech: "PLAIN"}, passdb.Secret(password))
	return show(res, err)
}

func TestVerify_answers(t *testing.T) {
	t.Parallel()
	const ok = "Auth-Status: OK\n"
	for _, c := range []struct{ name, answer, args, want string }{
		{"a backend", ok + "Auth-Server: 192.0.2.11\nAuth-Port: 143\n", "", "ok proxy= host=192.0.2.11 port=143"},
		{"names are without case", "auth-status: OK\nAUTH-SERVER: 192.0.2.11\nauth-port: 143\n", "", "ok proxy= host=192.0.2.11 port=143"},
		{"an IPv6 address", ok + "Auth-Server: 2001:db8::1\n", "", "ok proxy= host=2001:db8::1"},
		{"an IPv6 address in brackets", ok + "Auth-Server: [2001:db8::1]\n", "", "ok proxy= host=2001:db8::1"},
		{"a host name", ok + "Auth-Server: store1.example.org\n", "", "ok proxy= host=store1.example.org"},
		{"another user and password", ok + "Auth-Server: 192.0.2.11\nAuth-User: al ice%25@store\nAuth-Pass: p w%\n", "", "ok proxy= host=192.0.2.11 destuser=al ice%25@store pass=p w%"},
		{"an empty user", ok + "Auth-Server: 192.0.2.11\nAuth-User: \n", "", "ok proxy= host=192.0.2.11"},
		{"nothing but OK", ok, "", "ok"},
		{"no status but a backend", "Auth-Server: 192.0.2.11\nAuth-Port: 143\n", "", "ok proxy= host=192.0.2.11 port=143"},
		{"a failure that says OK", "500\n" + ok + "Auth-Server: 192.0.2.11\n", "", "ok proxy= host=192.0.2.11"},
		{"a failure that says OK, strictly", "500\n" + ok + "Auth-Server: 192.0.2.11\n", " strict_status=yes", "error: URL: 500 Internal Server Error"},
		{"fields", ok + "Auth-Server: a\nAuth-Field: ssl=any-cert\nAuth-Field: proxy_timeout=5\nAuth-Field: nologin\nAuth-Field: reason=a=b c\n", "", "ok proxy= host=a ssl=any-cert proxy_timeout=5 nologin= reason=a=b c"},
		{"short fields", ok + "Auth-Server: a\nAuth-Port: 993\nAuth-Proxy-SSL: TLS\nAuth-Master: boss\nAuth-Source-IP: 192.0.2.1\nAuth-Proxy-Protocol: v2\n", "", "ok proxy= host=a port=993 master=boss source_ip=192.0.2.1 proxy_protocol=v2 ssl=yes"},
		{"STARTTLS", ok + "Auth-Server: a\nAuth-Proxy-SSL: starttls-any-cert\n", "", "ok proxy= host=a starttls=any-cert"},
		{"no TLS", ok + "Auth-Server: a\nAuth-Proxy-SSL: no\n", "", "ok proxy= host=a"},

		{"a refusal", "Auth-Status: Invalid login or password\nAuth-Wait: 3\n", "", "password_mismatch (Invalid login or password) after 3s"},
		{"a refusal without a wait", "Auth-Status: Invalid login or password\n", "", "password_mismatch (Invalid login or password)"},
		{"a refusal with a long wait", "Auth-Status: no\nAuth-Wait: 4000\n", "", "password_mismatch (no) after 15s"},
		{"a refusal with a backend", "Auth-Status: no\nAuth-Server: 192.0.2.11\n", "", "password_mismatch (no)"},
		{"a refusal with a status of its own", "403\nAuth-Status: no\n", "", "password_mismatch (no)"},
		{"ok in small letters", "Auth-Status: ok\nAuth-Server: 192.0.2.11\n", "", "password_mismatch (ok)"},
		{"an empty status", "Auth-Status: \n", "", "password_mismatch"},
		{"a permanent code", "Auth-Status: no\nAuth-Error-Code: 535 5.7.0\n", "", "password_mismatch (no)"},
		{"a temporary code", "Auth-Status: Temp trouble\nAuth-Error-Code: 451 4.3.0\n", "", "internal_failure (Temp trouble)"},

		{"an error page", "502\n", "", "error: URL: 502 Bad Gateway"},
		{"some other page", "200\n", "", "error: URL: the answer has no Auth-Status"},
		{"a redirect", "302\nLocation: /x\n", "", "error: URL: 302 Found"},
		{"a UNIX socket", ok + "Auth-Server: unix:/x\n", "", `error: URL: sent invalid server address: "unix:/x"`},
		{"two hosts", ok + "Auth-Server: a b\n", "", `error: URL: sent invalid server address: "a b"`},
		{"a port that is none", ok + "Auth-Server: a\nAuth-Port: 0\n", "", `error: URL: sent invalid server port: "0"`},
		{"a port that is too high", ok + "Auth-Server: a\nAuth-Port: 65536\n", "", `error: URL: sent invalid server port: "65536"`},
		{"a wait that is none", "Auth-Status: no\nAuth-Wait: -1\n", "", `error: URL: Auth-Wait is no number of seconds: "-1"`},
		{"two servers", ok + "Auth-Server: a\nAuth-Server: b\n", "", "error: URL: the answer has Auth-Server twice"},
		{"a status and another", ok + "Auth-Status: no\n", "", "error: URL: the answer has Auth-Status twice"},
		{"a control character", ok + "Auth-Server: a\nAuth-User: a\tb\n", "", "error: URL: Auth-User has control characters"},
		{"a long value", ok + "Auth-Server: a\nAuth-User: " + strings.Repeat("x", maxValue+1) + "\n", "", "error: URL: Auth-User is longer than 4096 bytes"},
		{"many fields", ok + "Auth-Server: a\n" + strings.Repeat("Auth-Field: x=y\n", maxFields+1), "", "error: URL: more than 64 fields"},
		{"a field without a name", ok + "Auth-Field: =x\n", "", "error: URL: Auth-Field needs the form NAME=VALUE"},
		{"TLS of another kind", ok + "Auth-Server: a\nAuth-Proxy-SSL: maybe\n", "", `error: URL: Auth-Proxy-SSL: "maybe" is none of no, tls, starttls, any-cert, starttls-any-cert`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newScript(t, c.answer)
			got := verify(t, openArgs(t, s.URL+"/auth"+c.args), "bob", "secret")
			if got = strings.ReplaceAll(got, s.URL, "URL"); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if s.count() != 1 {
				t.Errorf("asked %d times", s.count())
			}
		})
	}
}

func TestAStatusThatContradictsTheHeadersIsWarnedAboutOnce(t *testing.T) {
	t.Parallel()
	s := newScript(t, "500\nAuth-Status: OK\n")
	d := openArgs(t, s.URL).(passdb.Verifier)
	for i, want := range []int{1, 0} {
		res, err := d.Verify(t.Context(), &passdb.Request{User: "bob"}, "x")
		if err != nil || len(res.Warnings) != want {
			t.Errorf("answer %d: %q, %v", i, res.Warnings, err)
		}
	}
}

// request is what the tests below ask about.
func request(mech string) *passdb.Request {
	r := &passdb.Request{User: "al%ice b", Mech: mech}
	r.Service, r.Session, r.Attempt = "imap", "abc/+", 2
	r.Local, r.Remote = netip.MustParseAddrPort("192.0.2.1:993"), netip.MustParseAddrPort("198.51.100.7:40000")
	r.RealLocal, r.RealRemote = r.Local, r.Remote
	return r
}

// sent are the headers that the service got, without those of HTTP itself.
func sent(h http.Header) map[string]string {
	out := map[string]string{}
	for name, v := range h {
		switch name {
		case "Accept-Encoding", "User-Agent":
		default:
			out[name] = strings.Join(v, "|")
		}
	}
	return out
}

func TestRequests(t *testing.T) {
	t.Parallel()
	cert := &x509.Certificate{
		Raw: []byte("raw"), SerialNumber: big.NewInt(0x1ab),
		Subject: pkix.Name{CommonName: "bob"}, Issuer: pkix.Name{CommonName: "CA", Organization: []string{"x\r\nAuth-Status: OK"}},
	}
	withTLS := func(r *passdb.Request, version, suite uint16, certs ...*x509.Certificate) {
		r.Secured, r.TLS = "TLS", &tls.ConnectionState{Version: version, CipherSuite: suite, PeerCertificates: certs}
	}
	plain := map[string]string{
		"Auth-Method": "plain", "Auth-User": "al%25ice%20b", "Auth-Pass": "p%20w%25", "Auth-Protocol": "imap", "Auth-Login-Attempt": "2",
		"Client-Ip": "198.51.100.7", "Auth-Session": "abc/+",
	}
	for _, c := range []struct {
		name string
		args string
		ask  func(passdb.Driver, *passdb.Request) (passdb.Result, error)
		set  func(*passdb.Request)
		want map[string]string // changes to plain; "-" removes
	}{
		{name: "a password"},
		{name: "a token", set: func(r *passdb.Request) { r.Mech = "XOAUTH2" }, want: map[string]string{"Auth-Method": "xoauth2"}},
		{name: "a certificate in place of a password", set: func(r *passdb.Request) { r.Mech = "EXTERNAL" }, want: map[string]string{"Auth-Method": "external", "Auth-Pass": ""}},
		{name: "LOGIN is plain", set: func(r *passdb.Request) { r.Mech = "LOGIN" }},
		{name: "submission is smtp", set: func(r *passdb.Request) { r.Service = "submission" }, want: map[string]string{"Auth-Protocol": "smtp", "Client-Host": "[UNAVAILABLE]"}},
		{name: "an unknown attempt is the first", set: func(r *passdb.Request) { r.Attempt = 0 }, want: map[string]string{"Auth-Login-Attempt": "1"}},
		{
			name: "an answer to a challenge",
			ask: func(d passdb.Driver, r *passdb.Request) (passdb.Result, error) {
				r.Mech = "CRAM-MD5"
				return d.(passdb.ChallengeVerifier).VerifyChallenge(t.Context(), r, passdb.Challenge{Salt: "<1.2@host>", Digest: "00ff"})
			},
			want: map[string]string{"Auth-Method": "cram-md5", "Auth-Salt": "<1.2@host>", "Auth-Pass": "00ff"},
		},
		{
			name: "a recipient",
			ask:  func(d passdb.Driver, r *passdb.Request) (passdb.Result, error) { return d.Lookup(t.Context(), r) },
			set:  func(r *passdb.Request) { r.Service = "lmtp" },
			want: map[string]string{"Auth-Method": "none", "Auth-Pass": "", "Auth-Protocol": "lmtp", "Auth-Smtp-To": "RCPT TO:<al%25ice%20b>"},
		},
		{
			name: "somebody in between",
			set: func(r *passdb.Request) {
				r.RealRemote = netip.MustParseAddrPort("[::ffff:192.0.2.99]:1")
				r.Secured = "TLS" // which ended there
			},
			want: map[string]string{
				"Proxy-Protocol-Addr": "198.51.100.7", "Proxy-Protocol-Port": "40000", "Proxy-Protocol-Server-Addr": "192.0.2.1", "Proxy-Protocol-Server-Port": "993",
				"Auth-Ssl": "on",
			},
		},
		{
			name: "TLS 1.2",
			set: func(r *passdb.Request) {
				withTLS(r, tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384)
			},
			want: map[string]string{"Auth-Ssl": "on", "Auth-Ssl-Protocol": "TLSv1.2", "Auth-Ssl-Cipher": "ECDHE-RSA-AES256-GCM-SHA384"},
		},
		{
			name: "TLS 1.3 without the certificate that was asked for",
			set: func(r *passdb.Request) {
				withTLS(r, tls.VersionTLS13, tls.TLS_AES_128_GCM_SHA256)
				r.CertAsked = true
			},
			want: map[string]string{"Auth-Ssl": "on", "Auth-Ssl-Protocol": "TLSv1.3", "Auth-Ssl-Cipher": "TLS_AES_128_GCM_SHA256", "Auth-Ssl-Verify": "NONE"},
		},
		{
			name: "a certificate that is good",
			args: " pass_client_cert=yes",
			set: func(r *passdb.Request) {
				withTLS(r, tls.VersionTLS13, tls.TLS_AES_128_GCM_SHA256, cert)
				r.CertAsked, r.CertValid = true, true
			},
			want: map[string]string{
				"Auth-Ssl": "on", "Auth-Ssl-Protocol": "TLSv1.3", "Auth-Ssl-Cipher": "TLS_AES_128_GCM_SHA256", "Auth-Ssl-Verify": "SUCCESS",
				"Auth-Ssl-Subject": "CN=bob", "Auth-Ssl-Issuer": "CN=CA,O=x??Auth-Status: OK", "Auth-Ssl-Serial": "01AB",
				"Auth-Ssl-Fingerprint": "ce15802a8c5e8e9db0ffaf10130ef265296e9ea4",
				"Auth-Ssl-Cert":        "-----BEGIN%20CERTIFICATE-----%0AcmF3%0A-----END%20CERTIFICATE-----%0A",
			},
		},
		{
			name: "a certificate that is not",
			set: func(r *passdb.Request) {
				withTLS(r, tls.VersionTLS13, tls.TLS_AES_128_GCM_SHA256, &x509.Certificate{})
				r.CertAsked = true
			},
			want: map[string]string{
				"Auth-Ssl": "on", "Auth-Ssl-Protocol": "TLSv1.3", "Auth-Ssl-Cipher": "TLS_AES_128_GCM_SHA256", "Auth-Ssl-Verify": "FAILED:certificate verify failed",
				"Auth-Ssl-Fingerprint": "da39a3ee5e6b4b0d3255bfef95601890afd80709",
			},
		},
		{
			name: "headers of the operator", args: " headers=X-Key:s3cret;X-User:%u",
			want: map[string]string{"X-Key": "s3cret", "X-User": "al%ice b"},
		},
		{
			name: "no value ends its header",
			set: func(r *passdb.Request) {
				r.User, r.Session, r.Service = "a\r\nAuth-Status: OK\r\n\r\n\x00\x7f\xc3\xa4", "s\n", "im\r\nap"
			},
			args: " headers=X-User:<%u>",
			want: map[string]string{
				"Auth-User": "a%0D%0AAuth-Status:%20OK%0D%0A%0D%0A%00%7F\xc3\xa4", "Auth-Session": "s%0A", "Auth-Protocol": "im%0D%0Aap",
				"X-User": "<a??Auth-Status: OK??????\xc3\xa4>",
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScript(t, "Auth-Status: no")
			d := openArgs(t, s.URL+c.args)
			r := request("PLAIN")
			if c.set != nil {
				c.set(r)
			}
			if c.ask == nil {
				c.ask = func(d passdb.Driver, r *passdb.Request) (passdb.Result, error) {
					return d.(passdb.Verifier).Verify(t.Context(), r, "p w%")
				}
			}
			if _, err := c.ask(d, r); err != nil {
				t.Fatal(err)
			}
			want := maps.Clone(plain)
			for name, v := range c.want {
				want[name] = v
			}
			got := sent(s.last())
			for _, name := range slices.Sorted(maps.Keys(want)) {
				if g, ok := got[name]; !ok || g != want[name] {
					t.Errorf("%s: got %q, want %q", name, g, want[name])
				}
				delete(got, name)
			}
			if len(got) > 0 {
				t.Errorf("more than that: %q", got)
			}
		})
	}
}

func TestHeaderNamesAreWrittenAsNginxDoes(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := make(chan string, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			got <- err.Error()
			return
		}
		defer c.Close()
		buf := make([]byte, 4096)
		n, _ := c.Read(buf)
		_, _ = c.Write([]byte("HTTP/1.0 200 OK\r\nAuth-Status: OK\r\nAuth-Server: 192.0.2.1\r\nAuth-Port: 143\r\n\r\n"))
		got <- string(buf[:n])
	}()
	r := request("PLAIN")
	r.Secured = "TLS"
	d := openArgs(t, "http://"+l.Addr().String()+"/a?b=c")
	res, err := d.(passdb.Verifier).Verify(t.Context(), r, "x")
	if text := show(res, err); text != "ok proxy= host=192.0.2.1 port=143" {
		t.Errorf("an answer in HTTP/1.0: %s", text)
	}
	text := <-got
	for _, want := range []string{"GET /a?b=c HTTP/1.1\r\n", "\r\nAuth-SSL: on\r\n", "\r\nClient-IP: 198.51.100.7\r\n", "\r\nAuth-Login-Attempt: 2\r\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func TestVerifyChallenge_needs_the_password_for_the_backend(t *testing.T) {
	t.Parallel()
	challenge := passdb.Challenge{Salt: "<1@h>", Digest: "00"}
	for _, c := range []struct{ mech, answer, want string }{
		{"CRAM-MD5", "Auth-Status: OK\nAuth-Server: a\n", "error: URL: did not send password: Auth-Pass is needed for cram-md5"},
		{"APOP", "Auth-Status: OK\nAuth-Server: a\n", "error: URL: did not send password: Auth-Pass is needed for apop"},
		{"APOP", "Auth-Status: OK\nAuth-Server: a\nAuth-Pass: x\n", "ok proxy= host=a pass=x"},
		{"APOP", "Auth-Status: OK\nAuth-Server: a\nAuth-Field: proxy_noauth\n", "ok proxy= host=a proxy_noauth="},
		{"CRAM-MD5", "Auth-Status: no\n", "password_mismatch (no)"},
	} {
		s := newScript(t, c.answer)
		res, err := openArgs(t, s.URL).(passdb.ChallengeVerifier).VerifyChallenge(t.Context(), &passdb.Request{User: "bob", Mech: c.mech}, challenge)
		if got := strings.ReplaceAll(show(res, err), s.URL, "URL"); got != c.want {
			t.Errorf("%s %q: %s, want %s", c.mech, c.answer, got, c.want)
		}
	}
}

func TestLookup(t *testing.T) {
	t.Parallel()
	s := newScript(t, "Auth-Status: OK\nAuth-Server: a\nAuth-Port: 24\n")
	d := openArgs(t, s.URL)
	res, err := d.Lookup(t.Context(), &passdb.Request{User: "bob"})
	if got := show(res, err); got != "ok proxy= host=a port=24 nopassword=" {
		t.Error(got)
	}
	res, err = d.Lookup(t.Context(), &passdb.Request{User: "bob", CredentialsScheme: "SCRAM-SHA-256"})
	if got := show(res, err); got != "scheme_not_available" || s.count() != 1 {
		t.Errorf("%s, asked %d times", got, s.count())
	}
}

func TestWait(t *testing.T) {
	t.Parallel()
	s := newScript(t, "Auth-Status: WAIT\n", "Auth-Status: WAIT\nAuth-Wait: 0\n", "Auth-Status: OK\nAuth-Server: a\n")
	if got := verify(t, openArgs(t, s.URL), "bob", "x"); got != "ok proxy= host=a" || s.count() != 3 {
		t.Errorf("%s, asked %d times", got, s.count())
	}
	s = newScript(t, "Auth-Status: WAIT\n")
	if got := verify(t, openArgs(t, s.URL), "bob", "x"); got != "error: "+s.URL+": said WAIT 10 times" || s.count() != 10 {
		t.Errorf("%s, asked %d times", got, s.count())
	}
}

// silent accepts connections and never answers.
func silent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return "http://" + l.Addr().String()
}

func TestFailover(t *testing.T) {
	t.Parallel()
	good := newScript(t, "Auth-Status: OK\nAuth-Server: a\n")
	refuses := newScript(t, "Auth-Status: no\n")
	broken := newScript(t, "503\n")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := "http://" + l.Addr().String()
	_ = l.Close()
	frozen := silent(t)
	d := openArgs(t, gone+" "+broken.URL+" "+good.URL+" timeout=30s")
	for range 3 {
		if got := verify(t, d, "bob", "x"); got != "ok proxy= host=a" {
			t.Error(got)
		}
	}
	if got := verify(t, openArgs(t, frozen+" "+good.URL+" timeout=3s"), "bob", "x"); got != "ok proxy= host=a" {
		t.Errorf("behind a frozen server: %s", got)
	}
	// A refusal is an answer, and nobody else is asked.
	before := good.count()
	if got := verify(t, openArgs(t, refuses.URL+" "+good.URL), "bob", "x"); got != "password_mismatch (no)" || good.count() != before {
		t.Error(got)
	}
	got := verify(t, openArgs(t, gone+" "+broken.URL+" timeout=20s"), "bob", "x")
	want := "error: " + gone + ": connect(" + strings.TrimPrefix(gone, "http://") + ") failed: Connection refused; " + broken.URL + ": 503 Service Unavailable"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	d = openArgs(t, frozen+" timeout=30ms")
	if got := verify(t, d, "bob", "x"); got != "error: "+frozen+": Request timed out after 30ms" {
		t.Error(got)
	}
	if got := verify(t, d, "bob", "x"); !strings.HasPrefix(got, "error: "+frozen+": ") {
		t.Error(got)
	}
}

func TestCacheVars(t *testing.T) {
	if _, ok := openArgs(t, "http://127.0.0.1/").(passdb.Cacheable); ok {
		t.Error("answers are cached although nobody said what they depend on")
	}
	d := openArgs(t, "http://127.0.0.1/ cache_key=%n%s")
	if got := d.(passdb.Cacheable).CacheVars(); !slices.Equal(got, []string{"user", "username", "service"}) {
		t.Errorf("%q", got)
	}
	for _, d := range []passdb.Driver{d, openArgs(t, "http://127.0.0.1/")} {
		_, verifies := d.(passdb.Verifier)
		_, challenges := d.(passdb.ChallengeVerifier)
		_, closes := d.(passdb.Closer)
		if !verifies || !challenges || !closes {
			t.Errorf("%T has lost a power", d)
		}
	}
}

func TestNew_refuses(t *testing.T) {
	for args, want := range map[string]string{
		"":                                    "no server is given",
		"http://a/ headers=Auth-User:x":       "the header Auth-User belongs to the protocol",
		"http://a/ headers=connection:x":      "the header connection belongs to the protocol",
		"http://a/ headers=:x":                "a header without a name",
		"http://a/ headers=X(Y:x":             `"X(Y" is no name of a header`,
		"https://a/ tls_ca_cert_file=/nosuch": "url: Can't load CA certs from file",
	} {
		if _, err := New(conf.Passdb{Args: args}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", args, err, want)
		}
	}
}

func TestSecretsStayOutOfLogs(t *testing.T) {
	t.Parallel()
	s := newScript(t, "Auth-Status: OK\nAuth-Server: a\nAuth-Port: x\n")
	dir := t.TempDir()
	got := verify(t, openArgs(t, s.URL+" headers=X-Key:geheim rawlog_dir="+dir), "bob", "pass word%")
	if strings.Contains(got, "geheim") || strings.Contains(got, "word") {
		t.Error(got)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if log := string(text); strings.Contains(log, "geheim") || strings.Contains(log, "word") || !strings.Contains(log, "Auth-User: bob") {
		t.Errorf("%s", log)
	}
}

func TestPing(t *testing.T) {
	t.Parallel()
	s := newScript(t, "")
	d := openArgs(t, s.URL+" http://127.0.0.1:1/")
	var got []string
	d.(passdb.Pinger).Ping(t.Context(), func(server string, err error) { got = append(got, fmt.Sprint(server, " ", err)) })
	if len(got) != 2 || got[0] != s.URL+" <nil>" || got[1] != "http://127.0.0.1:1 connect(127.0.0.1:1) failed: Connection refused" {
		t.Errorf("%q", got)
	}
}

func TestTheClientsEndEndsAWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := sleep(ctx, time.Hour); err == nil {
			t.Error("slept for an hour")
		}
		if err := sleep(t.Context(), time.Minute); err != nil {
			t.Error(err)
		}
	})
}
