package socket

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// policyServer records what it is asked. What it answers depends on the user.
type policyServer struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string
	heard chan struct{}
}

func newPolicyServer(t *testing.T) *policyServer {
	p := &policyServer{heard: make(chan struct{}, 100)}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *policyServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	p.mu.Lock()
	p.asked = append(p.asked, fmt.Sprintf("%s %s %s|%s|%s %s", r.Method, r.URL, r.Header.Get("Content-Type"), r.Header.Get("User-Agent"), r.Header.Get("X-API-Key"), body))
	p.mu.Unlock()
	var q struct{ Login string }
	_ = json.Unmarshal(body, &q)
	answer := map[string]string{
		"refused": `{"status":-1,"msg":"go away"}`, "waits": `{"status":1,"msg":""}`, "garbage": "xx", "empty": "", "unsaid": `{"msg":"x"}`,
	}
	switch text, ok := answer[q.Login]; {
	case q.Login == "error":
		w.WriteHeader(http.StatusInternalServerError)
	case ok:
		_, _ = io.WriteString(w, text)
	default:
		_, _ = io.WriteString(w, `{"status":0,"msg":""}`)
	}
	p.heard <- struct{}{}
}

// requests returns the requests so far once there are n.
func (p *policyServer) requests(t *testing.T, n int) []string {
	t.Helper()
	for deadline := time.After(patience); ; {
		p.mu.Lock()
		have := slices.Clone(p.asked)
		p.mu.Unlock()
		if len(have) >= n {
			return have
		}
		select {
		case <-p.heard:
		case <-deadline:
			t.Fatalf("%d requests instead of %d: %s", len(have), n, strings.Join(have, "\n"))
		}
	}
}

// policySettings: url, then what else.
const policySettings = `auth_policy_server_url = %s/pol
auth_policy_hash_nonce = pepper
auth_policy_server_api_header = key
auth_verbose = yes
passdb {
  driver = static
  args = password=p
}
`

// policyLogins: what is said by the client, the answer, and the number of requests to the policy server.
var policyLogins = []struct {
	user, password, more string
	want                 string
	requests             int
}{
	{"good@ex.org", "p", "", "OK\t1\tuser=good@ex.org", 3},
	{"good@ex.org", "bad", "", "FAIL\t1\tuser=good@ex.org", 2},
	{"Good@ex.org", "p", "\tsecured=tls\tclient_id=\"name\" \"x\"\tsession=S1", "OK\t1\tuser=good@ex.org\toriginal_user=Good@ex.org", 3},
	{"refused", "p", "", "FAIL\t1\tuser=refused\treason=go away", 2},
	{"waits", "p", "", "OK\t1\tuser=waits", 3},
	{"error", "p", "", "OK\t1\tuser=error", 3},
	{"garbage", "p", "", "OK\t1\tuser=garbage", 3},
	{"empty", "p", "", "OK\t1\tuser=empty", 3},
	{"unsaid", "p", "", "OK\t1\tuser=unsaid", 3},
}

// playPolicy logs in and returns what the policy server was asked, login by login. The order within one login is fixed.
func playPolicy(t *testing.T, p peer, s *policyServer) []string {
	n := 0
	for _, l := range policyLogins {
		c := greeted(t, p, 2)
		c.say("AUTH\t1\tPLAIN\tservice=imap\tno-penalty\trip=192.0.2.7" + l.more + "\tresp=" + b64("\x00"+l.user+"\x00"+l.password) + "\n")
		if got := c.hear(); got != l.want {
			t.Errorf("%s: got %q, want %q", l.user, got, l.want)
		}
		n += l.requests
		s.requests(t, n)
	}
	return s.requests(t, n)
}

func TestPolicyServer(t *testing.T) {
	s := newPolicyServer(t)
	r := newRig(t, fmt.Sprintf(policySettings, s.URL))
	got := playPolicy(t, r.peer, s)
	const head = " application/json|dovecot/auth-policy-client|key "
	for i, want := range []string{
		`POST /pol?command=allow` + head + `{"device_id":"","login":"good@ex.org","protocol":"imap","pwhash":"06bf","remote":"192.0.2.7","session_id":"","tls":false}`,
		`POST /pol?command=allow` + head + `{"device_id":"","login":"good@ex.org","protocol":"imap","pwhash":"06bf","remote":"192.0.2.7","session_id":"","tls":false}`,
		`POST /pol?command=report` + head + `{"device_id":"","login":"good@ex.org","protocol":"imap","pwhash":"06bf","remote":"192.0.2.7","session_id":"","success":true,"policy_reject":false,"tls":false}`,
	} {
		if got[i] != want {
			t.Errorf("request %d\n got %s\nwant %s", i, got[i], want)
		}
	}
	r.Close()
	for _, want := range []string{
		"auth: Info: policy(refused,192.0.2.7): Authentication failure due to policy server refusal: go away",
		"auth: Info: policy(refused,192.0.2.7): Policy check action is drop connection",
		"auth: Info: policy(waits,192.0.2.7): Policy check action is tarpit 1 second(s)",
		"auth: Error: policy(error,192.0.2.7): Policy server HTTP error: 500 Internal Server Error",
		"auth: Error: policy(garbage,192.0.2.7): Policy server response JSON parse error: ",
		"auth: Error: policy(empty,192.0.2.7): Policy server result was empty",
	} {
		if log := r.log.text(); !strings.Contains(log, want) {
			t.Errorf("%q is not in the log:\n%s", want, log)
		}
	}
}

