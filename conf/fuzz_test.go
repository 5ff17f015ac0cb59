package conf

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// FuzzLoad reads arbitrary files. Whatever is accepted can be printed, and what is printed can be read
// again and gives the same.
func FuzzLoad(f *testing.F) {
	archives, err := filepath.Glob("testdata/conformance/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range archives {
		ar, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range ar.Files {
			f.Add(string(file.Data))
		}
	}
	f.Add(proxy24)
	f.Add(head24 + "sql_driver = mysql\nmysql a {\n user = b\n}\npassdb sql {\n query = SELECT '%{user | upper}'\n}\n")
	f.Add(head24 + "group @a b {\n protocols {\n imap = yes\n }\n}\n@a = b\nlogin_greeting = $SET:hostname x\n")
	path := filepath.Join(f.TempDir(), "dovecot.conf")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "!include") || strings.Contains(text, "<") {
			return // no other files
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		o := Options{Lookup: noLookup}
		c, err := Load(path, o)
		if served, err := Load(path, Options{Serve: true, Lookup: noLookup}); err == nil {
			served.Services()
			served.Passdbs("imap")
			served.Settings(Filter{Protocol: "imap", LocalName: "a.example"})
		}
		if err != nil {
			return
		}
		first := dumped(t, c)
		if c.version24 != "" || !rereadable(c) {
			return
		}
		if err := os.WriteFile(path, []byte(first), 0o600); err != nil {
			t.Fatal(err)
		}
		again, err := Load(path, o)
		if err != nil {
			t.Fatalf("%v\nin its own output:\n%s", err, first)
		}
		if second := dumped(t, again); second != first {
			t.Errorf("printed:\n%s\nread again:\n%s", first, second)
		}
	})
}

func dumped(t *testing.T, c *Config) string {
	t.Helper()
	var b strings.Builder
	if err := c.Dump(&b, DumpOptions{Scope: ScopeSet, ShowSecrets: true}); err != nil {
		t.Fatal(err)
	}
	for _, o := range []DumpOptions{{}, {Scope: ScopeChanged}, {Simple: true}, {Names: []string{"service", "ssl"}}} {
		if err := c.Dump(io.Discard, o); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// rereadable tells whether doveconf's notation can express every value.
func rereadable(c *Config) bool {
	plain := func(v string) bool {
		return !strings.ContainsAny(v, "\"'\\#$<\r") && v == trimBlanks(v)
	}
	var ok func(n *node) bool
	ok = func(n *node) bool {
		for k, v := range n.strs {
			if k == "" || !plain(v.text) || strings.ContainsAny(k, "{}!/\"'") {
				return false
			}
		}
		for _, v := range n.vals {
			if !plain(v.text) {
				return false
			}
		}
		for _, l := range n.lists {
			for _, sub := range l {
				if sub.kind.listing == ordered && sub.title() != "" || sub.kind.listing == unique && sub.title() == "" ||
					!plain(sub.title()) || strings.ContainsAny(sub.title(), "{}") || !ok(sub) {
					return false
				}
			}
		}
		return true
	}
	for _, b := range c.buckets {
		if listenHasPort(b.root.get("listen").text) {
			return false // it would be converted
		}
		if !ok(b.root) || len(b.filter.titles()) == 0 && b != c.buckets[0] || strings.ContainsAny(b.filter.service+b.filter.localName, "{}\"\\ ") ||
			b.filter.hasService && b.filter.service == "" || b.filter.hasName && b.filter.localName == "" {
			return false
		}
	}
	return true
}
