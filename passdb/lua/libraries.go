package lua

import (
	"strings"

	lua "github.com/yuin/gopher-lua"
)

// maxRepeat bounds the result of string.rep, in bytes.
const maxRepeat = 1 << 20

// openLibraries opens what a script may use: nothing that reads, writes or runs, except require for files
// beside the script.
func (s *state) openLibraries() {
	for _, lib := range []struct {
		name string
		open lua.LGFunction
	}{
		{lua.BaseLibName, lua.OpenBase},
		{lua.StringLibName, lua.OpenString},
		{lua.TabLibName, lua.OpenTable},
		{lua.MathLibName, lua.OpenMath},
		{lua.CoroutineLibName, lua.OpenCoroutine},
		{lua.OsLibName, lua.OpenOs},
		{lua.DebugLibName, lua.OpenDebug},
	} {
		s.l.Push(s.l.NewFunction(lib.open))
		s.l.Push(lua.LString(lib.name))
		s.l.Call(1, 0)
	}
	for _, name := range []string{"dofile", "loadfile", "module", "newproxy", "_printregs"} {
		s.l.SetGlobal(name, lua.LNil)
	}
	s.register(s.l.G.Global, map[string]lua.LGFunction{
		"collectgarbage": func(l *lua.LState) int { l.Push(lua.LNumber(0)); return 1 },
		"print":          func(*lua.LState) int { return 0 }, // Dovecot's standard output leads nowhere
		"require":        s.require,
	})
	s.only(lua.OsLibName, "clock", "date", "difftime", "time")
	s.only(lua.DebugLibName, "getinfo", "traceback")
	s.only("io")
	if t, ok := s.l.GetGlobal(lua.StringLibName).(*lua.LTable); ok {
		s.register(t, map[string]lua.LGFunction{"rep": repeat})
	}
}

func (s *state) register(t *lua.LTable, functions map[string]lua.LGFunction) {
	for name, f := range functions {
		t.RawSetString(name, s.l.NewFunction(f))
	}
}

// only replaces a library by one that has the named functions and says so when asked for others.
func (s *state) only(library string, names ...string) {
	old, _ := s.l.GetGlobal(library).(*lua.LTable)
	t := s.l.NewTable()
	for _, name := range names {
		t.RawSetString(name, old.RawGetString(name))
	}
	meta := s.l.NewTable()
	s.register(meta, map[string]lua.LGFunction{"__index": func(l *lua.LState) int {
		l.RaiseError("%s.%s is not available to the script of a passdb", library, l.Get(2).String())
		return 0
	}})
	s.l.SetMetatable(t, meta)
	s.l.SetGlobal(library, t)
}

func repeat(l *lua.LState) int {
	text, n := l.CheckString(1), l.CheckInt(2)
	switch {
	case n <= 0 || text == "":
		text = ""
	case n > maxRepeat/len(text):
		l.RaiseError("string.rep: the result would be longer than %d bytes", maxRepeat)
	default:
		text = strings.Repeat(text, n)
	}
	l.Push(lua.LString(text))
	return 1
}

// require runs NAME.lua in the script's directory once and returns what it returns; "a.b" is a/b.lua.
func (s *state) require(l *lua.LState) int {
	name := l.CheckString(1)
	if v, ok := s.loaded[name]; ok {
		l.Push(v)
		return 1
	}
	if s.script.dir == "" || !moduleName(name) {
		l.RaiseError("module '%s' not found: only files beside the script can be required", name)
	}
	text, err := readFile(s.script.dir + strings.ReplaceAll(name, ".", "/") + ".lua")
	if err != nil {
		l.RaiseError("module '%s' not found: %s", name, err.Error())
	}
	proto, err := compile(text, name+".lua")
	if err != nil {
		l.RaiseError("module '%s': %s", name, err.Error())
	}
	s.loaded[name] = lua.LTrue // for modules that require each other
	l.Push(l.NewFunctionFromProto(proto))
	l.Push(lua.LString(name))
	l.Call(1, 1)
	if v := l.Get(-1); v != lua.LNil {
		s.loaded[name] = v
	} else {
		l.Pop(1)
		l.Push(lua.LTrue)
	}
	return 1
}

// moduleName tells whether a name leads to a file below the script's directory.
func moduleName(name string) bool {
	for part := range strings.SplitSeq(name, ".") {
		if part == "" {
			return false
		}
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		return r != '.' && r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
}
