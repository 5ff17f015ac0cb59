package conf

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/settings.md from the settings table")

const settingsDoc = "../docs/settings.md"

// TestSettingsDoc keeps the manual of the settings equal to the table.
func TestSettingsDoc(t *testing.T) {
	want := settingsManual()
	if *update {
		if err := os.WriteFile(settingsDoc, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(settingsDoc)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/settings.md is not current; run: make settings")
	}
}

func settingsManual() string {
	var b strings.Builder
	b.WriteString(`# Settings

This file is generated from the settings table in package conf (` + "`make settings`" + `).

dproxy reads Dovecot's configuration language, in the dialects of 2.3 and of 2.4 (when the first setting is
` + "`dovecot_config_version`" + `). Every setting that Dovecot 2.3 knows is known, checked and printed by ` + "`dproxy conf`" + `;
the column *2.4* has the name and default in 2.4 where they differ. What a setting does here is said by the column *use*:

- **used**: it takes effect.
- **ignored**: accepted, so that a file shared with mail storage hosts works. One line in the log counts them.
- **refused**: it would change security or routing and is not supported: dproxy does not start.

*Reload* says when a change takes effect: at a reload (new connections only), or at a restart.

## Used settings

| setting | type | default | 2.4 | reload | meaning |
| --- | --- | --- | --- | --- | --- |
`)
	rows := Table()
	slices.SortFunc(rows, func(a, b Setting) int { return cmp.Compare(a.Name, b.Name) })
	for _, s := range rows {
		if s.Use == Used {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n", s.Name, manualType(&s), manualDefault(&s), manual24(&s), s.Reload, manualText(s.Doc))
		}
	}
	b.WriteString("\n## Sections\n")
	for _, k := range newRootKind().kinds {
		manualKind(&b, k, "")
	}
	b.WriteString("\n## Refused settings\n\n| setting | why |\n| --- | --- |\n")
	for _, s := range rows {
		if s.Use == Refused {
			fmt.Fprintf(&b, "| `%s` | %s |\n", s.Name, manualText(s.Why))
		}
	}
	b.WriteString("\n## Ignored settings\n\n| setting | type | default |\n| --- | --- | --- |\n")
	for _, s := range rows {
		if s.Use == Ignored {
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", s.Name, manualType(&s), manualDefault(&s))
		}
	}
	return b.String()
}

func manualKind(b *strings.Builder, k *kind, parent string) {
	name := parent + k.name
	fmt.Fprintf(b, "\n### %s { }\n\n%s", name, k.doc)
	switch {
	case k.listing == stringMap:
		b.WriteString(" Any key is allowed. Ignored.\n")
		return
	case k.use != Used:
		b.WriteString(" Ignored.\n")
		return
	}
	b.WriteString("\n\n| setting | type | default | use | meaning |\n| --- | --- | --- | --- | --- |\n")
	for i := range k.rows {
		s := &k.rows[i]
		if s.Name != k.nameKey || s.Doc != "" {
			fmt.Fprintf(b, "| `%s` | %s | %s | %s | %s |\n", s.Name, manualType(s), manualDefault(s), s.Use, manualText(cmp.Or(s.Doc, s.Why)))
		}
	}
	for _, sub := range k.kinds {
		manualKind(b, sub, name+" { } / ")
	}
}

func manualType(s *Setting) string {
	if s.Type == Enum {
		return "one of " + strings.Join(s.choices(), ", ")
	}
	return s.Type.String()
}

func manualDefault(s *Setting) string {
	switch {
	case s.Unset:
		return "not set"
	case s.Default == "":
		return ""
	}
	return "`" + strings.ReplaceAll(s.Default, "|", `\|`) + "`"
}

func manual24(s *Setting) string {
	out := ""
	switch s.Name24 {
	case "":
	case "-":
		out = "gone"
	default:
		out = "`" + s.Name24 + "`"
	}
	if s.Default24 != "" {
		out = strings.TrimSpace(out + " default `" + strings.ReplaceAll(s.Default24, "|", `\|`) + "`")
	}
	return out
}

func manualText(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

// TestTable checks what the table must hold by itself.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range Table() {
		if seen[s.Name] {
			t.Errorf("%s stands there twice", s.Name)
		}
		seen[s.Name] = true
		switch {
		case s.Use == Used && (s.Doc == "" || s.field == nil):
			t.Errorf("%s is used, but has no text or no field", s.Name)
		case s.Use != Used && s.field != nil:
			t.Errorf("%s has a field, but is not used", s.Name)
		case s.Use == Refused && s.Why == "":
			t.Errorf("%s is refused without a reason", s.Name)
		}
		if v, err := parseValue(&s, s.Default); (s.Default != "" || s.Type != Text) && (err != nil || v.text != s.Default) {
			t.Errorf("%s: default %q is printed as %q, error %v", s.Name, s.Default, v.text, err)
		}
		if s.field != nil {
			set := &Settings{}
			s.store(set, value{text: "x", num: 1})
			if *set == (Settings{}) {
				t.Errorf("%s stores nothing", s.Name)
			}
		}
	}
}
