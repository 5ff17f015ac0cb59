package session

import (
	"net/netip"
	"time"
)

// Info is what the administration is told of a session.
type Info struct {
	User    string // after all changes by the passdb
	Service string // imap, pop3, ...
	ID      string // the session id
	Remote  netip.AddrPort
	Local   netip.AddrPort
	Host    string         // the backend as the passdb wrote it
	Backend netip.AddrPort // where the session is, or is being logged in
	Names   []Name         // the passdb's user_* fields: other names of the user
	Began   time.Time      // of the login at the backend
	Relayed bool           // false: the login at the backend is under way
}

// Name is another name of a session's user, under the passdb field that gave it.
type Name struct{ Field, Value string }

// As is the user's name by a passdb field; the user itself without a field.
func (i *Info) As(field string) (string, bool) {
	if field == "" {
		return i.User, true
	}
	for _, n := range i.Names {
		if n.Field == field {
			return n.Value, true
		}
	}
	return "", false
}

// Described is a Session that can tell about itself. ok is false while it belongs to no user.
type Described interface {
	Session
	Describe() (i Info, ok bool)
}

// Each calls yield for every session that belongs to a user, until it returns false. Sessions that come or go meanwhile
// may be missed. It holds no lock while yield runs.
func (r *Registry) Each(yield func(Info) bool) {
	for _, f := range r.all() {
		if i, ok := f.describe(); ok && !yield(i) {
			return
		}
	}
}

// Kick ends the sessions that match and returns what they were. A login that is on its way is ended too, also when it
// becomes a session in this very moment.
func (r *Registry) Kick(match func(*Info) bool) []Info {
	var out []Info
	for _, f := range r.all() {
		i, ok := f.describe()
		if !ok || !match(&i) {
			continue
		}
		r.mu.Lock()
		s := f.entry.session // nil once it has ended
		f.entry.kicked = true
		r.mu.Unlock()
		if s != nil {
			s.End(Kicked)
			out = append(out, i)
		}
	}
	return out
}

// found is an entry with the session that it had when it was found.
type found struct {
	entry   *Entry
	session Session
}

func (f found) describe() (i Info, ok bool) {
	if d, can := f.session.(Described); can {
		return d.Describe()
	}
	return i, false
}

func (r *Registry) all() []found {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]found, 0, r.nRelayed+r.nWaiting)
	for _, l := range [...]*list{&r.relayed, &r.waiting} {
		for e := l.first; e != nil; e = e.next {
			all = append(all, found{e, e.session})
		}
	}
	return all
}
