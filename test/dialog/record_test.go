package dialog

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"dproxy/test/daemon"
	"dproxy/test/proxy"
)

var record = flag.Bool("record", false, "write the golden files of the scenarios that have none")

// TestRecord records scenarios with the installed Dovecot: each twice, because what differs from one time to the next
// is chance and cannot be compared.
func TestRecord(t *testing.T) {
	if !*record {
		t.Skip("use -args -record to write golden files, with -testdata DIR for scenarios that are not in testdata yet")
	}
	cases, err := unrecorded(*data)
	if err != nil {
		t.Fatal(err)
	}
	r := &Runner{Proxy: proxy.Dovecot(t), Certs: NewCerts(t), Ports: daemon.NewPorts()}
	first, second := r.RunAll(t.Context(), cases, *atOnce), r.RunAll(t.Context(), cases, *atOnce)
	for i := range first {
		a, b := &first[i], &second[i]
		b.Golden = a.Got
		switch err := errors.Join(a.Err, b.Err); {
		case err != nil:
			t.Errorf("%s: %v", a.Name, err)
			continue
		case !b.Same():
			t.Errorf("%s: the second time was different:\n%s", a.Name, b.Diff(false))
			continue
		case !b.SameLog():
			a.Got.Log = NotCompared
		}
		if err := os.WriteFile(filepath.Join(*data, "golden", a.Name+".txt"), []byte(a.Got.Golden(a.Name)), 0o644); err != nil {
			t.Error(err)
		}
	}
}

// unrecorded reads the scenarios without a golden file.
func unrecorded(dir string) ([]Case, error) {
	files, err := filepath.Glob(filepath.Join(dir, "scenarios", "*.txtar"))
	if err != nil {
		return nil, err
	}
	re, err := regexp.Compile(*only)
	if err != nil {
		return nil, err
	}
	var out []Case
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".txtar")
		if _, err := os.Stat(filepath.Join(dir, "golden", name+".txt")); err == nil || !re.MatchString(name) {
			continue
		}
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		s, err := Parse(name, text)
		if err != nil {
			return nil, err
		}
		out = append(out, Case{Scenario: s})
	}
	return out, nil
}
