package dialog

import (
	"regexp"
	"slices"
	"strings"
)

// loggedBy matches the lines that are compared: those of the services that have to do with logins.
var loggedBy = regexp.MustCompile(`^(imap-login|pop3-login|submission-login|managesieve-login|lmtp|auth|auth-worker|doveconf)(\([^)]*\))?: `)

// backtrace matches what a crash adds: addresses of this machine.
var backtrace = regexp.MustCompile(`: Error: Raw backtrace: `)

// logRules replace what differs from run to run in log lines.
var logRules = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`^([a-z-]+)\([^)]*\): `), "$1: "},
	{regexp.MustCompile(`session=<[^>]*>`), "session=<S>"},
	{regexp.MustCompile(`<[A-Za-z0-9+/]{16,40}>`), "<S>"},
	{regexp.MustCompile(`: <[A-Za-z0-9+/]{16,40}(:[^>]*)?>: `), ": <S>: "},
	{regexp.MustCompile(`pid=\d+`), "pid=P"},
	{regexp.MustCompile(`uid=\d+`), "uid=U"},
	{regexp.MustCompile(`child \d+ killed`), "child P killed"},
	{regexp.MustCompile(`\b\d+(\.\d+)? (secs|ms)\b`), "N $2"},
	{regexp.MustCompile(`\b\d+s idle, in=\d+, out=\d+(\+\d+)?`), "Ns idle, in=N, out=N"},
	{regexp.MustCompile(`duration=\d+s`), "duration=Ns"},
	{regexp.MustCompile(`(local=[0-9.]+):(\d+|@\w+@)`), "$1:PORT"},
}

// log normalises the text of a log: sorted, and lines that say of no session what another line says once.
func (n *normalizer) log(text string) string {
	var lines []string
	for l := range strings.Lines(text) {
		l = strings.TrimRight(l, "\r\n")
		if !loggedBy.MatchString(l) || backtrace.MatchString(l) {
			continue
		}
		l = n.text(l)
		for _, r := range logRules {
			l = r.pattern.ReplaceAllString(l, r.with)
		}
		if !strings.Contains(l, "session=<S>") && slices.Contains(lines, l) {
			continue
		}
		lines = append(lines, l)
	}
	slices.Sort(lines)
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\n") + "\n"
}
