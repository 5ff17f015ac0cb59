package lua

import (
	"errors"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"dproxy/conf"
	"dproxy/passdb"
	"dproxy/passdb/scheme"
)

// call is one question to a script.
type call struct {
	r        passdb.Request
	password string // the client's, when the script judges it
	verify   bool
	allowed  map[string]bool // the variables that the cache's key has
	beyond   bool            // the script has read others
}

func newCall(r *passdb.Request, allowed map[string]bool) *call {
	c := &call{r: *r, allowed: allowed}
	if r.Fields != nil { // the script may outlive the question
		fields := r.Fields.Clone()
		c.r.Fields = &fields
	}
	return c
}

// alwaysKeyed are the variables that follow from what every cache key has.
var alwaysKeyed = [...]string{"user", "username", "domain", "domain_first", "domain_last", "master_user", "id", "home", "pid", "session_pid"}

// keyed are the variables that an answer may depend on and still be cached.
func keyed(vars []string) map[string]bool {
	m := make(map[string]bool, len(alwaysKeyed)+len(vars))
	for _, name := range alwaysKeyed {
		m[name] = true
	}
	for _, name := range vars {
		m[canonical(name)] = true
	}
	return m
}

// value answers a %variable and notes when the cache's key does not have it.
func (c *call) value(name string) (string, bool) {
	c.reads(name)
	if name == "password" && c.verify {
		return c.password, true
	}
	return c.r.Var(name)
}

func (c *call) reads(name string) {
	name = canonical(name)
	if !c.allowed[name] && (name != "password" || !c.verify) {
		c.beyond = true
	}
}

// canonical is the first name of a variable that has several.
func canonical(name string) string {
	switch name {
	case "protocol":
		return "service"
	case "mechanism":
		return "mech"
	}
	for _, x := range [][2]string{{"local_", "l"}, {"remote_", "r"}, {"real_local_", "real_l"}, {"real_remote_", "real_r"}} {
		if rest, ok := strings.CutPrefix(name, x[0]); ok && (rest == "ip" || rest == "port") {
			return x[1] + rest
		}
	}
	if rest, ok := strings.CutPrefix(name, "original_"); ok {
		return "orig_" + rest
	}
	return name
}

// attributes are the names that a request object has, with whether an empty value is nil: Dovecot's has no
// text for it then (2.3, src/auth/auth-request-var-expand.c).
var attributes = func() map[string]bool {
	m := map[string]bool{}
	for _, name := range strings.Fields("user username service pid mech mechanism secured cert lport rport real_lport real_rport " +
		"local_port remote_port real_local_port real_remote_port orig_user orig_username original_user original_username auth_user auth_username") {
		m[name] = false
	}
	for _, name := range strings.Fields("domain home lip rip password login_user login_username login_domain session real_lip real_rip " +
		"domain_first domain_last master_user session_pid orig_domain auth_domain local_name client_id local_ip remote_ip real_local_ip " +
		"real_remote_ip original_domain") {
		m[name] = true
	}
	return m
}()

// attributes24 are those that 2.4 added.
var attributes24 = map[string]bool{"protocol": false, "client_pid": false}

// requestTables are the metatables of request objects in one interpreter.
type requestTables struct{ request, passdb, userdb *lua.LTable }

// item is the key of the question in a request object.
const item = "item"

// openRequest makes the metatables.
func (s *state) openRequest() {
	methods := map[string]*lua.LFunction{}
	for name, f := range map[string]func(*lua.LState, *call) int{
		"var_expand": s.varExpand, "response_from_template": s.responseFromTemplate, "password_verify": passwordVerify,
		"event": func(l *lua.LState, c *call) int { l.Push(s.event(c.r.Say)); return 1 },
	} {
		methods[name] = s.l.NewFunction(func(l *lua.LState) int { return f(l, s.asked(l)) })
	}
	for name, level := range logMethods {
		methods[name] = s.l.NewFunction(func(l *lua.LState) int {
			s.asked(l).r.Say(level, "db-lua: "+l.CheckString(2))
			return 0
		})
	}
	index := func(f func(l *lua.LState, c *call, key string) lua.LValue) *lua.LTable {
		t := s.l.NewTable()
		s.register(t, map[string]lua.LGFunction{"__index": func(l *lua.LState) int {
			l.Push(f(l, s.asked(l), l.CheckString(2)))
			return 1
		}})
		return t
	}
	s.request.request = index(func(l *lua.LState, c *call, key string) lua.LValue {
		if f := methods[key]; f != nil {
			return f
		}
		return s.attribute(c, key)
	})
	s.request.passdb = index(func(_ *lua.LState, c *call, key string) lua.LValue {
		if v, ok := c.value("passdb:" + key); ok {
			return lua.LString(v)
		}
		return lua.LNil
	})
	s.request.userdb = index(func(*lua.LState, *call, string) lua.LValue { return lua.LNil })
}

