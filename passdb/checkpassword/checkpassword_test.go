package checkpassword

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dproxy/conf"
	"dproxy/passdb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// program writes a shell script. read3 in it reads what is on descriptor 3 into $user and $password. It is run by
// the shell: a file that was just written may still be open in a child that another test has forked.
func program(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "check")
	text = "read3() { in=$(tr '\\000' '\\n' <&3); user=$(echo \"$in\" | sed -n 1p); password=$(echo \"$in\" | sed -n 2p); }\n" + text
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return "/bin/sh " + path
}

func open(t *testing.T, args string) passdb.Driver {
	t.Helper()
	d, err := New(conf.Passdb{Args: args})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func show(r passdb.Result, err error) string {
	if err != nil {
		return "error: " + regexp.MustCompile(`Child \d+`).ReplaceAllString(err.Error(), "Child N")
	}
	out := r.Status.String()
	if r.HasPassword {
		out += " password=" + string(r.Password)
	}
	for _, f := range r.Fields {
		out += " " + f.Name + "=" + f.Value
	}
	if r.Detail != "" {
		out += " (" + r.Detail + ")"
	}
	return out
}

func verify(t *testing.T, d passdb.Driver, user, password string) string {
	t.Helper()
	return show(d.(passdb.Verifier).Verify(t.Context(), &passdb.Request{User: user, OrigUser: user, Mech: "PLAIN"}, passdb.Secret(password)))
}

const checks = `read3
if [ -n "$AUTHORIZED" ]; then
  [ "$user" = bob ] || exit 3
  AUTHORIZED=2; export AUTHORIZED
elif [ "$user $password" != "bob se cret" ]; then
  exit 1
fi
USER=new@example.org; HOME=/home/bob; EXTRA="proxy host missing reason userdb_uid"
proxy=y host=192.0.2.1 userdb_uid=1000 reason="a  b=c"
export USER HOME EXTRA proxy host reason userdb_uid
exec "$@"
`

func TestAnswers(t *testing.T) {
	t.Parallel()
	d := open(t, program(t, checks))
	const fields = " user=new@example.org userdb_home=/home/bob userdb_uid=1000 proxy=y host=192.0.2.1 reason=a  b=c"
	for _, c := range [][3]string{
		{"bob", "se cret", "ok" + fields},
		{"bob", "secret", "password_mismatch (Login failed (status=1))"},
		{"bob", "", "password_mismatch (Login failed (status=1))"},
		{"eve", "se cret", "password_mismatch (Login failed (status=1))"},
		{"bob\x00", "se cret", "error: a NUL cannot be handed to a program"},
	} {
		if got := verify(t, d, c[0], c[1]); got != c[2] {
			t.Errorf("%q with %q: %s, want %s", c[0], c[1], got, c[2])
		}
	}
	for user, want := range map[string]string{"bob": "ok" + fields, "eve": "user_unknown"} {
		if got := show(d.Lookup(t.Context(), &passdb.Request{User: user})); got != want {
			t.Errorf("lookup of %s: %s, want %s", user, got, want)
		}
	}
}

// The outcomes are those of Dovecot 2.3.19.1.
func TestExitStatuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ script, verify, lookup string }{
		{"exit 0", "error: Received no input", "error: P did not set AUTHORIZED=2: it cannot look users up without their password"},
		{"exit 1", "password_mismatch (Login failed (status=1))", "error: Child N exited with status 1"},
		{"exit 2", "error: Child N exited with status 2 (tried to use userdb-only checkpassword program for passdb?)", "error: P did not set AUTHORIZED=2: it cannot look users up without their password"},
		{"exit 3", "error: Child N exited with status 3", "user_unknown"},
		{"exit 111", "error: Child N exited with status 111", "error: Child N exited with status 111"},
		{"kill -9 $$", "error: Child N died with signal 9", "error: Child N died with signal 9"},
		{`exec "$@"`, "ok", "error: P did not set AUTHORIZED=2: it cannot look users up without their password"},
		{`AUTHORIZED=2 password="{PLAIN}x" EXTRA=password exec "$@"`, "ok password={PLAIN}x", "ok password={PLAIN}x"},
	} {
		t.Run(c.script, func(t *testing.T) {
			t.Parallel()
			d := open(t, program(t, c.script+"\n"))
			if got := verify(t, d, "bob", "x"); got != c.verify {
				t.Errorf("verify: %s, want %s", got, c.verify)
			}
			got := show(d.Lookup(t.Context(), &passdb.Request{User: "bob"}))
			if want := strings.Replace(c.lookup, ": P ", ": /bin/sh ", 1); got != want {
				t.Errorf("lookup: %s, want %s", got, want)
			}
		})
	}
	if got := verify(t, open(t, "/nonexistent"), "bob", "x"); got != "error: execv(/nonexistent) failed: fork/exec /nonexistent: no such file or directory" {
		t.Errorf("missing program: %s", got)
	}
}

