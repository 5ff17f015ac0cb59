package auth_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/xdg-go/scram"

	"dproxy/auth"
	"dproxy/conf"
	"dproxy/event"
	"dproxy/passdb"
	"dproxy/test/daemon"
)

// cases is testdata/passdb-cases.json: what a real Dovecot 2.3.19.1 answered.
type cases struct {
	BaseConf string `json:"base_conf"`
	Cases    []struct {
		ID    string
		Conf  string
		Needs string
		Files map[string]json.RawMessage
		Steps []step
	}
}

type step struct {
	Kind, Mech, Service, User, Password, Authzid string

	Params []string
	Argv   []string
	Expect struct {
		Reply          string
		Fields         []string
		Exit           int
		Stdout, Stderr []string
	}
	Log []string
}

// deviations are the steps that are answered otherwise on purpose, "case/step", with the reply.
var deviations = map[string]struct{ reply, why string }{
	"static-empty-password/1":       {"FAIL", "an empty stored password accepts nobody"},
	"passwdfile-basic/4":            {"FAIL", "an empty stored password accepts nobody"},
	"passwdfile-basic/6":            {"FAIL", "an empty stored password accepts nobody"},
	"sql-basic/7":                   {"FAIL", "an empty stored password accepts nobody"},
	"mech-nopassword-credentials/1": {"FAIL", "nopassword does not make an empty CRAM-MD5 proof right"},
	"passwdfile-unknown-scheme/2":   {"FAIL code=temp_fail", "undecodable data is no wrong password (2.3.21)"},
	"sql-basic/5":                   {"FAIL code=temp_fail", "unverifiable data is no wrong password (2.3.21)"},
	"sql-basic/6":                   {"FAIL code=temp_fail", "unverifiable data is no wrong password (2.3.21)"},
	"sql-default-md5/1":             {"FAIL code=temp_fail", "unverifiable data is no wrong password (2.3.21)"},
	"sql-default-scheme/3":          {"FAIL code=temp_fail", "undecodable data is no wrong password (2.3.21)"},
	"sql-user-column-case/1":        {"OK", "an empty destuser counts as not set"},
	"master-passdb-proxy-fields/2":  {"OK", "an empty master counts as not set"},
	"ldap-lookup/7":                 {"OK", "an empty destuser counts as not set"},
}

// otherLines are the steps whose log lines differ, and why. Steps that deviate differ too.
var otherLines = map[string]string{
	"static-nopassword-value/1":     "the flag's value is warned about",
	"proxy-value-forms/1":           "the flag's value is warned about",
	"sql-nopassword-null-cond/5":    "the flag's value is warned about",
	"passwdfile-dup/1":              "the line is written at start, which Dovecot did too before the first step",
	"passwdfile-missing-file/1":     "the file is opened at start, which Dovecot did too before the first step",
	"passwdfile-missing-file/2":     "a failed lookup says why",
	"mech-nopassword-credentials/2": "nopassword has no credentials to compare with",
}

func TestRecordedCases(t *testing.T) {
	raw, err := os.ReadFile("testdata/passdb-cases.json")
	if err != nil {
		t.Fatal(err)
	}
	var all cases
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	drivers := testDrivers()
	count := map[string]int{}
	for _, c := range all.Cases {
		if driver := regexp.MustCompile(`(?m)driver = (\S+)`).FindStringSubmatch(c.Conf)[1]; drivers[driver] == nil {
			count["missing"]++
			continue
		}
		t.Run(c.ID, func(t *testing.T) {
			dir := t.TempDir()
			files := c.Files
			if c.Needs != "" {
				files = withDirectory(t, files)
			}
			for name, text := range files {
				writeCaseFile(t, dir, name, text)
			}
			log := &lines{dir: dir}
			a, config := openConf(t, dir, all.BaseConf+c.Conf, log)
			kind := "same"
			for i, s := range c.Steps {
				count["steps"]++
				if kinds := routed[c.ID]; kinds != nil {
					kind = "routed"
					if got := routeKind(t, config, a, s); got != kinds[i] {
						t.Errorf("step %d: route says %d, want %d", i+1, got, kinds[i])
					}
					continue
				}
				if log.check(t, a, s, fmt.Sprintf("%s/%d", c.ID, i+1)) {
					kind = "safer"
				}
			}
			if !t.Failed() {
				count[kind]++
			}
		})
	}
	t.Logf("%d of %d recorded cases identical, %d safer on purpose, %d that route decides as recorded, %d without their driver; %d steps",
		count["same"], len(all.Cases), count["safer"], count["routed"], count["missing"], count["steps"])
}

