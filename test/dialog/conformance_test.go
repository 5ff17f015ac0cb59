package dialog

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path"
	"path/filepath"
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
	data    = flag.String("testdata", "testdata", "the directory with the scenarios and golden files")
)

// TestConformance plays the recorded scenarios against dproxy. What clients and backends hear, and the log lines, have
// to be as recorded, unless testdata/differences.txt lists the scenario; and what is listed there has to differ.
func TestConformance(t *testing.T) {
	listed := differences(t)
	outcomes := play(t, proxy.Dproxy(t), listed)
	for i := range outcomes {
		o, d := &outcomes[i], listed.of(outcomes[i].Name)
		t.Run(o.Name, func(t *testing.T) {
			if d.kind == later {
				t.Skip(d.reason)
			}
			report(t, o, d.reason)
			switch {
			case o.Quirk():
			case !o.Same() && d.kind != differs:
				t.Error("clients or backends hear something else than recorded")
			case o.Same() && d.kind == differs:
				t.Error("is as recorded, but listed in testdata/differences.txt: take it out")
			case o.Same() && !o.SameLog() && d.kind != logDiffers:
				t.Error("the log lines are not as recorded")
			case o.SameLog() && d.kind == logDiffers:
				t.Error("the log lines are as recorded, but listed in testdata/differences.txt: take it out")
			}
		})
	}
}

// TestReference plays the scenarios against the installed Dovecot, with which they were recorded: it tests the runner.
func TestReference(t *testing.T) {
	if os.Getenv("DPROXY_TEST_REFERENCE") == "" && *only == "" {
		t.Skip("set DPROXY_TEST_REFERENCE=1 to play all scenarios against the installed Dovecot")
	}
	outcomes := play(t, proxy.Dovecot(t), nil)
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

// play runs the scenarios that are not for later, and prints how many are identical of all.
func play(t *testing.T, p proxy.Program, listed list) []Outcome {
	t.Helper()
	cases, err := Load(*data)
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
	var now []Case
	var outcomes []Outcome
	for _, c := range cases {
		if d := listed.of(c.Name); d.kind == later {
			outcomes = append(outcomes, Outcome{Case: c, Err: errors.New("not played: " + d.reason)})
			continue
		}
		now = append(now, c)
	}
	r := &Runner{Proxy: p, Certs: NewCerts(t), Ports: daemon.NewPorts()}
	outcomes = append(r.RunAll(t.Context(), now, *atOnce), outcomes...)
	fmt.Printf("%s: %s", p.Name, Summary(outcomes))
	return outcomes
}

// report shows how an outcome differs.
func report(t *testing.T, o *Outcome, reason string) {
	t.Helper()
	if d := o.Diff(*withLog || o.Same() && reason == ""); d != "" {
		t.Logf("%s\n%s%s", o.About, reason, d)
	}
}

// difference says how and why a scenario is not as recorded. The zero value says that it is.
type difference struct {
	pattern string // of the scenario's name, as in path.Match
	kind    string
	reason  string
}

// The kinds of differences.
const (
	later      = "later"   // what it needs is not built: it is not played
	differs    = "differs" // clients or backends hear something else
	logDiffers = "log"     // only log lines are different
)

type list []difference

func (l list) of(name string) difference {
	for _, d := range l {
		if ok, err := path.Match(d.pattern, name); ok && err == nil {
			return d
		}
	}
	return difference{}
}

// differences reads the list: a pattern, a kind and a reason on each line.
func differences(t *testing.T) list {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(*data, "differences.txt"))
	if errors.Is(err, os.ErrNotExist) && *data != "testdata" {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	var l list
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.SplitN(line, " ", 3)
		if len(f) != 3 || !slices.Contains([]string{later, differs, logDiffers}, f[1]) {
			t.Fatalf("differences.txt: %q is not: NAME later, differs or log, REASON", line)
		}
		if files, err := filepath.Glob(filepath.Join(*data, "scenarios", f[0]+".txtar")); err != nil || len(files) == 0 {
			t.Fatalf("differences.txt: no scenario is called %s", f[0])
		}
		l = append(l, difference{pattern: f[0], kind: f[1], reason: f[2]})
	}
	return l
}
