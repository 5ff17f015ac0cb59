package socket

import (
	"crypto/hmac"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"regexp"
	"strings"
	"testing"
)

// exchangeLines are what a client sends after the hello, and the lines that come back; "" in wants is no line at all.
type exchangeLines struct {
	name  string
	minor int
	steps [][2]string
}

// dialogues hold for us and for a real Dovecot 2.3.
var dialogues = []exchangeLines{
	{"a right password with the passdb's fields", 2, [][2]string{
		{plain("1", "v", "p"), "OK\t1\tuser=v"},
		{plain("2", "V", "p"), "OK\t2\tuser=v\toriginal_user=V"},
		{plain("3", "w", "p"), "OK\t3\tuser=other\tnologin\treason\toriginal_user=w"},
	}},
	{"a wrong password, an unknown user, a refused network", 2, [][2]string{
		{plain("1", "v", "bad"), "FAIL\t1\tuser=v"},
		{plain("2", "zz", "bad"), "FAIL\t2\tuser=zz"},
		{plain("3", "net", "p", "rip=192.0.2.1"), "FAIL\t3\tuser=net"},
		{plain("4", "net", "p", "rip=10.1.1.1"), "OK\t4\tuser=net"},
	}},
	{"a master login", 2, [][2]string{
		{plain("1", "v*boss", "m"), "OK\t1\tuser=v\toriginal_user=boss\tauth_user=boss"},
		{plain("2", "v*boss", "bad"), "FAIL\t2\tuser=boss"},
	}},
	{"forward_fields come back, also in a failure", 2, [][2]string{
		{plain("1", "v", "p", "forward_fields=a=1\x01tb=2"), "OK\t1\tuser=v\tforward_a=1\tforward_b=2"},
		{plain("2", "v", "x", "forward_fields=a=1\x01tb=2"), "FAIL\t2\tuser=v\tforward_a=1\tforward_b=2"},
	}},
	{"no initial response: PLAIN asks with nothing, LOGIN with its prompts", 2, [][2]string{
		{"AUTH\t1\tPLAIN\tservice=smtp\n", "CONT\t1\t"},
		{"CONT\t1\t" + b64("\x00v\x00p") + "\n", "OK\t1\tuser=v"},
		{"AUTH\t2\tLOGIN\tservice=smtp\tno-penalty\n", "CONT\t2\tVXNlcm5hbWU6"},
		{"CONT\t2\t" + b64("v") + "\n", "CONT\t2\tUGFzc3dvcmQ6"},
		{"CONT\t2\t" + b64("p") + "\n", "OK\t2\tuser=v"},
		{"AUTH\t3\tLOGIN\tservice=smtp\tno-penalty\tresp=" + b64("v") + "\n", "CONT\t3\tUGFzc3dvcmQ6"},
		{"CONT\t3\t" + b64("bad") + "\n", "FAIL\t3\tuser=v"},
	}},
	{"an empty initial response is not none", 2, [][2]string{
		{"AUTH\t1\tPLAIN\tservice=smtp\tno-penalty\tresp=\n", "FAIL\t1"},
		{"AUTH\t2\tPLAIN\tservice=smtp\tno-penalty\tresp==\n", "FAIL\t2"},
		{"AUTH\t3\tLOGIN\tservice=smtp\tno-penalty\tresp==\n", "CONT\t3\tVXNlcm5hbWU6"},
	}},
	{"but it is for clients before 1.2, as Exim", 1, [][2]string{
		{"AUTH\t1\tPLAIN\tservice=smtp\tresp=\n", "CONT\t1\t"},
		{"CONT\t1\t" + b64("\x00v\x00p") + "\n", "OK\t1\tuser=v"},
	}},
	{"several at the same time, answered by number", 2, [][2]string{
		{"AUTH\t1\tLOGIN\tservice=smtp\n", "CONT\t1\tVXNlcm5hbWU6"},
		{"AUTH\t4294967295\tLOGIN\tservice=smtp\n", "CONT\t4294967295\tVXNlcm5hbWU6"},
		{"CONT\t1\t" + b64("v") + "\n", "CONT\t1\tUGFzc3dvcmQ6"},
		{plain("7", "v", "p"), "OK\t7\tuser=v"},
		{"CONT\t1\t" + b64("p") + "\n", "OK\t1\tuser=v"},
		{"CANCEL\t4294967295\n", ""},
		{"CONT\t4294967295\t" + b64("v") + "\n", "FAIL\t4294967295\treason=Authentication request timed out"},
		{"AUTH\t4294967295\tLOGIN\tservice=smtp\n", "CONT\t4294967295\tVXNlcm5hbWU6"},
	}},
	{"base64 that is none", 2, [][2]string{
		{"AUTH\t1\tPLAIN\tservice=smtp\tresp=!!\n", "FAIL\t1\tcode=invalid_base64\treason=Invalid base64 data in initial response"},
		{"AUTH\t1\tPLAIN\tservice=smtp\n", "CONT\t1\t"},
		{"CONT\t1\t!!\n", "FAIL\t1\tcode=invalid_base64\treason=Invalid base64 data in continued response"},
		{"CONT\t9\t\n", "FAIL\t9\treason=Authentication request timed out"},
	}},
	{"XOAUTH2 tells of its failure first", 2, [][2]string{
		{"AUTH\t1\tXOAUTH2\tservice=smtp\tno-penalty\tresp=" + b64("user=v\x01auth=Bearer x\x01\x01") + "\n", "CONT\t1\teyJzdGF0dXMiOiI0MDEiLCJzY2hlbWVzIjoiYmVhcmVyIiwic2NvcGUiOiJtYWlsIn0="},
		{"CONT\t1\t\n", "FAIL\t1\tuser=v"},
	}},
	{"ANONYMOUS", 2, [][2]string{{"AUTH\t1\tANONYMOUS\tservice=smtp\tresp=" + b64("me") + "\n", "OK\t1\tuser=anonymous\tanonymous"}}},
	{"request number 0", 2, [][2]string{{"AUTH\t0\tPLAIN\tservice=x\n", "EOF"}}},
	{"a request number that is too large", 2, [][2]string{{"AUTH\t4294967296\tPLAIN\tservice=x\n", "EOF"}}},
	{"no service", 2, [][2]string{{"AUTH\t1\tPLAIN\n", "EOF"}}},
	{"a parameter after resp", 2, [][2]string{{"AUTH\t1\tPLAIN\tservice=x\tresp=\tfoo\n", "EOF"}}},
	{"a mechanism that is not offered", 2, [][2]string{{"AUTH\t1\tGSSAPI\tservice=x\n", "EOF"}}},
	{"a number twice", 2, [][2]string{{"AUTH\t1\tLOGIN\tservice=x\n", "CONT\t1\tVXNlcm5hbWU6"}, {"AUTH\t1\tLOGIN\tservice=x\n", "EOF"}}},
	{"a CONT without data", 2, [][2]string{{"CONT\t5\n", "EOF"}}},
	{"an unknown command", 2, [][2]string{{"FOO\n", "EOF"}}},
	{"a second hello", 2, [][2]string{{"CPID\t9\n", "EOF"}}},
}

