package conf

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// The rest of the program has one syntax of templates, that of 2.3 with two additions which stand for
// what 2.3 cannot express: %{|PIPELINE} is a pipeline of 2.4, and %{|#HEX} and %{|=HEX} are a pipeline
// and a text that go through lists of words unharmed.

// names23 are the variables of 2.4 that have another name in 2.3, and those with a letter that
// matters.
var names23 = map[string]string{
	"user": "user", "protocol": "service", "local_ip": "lip", "remote_ip": "rip", "client_pid": "pid",
	"mechanism": "mech", "local_port": "lport", "remote_port": "rport", "real_local_ip": "real_lip",
	"real_remote_ip": "real_rip", "real_local_port": "real_lport", "real_remote_port": "real_rport",
	"original_user": "orig_user", "owner_user": "user",
}

// sameNames are the variables of 2.4 that 2.3 has by the same name.
var sameNames = []string{
	"home", "password", "id", "secured", "cert", "login_user", "session", "domain_first", "domain_last", "master_user", "session_pid",
	"auth_user", "local_name", "client_id", "mail_pid", "listener", "ssl_security", "message", "elements",
}

// userParts are the user name variables of 2.3 by those of 2.4 and the filter that takes a part.
var userParts = map[string]map[string]string{
	"user":          {"username": "n", "domain": "d"},
	"original_user": {"username": "orig_username", "domain": "orig_domain"},
	"auth_user":     {"username": "auth_username", "domain": "auth_domain"},
	"login_user":    {"username": "login_username", "domain": "login_domain"},
}

// absent24 are what 2.4 has and there is nothing to answer with.
var absent24 = []string{"ssl_ja3", "ssl_ja3_hash", "ssl_client_cert_fp", "ssl_client_cert_pubkey_fp"}

// providers23 are the prefixes of variables that answer with fields. In 2.4 the answer of a database
// has a prefix of its own.
var providers23 = map[string]string{
	"passdb": "passdb", "userdb": "userdb", "ldap": "ldap", "sql": "passdb", "passwd_file": "passdb", "lua": "passdb",
	"oauth2": "oauth2",
}

// pieces24 calls fn with the literal texts and the pipelines of a template in order.
func pieces24(text string, fn func(text string, pipeline bool) error) error {
	for text != "" {
		i := strings.IndexByte(text, '%')
		if i < 0 {
			i = len(text)
		}
		lit, rest := text[:i], text[i:]
		var err error
		switch {
		case strings.HasPrefix(rest, "%%{"):
			lit, rest = lit+"%{", rest[3:]
		case strings.HasPrefix(rest, "%{"):
			var in string
			if in, rest, err = cutPipeline(rest[2:]); err != nil {
				return err
			}
			if lit != "" {
				err = fn(lit, false)
			}
			if lit = ""; err == nil {
				err = fn(in, true)
			}
		case rest != "":
			lit, rest = lit+"%", rest[1:]
		}
		if lit != "" && err == nil {
			err = fn(lit, false)
		}
		if err != nil {
			return err
		}
		text = rest
	}
	return nil
}

// syntax24 tells what is wrong with the syntax of a template.
func syntax24(text string) error {
	return pieces24(text, func(in string, pipeline bool) error {
		if !pipeline {
			return nil
		}
		_, err := parsePipeline(in)
		return err
	})
}

// template23 writes a 2.4 template in the program's syntax.
func template23(text string) (string, error) { return translate24(text, false, false) }

// word23 is template23 for a place in a list: the result has no blanks and commas.
func word23(text string) (string, error) { return translate24(text, true, true) }

// words23 is template23 for a list of templates with blanks between them.
func words23(text string) (string, error) { return translate24(text, true, false) }