func TestProgram_sees_the_request_and_nothing_of_ours(t *testing.T) {
	t.Setenv("DPROXY_SECRET", "x")
	out := filepath.Join(t.TempDir(), "seen")
	d := open(t, program(t, "{ echo \"$#:$1:$2\"; env; } > "+out+"\nshift 2\nexec \"$@\"\n")+" %n %{orig_user}")
	r := &passdb.Request{User: "bo b;$(id)@ex.org", OrigUser: "ORIG\nX", Mech: "PLAIN", Peer: passdb.Peer{
		Service: "imap", ClientID: "a\x00b",
		Local: netip.MustParseAddrPort("192.0.2.1:143"), Remote: netip.MustParseAddrPort("[::ffff:192.0.2.7]:999"),
	}}
	if _, err := d.(passdb.Verifier).Verify(t.Context(), r, "hushhush"); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	seen := string(b)
	for _, want := range []string{
		"5:bo b;$(id):ORIG\nX\n", "\nAUTH_USER=bo b;$(id)@ex.org\n", "\nSERVICE=imap\n", "\nTCPLOCALIP=192.0.2.1\n", "\nTCPLOCALPORT=143\n",
		"\nTCPREMOTEIP=192.0.2.7\n", "\nREMOTE_IP=192.0.2.7\n", "\nAUTH_RIP=192.0.2.7\n", "\nAUTH_MECH=PLAIN\n", "\nPROTO=TCP\n",
	} {
		if !strings.Contains("\n"+seen, want) && !strings.HasPrefix(seen, want) {
			t.Errorf("%q is missing in\n%s", want, seen)
		}
	}
	for _, hidden := range []string{"DPROXY_SECRET", "hushhush", "AUTHORIZED", "AUTH_CLIENT_ID"} {
		if strings.Contains(seen, hidden) {
			t.Errorf("%q is in\n%s", hidden, seen)
		}
	}
	if _, err := open(t, "/bin/true %{nosuch}").Lookup(t.Context(), r); err == nil || err.Error() != "Failed to expand checkpassword args %{nosuch}: Unknown variable '%nosuch'" {
		t.Errorf("unknown variable: %v", err)
	}
}

func TestSlowProgram_is_killed_with_what_it_started(t *testing.T) {
	t.Parallel()
	pids := filepath.Join(t.TempDir(), "pids")
	d := open(t, program(t, "sleep 1000 &\necho $! $$ > "+pids+".new; mv "+pids+".new "+pids+"\nwait\n"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := d.(passdb.Verifier).Verify(ctx, &passdb.Request{User: "bob"}, "x")
		done <- err
	}()
	var text []byte
	for text == nil {
		select {
		case err := <-done:
			t.Fatalf("ended by itself: %v", err)
		case <-time.After(time.Millisecond):
			text, _ = os.ReadFile(pids)
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	for _, pid := range strings.Fields(string(text)) {
		for { // init reaps the orphan
			stat, err := os.ReadFile("/proc/" + pid + "/stat")
			if err != nil || strings.Contains(string(stat), ") Z ") {
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
}

func TestLargeEnvironment_is_an_error(t *testing.T) {
	t.Parallel()
	d := open(t, program(t, "head -c 2000000 /dev/zero | tr '\\000' x >&4\nexit 0\n"))
	if got := verify(t, d, "bob", "x"); got != "error: the environment of /bin/sh is larger than 1048576 bytes" {
		t.Errorf("got %s", got)
	}
}

func TestManyQuestions(t *testing.T) {
	t.Parallel()
	d := open(t, program(t, checks))
	var wg sync.WaitGroup
	for range maxPrograms + 10 {
		wg.Go(func() {
			if got := verify(t, d, "bob", "se cret"); !strings.HasPrefix(got, "ok user=") {
				t.Error(got)
			}
		})
	}
	wg.Wait()
	if n := len(d.(*driver).slots); n != 0 {
		t.Errorf("%d slots are taken", n)
	}
}

func TestNew_needs_a_program(t *testing.T) {
	t.Parallel()
	if _, err := New(conf.Passdb{Args: "  "}); err == nil || err.Error() != "passdb checkpassword: Missing args: the program to run" {
		t.Errorf("error %v", err)
	}
}
