package dialog

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	t.Parallel()
	s, err := Parse("x", []byte("QUIRK: about\n-- conf --\nprotocols = imap pop3\n-- client --\neof\n-- passwd --\nu1\n"))
	if err != nil {
		t.Fatal(err)
	}
	if !s.Quirk() || s.Conf != "protocols = imap pop3\n" || s.Client != "eof\n" || strings.Join(s.Protocols(), " ") != "imap pop3" {
		t.Errorf("got %+v", s)
	}
	if len(s.Files) != 1 || s.Files[0] != (File{Name: "passwd", Text: "u1\n"}) {
		t.Errorf("files %+v", s.Files)
	}
	for name, text := range map[string]string{
		"a scenario without a client says nothing":    "x\n-- conf --\nprotocols = imap\n",
		"a file stays in the scenario's directory":    "x\n-- conf --\na\n-- client --\neof\n-- ../passwd --\n",
		"a scenario without a configuration is empty": "x\n-- client --\neof\n",
	} {
		if _, err := Parse("x", []byte(text)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestGolden(t *testing.T) {
	t.Parallel()
	want := Views{Client: "c< a\n", Backend: "", Log: NotCompared}
	got, err := ParseGolden(want.Golden("x"))
	if err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := ParseGolden("[client]\n[log]\n"); err == nil {
		t.Error("a golden file without [backend] is read")
	}
}

// TestOutcome makes sure that the comparison can fail.
func TestOutcome(t *testing.T) {
	t.Parallel()
	golden := Views{Client: "c< a\n", Backend: "B1 connection 1 from 127.0.0.1\n", Log: "imap-login: Info: x\n"}
	for name, tt := range map[string]struct {
		got           Views
		same, sameLog bool
	}{
		"identical":             {golden, true, true},
		"another reply":         {Views{Client: "c< b\n", Backend: golden.Backend, Log: golden.Log}, false, true},
		"a silent backend":      {Views{Client: golden.Client, Log: golden.Log}, false, true},
		"another line in a log": {Views{Client: golden.Client, Backend: golden.Backend}, true, false},
	} {
		o := Outcome{Case: Case{Scenario: &Scenario{Name: "x"}, Golden: golden}, Got: tt.got}
		if o.Same() != tt.same || o.SameLog() != tt.sameLog {
			t.Errorf("%s: same %v, log %v", name, o.Same(), o.SameLog())
		}
		if (o.Diff(true) == "") != (tt.same && tt.sameLog) {
			t.Errorf("%s: diff %q", name, o.Diff(true))
		}
	}
}

func TestReceivedLines(t *testing.T) {
	t.Parallel()
	n := newNormalizer("/tmp/base", "/tmp/certs")
	n.port(31999, "@IMAP@")
	for in, want := range map[string]string{
		"+ VXNlcm5hbWU6":                         `+ (challenge: "Username:")`,
		"334 VXNlcm5hbWU6":                       "334 VXNlcm5hbWU6",
		"+ PDEyMzQuNTZAaG9zdC5leGFtcGxlLm9yZz4=": "+ (challenge: cram)",
		"+OK Dovecot ready. <2ca1.2.6b023e87.0a9DNrb5qv9d4ocJ8pL71Q==@vm>":             "+OK Dovecot ready. (challenge: apop)",
		"250 2.0.0 <u2@example.com> SaY3L91IBWu1ewAAg+zDdQ:R2 Saved":                   "250 2.0.0 <u2@example.com> <session> Saved",
		"a NO [UNAVAILABLE] Temporary authentication failure. [h:2026-01-02 03:04:05]": "a NO [UNAVAILABLE] Temporary authentication failure. [@HOST@:TIME]",
		"port 31999 of /tmp/base/run, not 3199":                                        "port @IMAP@ of @BASE@/run, not 3199",
	} {
		if got := n.received(in); got != want {
			t.Errorf("%s\n got %s\nwant %s", in, got, want)
		}
	}
}

func TestLogLines(t *testing.T) {
	t.Parallel()
	n := newNormalizer("/tmp/base", "/tmp/certs")
	got := n.log("master: Info: left out\n" +
		"imap-login: Info: proxy(u,127.0.0.11:1): Disconnected by client (1s idle, in=211, out=246): user=<u>, session=<abc+/>\n" +
		"imap-login(77): Info: once\nimap-login: Info: once\n" +
		"auth: Error: x (after 3 secs, local=127.0.0.1:49616)\n")
	want := "auth: Error: x (after N secs, local=127.0.0.1:PORT)\n" +
		"imap-login: Info: once\n" +
		"imap-login: Info: proxy(u,127.0.0.11:1): Disconnected by client (Ns idle, in=N, out=N): user=<u>, session=<S>\n"
	if got != want {
		t.Errorf("got\n%s", got)
	}
}

func TestBackendOptions(t *testing.T) {
	t.Parallel()
	var o options
	for _, text := range []string{"caps+ XFOO BAR", "tls starttls", "once LOGIN user=\"a\" => $TAG NO x ;; !close", "on LOGIN => $TAG OK"} {
		if err := o.set(text); err != nil {
			t.Fatal(err)
		}
	}
	if got := o.capabilities("A B", " ", false); got != "A B XFOO BAR" || o.tls != "starttls" {
		t.Errorf("capabilities %q, tls %q", got, o.tls)
	}
	first, second := o.ruleFor(`LOGIN user="a" pass="b"`), o.ruleFor(`LOGIN user="a" pass="b"`)
	if first == nil || len(first.actions) != 2 || second == first || second == nil {
		t.Errorf("a rule with once has to be used once: %+v, then %+v", first, second)
	}
	if o.ruleFor(`raw LOGIN`) != nil {
		t.Error("a rule matches from the start of a command")
	}
	for _, text := range []string{"nonsense", "on LOGIN", "on ( => x"} {
		if o.set(text) == nil {
			t.Errorf("option %q is accepted", text)
		}
	}
}
