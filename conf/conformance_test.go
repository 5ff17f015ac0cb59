package conf

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// deviations are the cases where dproxy differs from doveconf 2.3 on purpose, with the reason.
var deviations = map[string]string{
	"bom.conf":       "a byte order mark is ignored with a warning, Dovecot takes it for a part of the first setting",
	"f43.conf":       "names of a local_name block are quoted, so that the output can be read back",
	"p04.conf":       "names of a local_name block are quoted, so that the output can be read back",
	"i33.conf":       "an error of !include names the line of the !include, not line 0 of another file",
	"a31.conf":       "submission_max_mail_size has one default here, Dovecot's submission service has another than its login service",
	"p20.conf":       "passdbs are printed in their order, Dovecot sorts their numbers as text",
	"conflict1.conf": "a conflict between blocks is settled by their order, with a warning",
	"conflict2.conf": "a conflict between blocks is settled by their order, with a warning",
	"panic1.conf":    "Dovecot crashes",
	"panic2.conf":    "Dovecot crashes",
	"deep.conf":      "a section deep down is printed inside its parents",
}

// confCase is one configuration that both programs read.
type confCase struct {
	name string
	args []string // of doveconf
	env  []string
}

// outcome is what a program made of a configuration.
type outcome struct {
	Body     []string // lines printed, without comments
	Fatal    string
	Warnings []string // sorted, each once
}

// TestConformance reads every configuration of testdata/conformance with the installed doveconf and
// with this package and compares the body, the error and the warnings.
func TestConformance(t *testing.T) {
	doveconf, err := exec.LookPath("doveconf")
	if err != nil {
		if os.Getenv("DPROXY_TEST_REQUIRE") == "all" {
			t.Fatal("doveconf is not installed")
		}
		t.Skip("doveconf is not installed")
	}
	archives, err := filepath.Glob("testdata/conformance/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no configurations: %v", err)
	}
	r := &confRun{doveconf: doveconf}
	for _, path := range archives {
		cases, dir := unpack(t, path)
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) { r.compare(t, dir, cases) })
	}
	t.Run("installed", func(t *testing.T) { r.compare(t, "/", installed(t)) })
	t.Logf("%d of %d confs identical, %d deviations", r.same, r.total, len(deviations))
	fmt.Printf("%d of %d confs identical\n", r.same, r.total)
}

// confRun counts.
type confRun struct {
	doveconf    string
	total, same int
}

// compare has both programs read the cases in dir.
func (r *confRun) compare(t *testing.T, dir string, cases []confCase) {
	theirs := runAll(r.doveconf, dir, cases)
	t.Chdir(dir)
	for i, c := range cases {
		t.Run(strings.TrimPrefix(c.name, "/"), func(t *testing.T) {
			r.total++
			for _, kv := range c.env {
				k, v, _ := strings.Cut(kv, "=")
				t.Setenv(k, v)
			}
			diff := cmp.Diff(theirs[i], ours(t, c))
			switch why := deviations[c.name]; {
			case diff == "":
				r.same++
				if why != "" {
					t.Errorf("identical, though listed as a deviation: %s", why)
				}
			case why == "":
				t.Errorf("differs (-doveconf +dproxy):\n%s", diff)
			default:
				t.Logf("differs on purpose: %s", why)
			}
		})
	}
}

// installed are the configurations that the machine has: those of Debian's packages, and the files
// that the environment variable DPROXY_CONFS names by patterns, separated by colons.
func installed(t *testing.T) []confCase {
	t.Helper()
	patterns := append([]string{"/etc/dovecot/dovecot.conf", "/usr/share/dovecot/dovecot.conf", "/usr/share/dovecot/conf.d/*.conf"},
		filepath.SplitList(os.Getenv("DPROXY_CONFS"))...)
	var cases []confCase
	for _, p := range patterns {
		files, err := filepath.Glob(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			cases = append(cases, confCase{name: f, args: []string{"-n"}}, confCase{name: f, args: []string{"-a"}})
		}
	}
	return cases
}

// unpack writes an archive into a fresh directory. Its cases are the files at the top that end in
// .conf; a first line "# doveconf: ARGS" gives arguments other than -n, "# env: K=V" the environment.
func unpack(t *testing.T, path string) ([]confCase, string) {
	t.Helper()
	ar, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var cases []confCase
	for _, f := range ar.Files {
		data := f.Data
		if strings.HasSuffix(f.Name, ".raw") {
			data = unquoteLines(t, data)
		}
		name := filepath.Join(dir, strings.TrimSuffix(f.Name, ".raw"))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
		if base := strings.TrimSuffix(f.Name, ".raw"); strings.HasSuffix(base, ".conf") && !strings.Contains(base, "/") {
			cases = append(cases, newCase(base, data))
		}
	}
	return cases, dir
}

func newCase(name string, data []byte) confCase {
	c := confCase{name: name, args: []string{"-n"}}
	for _, l := range strings.Split(string(data), "\n") {
		if args, ok := strings.CutPrefix(l, "# doveconf: "); ok {
			c.args = strings.Fields(args)
		} else if kv, ok := strings.CutPrefix(l, "# env: "); ok {
			c.env = append(c.env, kv)
		} else {
			break
		}
	}
	return c
}

