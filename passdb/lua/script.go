package lua

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	lua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/parse"

	"dproxy/conf"
)

const (
	maxScript = 4 << 20 // bytes of one file
	// The stack of calls, and that of values, which grows in steps.
	callStack, valueStack, valueStep, maxValueStack = 200, 1 << 10, 16 << 10, 256 << 10
	// deinitTime bounds script_deinit.
	deinitTime = time.Second
	// maxTemplates bounds how many texts of var_expand are kept parsed.
	maxTemplates = 64
)

// script is a compiled script.
type script struct {
	name  string
	dir   string // of further files; "" when the script is none
	proto *lua.FunctionProto
	init  [][2]string
	dialect
	log *lines
}

// load reads and compiles a script.
func load(set settings, log *lines) (*script, error) {
	s := &script{name: set.file, init: set.init, dialect: set.dialect, log: log}
	text := []byte(set.text)
	if set.file != "" {
		s.dir = set.file[:strings.LastIndexByte(set.file, '/')+1]
		if s.dir == "" {
			s.dir = "./"
		}
		var err error
		if text, err = readFile(set.file); err != nil {
			return nil, err
		}
	} else {
		s.name = "<string>"
	}
	var err error
	s.proto, err = compile(text, s.name)
	return s, err
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("access(%s) failed: %s", path, reason(err))
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxScript+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read(%s) failed: %s", path, reason(err))
	case len(text) > maxScript:
		return nil, fmt.Errorf("lua_load(%s) failed: the file is larger than %d MB", path, maxScript>>20)
	}
	return text, nil
}

// reason is the system's word for an error, with a capital as C writes it.
func reason(err error) string {
	var pe *os.PathError
	text := err.Error()
	if errors.As(err, &pe) {
		text = pe.Err.Error()
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

func compile(text []byte, name string) (*lua.FunctionProto, error) {
	if bytes.HasPrefix(text, []byte("#")) { // "#!/usr/bin/lua"
		text = append([]byte("--"), text...)
	}
	failed := func(err error) error {
		var pe *parse.Error
		if !errors.As(err, &pe) {
			return fmt.Errorf("lua_load(%s) failed: %s", name, strings.TrimSpace(err.Error()))
		}
		if pe.Pos.Line <= 0 {
			return fmt.Errorf("lua_load(%s) failed: %s: %s near the end", name, name, pe.Message)
		}
		return fmt.Errorf("lua_load(%s) failed: %s:%d: %s near '%s'", name, name, pe.Pos.Line, pe.Message, pe.Token)
	}
	chunk, err := parse.Parse(bytes.NewReader(text), name)
	if err != nil {
		return nil, failed(err)
	}
	proto, err := lua.Compile(chunk, name)
	if err != nil {
		return nil, failed(err)
	}
	return proto, nil
}

// state is one interpreter that has run the script. One goroutine uses it at a time.
type state struct {
	l       *lua.LState
	script  *script
	current *call // the question that is asked
	request requestTables
	// templates are texts of var_expand; loaded are the results of require.
	templates map[string]*conf.Template
	loaded    map[string]lua.LValue
}

// start makes an interpreter, runs the script in it and calls script_init.
func (sc *script) start() (*state, error) {
	s := &state{
		script: sc, templates: map[string]*conf.Template{}, loaded: map[string]lua.LValue{},
		l: lua.NewState(lua.Options{
			CallStackSize: callStack, RegistrySize: valueStack, RegistryGrowStep: valueStep, RegistryMaxSize: maxValueStack,
			SkipOpenLibs: true, MinimizeStackMemory: true,
		}),
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	s.openLibraries()
	s.openDovecot()
	s.openRequest()
	if err := s.call(ctx, s.l.NewFunctionFromProto(sc.proto), 0); err != nil {
		s.l.Close()
		return nil, fmt.Errorf("lua_pcall(%s) failed: %w", sc.name, err)
	}
	if err := s.initialise(ctx); err != nil {
		s.l.Close()
		return nil, err
	}
	return s, nil
}

// initialise calls script_init. That of 2.3 says 0 when all is well, that of 2.4 gets lua_settings.
func (s *state) initialise(ctx context.Context) error {
	f, ok := s.function("script_init")
	if !ok {
		return nil
	}
	if s.script.dialect == dialect24 {
		t := s.l.NewTable()
		for _, x := range s.script.init {
			t.RawSetString(x[0], lua.LString(x[1]))
		}
		if err := s.call(ctx, f, 0, t); err != nil {
			return fmt.Errorf("lua_pcall(script_init, 1, 0) failed: %w", err)
		}
		return nil
	}
	if err := s.call(ctx, f, 1); err != nil {
		return fmt.Errorf("lua_pcall(script_init, 0, 1) failed: %w", err)
	}
	defer s.l.SetTop(0)
	n, ok := s.l.Get(1).(lua.LNumber)
	switch {
	case !ok || n != lua.LNumber(int64(n)):
		return errors.New("script_init() returned non-number")
	case n != 0:
		return errors.New("Script init failed")
	}
	return nil
}

// end calls script_deinit, unless the interpreter was stopped in the middle of something.
func (s *state) end(sound bool) {
	if f, ok := s.function("script_deinit"); ok && sound {
		ctx, cancel := context.WithTimeout(context.Background(), deinitTime)
		defer cancel()
		if err := s.call(ctx, f, 0); err != nil {
			s.script.log.write(levelError, "script_deinit() failed: "+err.Error())
		}
	}
	s.l.Close()
}

func (s *state) function(name string) (*lua.LFunction, bool) {
	g, ok := s.l.Get(lua.GlobalsIndex).(*lua.LTable)
	if !ok {
		return nil, false
	}
	f, ok := g.RawGetString(name).(*lua.LFunction)
	return f, ok
}

func (s *state) has(function string) bool { _, ok := s.function(function); return ok }

// call calls a function whose results are the whole stack then. An error leaves the stack empty.
func (s *state) call(ctx context.Context, f *lua.LFunction, results int, args ...lua.LValue) (err error) {
	s.l.SetContext(ctx)
	defer s.l.RemoveContext()
	s.l.SetTop(0)
	err = s.l.CallByParam(lua.P{Fn: f, NRet: results, Protect: true}, args...)
	if err != nil {
		s.l.SetTop(0)
		return scriptError{err}
	}
	return nil
}

// text calls a function that answers with a text.
func (s *state) text(ctx context.Context, function string) (string, error) {
	f, _ := s.function(function)
	if err := s.call(ctx, f, 1); err != nil {
		return "", err
	}
	defer s.l.SetTop(0)
	v, ok := s.l.Get(1).(lua.LString)
	if !ok {
		return "", fmt.Errorf("db-lua: %s invalid return value (expected string, got %s)", function, s.l.Get(1).Type())
	}
	return string(v), nil
}

// scriptError is an error that was raised in a script, without the stack trace.
type scriptError struct{ err error }

func (e scriptError) Error() string {
	var ae *lua.ApiError
	if !errors.As(e.err, &ae) {
		return e.err.Error()
	}
	if ae.Object == nil || ae.Object == lua.LNil {
		return "(null)"
	}
	if _, ok := ae.Object.(*lua.LTable); ok {
		return "(error object is a table)"
	}
	return ae.Object.String()
}