// check plays one step. It tells whether the answer deviates on purpose.
func (l *lines) check(t *testing.T, a *auth.Authenticator, s step, key string) bool {
	t.Helper()
	want, wantFields := s.want()
	got, fields, text := run(t, a, s)
	have, wantLines := l.take(), wantLog(s.Log)
	equal := got == want && slices.Equal(fields, wantFields)
	if d, ok := deviations[key]; ok {
		if equal || got != d.reply {
			t.Errorf("%s %s:\n got %s %v\nwant %s, which is not as recorded", key, text, got, fields, d.reply)
		}
		return true
	}
	if !equal {
		t.Errorf("%s %s:\n got %s %v\nwant %s %v", key, text, got, fields, want, wantFields)
	}
	if _, other := otherLines[key]; slices.Equal(have, wantLines) == other {
		t.Errorf("%s %s: log lines:\n got %q\nwant %q", key, text, have, wantLines)
	}
	return false
}

func writeCaseFile(t *testing.T, dir, name string, raw json.RawMessage) {
	t.Helper()
	var text string
	if json.Unmarshal(raw, &text) == nil {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.ReplaceAll(text, "@DIR@", dir)), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	var db struct{ SQL string }
	if err := json.Unmarshal(raw, &db); err != nil {
		t.Fatal(err)
	}
	makeDatabase(t, filepath.Join(dir, name), db.SQL)
}

// withDirectory starts the LDAP server that a case needs, with its entries, and puts its port into the
// case's files.
func withDirectory(t *testing.T, files map[string]json.RawMessage) map[string]json.RawMessage {
	t.Helper()
	var ldif string
	if err := json.Unmarshal(files["directory.ldif"], &ldif); err != nil {
		t.Fatal(err)
	}
	d := daemon.StartDirectory(t, daemon.DirectoryOptions{Suffix: "dc=ex", LDIF: ldif})
	out := map[string]json.RawMessage{}
	for name, text := range files {
		out[name] = bytes.ReplaceAll(text, []byte("127.0.0.1:389"), []byte("127.0.0.1:"+strconv.Itoa(d.Port)))
	}
	return out
}

func makeDatabase(t *testing.T, path, script string) {
	t.Helper()
	cmd := exec.Command("sqlite3", path)
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		if strings.Contains(os.Getenv("DPROXY_TEST_REQUIRE"), "all") {
			t.Fatalf("sqlite3: %v: %s", err, out)
		}
		t.Skipf("sqlite3: %v: %s", err, out)
	}
}

func openConf(t *testing.T, dir, text string, sink event.Sink) (*auth.Authenticator, *conf.Config) {
	t.Helper()
	path := filepath.Join(dir, "dovecot.conf")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "@DIR@", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := conf.Load(path, conf.Options{})
	if err != nil {
		t.Fatal(err)
	}
	a, err := auth.New(auth.Options{Config: c, Drivers: testDrivers(), Events: sink})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a, c
}

