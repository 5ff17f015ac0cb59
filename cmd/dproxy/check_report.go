package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"dproxy/conf"
	"dproxy/event"
)

// The levels of findings.
const (
	levelOK      = "ok"      // was looked at and is fine
	levelNote    = "note"    // differs from Dovecot, nothing to do
	levelWarning = "warning" // works, but perhaps not as meant
	levelError   = "error"   // the server does not start, or logins fail
)

// place is a named place in a configuration file. Docs: docs/check.md, which is where the JSON is described.
type place struct {
	Title string `json:"title,omitempty"`
	File  string `json:"file,omitempty"`
	Line  int    `json:"line,omitempty"`
}

// finding is one result.
type finding struct {
	Level string `json:"level"`
	Area  string `json:"area"`
	Text  string `json:"text"`
	place
}

// setting is one setting that the configuration sets to something else than its default.
type setting struct {
	Name  string `json:"name"`
	Block string `json:"block,omitempty"`
	Why   string `json:"why,omitempty"`
	place
}

// passdbRow is one passdb.
type passdbRow struct {
	Name   string `json:"name"`
	Driver string `json:"driver"`
	Args   string `json:"args,omitempty"` // without passwords
	place
}

// listenerRow is one socket.
type listenerRow struct {
	Address  string `json:"address"`
	Protocol string `json:"protocol"`
	Name     string `json:"name"`
	TLS      bool   `json:"tls"`
	HAProxy  bool   `json:"haproxy"`
}

// certificateRow is one certificate that clients are shown.
type certificateRow struct {
	Block   string    `json:"block,omitempty"`
	Expires time.Time `json:"expires"`
}

// report is all that check tells.
type report struct {
	Version   string   `json:"version"`
	Config    string   `json:"config"`
	Offline   bool     `json:"offline"`
	Status    string   `json:"status"` // ok, warnings, errors
	Errors    int      `json:"errors"`
	Warnings  int      `json:"warnings"`
	Protocols []string `json:"protocols"`
	Settings  struct {
		Used    []setting `json:"used"`
		Ignored []setting `json:"ignored"`
		Refused []setting `json:"refused"`
	} `json:"settings"`
	Filters      []place          `json:"filters"`
	Passdbs      []passdbRow      `json:"passdbs"`
	Listeners    []listenerRow    `json:"listeners"`
	Certificates []certificateRow `json:"certificates"`
	Findings     []finding        `json:"findings"`
}

// newReport has empty lists, so that its JSON has no null.
func newReport(path string, offline bool) *report {
	r := &report{
		Version: version, Config: path, Offline: offline, Protocols: []string{}, Filters: []place{}, Passdbs: []passdbRow{},
		Listeners: []listenerRow{}, Certificates: []certificateRow{}, Findings: []finding{},
	}
	r.Settings.Used, r.Settings.Ignored, r.Settings.Refused = []setting{}, []setting{}, []setting{}
	return r
}

func (r *report) add(level, area, text string) { r.addAt(level, area, text, place{}) }

func (r *report) addAt(level, area, text string, at place) {
	r.Findings = append(r.Findings, finding{level, area, event.Clean(text, 1000), at})
}

// addError adds an error unless it was told already.
func (r *report) addError(area string, err error) {
	var at *conf.Error
	switch {
	case errors.As(err, &at):
		if !r.has(at.Text) {
			r.addAt(levelError, area, at.Text, place{File: at.File, Line: at.Line})
		}
	case !r.has(err.Error()):
		r.add(levelError, area, err.Error())
	}
}

// has tells whether a finding says it already.
func (r *report) has(text string) bool {
	for _, f := range r.Findings {
		if f.Level != levelOK && f.Level != levelNote && (strings.Contains(text, f.Text) || strings.Contains(f.Text, text)) {
			return true
		}
	}
	return false
}

func (k *checker) finish() *report {
	r := k.report
	r.Status = "ok"
	for _, f := range r.Findings {
		switch f.Level {
		case levelError:
			r.Errors++
		case levelWarning:
			r.Warnings++
		}
	}
	switch {
	case r.Errors > 0:
		r.Status = "errors"
	case r.Warnings > 0:
		r.Status = "warnings"
	}
	return r
}

func (r *report) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(r)
}

// String is where something stands, after a text.
func (p place) String() string {
	switch {
	case p.File == "":
		return ""
	case p.Line == 0:
		return " (" + p.File + ")"
	}
	return fmt.Sprintf(" (%s:%d)", p.File, p.Line)
}

// shownSettings is how many settings of one kind the text names; the JSON has all.
const shownSettings = 200

// writeText prints for people: what is wrong comes last, where the eye is.
func (r *report) writeText(w io.Writer) error {
	var b strings.Builder
	head := func(format string, a ...any) { fmt.Fprintf(&b, "\n"+format+"\n", a...) }
	fmt.Fprintf(&b, "dproxy %s checks %s\n", r.Version, r.Config)
	if len(r.Protocols) > 0 {
		head("Protocols: %s", strings.Join(r.Protocols, ", "))
	}
	for _, l := range r.Listeners {
		fmt.Fprintf(&b, "  %-6s %s%s%s\n", l.Protocol, l.Address, flag(l.TLS, ", TLS"), flag(l.HAProxy, ", PROXY header"))
	}
	if len(r.Passdbs) > 0 {
		head("Passdbs, in this order:")
	}
	for _, p := range r.Passdbs {
		fmt.Fprintf(&b, "  %s %s%s\n", p.Driver, p.Args, p.place)
	}
	if len(r.Filters) > 0 {
		head("Filters:")
	}
	for _, f := range r.Filters {
		fmt.Fprintf(&b, "  %s%s\n", f.Title, place{File: f.File, Line: f.Line})
	}
	for _, s := range []struct {
		title string
		list  []setting
	}{{"take effect", r.Settings.Used}, {"have no effect", r.Settings.Ignored}, {"are refused", r.Settings.Refused}} {
		if len(s.list) == 0 {
			continue
		}
		head("Settings that %s: %d", s.title, len(s.list))
		for _, x := range s.list[:min(len(s.list), shownSettings)] {
			fmt.Fprintf(&b, "  %s%s%s%s\n", x.Name, flag(x.Block != "", " in "+x.Block), flag(x.Why != "", ": "+x.Why), x.place)
		}
		if n := len(s.list) - shownSettings; n > 0 {
			fmt.Fprintf(&b, "  and %d more, see --json\n", n)
		}
	}
	for _, l := range []struct{ level, title string }{
		{levelOK, "Fine:"}, {levelNote, "Different from Dovecot:"}, {levelWarning, "Warnings:"}, {levelError, "Errors:"},
	} {
		titled := false
		for _, f := range r.Findings {
			if f.Level != l.level {
				continue
			}
			if !titled {
				head("%s", l.title)
				titled = true
			}
			fmt.Fprintf(&b, "  %s: %s: %s%s\n", f.Level, f.Area, f.Text, f.place)
		}
	}
	head("%s: %d errors, %d warnings", map[string]string{"ok": "OK", "warnings": "OK", "errors": "NOT OK"}[r.Status], r.Errors, r.Warnings)
	_, err := io.WriteString(w, b.String())
	return err
}

// flag is text when on.
func flag(on bool, text string) string {
	if on {
		return text
	}
	return ""
}
