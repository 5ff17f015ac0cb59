package conf

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestConformanceTime prints how long doveconf and the program that DPROXY names take for 5,000 local_name blocks. Their
// output has to be the same; the times are for the reader.
func TestConformanceTime(t *testing.T) {
	program := os.Getenv("DPROXY")
	doveconf, err := exec.LookPath("doveconf")
	if program == "" || err != nil {
		t.Skip("DPROXY names no program, or there is no doveconf: use make conformance-conf")
	}
	var text bytes.Buffer
	text.WriteString("protocols = imap\n")
	for i := range 5000 {
		fmt.Fprintf(&text, "local_name host%d.example.org {\n  ssl_cert = </etc/ssl/host%d.pem\n  ssl_key = </etc/ssl/host%d.key\n}\n", i, i, i)
	}
	path := filepath.Join(t.TempDir(), "dovecot.conf")
	if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(argv ...string) (time.Duration, []string) {
		t.Helper()
		began := time.Now()
		out, err := exec.Command(argv[0], append(argv[1:], "-n", "-c", path)...).Output()
		if err != nil {
			t.Fatalf("%q: %v", argv, err)
		}
		return time.Since(began), body(string(out))
	}
	theirs, want := run(doveconf)
	ours, got := run(program, "conf")
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("printed (-doveconf +dproxy):\n%s", d)
	}
	fmt.Printf("5000 local_name blocks: doveconf %.2f s, dproxy %.2f s, %.1f times as fast\n", theirs.Seconds(), ours.Seconds(), theirs.Seconds()/ours.Seconds())
}
