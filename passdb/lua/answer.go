package lua

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"dproxy/passdb"
	"dproxy/passdb/scheme"
)

const (
	// maxFields and maxField bound what a script may answer: the number of fields, and the bytes of one.
	maxFields, maxField = 1000, 64 << 10
)

// statuses are the verdicts by the numbers that scripts know them by.
var statuses = map[int]passdb.Status{
	resultScheme: passdb.SchemeNotAvailable, resultUnknown: passdb.Unknown, resultDisabled: passdb.Disabled,
	resultExpired: passdb.Expired, resultNext: passdb.Next, resultMismatch: passdb.Mismatch, resultOK: passdb.OK,
}

// ask calls the function that answers a question.
func (s *state) ask(ctx context.Context, c *call, function string, d *driver) (res passdb.Result, err error) {
	f, ok := s.function(function)
	if !ok {
		return res, fmt.Errorf("'%s' is not a function", function)
	}
	s.current = c
	defer func() { s.current = nil }()
	args, name := []lua.LValue{s.object(c)}, function+"(req)"
	if c.verify {
		args, name = append(args, lua.LString(c.password)), function
	}
	if err := s.call(ctx, f, 2, args...); err != nil {
		return res, fmt.Errorf("lua_pcall(%s, %d, 2) failed: %w", function, len(args), err)
	}
	defer s.l.SetTop(0)
	a := answer{verify: c.verify, nopassword: c.r.Fields != nil && c.r.Fields.Has("nopassword")}
	a.res.DefaultScheme = "PLAIN"
	if err := a.read(s.l.Get(1), s.l.Get(2), d.dialect); err != nil {
		var w wrong
		if errors.As(err, &w) {
			return res, fmt.Errorf("db-lua: %s %w", name, err)
		}
		return res, err
	}
	if _, table := s.l.Get(2).(*lua.LTable); table {
		a.res.DefaultScheme = d.scheme
	}
	a.res.NoCache = c.beyond || d.uncached
	a.judge()
	return a.res, nil
}

// wrong is a return value of a type that is not expected.
type wrong string

func (w wrong) Error() string { return string(w) }

// answer turns what a script returned into a Result.
type answer struct {
	res        passdb.Result
	verify     bool // the script has judged the password
	nopassword bool
}

// read takes the two return values.
func (a *answer) read(first, second lua.LValue, d dialect) error {
	n, err := number(first)
	if err != nil {
		return err
	}
	text, isText := second.(lua.LString)
	if x, ok := second.(lua.LNumber); ok {
		text, isText = lua.LString(x.String()), true
	}
	table, isTable := second.(*lua.LTable)
	if !isText && !isTable && (second != lua.LNil || d == dialect23) {
		return wrong("invalid return value (expected string or table, got " + second.Type().String() + ")")
	}
	status, known := statuses[n]
	switch {
	case n == resultInternalFailure && isText && text != "":
		return errors.New(string(text))
	case n == resultInternalFailure:
		return errors.New("passdb failed")
	case !known:
		return fmt.Errorf("invalid result %d; see dovecot.auth.PASSDB_RESULT_*", n)
	}
	a.res.Status = status
	switch {
	case status == passdb.OK && isTable:
		return a.table(table)
	case (status == passdb.OK || status == passdb.Next) && isText:
		return a.words(string(text))
	}
	return nil // the text of a failure is for nobody
}

// number reads a result as lua_isnumber and lua_tointeger do.
func number(v lua.LValue) (int, error) {
	switch v := v.(type) {
	case lua.LNumber:
		if n := int(v); lua.LNumber(n) == v {
			return n, nil
		}
		return 0, fmt.Errorf("invalid result %s; see dovecot.auth.PASSDB_RESULT_*", v.String())
	case lua.LString:
		if n, err := strconv.Atoi(strings.TrimSpace(string(v))); err == nil {
			return n, nil
		}
	}
	return 0, wrong("invalid return value (expected number got " + v.Type().String() + ")")
}

// words takes the fields of a text "a=b c=d".
func (a *answer) words(text string) error {
	for word := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ' ' }) {
		name, value, _ := strings.Cut(word, "=")
		if err := a.set(name, value); err != nil {
			return err
		}
	}
	return nil
}

// table takes the fields of a table.
func (a *answer) table(t *lua.LTable) (err error) {
	t.ForEach(func(k, v lua.LValue) {
		if err != nil {
			return
		}
		name, ok := k.(lua.LString)
		if !ok {
			err = fmt.Errorf("the answer has a field whose name is a %s", k.Type())
			return
		}
		switch v := v.(type) {
		case lua.LString:
			err = a.set(string(name), string(v))
		case lua.LNumber:
			err = a.set(string(name), v.String())
		case lua.LBool:
			err = a.set(string(name), map[bool]string{true: "yes", false: "no"}[bool(v)])
		default:
			a.warn("db-lua: '" + string(name) + "' has invalid value type " + v.Type().String() + " - ignoring")
		}
	})
	return err
}

func (a *answer) warn(text string) { a.res.Warnings = append(a.res.Warnings, text) }

func (a *answer) set(name, value string) error {
	switch {
	case name == "":
		a.warn("db-lua: Field key cannot be empty - ignoring")
		return nil
	case strings.ContainsAny(name, "\t\r\n\x00"):
		a.warn("db-lua: Field key cannot contain <CR>, <LF> or <TAB> - ignoring")
		return nil
	case len(name)+len(value) > maxField || len(a.res.Fields) >= maxFields:
		return fmt.Errorf("the answer has more than %d fields, or one longer than %d bytes", maxFields, maxField)
	case name == "password":
		a.res.Password, a.res.HasPassword = passdb.Secret(value), true
		return nil
	case name == "nopassword":
		if a.nopassword = true; a.verify {
			return nil // the password has been judged, and a cached answer must not accept others
		}
	}
	a.res.Fields = append(a.res.Fields, passdb.Field{Name: name, Value: value})
	return nil
}

// judge applies the driver's own rules about passwords: an empty one is none, and one beside nopassword is a failure.
func (a *answer) judge() {
	if a.verify {
		a.res.Password, a.res.HasPassword = "", false
		return
	}
	if a.res.Status != passdb.OK || !a.res.HasPassword {
		return
	}
	switch empty := scheme.Split(string(a.res.Password), "PLAIN").Data == ""; {
	case empty:
		a.res.Password, a.res.HasPassword = "", false
	case a.nopassword:
		a.res = passdb.Result{
			Status: passdb.Mismatch, Detail: "nopassword given and password is not empty", NoCache: a.res.NoCache, Warnings: a.res.Warnings,
		}
	}
}