// translate24 writes a template. seal keeps blanks out of the pipelines, and blanks out of the text too.
func translate24(text string, seal, blanks bool) (string, error) {
	var b strings.Builder
	err := pieces24(text, func(in string, pipeline bool) error {
		if !pipeline {
			if blanks && strings.ContainsAny(in, " \t,") {
				in = "%{|=" + hex.EncodeToString([]byte(in)) + "}"
			} else {
				in = strings.ReplaceAll(in, "%", "%%")
			}
			b.WriteString(in)
			return nil
		}
		stages, err := parsePipeline(in)
		if err == nil {
			err = checkStages(stages)
		}
		if err != nil {
			return fmt.Errorf("%%{%s}: %w", in, err)
		}
		if v, ok := plain23(stages); ok {
			b.WriteString(v)
			return nil
		}
		if seal || strings.ContainsAny(in, `{}\\`) {
			in = "#" + hex.EncodeToString([]byte(in))
		}
		b.WriteString("%{|" + in + "}")
		return nil
	})
	return b.String(), err
}

// plain23 writes what 2.3 has a form for: a variable, a part of a user's name, and the letters that
// change one. The login log looks for these forms.
func plain23(stages []stage24) (string, bool) {
	if len(stages) == 0 || len(stages[0].args)+len(stages[0].named) > 0 {
		return "", false
	}
	v := variable23{name: stages[0].name}
	stages = stages[1:]
	provider, key, isProvider := strings.Cut(v.name, ":")
	switch {
	case isProvider && providers23[provider] != "":
		v.name = providers23[provider] + ":" + key
	case len(stages) > 0 && userParts[v.name][stages[0].name] != "":
		v.name = userParts[v.name][stages[0].name]
		stages = stages[1:]
	case names23[v.name] != "":
		v.name = names23[v.name]
	case !slices.Contains(sameNames, v.name):
		return "", false
	}
	for _, s := range stages {
		if !v.apply(s) {
			return "", false
		}
	}
	return v.String(), true
}

// variable23 is a variable of 2.3 with its letters.
type variable23 struct{ name, letters string }

// String writes the variable. The user's name has its letter, as the login log looks for it.
func (v variable23) String() string {
	name := v.name
	switch name {
	case "message":
		return "%$"
	case "elements":
		return "%s"
	case "user":
		name = "u"
	}
	if len(name) > 1 {
		name = "{" + name + "}"
	}
	return "%" + v.letters + name
}

// apply adds one filter, if 2.3 has it.
func (v *variable23) apply(s stage24) bool {
	switch s.name {
	case "lower":
		v.letters += "L"
	case "upper":
		v.letters += "U"
	case "reverse":
		v.letters += "R"
	case "default":
		return len(s.args) == 0 || s.args[0].kind == text24 && s.args[0].text == ""
	default:
		return false
	}
	return len(v.letters) <= maxModifiers
}

// usesSafe tells whether a template asks for values that are not escaped.
func usesSafe(text string) bool {
	found := false
	_ = pieces24(text, func(in string, pipeline bool) error {
		if pipeline {
			stages, _ := parsePipeline(in)
			found = found || slices.ContainsFunc(stages, func(s stage24) bool { return s.name == "safe" })
		}
		return nil
	})
	return found
}

// sealed is a piece of a template in one of the forms that the program adds to those of 2.3: text is
// what stands behind the bar.
func (p *templateParser) sealed(text string) piece {
	body := text
	if coded, ok := strings.CutPrefix(text, "="); ok {
		if b, err := hex.DecodeString(coded); err == nil {
			return piece{text: string(b)}
		}
	} else if coded, ok := strings.CutPrefix(text, "#"); ok {
		if b, err := hex.DecodeString(coded); err == nil {
			body = string(b)
		}
	}
	stages, err := parsePipeline(body)
	if err == nil {
		err = checkStages(stages)
	}
	if err != nil {
		return piece{source: &failure{err: fmt.Errorf("%%{%s}: %w", body, err)}}
	}
	return piece{source: p.pipeline(stages)}
}