// unquoteLines makes bytes of Go escapes: \r, \x00 and the like. Lines are joined as they are.
func unquoteLines(t *testing.T, data []byte) []byte {
	t.Helper()
	r := strings.NewReplacer(`\r`, "\r", `\0`, "\x00", `\xff`, "\xff", `\t`, "\t", `\e`, "", `\bom`, bom)
	text := r.Replace(string(data))
	if before, ok := strings.CutSuffix(text, "\\c\n"); ok {
		text = before // no newline at the end
	}
	return []byte(text)
}

// runAll asks doveconf about all cases.
func runAll(doveconf, dir string, cases []confCase) []outcome {
	out := make([]outcome, len(cases))
	var wg sync.WaitGroup
	next := make(chan int)
	for range 3 {
		wg.Go(func() {
			for i := range next {
				out[i] = askDoveconf(doveconf, dir, cases[i])
			}
		})
	}
	for i := range cases {
		next <- i
	}
	close(next)
	wg.Wait()
	return out
}

func askDoveconf(doveconf, dir string, c confCase) outcome {
	// SETTING arguments must come after -c.
	var flags, names []string
	for i := 0; i < len(c.args); i++ {
		a := c.args[i]
		switch {
		case a == "-f" || a == "-m":
			flags = append(flags, a, c.args[i+1])
			i++
		case strings.HasPrefix(a, "-"):
			flags = append(flags, a)
		default:
			names = append(names, a)
		}
	}
	cmd := exec.Command(doveconf, slices.Concat(flags, []string{"-c", c.name}, names)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), c.env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	o := outcome{Body: body(stdout.String())}
	for _, l := range strings.Split(stderr.String(), "\n") {
		if text, ok := strings.CutPrefix(l, "doveconf: Fatal: "); ok {
			o.Fatal = text
		}
		if text, ok := strings.CutPrefix(l, "doveconf: Warning: "); ok {
			o.Warnings = append(o.Warnings, text)
		}
		if text, ok := strings.CutPrefix(l, "doveconf: Error: "); ok && strings.HasPrefix(text, "Could not") {
			o.Warnings = append(o.Warnings, text)
		}
	}
	if err == nil {
		// What a child that is asked for ManageSieve's capabilities says does not count.
		o.Fatal = ""
	}
	if slices.Contains(c.args, "-S") {
		slices.Sort(o.Body) // doveconf's order is an accident
	}
	slices.Sort(o.Warnings)
	o.Warnings = slices.Compact(o.Warnings)
	return o
}

// body splits doveconf's output into lines, without comments and without the capabilities that
// Pigeonhole's plugin asks of its service, and adds to each output.
func body(text string) []string {
	var lines []string
	for _, l := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if l == "" || strings.HasPrefix(l, "# ") || strings.HasPrefix(l, "managesieve_notify_capability") ||
			strings.HasPrefix(l, "managesieve_sieve_capability") {
			continue
		}
		lines = append(lines, l)
	}
	return lines
}

// ours reads a case with this package.
func ours(t *testing.T, c confCase) outcome {
	t.Helper()
	o, opt, defaults := parseArgs(t, c.args)
	var out outcome
	opt.Warn = func(text string) { out.Warnings = append(out.Warnings, text) }
	conf := Defaults()
	var err error
	if !defaults {
		conf, err = Load(c.name, opt)
	}
	if err == nil {
		var b strings.Builder
		if err := conf.Dump(&b, o); err != nil {
			t.Fatal(err)
		}
		out.Body = body(b.String())
		if o.Simple {
			slices.Sort(out.Body)
		}
		if len(o.Names) == 0 && !defaults {
			err = conf.Check()
		}
	} else {
		var e *Error
		if !errors.As(err, &e) && !strings.HasPrefix(err.Error(), "open(") {
			t.Errorf("error of type %T: %v", err, err)
		}
	}
	if err != nil {
		out.Fatal = err.Error()
	}
	slices.Sort(out.Warnings)
	out.Warnings = slices.Compact(out.Warnings)
	return out
}

// parseArgs reads doveconf's arguments.
func parseArgs(t *testing.T, args []string) (o DumpOptions, opt Options, defaults bool) {
	t.Helper()
	var filters []string
	for i := 0; i < len(args); i++ {
		switch a := args[i]; a {
		case "-a":
		case "-n":
			o.Scope = ScopeChanged
		case "-N":
			o.Scope = ScopeSet
		case "-s":
			o.Scope = ScopeHidden
		case "-P":
			o.ShowSecrets = true
		case "-h":
			o.NoKeys = true
		case "-S":
			o.Simple = true
		case "-x":
			opt.Expand = true
		case "-d":
			defaults = true
		case "-m":
			i++
			o.Modules = append(o.Modules, args[i])
		case "-f":
			i++
			filters = append(filters, args[i])
		default:
			o.Names = append(o.Names, a)
		}
	}
	f, err := ParseFilter(filters)
	if err != nil {
		t.Fatal(err)
	}
	o.Filter = f
	return o, opt, defaults
}
