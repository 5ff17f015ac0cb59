package query

import (
	"fmt"
	"strings"
	"testing"
)

var (
	sqliteDialect = Dialect{Engine: SQLite, UTF8: true}
	pgDialect     = Dialect{Engine: PostgreSQL, ANSI: true, UTF8: true}
	pgOldDialect  = Dialect{Engine: PostgreSQL, ANSI: true, Backslash: true, UTF8: true}
	myDialect     = Dialect{Engine: MySQL, Backslash: true, UTF8: true}
	myPlain       = Dialect{Engine: MySQL, UTF8: true}
	myANSI        = Dialect{Engine: MySQL, Backslash: true, ANSI: true, UTF8: true}
)

// In these tests a variable is written as {value}.
func skeleton(query string) (string, []string) {
	var b strings.Builder
	var values []string
	for {
		before, rest, found := strings.Cut(query, "{")
		b.WriteString(before)
		if !found {
			return b.String(), values
		}
		value, after, _ := strings.Cut(rest, "}")
		b.WriteByte(Mark)
		values = append(values, value)
		query = after
	}
}

func TestPlan(t *testing.T) {
	for _, tt := range []struct {
		name, query string
		d           Dialect
		text        string
		args        []string
		fixed       bool
	}{
		{"a variable in quotes is a parameter", "SELECT p FROM u WHERE a = '{x}' AND b='{y}'", sqliteDialect, "SELECT p FROM u WHERE a = ?1 AND b=?2", []string{"x", "y"}, true},
		{"each server has its placeholders", "WHERE a = '{x}' AND b='{y}'", pgDialect, "WHERE a = $1 AND b=$2", []string{"x", "y"}, true},
		{"mysql's are question marks", "WHERE a = '{x}' AND b='{y}'", myDialect, "WHERE a = ? AND b=?", []string{"x", "y"}, true},
		{"text and variables in one string are one parameter", "SELECT '{n}@{d}' AS x", sqliteDialect, "SELECT ?1 AS x", []string{"n@d"}, true},
		{"a doubled quote is one", "WHERE a = 'it''s {x}'", sqliteDialect, "WHERE a = ?1", []string{"it's x"}, true},
		{"quotes in the value mean nothing", "WHERE a = '{x' OR '1'='1}'", pgDialect, "WHERE a = $1", []string{"x' OR '1'='1"}, true},
		{"a backslash is an ordinary byte", `WHERE a = 'a\b{x}'`, pgDialect, "WHERE a = $1", []string{`a\bx`}, true},
		{"or an escape", `WHERE a = 'a\'\\b\t\_{x}'`, myDialect, "WHERE a = ?", []string{"a'\\b\t\\_x"}, true},
		{"unless NO_BACKSLASH_ESCAPES is set", `WHERE a = 'a\' AND b = '{x}'`, myPlain, `WHERE a = 'a\' AND b = ?`, []string{"x"}, true},
		{"PostgreSQL's E strings", `WHERE a = E'\x41\102\u00e9\'{x}' AND b = 'x\'`, pgDialect, `WHERE a = $1 AND b = 'x\'`, []string{"ABé'x"}, true},
		{"standard_conforming_strings=off", `WHERE a = 'x\'{x}'`, pgOldDialect, `WHERE a = $1`, []string{"x'x"}, true},
		{"dollar quotes", "WHERE a = $q$it's {x}$q$ AND b = $$y$$", pgDialect, "WHERE a = $1 AND b = $$y$$", []string{"it's x"}, true},
		{"double quotes are strings in mysql", `WHERE a = "{x}"`, myDialect, "WHERE a = ?", []string{"x"}, true},
		{"and in sqlite where a value stands", `WHERE a = "{x}"`, sqliteDialect, "WHERE a = ?1", []string{"x"}, true},
		{"but names with ANSI_QUOTES", `SELECT a FROM "t_{x"y}"`, myANSI, `SELECT a FROM "t_x""y"`, nil, false},
		{"and in PostgreSQL", `SELECT a FROM "t_{x"y}"`, pgDialect, `SELECT a FROM "t_x""y"`, nil, false},
		{"and in sqlite where a name stands", `SELECT a FROM "t_{x"y}"`, sqliteDialect, `SELECT a FROM "t_x""y"`, nil, false},
		{"backticks", "SELECT a FROM `t_{x`y}`", myDialect, "SELECT a FROM `t_x``y`", nil, false},
		{"brackets", "SELECT a FROM [t_{x}]", sqliteDialect, "SELECT a FROM [t_x]", nil, false},
		{"a typed literal is written", "WHERE d > date '{it's}'", pgDialect, "WHERE d > date 'it''s'", nil, false},
		{"so is an alias", "SELECT 1 AS '{a\\'b}'", myDialect, `SELECT 1 AS 'a\\''b'`, nil, false},
		{"and an alias without AS", "SELECT 1 '{a}'", sqliteDialect, `SELECT 1 'a'`, nil, false},
		{"and strings next to each other", "WHERE a = '{n}' '@' '{d}'", myDialect, "WHERE a = 'n' '@' 'd'", nil, false},
		{"and one with a character set", "WHERE a = _utf8mb4'{x}' AND b = '{y}'", myDialect, "WHERE a = _utf8mb4'x' AND b = ?", []string{"y"}, false},
		{"hex digits", "WHERE a = x'{0aF}'", sqliteDialect, "WHERE a = x'0aF'", nil, false},
		{"a number outside quotes", "WHERE a = {143} LIMIT {1}", sqliteDialect, "WHERE a = 143 LIMIT 1", nil, false},
		{"a word in a name", "SELECT a FROM users_{x9} WHERE b.{col} = '{x}'", pgDialect, "SELECT a FROM users_x9 WHERE b.col = $1", []string{"x"}, false},
		{"a word after FROM", "SELECT a FROM {tab}", pgDialect, "SELECT a FROM tab", nil, false},
		{"variables in comments vanish", "SELECT a /* {x */ y} */ FROM b -- {z}\nWHERE c = '{d}'", sqliteDialect, "SELECT a   FROM b  \nWHERE c = ?1", []string{"d"}, true},
		{"comments are nested in PostgreSQL", "SELECT /* /* ' */ ' */ '{x}'", pgDialect, "SELECT /* /* ' */ ' */ $1", []string{"x"}, true},
		{"but not elsewhere", "SELECT /* /* */ '{x}'", sqliteDialect, "SELECT /* /* */ ?1", []string{"x"}, true},
		{"a hash starts a comment in mysql", "SELECT 1 # '\n, '{x}'", myDialect, "SELECT 1 # '\n, ?", []string{"x"}, true},
		{"and is an operator in PostgreSQL", "SELECT 1 # 2, '{x}'", pgDialect, "SELECT 1 # 2, $1", []string{"x"}, true},
		{"mysql wants a blank behind two dashes", "SELECT 1--'1', '{x}'", myDialect, "SELECT 1--'1', ?", []string{"x"}, true},
		{"quotes within other quotes", `SELECT "a'b", '"{x}'`, pgDialect, `SELECT "a'b", $1`, []string{`"x`}, true},
		{"a cast", "WHERE a = '{x}'::text AND b = CAST('{y}' AS int)", pgDialect, "WHERE a = $1::text AND b = CAST($2 AS int)", []string{"x", "y"}, true},
		{"LIKE", "WHERE a LIKE '%{x}' OR b IN ('{y}', '{z}')", sqliteDialect, "WHERE a LIKE ?1 OR b IN (?2, ?3)", []string{"%x", "y", "z"}, true},
		{"concatenation", "SELECT '{n}' || '@' || '{d}'", sqliteDialect, "SELECT ?1 || '@' || ?2", []string{"n", "d"}, true},
		{"a question Mark in quotes", "SELECT '?{x}', '?'", myDialect, "SELECT ?, '?'", []string{"?x"}, true},
		{"no variables", "SELECT 'it''s", sqliteDialect, "SELECT 'it''s", nil, true},
		{"the variable alone", "'{x}'", sqliteDialect, "?1", []string{"x"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, values := skeleton(tt.query)
			p, err := Compile(s, tt.d)
			if err != nil {
				t.Fatal(err)
			}
			text, err := p.Render(values, true)
			if err != nil {
				t.Fatal(err)
			}
			args := p.Args(nil, values)
			if text != tt.text || fmt.Sprint(args) != fmt.Sprint(tt.args) || p.Fixed != tt.fixed || p.Fixed && p.Text != text {
				t.Errorf("got  %s %q fixed=%v\nwant %s %q fixed=%v", text, args, p.Fixed, tt.text, tt.args, tt.fixed)
			}
		})
	}
}

