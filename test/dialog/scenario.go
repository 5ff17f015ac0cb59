// Package dialog plays scripted situations against a login proxy: a configuration, fake backends, and what mail
// clients say. It gives what every side got to hear in one notation, so that two proxies can be compared.
// Imports test/daemon and test/proxy; its pieces are also for other packages' tests.
package dialog

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/rogpeppe/go-internal/txtar"
)

// Scenario is one scripted situation.
type Scenario struct {
	Name     string
	About    string // the line before the first section
	Conf     string // the scenario's part of the configuration file
	Backends string
	Client   string
	Files    []File // further files of the scenario's directory, and the SQL text databases are made from
}

// File is one file of a scenario. Name has no directory.
type File struct{ Name, Text string }

// Views are the three parts of a golden file. Each ends in a newline unless it is empty.
type Views struct{ Client, Backend, Log string }

// NotCompared is the log view of a scenario whose log lines depend on chance.
const NotCompared = "<varies, not compared>\n"

// Parse reads a scenario. The error names the scenario and the section.
func Parse(name string, data []byte) (*Scenario, error) {
	a := txtar.Parse(data)
	about, _, _ := strings.Cut(strings.TrimSpace(string(a.Comment)), "\n")
	s := &Scenario{Name: name, About: about}
	own := map[string]*string{"conf": &s.Conf, "backends": &s.Backends, "client": &s.Client}
	for _, f := range a.Files {
		if strings.ContainsAny(f.Name, "/\\") {
			return nil, fmt.Errorf("scenario %s: section %q: a name has no directory", name, f.Name)
		}
		if text := own[f.Name]; text != nil {
			*text = string(f.Data)
			continue
		}
		s.Files = append(s.Files, File{Name: f.Name, Text: string(f.Data)})
	}
	if s.Conf == "" || s.Client == "" {
		return nil, fmt.Errorf("scenario %s: the sections conf and client are needed", name)
	}
	return s, nil
}

// Quirk says that the scenario records a bug or an accident of Dovecot, where being different is fine.
func (s *Scenario) Quirk() bool { return strings.HasPrefix(s.About, "QUIRK") }

// NotAsDovecot says that the golden file was changed by hand, because Dovecot's way does not work for its users.
func (s *Scenario) NotAsDovecot() bool { return strings.Contains(s.About, "on purpose not as Dovecot") }

var protocolsLine = regexp.MustCompile(`(?m)^\s*protocols\s*=\s*(.*)$`)

// Protocols lists the protocols the configuration turns on.
func (s *Scenario) Protocols() []string {
	m := protocolsLine.FindStringSubmatch(s.Conf)
	if m == nil {
		return nil
	}
	return strings.Fields(m[1])
}

// ParseGolden reads a golden file.
func ParseGolden(text string) (Views, error) {
	var v Views
	parts := map[string]*string{"[client]": &v.Client, "[backend]": &v.Backend, "[log]": &v.Log}
	var part *string
	seen := 0
	for line := range strings.Lines(text) {
		if p := parts[strings.TrimSuffix(line, "\n")]; p != nil {
			part = p
			seen++
			continue
		}
		if part != nil {
			*part += line
		}
	}
	if seen != len(parts) {
		return v, fmt.Errorf("a golden file has the parts [client], [backend] and [log], once each; found %d", seen)
	}
	return v, nil
}

// Golden is the text of a golden file with these views.
func (v Views) Golden(name string) string {
	return "# " + name + "\n[client]\n" + v.Client + "[backend]\n" + v.Backend + "[log]\n" + v.Log
}
