package dict

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"dproxy/conf"
	"dproxy/passdb"
	"dproxy/test/daemon"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// file writes a dovecot-dict-auth.conf.ext and returns its path.
func file(tb testing.TB, text string) string {
	tb.Helper()
	path := filepath.Join(daemon.ShortDir(tb), "dict.conf.ext")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		tb.Fatal(err)
	}
	return path
}

func open(tb testing.TB, text string) *driver {
	tb.Helper()
	d, err := New(conf.Passdb{Driver: "dict", Args: file(tb, text)})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = d.(passdb.Closer).Close() })
	return d.(*driver)
}

func lookup(ctx context.Context, d *driver, user string) (passdb.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return d.Lookup(ctx, &passdb.Request{User: user, OrigUser: user, Fields: &passdb.Fields{}, Peer: passdb.Peer{Service: "imap"}})
}

// data are values by key. A user of them is named like the key's last part.
var data = map[string]string{
	"px/passdb/full":      `{"password":"{PLAIN}x","proxy":"y","host":"192.0.2.1","n":5,"t":true,"f":false,"z":null,"fl":1.50,"e":"","uni":"\u00e9"}`,
	"px/passdb/nopw":      `{"host":"192.0.2.1"}`,
	"px/passdb/wrong":     `{"password":"{PLAIN}y"}`,
	"px/passdb/notjson":   `notjson`,
	"px/passdb/nested":    `{"a":{"b":"c"},"password":"{PLAIN}x"}`,
	"px/passdb/list":      `["a"]`,
	"px/passdb/inner":     `{"password":"{PLAIN}x","a":[1,2]}`,
	"px/passdb/empty":     ``,
	"px/passdb/trailing":  `{"password":"{PLAIN}x"} more`,
	"px/passdb/open":      `{"password":"{PLAIN}x"`,
	"px/passdb/nopass":    `{"nopassword":"y","password":"","host":"192.0.2.9"}`,
	"px/passdb/emptyname": `{"":"y","password":"x"}`,
	"px/passdb/twice":     `{"password":"{PLAIN}x","a":"1","a":"2"}`,
	"px/passdb/renamed":   `{"password":"{PLAIN}x","user":"new@d","x y":"v"}`,
	"px/passdb/a b":       `{"password":"{PLAIN}x","s":"blank"}`,
	"px/passdb/a%b":       `{"password":"{PLAIN}x","s":"percent"}`,
	"px/passdb/a*b":       `{"password":"{PLAIN}x","s":"star"}`,
	"px/passdb/a:b":       `{"password":"{PLAIN}x","s":"colon"}`,
}

const uri = "uri = redis:host=127.0.0.1:port=%d:db=3:prefix=px/:password=sec:timeout_msecs=%d\n"

const older = "password_key = passdb/%%u\ndefault_pass_scheme = PLAIN\nvalue_format = json\niterate_disable = yes\n"

// server starts Redis with the data.
func startServer(tb testing.TB) (*daemon.Database, *redis.Client) {
	tb.Helper()
	d := daemon.StartRedis(tb, "--requirepass", "sec")
	return d, fill(tb, d)
}

func fill(tb testing.TB, d *daemon.Database) *redis.Client {
	tb.Helper()
	quiet()
	c := redis.NewClient(&redis.Options{Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(d.Port)), Password: "sec", DB: 3, DisableIdentity: true})
	tb.Cleanup(func() { _ = c.Close() })
	for k, v := range data {
		if err := c.Set(tb.Context(), k, v, 0).Err(); err != nil {
			tb.Fatal(err)
		}
	}
	if err := c.HSet(tb.Context(), "px/passdb/hash", "f", "v").Err(); err != nil {
		tb.Fatal(err)
	}
	return c
}

func fields(res passdb.Result) string {
	var out []string
	for _, f := range res.Fields {
		out = append(out, f.Name+"="+f.Value)
	}
	return strings.Join(out, " ")
}