func TestPlanWritten(t *testing.T) {
	for _, tt := range []struct {
		name, query string
		d           Dialect
		want        string
	}{
		{"sqlite", "WHERE a = 'x{it's \\}y'", sqliteDialect, `WHERE a = 'xit''s \y'`},
		{"mysql", "WHERE a = '{it's \\}'", myDialect, `WHERE a = 'it''s \\'`},
		{"mysql with NO_BACKSLASH_ESCAPES", "WHERE a = '{it's \\}'", myPlain, `WHERE a = 'it''s \'`},
		{"mysql in double quotes", `WHERE a = "{it's "x"}"`, myDialect, `WHERE a = "it's ""x"""`},
		{"PostgreSQL", "WHERE a = '{it's \\}'", pgDialect, `WHERE a = 'it''s \'`},
		{"PostgreSQL with standard_conforming_strings=off", "WHERE a = '{it's \\}'", pgOldDialect, `WHERE a = 'it''s \\'`},
		{"PostgreSQL's E", "WHERE a = E'\\n{it's \\}'", pgDialect, `WHERE a = E'\nit''s \\'`},
		{"dollar quotes", "WHERE a = $q${it's}$q$", pgDialect, `WHERE a = $q$it's$q$`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, values := skeleton(tt.query)
			p, err := Compile(s, tt.d)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := p.Render(values, false); err != nil || got != tt.want {
				t.Errorf("got %s, %v; want %s", got, err, tt.want)
			}
		})
	}
}