func (d *exchangeLines) play(t *testing.T, p peer) {
	l := greeted(t, p, d.minor)
	for _, s := range d.steps {
		l.say(s[0])
		if s[1] == "" {
			continue
		}
		// A stray TAB ends a line of Dovecot that has hidden fields only.
		if got := strings.TrimRight(l.hear(), "\t"); got != strings.TrimRight(s[1], "\t") {
			t.Errorf("%q\n got %q\nwant %q", s[0], got, s[1])
			return
		}
	}
}

func TestDialogues(t *testing.T) {
	r := newRig(t, "")
	for _, d := range dialogues {
		t.Run(d.name, func(t *testing.T) { d.play(t, r.peer) })
	}
}

// TestDialoguesWithDovecot shows that the dialogues are the truth.
func TestDialoguesWithDovecot(t *testing.T) {
	p := dovecot(t, "")
	for _, d := range dialogues {
		t.Run(d.name, func(t *testing.T) { d.play(t, p) })
	}
	t.Run("both greet with the same lines", func(t *testing.T) {
		ours, theirs := greeting(t, newRig(t, "").peer), greeting(t, p)
		if ours != theirs {
			t.Errorf("ours:\n%s\nDovecot's:\n%s", ours, theirs)
		}
	})
	t.Run("CRAM-MD5", func(t *testing.T) { cramMD5(t, p) })
	for _, d := range lookups {
		t.Run(d.name, func(t *testing.T) { d.look(t, p) })
	}
}