// attribute is req.key.
func (s *state) attribute(c *call, key string) lua.LValue {
	switch key {
	case "skip_password_check":
		c.beyond = true
		return lua.LBool(c.r.SkipPassword)
	case "passdbs_seen_user_unknown":
		c.beyond = true
		return lua.LBool(c.r.SeenUnknown)
	case "passdbs_seen_internal_failure":
		c.beyond = true
		return lua.LBool(c.r.SeenFailure)
	case "userdbs_seen_internal_failure":
		return lua.LFalse
	}
	emptyIsNil, ok := attributes[key]
	if !ok && s.script.dialect == dialect24 {
		emptyIsNil, ok = attributes24[key]
	}
	if !ok {
		return lua.LNil
	}
	v, _ := c.value(key)
	if v == "" && emptyIsNil && !(key == "password" && c.verify) {
		return lua.LNil
	}
	return lua.LString(v)
}

// object makes the request object of a question.
func (s *state) object(c *call) *lua.LTable {
	it := &lua.LUserData{Value: c, Metatable: lua.LNil}
	table := func(meta *lua.LTable) *lua.LTable {
		t := s.l.NewTable()
		t.RawSetString(item, it)
		t.Metatable = meta
		return t
	}
	req := table(s.request.request)
	req.RawSetString("passdb", table(s.request.passdb))
	req.RawSetString("userdb", table(s.request.userdb))
	return req
}

// asked is the question of the request object at the first place of the stack. One that a script has kept
// from an earlier question is of no use.
func (s *state) asked(l *lua.LState) *call {
	t, ok := l.Get(1).(*lua.LTable)
	if !ok {
		l.RaiseError("Bad argument #1, expected auth_request got %s", l.Get(1).Type().String())
		return nil
	}
	u, ok := t.RawGetString(item).(*lua.LUserData)
	if !ok {
		l.RaiseError("Bad argument #1, expected auth_request got another table")
		return nil
	}
	c, ok := u.Value.(*call)
	if !ok || c != s.current {
		l.RaiseError("the request is over")
	}
	return c
}

// expand replaces the variables of a text.
func (s *state) expand(l *lua.LState, c *call, text string) string {
	t := s.templates[text]
	if t == nil {
		var err error
		if t, err = conf.ParseTemplate(text, conf.AuthLetters); err != nil {
			l.RaiseError("var_expand(%s) failed: %s", text, err.Error())
		}
		if len(s.templates) < maxTemplates {
			s.templates[text] = t
		}
	}
	v, err := t.Expand(c.value)
	var unknown *conf.UnknownVariableError
	if err != nil && (s.script.dialect == dialect24 || !errors.As(err, &unknown)) {
		l.RaiseError("var_expand(%s) failed: %s", text, err.Error())
	}
	return v
}

func (s *state) varExpand(l *lua.LState, c *call) int {
	l.Push(lua.LString(s.expand(l, c, l.CheckString(2))))
	return 1
}

// responseFromTemplate makes a table of "name=template ..."; words without = are no fields.
func (s *state) responseFromTemplate(l *lua.LState, c *call) int {
	t := l.NewTable()
	for word := range strings.FieldsFuncSeq(l.CheckString(2), func(r rune) bool { return r == ' ' }) {
		name, template, ok := strings.Cut(word, "=")
		switch {
		case name == "":
			l.RaiseError("Invalid passdb template %s - key must not be empty", l.CheckString(2))
		case ok:
			t.RawSetString(name, lua.LString(s.expand(l, c, template)))
		}
	}
	l.Push(t)
	return 1
}

// passwordVerify compares a password with a stored one: 1, or 0 or -1 with a text.
func passwordVerify(l *lua.LState, c *call) int {
	c.reads("orig_user")
	ok, err := scheme.Verify(scheme.Split(l.CheckString(2), "PLAIN"), l.CheckString(3), c.r.OrigUser)
	switch {
	case ok:
		l.Push(lua.LNumber(1))
		l.Push(lua.LNil)
		return 2
	case err == nil:
		err = errors.New("Password mismatch")
		l.Push(lua.LNumber(0))
	case errors.Is(err, scheme.ErrUnknown):
		l.Push(lua.LNumber(0))
	default:
		l.Push(lua.LNumber(-1))
	}
	l.Push(lua.LString(err.Error()))
	return 2
}
