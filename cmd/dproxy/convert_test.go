package main

import (
	"strings"
	"testing"
)

func TestConvert(t *testing.T) {
	good, _ := confFile(t, "disable_plaintext_auth = no\nmail_location = maildir:~/m")
	part, _ := confFile(t, "imap_id_log = *")
	bad, _ := confFile(t, "no_such_setting = 1")
	r := dproxy(t, "", "conf", "convert", "--to", "2.4", "-c", good)
	if r.status != exitOK || r.err != "" || !strings.Contains(r.out, "auth_allow_cleartext = yes\n") || !strings.Contains(r.out, "# mail_location") {
		t.Fatalf("%+v", r)
	}
	twin := writeFile(t, t.TempDir(), "24.conf", r.out, 0o600)
	for _, path := range []string{good, twin} {
		c := dproxy(t, "", "check", "--offline", "-c", path)
		for _, want := range []string{"OK: 0 errors, 0 warnings", "static proxy=y host=127.0.0.1", "Protocols: imap\n"} {
			if c.status != exitOK || !strings.Contains(c.out, want) {
				t.Errorf("check of %s: %q is missing in %+v", path, want, c)
			}
		}
	}
	for _, c := range []struct {
		name, path, to, err string
		status              int
	}{
		{"what has no form in 2.4 needs a hand", part, "2.4", "not converted: imap_id_log = *", exitWarned},
		{"a file with errors is not converted", bad, "2.4", "Unknown setting: no_such_setting", exitFatal},
		{"a 2.4 file is not converted again", twin, "2.4", "2.4 dialect already", exitFatal},
		{"there is no other version", good, "2.5", "use --to 2.4", exitUsage},
	} {
		t.Run(c.name, func(t *testing.T) {
			if r := dproxy(t, "", "conf", "convert", "--to", c.to, "-c", c.path); r.status != c.status || !strings.Contains(r.err, c.err) {
				t.Errorf("%+v, want status %d and %q", r, c.status, c.err)
			}
		})
	}
}
