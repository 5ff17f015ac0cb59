package rooms

import (
	"errors"
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"dproxy/conf"
)

// pages are the documents by their path from the root, settings.md among them.
func pages(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md"} {
		paths, err := filepath.Glob("../../" + pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range paths {
			text, err := os.ReadFile(p)
			if err != nil {
				t.Fatal(err)
			}
			out[strings.TrimPrefix(p, "../../")] = string(text)
		}
	}
	if len(out) < 5 {
		t.Fatalf("%d documents; have they moved?", len(out))
	}
	return out
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	notSlug = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	fenced  = regexp.MustCompile("(?ms)^ *```(\\w*)\n(.*?)^ *```$")
	code    = regexp.MustCompile("`([^`]+)`")
)

// slug is the anchor of a heading, as git hosts make it.
func slug(heading string) string {
	return strings.ReplaceAll(notSlug.ReplaceAllString(strings.ToLower(heading), ""), " ", "-")
}

func TestLinksLeadSomewhere(t *testing.T) {
	all := pages(t)
	for page, text := range all {
		for _, m := range link.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			path, anchor, _ := strings.Cut(m[1], "#")
			target := page
			if path != "" {
				target = filepath.Join(filepath.Dir(page), path)
			}
			if _, err := os.Stat("../../" + target); errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s links to %s, which is not there", page, m[1])
				continue
			}
			found := anchor == ""
			for _, h := range heading.FindAllStringSubmatch(all[target], -1) {
				found = found || slug(h[1]) == anchor
			}
			if !found {
				t.Errorf("%s links to %s, but no heading there has that name", page, m[1])
			}
		}
	}
}

// wordings are all string literals of the program, each on a line of its own.
func wordings(t *testing.T) string {
	t.Helper()
	var out strings.Builder
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (path == "../../test" || path == "../../run" || strings.HasPrefix(d.Name(), ".") && len(d.Name()) > 2):
			return fs.SkipDir
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var s scanner.Scanner
		file := token.NewFileSet().AddFile(path, -1, len(src))
		s.Init(file, src, nil, 0)
		for _, tok, lit := s.Scan(); tok != token.EOF; _, tok, lit = s.Scan() {
			if tok != token.STRING {
				continue
			}
			if text, err := strconv.Unquote(lit); err == nil {
				out.WriteString(text + "\n")
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestTroubleshootingQuotesTheProgram: an operator looks for the text in the log, so it has to be the one
// that the program writes. … in a quotation stands for what varies.
func TestTroubleshootingQuotesTheProgram(t *testing.T) {
	words := wordings(t)
	quoted := 0
	for line := range strings.Lines(pages(t)["docs/troubleshooting.md"]) {
		cell, ok := strings.CutPrefix(line, "| `")
		if !ok {
			continue
		}
		cell, _, _ = strings.Cut("`"+cell, " | ")
		for _, m := range code.FindAllStringSubmatch(cell, -1) {
			quoted++
			for part := range strings.SplitSeq(m[1], "…") {
				if part = strings.Trim(part, " "); len(part) > 3 && !strings.Contains(words, part) {
					t.Errorf("%q of %q is nowhere in the program", part, m[1])
				}
			}
		}
	}
	if quoted < 50 {
		t.Errorf("%d quotations found; was the form of the tables changed?", quoted)
	}
}

// TestExamplesAreRead reads every block of configuration in the documents. One that begins with
// "service" or the like stands for itself: blocks need not be complete.
func TestExamplesAreRead(t *testing.T) {
	n := 0
	for page, text := range pages(t) {
		for _, m := range fenced.FindAllStringSubmatch(text, -1) {
			if m[1] != "conf" {
				continue
			}
			n++
			path := filepath.Join(t.TempDir(), "dovecot.conf")
			if err := os.WriteFile(path, []byte(m[2]), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := conf.Load(path, conf.Options{}); err != nil {
				t.Errorf("%s: %v\n%s", page, err, m[2])
			}
		}
	}
	if n == 0 {
		t.Error("no configuration is shown in the documents")
	}
}
