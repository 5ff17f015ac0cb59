package lua

import (
	"encoding/base64"
	"strings"
	"time"

	lua "github.com/yuin/gopher-lua"

	"dproxy/passdb"
)

// The levels of the log.
const (
	levelDebug   = passdb.Debug
	levelInfo    = passdb.Info
	levelWarning = passdb.Warning
	levelError   = passdb.Error
)

// The results of auth_passdb_lookup and auth_password_verify (Dovecot 2.3, src/auth/passdb.h).
const (
	resultInternalFailure = -1
	resultScheme          = -2
	resultUnknown         = -3
	resultDisabled        = -4
	resultExpired         = -5
	resultNext            = -6
	resultMismatch        = 0
	resultOK              = 1
)

var constants = map[string]int{
	"PASSDB_RESULT_INTERNAL_FAILURE": resultInternalFailure, "PASSDB_RESULT_SCHEME_NOT_AVAILABLE": resultScheme,
	"PASSDB_RESULT_USER_UNKNOWN": resultUnknown, "PASSDB_RESULT_USER_DISABLED": resultDisabled,
	"PASSDB_RESULT_PASS_EXPIRED": resultExpired, "PASSDB_RESULT_NEXT": resultNext,
	"PASSDB_RESULT_PASSWORD_MISMATCH": resultMismatch, "PASSDB_RESULT_OK": resultOK,
	"USERDB_RESULT_INTERNAL_FAILURE": -1, "USERDB_RESULT_USER_UNKNOWN": -2, "USERDB_RESULT_OK": 1,
}

// openDovecot makes the table "dovecot".
func (s *state) openDovecot() {
	t, auth, b64 := s.l.NewTable(), s.l.NewTable(), s.l.NewTable()
	for name, n := range constants {
		auth.RawSetString(name, lua.LNumber(n))
	}
	s.register(b64, map[string]lua.LGFunction{"encode": encode64, "decode": decode64})
	s.register(t, map[string]lua.LGFunction{
		"i_debug": s.logs(levelDebug), "i_info": s.logs(levelInfo), "i_warning": s.logs(levelWarning), "i_error": s.logs(levelError),
		"event":    func(l *lua.LState) int { l.Push(s.event(s.script.log.write)); return 1 },
		"has_flag": flagFunction(func(v, f int64) lua.LValue { return lua.LBool(v&f == f) }),
		"set_flag": flagFunction(func(v, f int64) lua.LValue { return lua.LNumber(v | f) }), "clear_flag": flagFunction(func(v, f int64) lua.LValue { return lua.LNumber(v &^ f) }),
		"restrict_global_variables": s.restrictGlobals,
		"gettimeofday":              func(l *lua.LState) int { return now(l, 1e6) },
		"tabescape":                 func(l *lua.LState) int { l.Push(lua.LString(tabEscaper.Replace(l.CheckString(1)))); return 1 },
		"tabunescape":               func(l *lua.LState) int { l.Push(lua.LString(tabUnescape(l.CheckString(1)))); return 1 },
		"split_tabescaped":          splitTabEscaped,
	})
	t.RawSetString("auth", auth)
	t.RawSetString("base64", b64)
	s.l.SetGlobal("dovecot", t)
}

func (s *state) logs(level passdb.Level) lua.LGFunction {
	return func(l *lua.LState) int {
		s.script.log.write(level, l.CheckString(1))
		return 0
	}
}

// event makes an event object. What it does not do here it takes silently: there are no such events to add to.
func (s *state) event(write func(passdb.Level, string)) *lua.LTable {
	t := s.l.NewTable()
	prefix := ""
	self := func(f func(l *lua.LState)) lua.LGFunction {
		return func(l *lua.LState) int {
			if f != nil {
				f(l)
			}
			l.Push(t)
			return 1
		}
	}
	functions := map[string]lua.LGFunction{
		"append_log_prefix":  self(func(l *lua.LState) { prefix = l.CheckString(2) }),
		"replace_log_prefix": self(func(l *lua.LState) { prefix = l.CheckString(2) }),
	}
	for _, name := range []string{
		"set_always_log_source", "set_forced_debug", "unset_forced_debug", "set_name", "add_str", "add_int", "add_timeval", "inc_int", "passthrough_event",
	} {
		functions[name] = self(nil)
	}
	for name, level := range logMethods {
		functions[name] = self(func(l *lua.LState) { write(level, prefix+l.CheckString(2)) })
	}
	s.register(t, functions)
	return t
}

var logMethods = map[string]passdb.Level{
	"log_debug": levelDebug, "log_info": levelInfo, "log_warning": levelWarning, "log_error": levelError,
}

func flagFunction(f func(value, flag int64) lua.LValue) lua.LGFunction {
	return func(l *lua.LState) int {
		l.Push(f(l.CheckInt64(1), l.CheckInt64(2)))
		return 1
	}
}

// restrictGlobals forbids to read or write global variables that do not exist; functions may be defined.
func (s *state) restrictGlobals(l *lua.LState) int {
	meta := l.NewTable()
	if l.ToBool(1) {
		s.register(meta, map[string]lua.LGFunction{
			"__index": func(l *lua.LState) int {
				l.RaiseError("attempt to write to read undeclared global variable %s", l.Get(2).String())
				return 0
			},
			"__newindex": func(l *lua.LState) int {
				f, ok := l.Get(3).(*lua.LFunction)
				if !ok {
					l.RaiseError("attempt to write to undeclared global variable %s", l.Get(2).String())
				}
				l.G.Global.RawSet(l.Get(2), f)
				return 0
			},
		})
	}
	l.SetMetatable(l.G.Global, meta)
	return 0
}

func now(l *lua.LState, unit float64) int {
	l.Push(lua.LNumber(float64(time.Now().UnixMicro()) / unit))
	return 1
}

func encode64(l *lua.LState) int {
	l.Push(lua.LString(base64.StdEncoding.EncodeToString([]byte(l.CheckString(1)))))
	return 1
}

func decode64(l *lua.LState) int {
	raw, err := base64.StdEncoding.DecodeString(l.CheckString(1))
	if err != nil {
		l.RaiseError("Invalid base64 encoded data")
	}
	l.Push(lua.LString(raw))
	return 1
}

var (
	tabEscaper   = strings.NewReplacer("\x01", "\x011", "\t", "\x01t", "\r", "\x01r", "\n", "\x01n", "\x00", "\x010")
	tabUnescaper = strings.NewReplacer("\x011", "\x01", "\x01t", "\t", "\x01r", "\r", "\x01n", "\n", "\x010", "\x00")
)

func tabUnescape(text string) string { return tabUnescaper.Replace(text) }

func splitTabEscaped(l *lua.LState) int {
	t := l.NewTable()
	for part := range strings.SplitSeq(l.CheckString(1), "\t") {
		t.Append(lua.LString(tabUnescape(part)))
	}
	l.Push(t)
	return 1
}