func TestPlanRefuses(t *testing.T) {
	noUTF8 := myDialect
	noUTF8.UTF8 = false
	for _, tt := range []struct {
		name, query string
		d           Dialect
		err         string
	}{
		{"text outside quotes", "WHERE a = {x}", sqliteDialect, "a variable outside quotes must hold a number; put it into quotes"},
		{"a comparison outside quotes", "WHERE a = {1 OR 1=1}", sqliteDialect, "must hold a number"},
		{"a negative number", "WHERE a = 3-{-1}", sqliteDialect, "must hold a number"},
		{"nothing outside quotes", "WHERE a = {}", sqliteDialect, "must hold a number"},
		{"a long number", "WHERE a = {" + strings.Repeat("1", 65) + "}", sqliteDialect, "must hold a number"},
		{"letters behind a number", "WHERE a = 1{union}", sqliteDialect, "must hold a number"},
		{"a dot in a name", "SELECT a FROM t_{x.y}", pgDialect, "must hold 1 to 64 letters, digits and _"},
		{"a dollar in a name", "SELECT a FROM t_{$$}", pgDialect, "must hold 1 to 64 letters, digits and _"},
		{"a blank in a name", "SELECT a FROM {x WHERE 1}", pgDialect, "must hold 1 to 64 letters, digits and _"},
		{"a bracket in brackets", "SELECT a FROM [t_{x]y}]", sqliteDialect, "the value holds a ]"},
		{"no hex digits", "WHERE a = x'{zz}'", sqliteDialect, "not made of hexadecimal digits"},
		{"a NUL byte in a written text", "SELECT 1 AS '{a\x00b}'", sqliteDialect, "a NUL byte cannot be sent"},
		{"broken UTF-8 in a written text", "SELECT 1 AS '{a\xbf'b}'", myDialect, "not valid UTF-8"},
		{"another character set", "SELECT 1 AS '{a}'", noUTF8, "character set is not UTF-8"},
		{"an escaped variable", `WHERE a = 'x\{y}'`, myDialect, "a backslash stands before a variable"},
		{"an unclosed string", "WHERE a = '{x}", sqliteDialect, "a quoted text with a variable is not closed"},
		{"an executable comment", "SELECT /*! {x} */ 1", myDialect, "a variable stands within /*! */"},
		{"U& strings", `SELECT U&'\0041{x}'`, pgDialect, "a variable stands behind U&'"},
		{"a bad Unicode escape", `SELECT E'\u12{x}'`, pgDialect, `invalid Unicode escape`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, values := skeleton(tt.query)
			p, err := Compile(s, tt.d)
			if err == nil {
				_, err = p.Render(values, true)
			}
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %v, want %s", err, tt.err)
			}
		})
	}
	// In a dollar-quoted text that must be written out, the value could end it.
	s, values := skeleton("SELECT 1 AS $q${x$q$}$q$")
	p, err := Compile(s, pgDialect)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := p.Render(values, true); err == nil {
		t.Errorf("got %s", text)
	}
}