func TestSections(t *testing.T) {
	s, c := startServer(t)
	for k, v := range map[string]string{"px/v/full": "a value", "px/passdb/w": `{"password":"{PLAIN}x"}`} {
		if err := c.Set(t.Context(), k, v, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	d := open(t, fmt.Sprintf(uri, s.Port, 5000)+`
key obj {
  key = passdb/%u
  format = json
}
key unused {
  key = nothing/%{nosuch}
}
key val {
  key = v/%u
  default_value = 7.7.7.7
}
passdb_objects = obj
passdb_fields {
  v = %{dict:val}-%u
  host = %{dict:obj.host}
  d1 = %{dict:obj.host:dflt}
  none = %{dict:nosuch:dflt}
  whole = %{dict:obj:dflt}
  dotted = %{dict:val.x:dflt}
  upper = %U{dict:val}
}
userdb_fields {
  uid = 1
}
`)
	for user, want := range map[string]string{
		"full": "v=a value-full host=192.0.2.1 d1=192.0.2.1 none=dflt whole=dflt dotted=dflt upper=A VALUE " +
			"proxy=y host=192.0.2.1 n=5 t=true f=false fl=1.50 e= uni=é",
		"w": "v=7.7.7.7-w host= d1= none=dflt whole=dflt dotted=dflt upper=7.7.7.7",
	} {
		res, err := lookup(t.Context(), d, user)
		if err != nil || res.Status != passdb.OK || string(res.Password) != "{PLAIN}x" || fields(res) != want {
			t.Errorf("%s: %v %s\n got %s\nwant %s", user, err, res.Status, fields(res), want)
		}
	}
	if res, err := lookup(t.Context(), d, "nobody"); err != nil || res.Status != passdb.Unknown {
		t.Errorf("nobody: %v %v", res, err)
	}
	if got := d.CacheVars(); !slices.Equal(slices.Compact(slices.Sorted(slices.Values(got))), []string{"user"}) {
		t.Errorf("CacheVars: %q", got)
	}
}

// TestUserNamesAreOnePartOfAKey: no name leads to another part of the keys, or to another command.
func TestUserNamesAreOnePartOfAKey(t *testing.T) {
	s, c := startServer(t)
	for k, v := range map[string]string{
		"px/passdb/bob/secret": `{"nopassword":"y"}`, "px/other": `{"nopassword":"y"}`, `px/passdb/a\|b`: `{"password":"x","s":"slash"}`, `px/passdb/a\\b`: `{"password":"x","s":"backslash"}`,
	} {
		if err := c.Set(t.Context(), k, v, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	d := open(t, fmt.Sprintf(uri+older, s.Port, 5000))
	for user, want := range map[string]string{
		"bob/secret": "", "../other": "", "x/../../other": "", "full\r\nFLUSHALL\r\n": "", "full\n*1\r\n$8\r\nFLUSHALL\r\n": "",
		"*": "", "f*": "", "full ": "", "": "", "'": "", `"`: "", "%u": "", "a/b": "s=slash", `a\b`: "s=backslash", "a b": "s=blank", "a%b": "s=percent", "a*b": "s=star", "a:b": "s=colon",
	} {
		res, err := lookup(t.Context(), d, user)
		switch {
		case err != nil:
			t.Errorf("%q: %v", user, err)
		case want == "" && res.Status != passdb.Unknown, want != "" && fields(res) != want:
			t.Errorf("%q found %s %q", user, res.Status, fields(res))
		}
	}
	if _, err := lookup(t.Context(), d, "a\x00b"); err == nil {
		t.Error("a NUL byte was sent")
	}
	if n := c.DBSize(t.Context()).Val(); n < int64(len(data)) {
		t.Errorf("%d keys are left", n)
	}
}

// TestTheServerComesAndGoes: a fault is an error within its time, and its end is noticed within 5 seconds.
func TestTheServerComesAndGoes(t *testing.T) {
	s, _ := startServer(t)
	d := open(t, fmt.Sprintf(uri+older, s.Port, 1000))
	ok := func(when string) {
		t.Helper()
		deadline := time.Now().Add(5 * time.Second)
		for {
			res, err := lookup(t.Context(), d, "full")
			if err == nil && res.Status == passdb.OK {
				return
			}
			if err == nil || time.Now().After(deadline) {
				t.Fatalf("%s: %+v %v", when, res, err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	fails := func(when, want string) {
		t.Helper()
		began := time.Now()
		res, err := lookup(t.Context(), d, "full")
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "sec") && !strings.Contains(err.Error(), "secs") {
			t.Fatalf("%s: %+v %v", when, res, err)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("%s: it took %s", when, took)
		}
	}
	ok("at first")
	for range 3 {
		s.Stop(t)
		fails("stopped", "Failed to lookup key shared/passdb/full: redis: ")
		s.Start(t)
		fill(t, s)
		ok("started again")
	}
	s.Freeze(t)
	fails("frozen", "Lookup timed out in 1.000 secs")
	s.Thaw(t)
	ok("thawed")
}

func TestRefusalsOfTheServer(t *testing.T) {
	s, c := startServer(t)
	for name, x := range map[string]struct{ from, to, want string }{
		"a wrong password": {":password=sec", ":password=wrong", "WRONGPASS"},
		"no password":      {":password=sec", "", "NOAUTH"},
		"no such database": {":db=3", ":db=99", "out of range"},
	} {
		d := open(t, strings.Replace(fmt.Sprintf(uri+older, s.Port, 5000), x.from, x.to, 1))
		if _, err := lookup(t.Context(), d, "full"); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	d := open(t, fmt.Sprintf(uri+older, s.Port, 5000))
	if _, err := lookup(t.Context(), d, "hash"); err == nil || !strings.Contains(err.Error(), "WRONGTYPE") {
		t.Errorf("a value that is no text: %v", err)
	}
	if err := c.Set(t.Context(), "px/passdb/large", `{"password":"`+strings.Repeat("x", maxValue)+`"}`, 0).Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := lookup(t.Context(), d, "large"); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("a value that is too large: %v", err)
	}
	if res, err := lookup(t.Context(), d, "full"); err != nil || res.Status != passdb.OK {
		t.Errorf("after it: %+v %v", res, err)
	}
	none := open(t, fmt.Sprintf(uri, s.Port, 5000))
	if _, err := lookup(t.Context(), none, "full"); err == nil || err.Error() != "No passdb_objects or passdb_fields specified" {
		t.Errorf("a file without keys: %v", err)
	}
}

func TestWarningsAboutTheFileAreTold(t *testing.T) {
	d := open(t, "uri = redis:port=1\npassword_key = a#b\n")
	var got []string
	d.SetLog(func(l passdb.Level, text string) { got = append(got, fmt.Sprint(l, " ", text)) })
	if len(got) != 1 || !strings.HasPrefix(got[0], fmt.Sprint(passdb.Warning)+" Configuration file ") {
		t.Errorf("got %q", got)
	}
}

// TestNonsense is what something else than Redis says at its port.
func TestNonsense(t *testing.T) {
	for name, answer := range map[string]string{
		"nothing":                   "",
		"a mail server":             "* OK ready\r\n",
		"a web server":              "HTTP/1.1 400 Bad Request\r\nContent-Length: 9\r\n\r\nno thanks",
		"zeros":                     strings.Repeat("\x00", 100),
		"a line without end":        strings.Repeat("x", 1<<20),
		"a text of a terabyte":      "$1099511627776\r\nx",
		"a text of 2^63-1":          "$9223372036854775807\r\nx",
		"a text of no number":       "$x\r\n",
		"a text of minus two":       "$-2\r\n",
		"a list of a billion":       "*1000000000\r\n",
		"lists in lists":            strings.Repeat("*1\r\n", 1000),
		"a map of a billion":        "%1000000000\r\n",
		"an error":                  "-ERR no\r\n",
		"a text without its end":    "$100\r\nx",
		"a verbatim text, too long": "=99999999999\r\ntxt:x",
		"an attribute":              "|1\r\n+k\r\n+v\r\n$1\r\nx\r\n",
		"a list":                    "*2\r\n$1\r\nx\r\n$1\r\ny\r\n",
		"pushes":                    strings.Repeat(">1\r\n+x\r\n", 1000),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			defer wg.Wait()
			defer l.Close()
			wg.Go(func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					wg.Go(func() {
						defer c.Close()
						_ = c.SetDeadline(time.Now().Add(20 * time.Second))
						buf := make([]byte, 4096)
						for {
							if _, err := c.Read(buf); err != nil {
								return
							}
							if _, err := io.WriteString(c, answer); err != nil {
								return
							}
						}
					})
				}
			})
			d := open(t, fmt.Sprintf("uri = redis:port=%d:timeout_msecs=500\n", l.Addr().(*net.TCPAddr).Port)+strings.ReplaceAll(older, "%%", "%"))
			defer d.Close()
			if res, err := lookup(t.Context(), d, "full"); err == nil {
				t.Errorf("got %+v", res)
			}
		})
	}
}

// dovecotConf: directory, file.
const dovecotConf = `base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = %[1]s/log
protocols =
ssl = no
auth_username_chars =
auth_failure_delay = 0
passdb {
  driver = dict
  args = %[2]s
}
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
`

// TestConformance asks a real Dovecot the same of the same server.
func TestConformance(t *testing.T) {
	path := daemon.Program(t, "dovecot", "/usr/sbin/dovecot")
	if os.Getuid() != 0 {
		daemon.Missing(t, "Dovecot needs root")
	}
	s, _ := startServer(t)
	text := fmt.Sprintf(uri+older, s.Port, 5000)
	dir := daemon.ShortDir(t)
	config := filepath.Join(dir, "dovecot.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, dovecotConf, dir, file(t, text)), 0o644); err != nil {
		t.Fatal(err)
	}
	proc, err := daemon.Start(path, "-F", "-c", config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := proc.Stop(); err != nil {
			t.Error(err)
		}
	})
	users := []string{"nosuch", "hash"}
	for k := range data {
		users = append(users, strings.TrimPrefix(k, "px/passdb/"))
	}
	want := askDovecot(t, filepath.Join(dir, "run", "auth-client"), users)
	d := open(t, text)
	for _, user := range users {
		t.Run(user, func(t *testing.T) {
			res, err := lookup(t.Context(), d, user)
			if got := answerOf(user, res, err); got != want[user] {
				t.Errorf("\n  dproxy %s\n Dovecot %s", got, want[user])
			}
		})
	}
}

// answerOf is an answer as the auth protocol writes it, fields sorted, for the password "x".
func answerOf(user string, res passdb.Result, err error) string {
	verdict, out := "FAIL", []string{"code=temp_fail"}
	switch {
	case err != nil:
	case res.Status != passdb.OK || string(res.Password) != "{PLAIN}x" && !strings.Contains(fields(res), "nopassword="):
		out = nil
	default:
		verdict, out = "OK", nil
		var set passdb.Fields
		for _, f := range res.Fields {
			set.Set(f.Name, f.Value)
		}
		for _, f := range set.All() {
			switch {
			case f.Name == "user":
				out, user = append(out, "original_user="+user), f.Value
			case f.Name == "nopassword":
			case f.Value == "" || f.Name == "proxy":
				out = append(out, f.Name)
			default:
				out = append(out, f.Name+"="+f.Value)
			}
		}
	}
	out = append(out, "user="+user)
	slices.Sort(out)
	return verdict + " " + strings.Join(out, " ")
}

// askDovecot asks about all users in one connection of the auth client protocol.
func askDovecot(t *testing.T, socket string, users []string) map[string]string {
	t.Helper()
	var nc net.Conn
	for deadline := time.Now().Add(30 * time.Second); nc == nil; {
		var err error
		if nc, err = net.Dial("unix", socket); err != nil {
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	defer nc.Close()
	if err := nc.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(nc, "VERSION\t1\t2\nCPID\t1\n")
	for i, user := range users {
		fmt.Fprintf(nc, "AUTH\t%d\tPLAIN\tservice=imap\tresp=%s\n", i+1, base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00x")))
	}
	out := map[string]string{}
	for r := bufio.NewScanner(nc); len(out) < len(users); {
		if !r.Scan() {
			t.Fatalf("%d of %d answers: %v", len(out), len(users), r.Err())
		}
		words := strings.Split(r.Text(), "\t")
		if words[0] != "OK" && words[0] != "FAIL" {
			continue
		}
		n, err := strconv.Atoi(words[1])
		if err != nil || n < 1 || n > len(users) {
			t.Fatal(r.Text())
		}
		list := words[2:]
		slices.Sort(list)
		out[users[n-1]] = words[0] + " " + strings.Join(list, " ")
	}
	return out
}
