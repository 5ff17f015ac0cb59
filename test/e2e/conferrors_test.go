package e2e

import (
	"context"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"dproxy/test/proxy"
)

// testConfigurationErrors breaks the configuration in many ways and compares message and exit status with those of the
// installed Dovecot.
func testConfigurationErrors(t *testing.T, h *house, _ *front) {
	dovecot := proxy.Dovecot(t)
	for name, text := range map[string]string{
		"an unknown setting":            "no_such_setting = yes\n",
		"a misspelt setting":            "login_greting = Hello\n",
		"a boolean that is none":        "auth_verbose = maybe\n",
		"a number that is none":         "login_proxy_max_reconnects = many\n",
		"a time that is none":           "login_proxy_timeout = soon\n",
		"a time without a unit":         "login_proxy_timeout = 30\n",
		"a size that is none":           "auth_cache_size = big\n",
		"a value out of a list":         "ssl = perhaps\n",
		"a block that is not closed":    "passdb {\n  driver = static\n",
		"a block that was not opened":   "}\n",
		"an unknown block":              "nonsense {\n}\n",
		"an unknown setting in passdb":  "passdb {\n  drivers = static\n}\n",
		"an unknown setting in service": "service imap-login {\n  inet_listener imap {\n    prot = 143\n  }\n}\n",
		"a port that is no number":      "service imap-login {\n  inet_listener imap {\n    port = abc\n  }\n}\n",
		"an include that is missing":    "!include @DIR@/missing.conf\n",
		"an unknown directive":          "!import something\n",
		"a line without an equals sign": "login_greeting\n",
		"a file that is missing":        "ssl_client_cert = <@DIR@/missing.crt\n",
		"an unknown protocol":           "protocols = imap nntp\n",
		"an error in an included file":  "!include @DIR@/included.conf\n",
		"an unknown variable":           "login_log_format = $no_such\n",
	} {
		t.Run(name, func(t *testing.T) {
			f := h.prepare(t, text, map[string]string{"included.conf": "# a comment\nlisten = *\nbroken = yes\n"})
			want, wantStatus := refusal(t, dovecot, f.conf())
			got, gotStatus := refusal(t, h.program, f.conf())
			if got != want || gotStatus != wantStatus {
				t.Errorf("status %d: %s\nDovecot %d: %s", gotStatus, got, wantStatus, want)
			}
			if wantStatus == 0 {
				t.Error("Dovecot takes this configuration: it is no case for this test")
			}
		})
	}
}

var fatal = regexp.MustCompile(`(?m)^(?:doveconf: |dproxy: )?Fatal: (.*)$`)

// refusal starts a proxy that is expected to end at once. It gives the fatal message and the exit status.
func refusal(t *testing.T, p proxy.Program, conf string) (message string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.Path, "-F", "-c", conf)
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		t.Fatalf("%s does not end with this configuration", p.Name)
	}
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	if m := fatal.FindStringSubmatch(string(out)); m != nil {
		return m[1], cmd.ProcessState.ExitCode()
	}
	return strings.TrimSpace(string(out)), cmd.ProcessState.ExitCode()
}