// TestPolicyServerWithDovecot compares every request with a real Dovecot's.
func TestPolicyServerWithDovecot(t *testing.T) {
	theirs, ours := newPolicyServer(t), newPolicyServer(t)
	want := playPolicy(t, dovecot(t, fmt.Sprintf(policySettings, theirs.URL)), theirs)
	got := playPolicy(t, newRig(t, fmt.Sprintf(policySettings, ours.URL)).peer, ours)
	for i := range want {
		if i >= len(got) || got[i] != want[i] {
			t.Errorf("request %d\n   ours %s\nDovecot's %s", i, got[i], want[i])
		}
	}
}

func TestPolicySettings(t *testing.T) {
	const tempFail = "FAIL\t1\tuser=%s\tcode=temp_fail"
	for _, tc := range []struct{ name, settings, user, want, commands string }{
		{"without the check before", "auth_policy_check_before_auth = no\n", "free", "OK\t1\tuser=free", "allow report"},
		{"without the check after", "auth_policy_check_after_auth = no\n", "free", "OK\t1\tuser=free", "allow report"},
		{"without reports", "auth_policy_report_after_auth = no\n", "free", "OK\t1\tuser=free", "allow allow"},
		{"a refusal after the password", "auth_policy_check_before_auth = no\n", "refused", "FAIL\t1\tuser=refused\treason=go away", "allow report"},
		{"log only", "auth_policy_log_only = yes\n", "refused", "OK\t1\tuser=refused", "allow allow report"},
		{"an error does not stop logins", "", "error", "OK\t1\tuser=error", "allow allow report"},
		{"unless it shall, and then the failure is temporary", "auth_policy_reject_on_fail = yes\n", "error", fmt.Sprintf(tempFail, "error"), "allow"},
		{"neither when only the log shall say so", "auth_policy_reject_on_fail = yes\nauth_policy_log_only = yes\n", "error", "OK\t1\tuser=error", "allow allow report"},
		{"attributes inside objects", "auth_policy_request_attributes = b/y=2 a=%u b/x=%{rip} c/d/e=%d\n", "free", "OK\t1\tuser=free", `{"a":"free","b":{"x":"192.0.2.7","y":"2"},"c":{"d":{"e":""}},"tls":false}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newPolicyServer(t)
			r := newRig(t, fmt.Sprintf(policySettings, s.URL)+tc.settings)
			c := greeted(t, r.peer, 2)
			c.say("AUTH\t1\tPLAIN\tservice=imap\tno-penalty\trip=192.0.2.7\tresp=" + b64("\x00"+tc.user+"\x00p") + "\n")
			if got := c.hear(); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			if strings.HasPrefix(tc.commands, "{") {
				if got := s.requests(t, 1)[0]; !strings.HasSuffix(got, " "+tc.commands) {
					t.Errorf("got %s, want %s", got, tc.commands)
				}
				return
			}
			var commands []string
			for _, q := range s.requests(t, len(strings.Fields(tc.commands))) {
				q, _, _ = strings.Cut(strings.TrimPrefix(q, "POST /pol?command="), " ")
				commands = append(commands, q)
			}
			if got := strings.Join(commands, " "); got != tc.commands {
				t.Errorf("asked %q, want %q", got, tc.commands)
			}
		})
	}
}

// TestAPolicyServerThatDoesNotAnswerCostsItsTimeLimit: twice at most, and the login goes on.
func TestAPolicyServerThatDoesNotAnswerCostsItsTimeLimit(t *testing.T) {
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer s.Close()
	defer close(release)
	r := newRig(t, fmt.Sprintf(policySettings, s.URL)+"auth_policy_server_timeout_msecs = 50\n")
	c := greeted(t, r.peer, 2)
	c.say(plain("1", "free", "p"))
	if got := c.hear(); got != "OK\t1\tuser=free" {
		t.Errorf("got %q", got)
	}
	if log := r.log.text(); !strings.Contains(log, "policy(free): Policy server HTTP error: Absolute request timeout expired") {
		t.Errorf("log: %s", log)
	}
}
