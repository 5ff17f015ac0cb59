package conf

import (
	"os"
	"runtime"
	"strconv"
	"strings"
)

// placeholder is what Dovecot puts in place of an unknown variable.
const placeholder = "UNSUPPORTED_VARIABLE_"

// constant is a value that is known when the template is parsed.
type constant string

func (c constant) value(Vars) (string, error) { return string(c), nil }
func (c constant) names(func(string))         {}

// failure is a mistake in the template, told whenever it is expanded.
type failure struct {
	text string
	err  error
}

func (f *failure) value(Vars) (string, error) { return f.text, f.err }
func (f *failure) names(func(string))         {}

func unknown(name string) *failure {
	return &failure{text: placeholder + name, err: &UnknownVariableError{Name: name}}
}

// variable asks Vars.
type variable struct {
	name     string // what Vars is asked
	written  string // for errors
	function string // "passdb:" of a function, else empty
	fallback string // a function's default
	orEmpty  bool   // no answer means empty
}

func (x *variable) value(v Vars) (string, error) {
	s, ok := v(x.name)
	if ok {
		return s, nil
	}
	if x.function != "" {
		if x.function == "passdb:" || x.function == "userdb:" {
			return x.fallback, nil
		}
		if _, known := v(x.function); known {
			return x.fallback, nil
		}
	} else if s, ok := builtin(x.name); ok {
		return s, nil
	}
	if x.orEmpty {
		return "", nil
	}
	return placeholder + x.written, &UnknownVariableError{Name: x.written}
}

func (x *variable) names(add func(string)) {
	switch x.name {
	case "hostname", "uid", "gid":
	default:
		add(x.name)
	}
}

// builtin answers the variables that every context has.
func builtin(name string) (string, bool) {
	switch name {
	case "pid":
		return strconv.Itoa(os.Getpid()), true
	case "uid":
		return strconv.Itoa(os.Geteuid()), true
	case "gid":
		return strconv.Itoa(os.Getegid()), true
	case "hostname":
		h, err := os.Hostname()
		return h, err == nil
	}
	return "", false
}

// system answers %{system:...}, which Dovecot has since 2.4.
func system(arg string) source {
	switch arg {
	case "cpu_count":
		return constant(strconv.Itoa(runtime.NumCPU()))
	case "hostname":
		if h, ok := builtin("hostname"); ok {
			return constant(h)
		}
	case "os":
		if runtime.GOOS == "linux" {
			return constant("Linux")
		}
		return constant(runtime.GOOS)
	case "os_version", "os-version":
		if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
			return constant(strings.TrimSpace(string(b)))
		}
	}
	return unknown("system")
}
