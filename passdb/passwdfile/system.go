package passwdfile

import (
	"context"
	"fmt"
	"strings"

	"dproxy/conf"
	"dproxy/passdb"
)

// system is the passdb over the system's own files. They are read directly, without the name service switch:
// users of LDAP, NIS or SSSD are not seen.
type system struct {
	driver string
	file   *file
}

// NewPasswd opens the passdb "passwd": the passwords in /etc/passwd.
func NewPasswd(p conf.Passdb) (passdb.Driver, error) { return newSystem(p, "passwd", "/etc/passwd") }

// NewShadow opens the passdb "shadow": the passwords in /etc/shadow.
func NewShadow(p conf.Passdb) (passdb.Driver, error) { return newSystem(p, "shadow", "/etc/shadow") }

func newSystem(p conf.Passdb, driver, path string) (passdb.Driver, error) {
	for _, word := range strings.Fields(p.Args) {
		if name, _, _ := strings.Cut(word, "="); name != "blocking" { // Dovecot's worker processes
			return nil, passdb.ConfigError(p, fmt.Sprintf("passdb %s: Unknown setting: %s", driver, word))
		}
	}
	return &system{driver: driver, file: &file{path: path}}, nil
}

// CacheVars implements passdb.Cacheable.
func (s *system) CacheVars() []string { return []string{"user"} }

// Lookup finds the user's line. An empty or locked password (it begins with ! or *) means a disabled user, as in
// Dovecot 2.3.
func (s *system) Lookup(_ context.Context, r *passdb.Request) (passdb.Result, error) {
	users, err := s.file.current(func(string) {}) // doubled users are the administrator's, not mail's
	if err != nil {
		return passdb.Result{}, fmt.Errorf("passdb %s: %w", s.driver, err)
	}
	line, ok := users.find(r.User)
	if !ok {
		return passdb.Result{Status: passdb.Unknown}, nil
	}
	f := strings.SplitN(line, ":", 3)
	if len(f) < 2 || f[1] == "" || f[1][0] == '!' || f[1][0] == '*' {
		return passdb.Result{Status: passdb.Disabled, Detail: "invalid password field"}, nil
	}
	return passdb.Result{
		Password: passdb.Secret(f[1]), HasPassword: true, DefaultScheme: "CRYPT",
		Fields: []passdb.Field{{Name: "user", Value: f[0]}},
	}, nil
}