var changing = regexp.MustCompile(`(?m)^(SPID\t\d+|CUID\t\d+|COOKIE\t[0-9a-f]{32})$`)

func greeting(t *testing.T, p peer) string {
	l := dial(t, p.client)
	var all []string
	for {
		s := l.hear()
		all = append(all, s)
		if s == "DONE" || strings.HasSuffix(s, "EOF") {
			break
		}
	}
	return changing.ReplaceAllStringFunc(strings.Join(all, "\n"), func(s string) string {
		name, _, _ := strings.Cut(s, "\t")
		return name
	})
}

func cramMD5(t *testing.T, p peer) {
	l := greeted(t, p, 2)
	for _, c := range []struct{ id, password, want string }{{"1", "p", "OK\t1\tuser=v"}, {"2", "bad", "FAIL\t2\tuser=v"}} {
		l.say("AUTH\t" + c.id + "\tCRAM-MD5\tservice=smtp\tno-penalty\n")
		challenge, ok := strings.CutPrefix(l.hear(), "CONT\t"+c.id+"\t")
		if !ok {
			t.Fatalf("got %q", challenge)
		}
		raw, err := base64.StdEncoding.DecodeString(challenge)
		if err != nil {
			t.Fatal(err)
		}
		h := hmac.New(md5.New, []byte(c.password))
		h.Write(raw)
		l.say("CONT\t" + c.id + "\t" + b64("v "+hex.EncodeToString(h.Sum(nil))) + "\n")
		if got := strings.TrimRight(l.hear(), "\t"); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

func TestCRAMMD5(t *testing.T) { cramMD5(t, newRig(t, "").peer) }

// lookups are dialogues on auth-master.
var lookups = []exchangeLines{
	{"a user's fields", 1, [][2]string{
		{"PASS\t1\tw\tservice=lmtp\n", "PASS\t1\tuser=other\tnologin\treason"},
		{"PASS\t2\tzz\tservice=lmtp\n", "NOTFOUND\t2"},
		{"PASS\t3\tnet\tservice=lmtp\trip=192.0.2.1\n", "NOTFOUND\t3"},
	}},
	{"flushing a cache that is off", 1, [][2]string{{"CACHE-FLUSH\t6\n", "OK\t6\t0"}, {"CACHE-FLUSH\t7\tu\tv\n", "OK\t7\t0"}}},
	{"listing users", 1, [][2]string{{"LIST\t5\tservice=x\n", "DONE\t5\tfail"}}},
	{"no service", 1, [][2]string{{"PASS\t1\tv\n", "EOF"}}},
	{"no user", 1, [][2]string{{"PASS\t1\n", "EOF"}}},
	{"an unknown command", 1, [][2]string{{"FOO\t1\n", "EOF"}}},
}

func (d *exchangeLines) look(t *testing.T, p peer) {
	l := dial(t, p.master)
	if s := l.hear(); s != "VERSION\t1\t1" {
		t.Fatalf("got %q", s)
	}
	if s := l.hear(); !strings.HasPrefix(s, "SPID\t") {
		t.Fatalf("got %q", s)
	}
	l.say("VERSION\t1\t1\n")
	for _, s := range d.steps {
		l.say(s[0])
		got := l.hear()
		if got != s[1] {
			t.Errorf("%q\n got %q\nwant %q", s[0], got, s[1])
		}
	}
}

func TestLookups(t *testing.T) {
	r := newRig(t, "")
	for _, d := range lookups {
		t.Run(d.name, func(t *testing.T) { d.look(t, r.peer) })
	}
}