// want is the recorded answer: OK or FAIL with its code, or the exit status of doveadm, and the
// fields in sorted order.
func (s *step) want() (string, []string) {
	if s.Kind == "doveadm" {
		var out []string
		for _, l := range s.Expect.Stdout {
			if name, value, ok := strings.Cut(l, ":"); ok && strings.HasPrefix(l, "  ") {
				out = append(out, strings.TrimSpace(name)+"="+strings.TrimPrefix(value, " "))
			} else if strings.HasPrefix(l, "  ") && strings.TrimSpace(l) != "" && !slices.Contains(s.Argv, "test") {
				out = append(out, strings.TrimSpace(l)+"=")
			} else if strings.HasPrefix(l, "  ") && strings.TrimSpace(l) != "" {
				name, value, _ := strings.Cut(strings.TrimSpace(l), "=")
				out = append(out, field(name, value))
			}
		}
		slices.Sort(out)
		return "exit " + strconv.Itoa(s.Expect.Exit), out
	}
	reply := s.Expect.Reply
	out := []string{}
	for _, f := range s.Expect.Fields {
		name, value, _ := strings.Cut(f, "=")
		switch {
		case name == "code":
			reply += " code=" + value
		case (name == "user" || name == "original_user") && value == "":
		default:
			out = append(out, field(name, value))
		}
	}
	out = slices.DeleteFunc(out, func(f string) bool {
		v, ok := strings.CutPrefix(f, "original_user=")
		return ok && slices.Contains(out, "user="+v)
	})
	slices.Sort(out)
	return reply, out
}

// field prints flags without their value, which Dovecot does not show.
func field(name, value string) string {
	switch name {
	case "proxy", "nologin", "anonymous":
		return name + "="
	}
	return name + "=" + value
}

func run(t *testing.T, a *auth.Authenticator, s step) (reply string, fields []string, text string) {
	t.Helper()
	if s.Kind == "doveadm" {
		return doveadm(t, a, s)
	}
	text = fmt.Sprintf("%s %s %q %q %v", s.Service, s.Mech, s.User, s.Password, s.Params)
	r := converse(t, a, peer(s.Service, s.Params), s)
	reply = "OK"
	if !r.OK {
		reply = "FAIL"
		if r.Code != auth.CodeNone {
			reply += " code=" + r.Code.String()
		}
	}
	return reply, replyFields(r, true), text
}

// replyFields makes the fields that Dovecot's auth process would send to a login process.
func replyFields(r *auth.Reply, login bool) []string {
	out := []string{}
	add := func(name, value string) { out = append(out, field(name, value)) }
	if r.User != "" {
		add("user", r.User)
	}
	for _, f := range r.Fields.All() {
		add(f.Name, f.Value)
	}
	if !r.OK && r.Reason != "" && !r.Fields.Has("reason") {
		add("reason", r.Reason)
	}
	if r.OrigUser != r.User && r.OrigUser != "" && !r.Fields.Has("original_user") {
		add("original_user", r.OrigUser)
	}
	if r.MasterUser != "" {
		add("auth_user", r.MasterUser)
	}
	if login && r.Fields.Has("proxy") {
		if !r.Fields.Has("pass") && r.HasPassword {
			add("pass", string(r.Password))
		}
		if !r.Fields.Has("master") && r.MasterUser != "" {
			add("master", r.MasterUser)
		}
	}
	slices.Sort(out)
	return out
}

func doveadm(t *testing.T, a *auth.Authenticator, s step) (string, []string, string) {
	t.Helper()
	text := strings.Join(s.Argv, " ")
	args := s.Argv[2:]
	var params []string
	master := ""
	verb, args := args[0], args[1:]
	for len(args) > 1 && strings.HasPrefix(args[0], "-") {
		if args[0] == "-M" {
			master = args[1]
		} else {
			params = append(params, args[1])
		}
		args = args[2:]
	}
	if verb == "test" {
		s := step{Mech: "PLAIN", User: args[0], Password: args[1]}
		if master != "" {
			s.User, s.Authzid = master, args[0]
		}
		r := converse(t, a, peer("doveadm", params), s)
		if !r.OK {
			return "exit 77", nil, text
		}
		return "exit 0", replyFields(r, false), text
	}
	r := a.Lookup(t.Context(), peer("doveadm", params), args[0])
	switch {
	case r.OK:
	case r.Code == auth.CodeTempFail:
		return "exit 75", nil, text
	default:
		return "exit 67", nil, text
	}
	out := []string{"user=" + r.User}
	for _, f := range r.Fields.All() {
		out = append(out, f.Name+"="+f.Value)
	}
	slices.Sort(out)
	return "exit 0", out, text
}

