package auth

import (
	"dproxy/conf"
	"dproxy/passdb"
)

// chain is the passdbs of one service in the order they are asked. Master passdbs form a list of
// their own.
type chain struct {
	settings *conf.Settings
	names    *nameRules
	normal   []*entry
	masters  []*entry
}

func (c *chain) add(e *entry) {
	switch {
	case e.Master:
		c.masters = append(c.masters, e)
	case len(c.normal) == 0 && e.Skip == "unauthenticated":
		// A first passdb that wants an authenticated user can never apply.
	default:
		c.normal = append(c.normal, e)
	}
}

func (c *chain) check() error {
	for _, e := range c.masters {
		if e.Deny {
			return blockError(e.Passdb, "Master passdb can't have deny=yes")
		}
		if e.Pass && len(c.normal) == 0 {
			return blockError(e.Passdb, "Master passdb can't have pass=yes if there are no passdbs")
		}
	}
	if n := len(c.normal); n > 0 && c.normal[n-1].Pass {
		return blockError(c.normal[n-1].Passdb, "Last passdb can't have pass=yes")
	}
	return nil
}

// supports tells whether the passdbs can serve the mechanisms.
func (c *chain) supports(mechs []Mechanism) error {
	for _, m := range mechs {
		need := mechanismTable[m.Name].need
		if need == needNothing {
			continue
		}
		if len(c.normal) == 0 {
			return fault("No passdbs specified in configuration file. " + m.Name + " mechanism needs one")
		}
		able := false
		for _, e := range c.normal {
			able = able || need == needVerify || need == needCredentials && e.lookups()
		}
		if !able {
			return fault(m.Name + " mechanism can't be supported with given passdbs")
		}
	}
	return nil
}

// head is the first passdb that is asked, or nil with none. For a master login it is a master.
func (t *attempt) head() ([]*entry, int) {
	list := t.chain.normal
	if t.req.LoginUser != "" {
		list = t.chain.masters
	}
	return list, t.skip(list, 0)
}

// skip returns the index of the first entry from i on whose filters let the attempt through.
func (t *attempt) skip(list []*entry, i int) int {
	for ; i < len(list); i++ {
		e := list[i]
		if e.Skip == "authenticated" && t.passwordSeen || e.Skip == "unauthenticated" && !t.passwordSeen {
			continue
		}
		if e.accepts(t.req.Mech, t.req.User) {
			break
		}
	}
	return i
}

// run asks the passdbs one after the other. The status is the chain's own: OK needs a passdb that
// succeeded by its rules, see attempt.success.
func (t *attempt) run(ask func(*entry) passdb.Status) passdb.Status {
	list, i := t.head()
	if i == len(list) {
		t.chainError("All password databases were skipped")
		return passdb.InternalFailure
	}
	var unknown, broken bool
	for {
		e := list[i]
		t.entry, t.req.Passdb = e, e.id
		t.req.SeenUnknown, t.req.SeenFailure = unknown, broken
		t.stored, t.unlessFailed = stored{}, t.fields.Clone()
		t.reason, t.wait = "", 0
		proven := t.proven
		status, ends := t.settle(e, ask(e))
		if ends {
			return status
		}
		r := e.rule(status)
		t.traceRule(status, r)
		t.apply(r, status)
		next := i + 1
		if t.req.LoginUser != "" && status == passdb.OK {
			t.becomeLoginUser()
			list, next = t.chain.normal, 0
		}
		next = t.skip(list, next)
		if status != passdb.OK && status != passdb.Next {
			t.fields, t.proven = t.unlessFailed, proven
		}
		if !r.next || next == len(list) {
			return t.conclude(status, unknown, broken)
		}
		i = next
		unknown = unknown || status == passdb.Unknown
		broken = broken || status == passdb.InternalFailure
	}
}

// settle is what an answer comes to before the passdb's rules are asked. Some answers end the chain.
func (t *attempt) settle(e *entry, status passdb.Status) (_ passdb.Status, ends bool) {
	if e.Deny && status != passdb.Unknown {
		if status != passdb.InternalFailure {
			t.bareInfo("User found from deny passdb")
			status = passdb.Disabled
		}
		return status, true
	}
	if t.refused && status == passdb.OK {
		// A field such as allow_nets refused the login here; a later passdb may accept it.
		status = passdb.Unknown
	}
	t.refused = false
	if status == passdb.Expired {
		t.fields.Set("reason", "Password expired")
	}
	return status, status == passdb.Disabled || status == passdb.Expired
}

// rule is the one that applies to a status.
func (e *entry) rule(s passdb.Status) rule {
	switch s {
	case passdb.OK:
		return e.success
	case passdb.InternalFailure:
		return e.internal
	case passdb.Next:
		return rule{next: true}
	}
	return e.failure
}

// apply does what a rule says, and drops the fields that concern one passdb only.
func (t *attempt) apply(r rule, status passdb.Status) {
	switch r.verdict {
	case succeed:
		t.success = true
		if r.next {
			t.passwordSeen = true // even when the passdb failed, as Dovecot does
		}
	case fail:
		t.success = false
	}
	if r == (rule{next: true}) && status == passdb.OK {
		t.passwordSeen = true
	}
	t.fields.Remove("nopassword")
	t.fields.Remove("noauthenticate")
}

// conclude is the chain's result once no further passdb is asked.
func (t *attempt) conclude(last passdb.Status, unknown, broken bool) passdb.Status {
	switch {
	case last == passdb.Next:
		t.entryError("Last passdb had noauthenticate field, cannot authenticate user")
		return passdb.InternalFailure
	case t.success:
		return passdb.OK
	case broken:
		// The passdb that failed may have had the right answer.
		return passdb.InternalFailure
	case last == passdb.SchemeNotAvailable && unknown:
		return passdb.Unknown
	}
	return last
}

// becomeLoginUser ends the master's part of a master login.
func (t *attempt) becomeLoginUser() {
	t.bareInfo("Master user logging in as " + t.req.LoginUser)
	t.req.MasterUser, t.req.AuthUser = t.req.User, t.req.User
	t.req.User = t.req.LoginUser
	t.req.LoginUser = ""
}