// FuzzPlan checks that no value changes how a query is read: the quotes and comments of the written
// query are where those of the query with harmless values are.
func FuzzPlan(f *testing.F) {
	f.Add("SELECT 'a{}' FROM \"{}\" -- {}\n WHERE x = {} AND E'\\n{}' $q${}$q$", "it's", uint8(0))
	f.Add("/* {} */ `{}` [{}] x'{}' U&'x' date '{}'", "*/ \\' --", uint8(3))
	dialects := []Dialect{sqliteDialect, pgDialect, pgOldDialect, myDialect, myPlain, myANSI}
	f.Fuzz(func(t *testing.T, query, value string, which uint8) {
		d := dialects[int(which)%len(dialects)]
		if strings.IndexByte(query, Mark) >= 0 {
			return
		}
		s := strings.ReplaceAll(query, "{}", string([]byte{Mark}))
		n := strings.Count(query, "{}")
		p, err := Compile(s, d)
		if err != nil {
			return
		}
		evil, harmless := make([]string, n), make([]string, n)
		for i := range n {
			evil[i], harmless[i] = value, "7"
		}
		for _, params := range []bool{true, false} {
			a, err := p.Render(evil, params)
			if err != nil {
				continue
			}
			b, err := p.Render(harmless, params)
			if err != nil {
				t.Fatalf("%q is refused: %v", "7", err)
			}
			if x, y := shape(t, a, d), shape(t, b, d); x != y {
				t.Fatalf("value %q changes the query\nfrom %s\n  to %s", value, y, x)
			}
		}
		p.Args(nil, evil)
	})
}

// shape scans a complete query and keeps what is outside strings and names.
func shape(t *testing.T, text string, d Dialect) string {
	if strings.IndexByte(text, 0) >= 0 {
		t.Fatalf("a NUL byte got into %q", text)
	}
	x := &scanner{s: text, d: d}
	var b strings.Builder
	for x.i < len(x.s) {
		at := x.i
		if err := x.token(); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		c := text[at]
		switch {
		case c == '\'' || c == '"' || c == '`' || c == '[' && d.Engine == SQLite || c == '$' && d.Engine == PostgreSQL && x.prev == tokenOther:
			b.WriteString("<quoted>")
		case x.prev == tokenWord && isWord(c):
			b.WriteString("<word>")
		default:
			b.WriteString(text[at:x.i])
		}
	}
	return b.String()
}
