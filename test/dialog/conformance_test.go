package dialog

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"dproxy/test/daemon"
	"dproxy/test/proxy"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	only    = flag.String("scenario", "", "play only the scenarios whose names match this regular expression")
	withLog = flag.Bool("log", false, "show differences of the log lines too")
	atOnce  = flag.Int("at-once", 6, "how many scenarios are played at the same time")
)

// TestConformance plays every recorded scenario against dproxy. A scenario has to be as recorded unless
// testdata/differences.txt lists it, and what is listed there has to differ.
func TestConformance(t *testing.T) {
	outcomes := play(t, proxy.Dproxy(t))
	listed := differences(t)
	for i := range outcomes {
		o := &outcomes[i]
		reason, expected := listed[o.Name]
		delete(listed, o.Name)
		t.Run(o.Name, func(t *testing.T) {
			report(t, o, reason)
			switch {
			case o.Quirk():
			case !o.Same() && !expected:
				t.Error("clients or backends hear something else than recorded")
			case o.Same() && expected:
				t.Error("is as recorded, but listed in testdata/differences.txt: take it out")
			}
		})
	}
	if *only == "" {
		for name := range listed {
			t.Errorf("testdata/differences.txt lists %s, which is no scenario", name)
		}
	}
}

// TestReference plays the scenarios against the installed Dovecot, with which they were recorded: it tests the runner.
func TestReference(t *testing.T) {
	if os.Getenv("DPROXY_TEST_REFERENCE") == "" && *only == "" {
		t.Skip("set DPROXY_TEST_REFERENCE=1 to play all scenarios against the installed Dovecot")
	}
	outcomes := play(t, proxy.Dovecot(t))
	for i := range outcomes {
		o := &outcomes[i]
		t.Run(o.Name, func(t *testing.T) {
			report(t, o, "")
			if !o.Same() && !o.NotAsDovecot() {
				t.Error("the runner does not reproduce the recording")
			}
		})
	}
}

func play(t *testing.T, p proxy.Program) []Outcome {
	t.Helper()
	cases, err := Load("testdata")
	if err != nil {
		t.Fatal(err)
	}
	if *only != "" {
		re, err := regexp.Compile(*only)
		if err != nil {
			t.Fatal(err)
		}
		cases = slices.DeleteFunc(cases, func(c Case) bool { return !re.MatchString(c.Name) })
	}
	r := &Runner{Proxy: p, Certs: NewCerts(t), Ports: daemon.NewPorts()}
	outcomes := r.RunAll(t.Context(), cases, *atOnce)
	fmt.Printf("%s: %s", p.Name, Summary(outcomes))
	return outcomes
}

// report shows how an outcome differs.
func report(t *testing.T, o *Outcome, reason string) {
	t.Helper()
	if d := o.Diff(*withLog); d != "" {
		t.Logf("%s %s\n%s", o.About, reason, d)
	}
}

// differences reads the list of scenarios that are not as recorded: a name and a reason on each line.
func differences(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("testdata/differences.txt")
	if err != nil {
		t.Fatal(err)
	}
	list := map[string]string{}
	for l := range strings.Lines(string(text)) {
		l = strings.TrimSpace(l)
		if l == "" || strings.HasPrefix(l, "#") {
			continue
		}
		name, reason, ok := strings.Cut(l, " ")
		if !ok {
			t.Errorf("differences.txt: %s has no reason", name)
		}
		list[name] = reason
	}
	return list
}
