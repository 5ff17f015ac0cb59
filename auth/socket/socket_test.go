package socket

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dproxy/wire"
)

func TestKindOf(t *testing.T) {
	for path, want := range map[string]Kind{
		"/run/dovecot/auth-client":            Client,
		"/var/spool/postfix/private/auth":     Client,
		"/var/spool/postfix/private/exim4":    Client,
		"":                                    Client, // TCP
		"/run/dovecot/auth-master":            Master,
		"/run/dovecot/auth-userdb":            Userdb,
		"/run/dovecot/auth-login":             None,
		"/run/dovecot/login/login":            None,
		"/run/dovecot/token-login/tokenlogin": None,
	} {
		if got := KindOf(path); got != want {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
}

func TestWhatTheProxyLogsInWithIsNotShown(t *testing.T) {
	r := newRig(t, "passdb {\n  driver = static\n  args = password=s user=x proxy=y host=192.0.2.9 pass=secret master=boss\n}\n")
	l := greeted(t, r.peer, 2)
	l.say(plain("1", "q", "s"))
	if got := l.hear(); got != "OK\t1\tuser=x\tproxy\thost=192.0.2.9\toriginal_user=q" {
		t.Errorf("got %q", got)
	}
}

func TestTheLogTellsWhatAClientDidWrong(t *testing.T) {
	for _, tc := range []struct{ name, say, want string }{
		{"no VERSION", "CPID\t5\n", "auth: Error: Authentication client sent invalid VERSION line: CPID?5"},
		{"another protocol", "VERSION\t2\t0\n", "auth: Error: Authentication client not compatible with this server (mixed old and new binaries?)"},
		{"no CPID", "VERSION\t1\t2\nAUTH\t1\tPLAIN\tservice=x\tresp=c2VjcmV0\n", "auth: Error: BUG: Authentication client sent unknown handshake command: AUTH?1?PLAIN?service=x?resp=<hidden>"},
		{"process 0", "VERSION\t1\t2\nCPID\t0\n", "auth: Error: BUG: Authentication client said it's PID 0"},
		{"a line that does not end", "VERSION\t1\t2\nCPID\t1\n" + strings.Repeat("x", maxClientLine+1), "auth: Error: BUG: Auth client 1 sent us more than 16384 bytes"},
		{"a wrong mechanism", "VERSION\t1\t2\nCPID\t1\nAUTH\t1\tFOO\tservice=x\n", "auth: Error: BUG: Authentication client 1 requested unsupported authentication mechanism FOO"},
		{"no service", "VERSION\t1\t2\nCPID\t1\nAUTH\t1\tPLAIN\n", "auth: Error: BUG: Authentication client 1 didn't specify service in request"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, "")
			l := dial(t, r.client)
			for l.hear() != "DONE" {
			}
			l.say(tc.say)
			if got := l.hear(); got != "EOF" {
				t.Errorf("got %q", got)
			}
			r.Close()
			if got := r.log.text(); got != tc.want {
				t.Errorf("\n got %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestSecretsStayOutOfTheDebugLog(t *testing.T) {
	r := newRig(t, "auth_debug = yes\n")
	l := greeted(t, r.peer, 2)
	l.say(plain("1", "v", "p"))
	l.hear()
	l.say("AUTH\t2\tLOGIN\tservice=smtp\tno-penalty\tresp=" + b64("v") + "\n")
	l.hear()
	l.say("CONT\t2\t" + b64("s3cret") + "\n")
	l.hear()
	r.Close()
	log := r.log.text()
	for _, secret := range []string{b64("\x00v\x00p"), b64("s3cret"), "s3cret"} {
		if strings.Contains(log, secret) {
			t.Errorf("%q is in the log:\n%s", secret, log)
		}
	}
	for _, want := range []string{"client in: AUTH?1?PLAIN?service=smtp?no-penalty?resp=<hidden>", "client in: CONT?2?<hidden>", "client passdb out: OK?1?user=v"} {
		if !strings.Contains(log, want) {
			t.Errorf("%q is not in the log:\n%s", want, log)
		}
	}
}

// TestAFailureHoldsNobodyElseUp: on one connection a login that waits for auth_failure_delay is overtaken.
func TestAFailureHoldsNobodyElseUp(t *testing.T) {
	r := newRig(t, "auth_failure_delay = 1 hour\n")
	l := greeted(t, r.peer, 2)
	l.say(plain("1", "v", "bad") + plain("2", "v", "p"))
	if got := l.hear(); got != "OK\t2\tuser=v" {
		t.Errorf("got %q", got)
	}
	// The end of the connection ends the wait; a goroutine that is left fails the test.
}

func TestRequestsOfOneConnectionAreBounded(t *testing.T) {
	r := newRig(t, "")
	l := greeted(t, r.peer, 2)
	for i := range maxPending {
		l.say("AUTH\t" + itoa(i+1) + "\tLOGIN\tservice=x\n")
		l.hear()
	}
	l.say("AUTH\t5000\tLOGIN\tservice=x\n")
	if got := l.hear(); got != "FAIL\t5000\tcode=temp_fail\treason=Too many requests at the same time" {
		t.Errorf("got %q", got)
	}
	l.say("CANCEL\t1\nAUTH\t5000\tLOGIN\tservice=x\n")
	if got := l.hear(); !strings.HasPrefix(got, "CONT\t5000\t") {
		t.Errorf("got %q", got)
	}
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}

func TestConnectionsAreBounded(t *testing.T) {
	r := newRig(t, "")
	r.Renew(2)
	one, two := greeted(t, r.peer, 2), greeted(t, r.peer, 2)
	if got := dial(t, r.client).hear(); got != "EOF" {
		t.Errorf("got %q", got)
	}
	for _, l := range []*line{one, two} {
		l.say(plain("1", "v", "p"))
		if got := l.hear(); got != "OK\t1\tuser=v" {
			t.Errorf("got %q", got)
		}
	}
	if log := r.log.text(); log != "auth: Warning: service(auth): client_limit (2) reached, client connections are being dropped" {
		t.Errorf("log: %s", log)
	}
}

// TestReload: who has nothing under way connects again at once, who has gets its answer first.
func TestReload(t *testing.T) {
	r := newRig(t, "")
	idle, busy := greeted(t, r.peer, 2), greeted(t, r.peer, 2)
	busy.say("AUTH\t1\tLOGIN\tservice=x\tno-penalty\tresp=" + b64("v") + "\n")
	busy.hear()
	r.Renew(0)
	if got := idle.hear(); got != "EOF" {
		t.Errorf("got %q", got)
	}
	busy.say("CONT\t1\t" + b64("p") + "\n")
	if got := busy.hear(); got != "OK\t1\tuser=v" {
		t.Errorf("got %q", got)
	}
	if got := busy.hear(); got != "EOF" {
		t.Errorf("got %q", got)
	}
	if got := r.log.text(); got != "" {
		t.Errorf("log: %s", got)
	}
}

func TestUserdbSocket(t *testing.T) {
	r := newRig(t, "")
	l := dial(t, r.userdb)
	l.hear()
	l.hear()
	l.say("VERSION\t1\t1\nUSER\t1\tv\tservice=lmtp\n")
	if got := l.hear(); got != "FAIL\t1" {
		t.Errorf("got %q: a user that nobody has looked up does not count as missing", got)
	}
	l.say("CACHE-FLUSH\t2\n")
	if got := l.hear(); got != "EOF" {
		t.Errorf("got %q", got)
	}
}

// TestSocketOpenToEverybody: on a socket that all can reach only some may look users up. A connection without a
// user, as over TCP, stands for the others.
func TestSocketOpenToEverybody(t *testing.T) {
	r := newRig(t, "")
	a, b := net.Pipe()
	defer a.Close()
	go r.Serve(b, Source{Kind: Master, Restricted: true})
	in := wire.NewReader(a)
	hear := func() string {
		s, err := in.Line(1000)
		if err != nil {
			t.Fatal(err)
		}
		return string(s)
	}
	hear()
	hear()
	if _, err := io.WriteString(a, "VERSION\t1\t1\nPASS\t1\tv\tservice=lmtp\n"); err != nil {
		t.Fatal(err)
	}
	if got := hear(); got != "FAIL\t1" {
		t.Errorf("got %q", got)
	}
}

// piped runs a server's side on a pipe in a bubble of virtual time.
func piped(t *testing.T, o Options) (net.Conn, *wire.Reader) {
	a, b := net.Pipe()
	go New(o).Serve(b, Source{Kind: Client})
	in := wire.NewReader(a)
	for {
		s, err := in.Line(1000)
		if err != nil {
			t.Fatal(err)
		}
		if string(s) == "DONE" {
			break
		}
	}
	if _, err := io.WriteString(a, "VERSION\t1\t2\nCPID\t1\n"); err != nil {
		t.Fatal(err)
	}
	return a, in
}

func TestARequestThatIsLeftAloneEnds(t *testing.T) {
	r := newRig(t, "")
	synctest.Test(t, func(t *testing.T) {
		a, in := piped(t, r.Options)
		say := func(s string) string {
			if _, err := io.WriteString(a, s); err != nil {
				t.Fatal(err)
			}
			b, err := in.Line(1000)
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
		say("AUTH\t1\tLOGIN\tservice=x\n")
		time.Sleep(answerLimit + time.Second)
		if got := say("CONT\t1\t" + b64("v") + "\n"); got != "FAIL\t1\treason=Authentication request timed out" {
			t.Errorf("got %q", got)
		}
		_ = a.Close()
		synctest.Wait()
	})
}

func TestSCRAMsDataGoesWhereTheClientWantsIt(t *testing.T) {
	for _, tc := range []struct {
		name, param string
		separate    bool
	}{
		{"in the OK line for those who take it", "\tfinal-resp-ok", false},
		{"as one more challenge for others", "", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := greeted(t, newRig(t, "").peer, 2)
			scramLogin(t, l, tc.param, tc.separate)
		})
	}
}

// FuzzClient plays any bytes as a client. Nobody gets in without the password, which is not in the corpus.
func FuzzClient(f *testing.F) {
	f.Add([]byte("AUTH\t1\tPLAIN\tservice=smtp\tresp=AHYAYmFk\n"))
	f.Add([]byte("AUTH\t1\tLOGIN\tservice=smtp\nCONT\t1\tdg==\nCONT\t1\teA==\nCANCEL\t1\n"))
	f.Add([]byte("AUTH\t9\tCRAM-MD5\tservice=imap\tsession=x\tforward_fields=a=1\x01tb=2\tlip=::1\trip=1.2.3.4\trport=99999\nCONT\t9\t\n"))
	f.Add([]byte("AUTH\t4294967295\tSCRAM-SHA-256\tservice=\x01t\tfinal-resp-ok\tresp=biwsbj12LHI9YQ==\nCONT\t4294967295\tYz1iaXdzLHI9YSxwPQ==\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := fuzzRig(t)
		a, b := net.Pipe()
		done := make(chan struct{})
		go func() { defer close(done); r.Serve(b, Source{Kind: Client}) }()
		heard := make(chan []byte)
		go func() { all, _ := io.ReadAll(a); heard <- all }()
		_, _ = a.Write(append([]byte("VERSION\t1\t2\nCPID\t1\n"), in...)) // it may have hung up
		_ = a.Close()
		if out := <-heard; bytes.Contains(out, []byte("\nOK\t")) && !bytes.Contains(out, []byte("anonymous")) {
			t.Fatalf("%q gives %q", in, out)
		}
		<-done
		if r.Count() != 0 {
			t.Fatal("a connection is left")
		}
	})
}

// FuzzReadAuth reads AUTH lines.
func FuzzReadAuth(f *testing.F) {
	f.Add("1\tPLAIN\tservice=smtp\tlip=1.2.3.4\tlport=1\trip=::ffff:1.2.3.4\tsecured=tls\tresp=AA==")
	f.Fuzz(func(t *testing.T, text string) {
		q, fault := readAuth(strings.Split(text, "\t"))
		if fault != "" {
			return
		}
		if q.id == 0 || q.Service == "" || len(q.Forward) > maxForward {
			t.Fatalf("%q gives %+v", text, q)
		}
		if m := masked("AUTH\t" + text); q.hasResp && len(q.resp) > 8 && strings.Contains(m, q.resp) && !strings.Contains(strings.Split(text, "\tresp=")[0], q.resp) {
			t.Fatalf("%q shows the response: %q", text, m)
		}
	})
}
