package conf

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// pipeline is a source of a template's value: the filters of one %{ } of the 2.4 dialect.
type pipeline struct {
	stages []stage24
	vars   map[string]source         // by the names in the template
	re     map[string]*regexp.Regexp // of patterns that are written out
}

// checkStages finds what a pipeline asks for that does not exist or is not supported.
func checkStages(stages []stage24) error {
	for i, s := range stages {
		_, known := filters24[s.name]
		switch {
		case s.name == "encrypt" || s.name == "decrypt" || s.name == "escape":
			return fmt.Errorf("the filter %s is not supported", s.name)
		case s.name == "safe" && i != len(stages)-1:
			return errors.New("safe: safe filter must be last in the filter chain")
		case s.name == "lookup" && (len(s.args) != 1 || s.args[0].kind == variable24):
			return errors.New("lookup() is only supported with a name in quotes: what an answer depends on has to be known")
		case i > 0 && !known:
			return fmt.Errorf("No such function '%s'", s.name)
		}
		if err := s.checkNames(i == 0 && !known); err != nil {
			return err
		}
		for _, p := range s.patterns() {
			if _, err := compile24(p); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	return nil
}

// checkNames looks at the variables of a stage; first tells that its own name is one.
func (s *stage24) checkNames(first bool) error {
	for _, name := range s.variables(first) {
		prefix, _, isProvider := strings.Cut(name, ":")
		switch {
		case slices.Contains(absent24, name):
			return fmt.Errorf("the variable %s is not supported", name)
		case prefix == "event":
			return errors.New("variables of events are not supported")
		case isProvider && providers23[prefix] == "" && !slices.Contains([]string{"env", "system", "process", "dovecot"}, prefix):
			return fmt.Errorf("Unsupported prefix '%s'", prefix)
		}
	}
	return nil
}

// variables lists the names of variables in a stage.
func (s *stage24) variables(first bool) []string {
	var out []string
	if first {
		out = append(out, s.name)
	}
	if s.name == "lookup" && len(s.args) == 1 {
		out = append(out, s.args[0].text)
	}
	for _, a := range s.args {
		if a.kind == variable24 {
			out = append(out, a.text)
		}
	}
	for _, a := range s.named {
		if a.kind == variable24 {
			out = append(out, a.text)
		}
	}
	return out
}

// patterns lists the regular expressions that are written out.
func (s *stage24) patterns() []string {
	texts := s.args
	switch {
	case s.name == "regexp":
		texts = texts[:min(1, len(texts))]
	case s.name != "if" && s.name != "switch":
		return nil
	}
	var out []string
	for i, a := range texts {
		operator := i > 0 && texts[i-1].kind == text24 && (texts[i-1].text == "~" || texts[i-1].text == "!~")
		if a.kind == text24 && (s.name == "regexp" || operator) {
			out = append(out, a.text)
		}
	}
	return out
}

func compile24(pattern string) (*regexp.Regexp, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("the pattern %s is not supported: %w", pattern, err)
	}
	return re, nil
}

func (t *templateParser) pipeline(stages []stage24) *pipeline {
	p := &pipeline{stages: stages, vars: map[string]source{}, re: map[string]*regexp.Regexp{}}
	for i := range stages {
		s := &stages[i]
		_, known := filters24[s.name]
		for _, name := range s.variables(i == 0 && !known) {
			p.vars[name] = t.pipelineVariable(name)
		}
		for _, pattern := range s.patterns() {
			p.re[pattern], _ = compile24(pattern) // checkStages has compiled it before
		}
	}
	return p
}

// pipelineVariable is the source of a variable by its name in 2.4.
func (t *templateParser) pipelineVariable(name string) source {
	prefix, key, isProvider := strings.Cut(name, ":")
	switch {
	case !isProvider:
		ask := name
		if to := names23[name]; to != "" {
			ask = to
		}
		return &variable{name: ask, written: name, orEmpty: t.known != nil && t.known(ask)}
	case prefix == "env":
		return constant(os.Getenv(key))
	case prefix == "system":
		return system(key)
	case prefix == "process" && (key == "pid" || key == "uid" || key == "gid"):
		text, _ := builtin(key)
		return constant(text)
	case prefix == "dovecot" && key == "name":
		return constant("Dovecot")
	case providers23[prefix] != "":
		prefix = providers23[prefix]
		return &variable{name: prefix + ":" + key, written: prefix, function: prefix + ":"}
	}
	return &failure{err: fmt.Errorf("%s: Unsupported field '%s'", prefix, key)}
}

func (p *pipeline) names(add func(string)) {
	for i := range p.stages {
		s := &p.stages[i]
		_, known := filters24[s.name]
		for _, name := range s.variables(i == 0 && !known) {
			p.vars[name].names(add)
		}
	}
}

// run24 is a pipeline at work.
type run24 struct {
	*pipeline
	ask    Vars
	value  []byte
	set    bool // there is a value
	binary bool // it is printed in hex
}

func (p *pipeline) value(v Vars) (string, error) {
	r := &run24{pipeline: p, ask: v}
	if len(p.stages) == 0 {
		return "", nil
	}
	// The error of a filter waits: default() after it makes up for it.
	var waiting error
	for i := range p.stages {
		s := &p.stages[i]
		f, known := filters24[s.name]
		var err error
		switch {
		case known:
			if err = f(r, s); err != nil {
				err = fmt.Errorf("%s: %w", s.name, err)
			}
		default:
			var text string
			if text, err = r.lookup(s.name); err == nil {
				r.setText(text)
			}
		}
		if err != nil {
			r.set, r.value = false, nil
			if waiting != nil {
				return "", waiting
			}
		}
		waiting = err
	}
	switch {
	case waiting != nil:
		return "", waiting
	case r.binary:
		return hex.EncodeToString(r.value), nil
	}
	return string(r.value), nil
}

// lookup asks for a variable.
func (r *run24) lookup(name string) (string, error) {
	text, err := r.vars[name].value(r.ask)
	if errors.As(err, new(*UnknownVariableError)) {
		return "", fmt.Errorf("Unknown variable '%s'", name)
	}
	return text, err
}

func (r *run24) setText(text string) { r.value, r.set, r.binary = []byte(text), true, false }

func (r *run24) setBinary(b []byte) { r.value, r.set, r.binary = b, true, true }

// need is an error when there is no value to work on.
func (r *run24) need(what string) error {
	if !r.set {
		return fmt.Errorf("No value to %s", what)
	}
	return nil
}

// text is an argument as a text.
func (r *run24) text(a arg24) (string, error) {
	if a.kind == variable24 {
		return r.lookup(a.text)
	}
	return a.text, nil
}

// number is an argument as a number.
func (r *run24) number(a arg24) (int64, error) {
	if a.kind == number24 {
		return a.num, nil
	}
	text, err := r.text(a)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err == nil:
		return n, nil
	case a.kind == variable24:
		return 0, fmt.Errorf("'%s' (in %s) is not a number", text, a.text)
	}
	return 0, fmt.Errorf("'%s' is not a number", text)
}

// flag is an argument that is 0 or 1.
func (r *run24) flag(a arg24) (bool, error) {
	n, err := r.number(a)
	if err == nil && n != 0 && n != 1 {
		err = fmt.Errorf("'%d' is not 0 or 1", n)
	}
	return n == 1, err
}

// only checks the arguments of a filter: how many there may be, and the names of those with a name.
func (s *stage24) only(most int, names ...string) error {
	for name := range s.named {
		if !slices.Contains(names, name) {
			return fmt.Errorf("Unsupported key '%s'", name)
		}
	}
	if len(s.args) > most {
		return errors.New("Too many positional parameters")
	}
	return nil
}
