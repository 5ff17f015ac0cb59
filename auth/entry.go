package auth

import (
	"errors"
	"fmt"
	"strings"

	"dproxy/conf"
	"dproxy/event"
	"dproxy/passdb"
)

// rule is what a passdb's result does to the chain.
type rule struct {
	next    bool // ask the next passdb
	verdict verdict
}

type verdict int

const (
	keep verdict = iota
	succeed
	fail
)

var rules = map[string]rule{
	"return":        {},
	"return-ok":     {verdict: succeed},
	"return-fail":   {verdict: fail},
	"continue":      {next: true},
	"continue-ok":   {next: true, verdict: succeed},
	"continue-fail": {next: true, verdict: fail},
}

// entry is one opened passdb block.
type entry struct {
	conf.Passdb
	driver                     passdb.Driver
	verifier                   passdb.Verifier          // nil when the stored password is compared here
	challenger                 passdb.ChallengeVerifier // nil when answers to challenges are judged here
	success, failure, internal rule
	defaults, overrides        []fieldTemplate
	answers                    []fieldTemplate // fields that go with the driver's answer
	mechanisms                 []string
	users                      userFilter
	vars                       []string // what answers depend on; nil: they are never cached
	unshared                   bool     // answers may depend on more: equal questions are not merged
	id                         int      // %!
	health                     health
}

func (a *Authenticator) openEntry(p conf.Passdb) (*entry, error) {
	e := &entry{Passdb: p, mechanisms: fields(strings.ToUpper(p.Mechanisms), " ,"), users: userFilter(fields(p.UsernameFilter, " ,"))}
	if e.Name == "" {
		e.Name = p.Driver
	}
	success := orElse(p.ResultSuccess, "return-ok")
	if p.Pass {
		if success != "return-ok" {
			return nil, blockError(p, "Obsolete pass=yes setting mixed with non-default result_success")
		}
		success = "continue"
	}
	for _, r := range []struct {
		to          *rule
		name, value string
	}{
		{&e.success, "result_success", success},
		{&e.failure, "result_failure", orElse(p.ResultFailure, "continue")},
		{&e.internal, "result_internalfail", orElse(p.ResultInternalfail, "continue")},
	} {
		v, ok := rules[r.value]
		if !ok {
			return nil, blockError(p, fmt.Sprintf("Invalid %s value: %s", r.name, r.value))
		}
		*r.to = v
	}
	var err error
	if e.defaults, err = parseFieldTemplates(p.DefaultFields); err != nil {
		return nil, blockError(p, "default_fields: "+err.Error())
	}
	if e.overrides, err = parseFieldTemplates(p.OverrideFields); err != nil {
		return nil, blockError(p, "override_fields: "+err.Error())
	}
	for _, f := range p.Answers {
		t, err := conf.ParseTemplate(f[1], conf.AuthLetters)
		if err != nil {
			return nil, blockError(p, "fields { "+f[0]+" }: "+err.Error())
		}
		e.answers = append(e.answers, fieldTemplate{f[0], t})
	}
	factory := a.drivers[p.Driver]
	if factory == nil {
		return nil, blockError(p, "Unknown passdb driver '"+p.Driver+"'")
	}
	if e.driver, err = factory(p); err != nil {
		return nil, err
	}
	if r, ok := e.driver.(passdb.Reporter); ok {
		r.SetReport(func(text string) {
			a.events.Emit(event.Notice{Level: event.Error, Source: "auth", Text: text})
		})
	}
	if l, ok := e.driver.(passdb.Talker); ok {
		l.SetLog(func(level passdb.Level, text string) {
			a.events.Emit(event.Notice{Level: levels[level], Source: "auth", Text: event.Clean(text, 1024)})
		})
	}
	e.verifier, _ = e.driver.(passdb.Verifier)
	e.challenger, _ = e.driver.(passdb.ChallengeVerifier)
	_, e.unshared = e.driver.(passdb.Unshared)
	e.id = a.number(p)
	if c, ok := e.driver.(passdb.Cacheable); ok && !p.NoCache {
		e.vars = append([]string{}, c.CacheVars()...)
		for _, f := range e.answers {
			for _, name := range f.value.Names() {
				if !strings.HasPrefix(name, "passdb:") {
					e.vars = append(e.vars, name)
				}
			}
		}
	}
	return e, nil
}

// levels are the log's names for those of drivers.
var levels = map[passdb.Level]event.Level{
	passdb.Debug: event.Debug, passdb.Info: event.Info, passdb.Warning: event.Warning, passdb.Error: event.Error,
}

// number counts passdbs from 1, as Dovecot does for %!: blocks with the same driver and args are one.
func (a *Authenticator) number(p conf.Passdb) int {
	key := p.Driver + "\x00" + p.Args
	if n, seen := a.ids[key]; seen && p.SQL == nil && p.LDAP == nil && p.OAuth2 == nil && p.HTTP == nil && p.Lua == nil {
		return n
	}
	a.passdbs++
	a.ids[key] = a.passdbs
	return a.passdbs
}

// blockError is a mistake in a passdb block, in Dovecot's words and with its place.
func blockError(p conf.Passdb, text string) error {
	if p.File == "" {
		return errors.New(text)
	}
	return fmt.Errorf("%s (passdb in %s line %d)", text, p.File, p.Line)
}

// lookups tells whether users can be looked up without their password.
func (e *entry) lookups() bool {
	_, only := e.driver.(passdb.VerifyOnly)
	return !only
}

// accepts tells whether the block's filters let a mechanism and a user through. The mechanism of
// lookups without one is "none".
func (e *entry) accepts(mech, user string) bool {
	if mech == "" {
		mech = "NONE"
	}
	if len(e.mechanisms) > 0 {
		found := false
		for _, m := range e.mechanisms {
			found = found || m == mech
		}
		if !found {
			return false
		}
	}
	return e.users.accepts(user)
}

// userFilter is a list of wildcard patterns; those after "!" exclude.
type userFilter []string

func (f userFilter) accepts(user string) bool {
	includes, matched := false, false
	for _, pattern := range f {
		if not, ok := strings.CutPrefix(pattern, "!"); ok {
			if wildcard(not, user) {
				return false
			}
			continue
		}
		includes = true
		matched = matched || wildcard(pattern, user)
	}
	return matched || !includes
}

// wildcard matches * and ?; the time is bounded by len(pattern)*len(s).
func wildcard(pattern, s string) bool {
	p, i := 0, 0
	star, mark := -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