func peer(service string, params []string) passdb.Peer {
	p := passdb.Peer{Service: service}
	addr := func(a *netip.AddrPort, ip string) { *a = netip.AddrPortFrom(netip.MustParseAddr(ip), a.Port()) }
	port := func(a *netip.AddrPort, n string) {
		v, _ := strconv.Atoi(n)
		*a = netip.AddrPortFrom(a.Addr(), uint16(v))
	}
	for _, x := range params {
		name, value, _ := strings.Cut(x, "=")
		switch name {
		case "rip":
			addr(&p.Remote, value)
		case "lip":
			addr(&p.Local, value)
		case "real_rip":
			addr(&p.RealRemote, value)
		case "real_lip":
			addr(&p.RealLocal, value)
		case "lport":
			port(&p.Local, value)
		case "valid-client-cert":
			p.CertValid = true
		case "cert_username":
			p.CertName = value
		case "forward_fields":
			for _, f := range strings.Split(strings.ReplaceAll(value, "\x01t", "\t"), "\t") {
				n, v, _ := strings.Cut(f, "=")
				p.Forward = append(p.Forward, passdb.Field{Name: n, Value: v})
			}
		}
	}
	return p
}

// converse plays the client's side of a mechanism.
func converse(t *testing.T, a *auth.Authenticator, p passdb.Peer, s step) *auth.Reply {
	t.Helper()
	q := auth.Request{Peer: p, Mech: s.Mech, HasInitial: true}
	var answer func(challenge []byte) []byte
	switch s.Mech {
	case "PLAIN":
		q.Initial = []byte(s.Authzid + "\x00" + s.User + "\x00" + s.Password)
	case "ANONYMOUS", "EXTERNAL":
		q.Initial = []byte(s.User)
	case "LOGIN":
		q.HasInitial = false
		answer = func(c []byte) []byte {
			return []byte(map[string]string{"Username:": s.User, "Password:": s.Password}[string(c)])
		}
	case "CRAM-MD5":
		q.HasInitial = false
		answer = func(c []byte) []byte {
			h := hmac.New(md5.New, []byte(s.Password))
			h.Write(c)
			return []byte(s.User + " " + hex.EncodeToString(h.Sum(nil)))
		}
	case "SCRAM-SHA-256":
		client, err := scram.SHA256.NewClient(s.User, s.Password, "")
		if err != nil {
			t.Fatal(err)
		}
		conv := client.NewConversation()
		first, _ := conv.Step("")
		q.Initial = []byte(first)
		answer = func(c []byte) []byte {
			out, err := conv.Step(string(c))
			if err != nil {
				t.Fatal(err)
			}
			return []byte(out)
		}
	default:
		t.Fatalf("the test does not speak %s", s.Mech)
	}
	x, challenge, reply := a.Start(t.Context(), q)
	for reply == nil {
		challenge, reply = x.Step(t.Context(), answer(challenge))
	}
	return reply
}

// lines keeps the log lines of a case.
type lines struct {
	mu   sync.Mutex
	dir  string
	list []string
}

func (l *lines) Emit(e event.Event) {
	line, ok := event.LineOf(e)
	if !ok {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, strings.ReplaceAll(line.Source+": "+line.Level.String()+": "+line.Text, l.dir, "@DIR@"))
}

func (l *lines) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.list
	l.list = nil
	return out
}

var worker = regexp.MustCompile(`^auth-worker\(PID\): (\w+): conn unix:auth-worker \([^)]*\): auth-worker<N>: `)

// wantLog drops the marks of Dovecot's worker processes, which there are none of here.
func wantLog(recorded []string) []string {
	var out []string
	for _, l := range recorded {
		out = append(out, worker.ReplaceAllString(l, "auth: $1: "))
	}
	return out
}
