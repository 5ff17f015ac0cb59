package auth

import (
	"fmt"
	"strings"

	"dproxy/conf"
	"dproxy/event"
	"dproxy/passdb"
)

// maxUser is the longest user name in bytes after normalising.
const maxUser = 512

// nameRules normalise user names that clients send. Names from passdbs are left as they are.
type nameRules struct {
	realm       string
	separator   string
	translation [256]byte
	allowed     [256]bool
	format      *conf.Template
}

func newNameRules(s *conf.Settings) (*nameRules, error) {
	n := &nameRules{realm: s.AuthDefaultRealm}
	if s.AuthMasterUserSeparator != "" {
		n.separator = s.AuthMasterUserSeparator[:1]
	}
	for i := range n.translation {
		n.translation[i] = byte(i)
		// Control bytes are never allowed: they end up in protocols and logs that are made of lines.
		n.allowed[i] = s.AuthUsernameChars == "" && i >= 0x20 && i != 0x7f
	}
	for i := 0; i+1 < len(s.AuthUsernameTranslation); i += 2 {
		n.translation[s.AuthUsernameTranslation[i]] = s.AuthUsernameTranslation[i+1]
	}
	for i := range len(s.AuthUsernameChars) {
		n.allowed[s.AuthUsernameChars[i]] = true
	}
	if s.AuthUsernameFormat != "" {
		t, err := conf.ParseTemplate(s.AuthUsernameFormat, conf.AuthLetters)
		if err != nil {
			return nil, fmt.Errorf("auth_username_format: %w", err)
		}
		r := passdb.Request{Fields: &passdb.Fields{}}
		if _, err := t.Expand(r.Var); err != nil {
			return nil, fmt.Errorf("auth_username_format: %w", err)
		}
		n.format = t
	}
	return n, nil
}

// split takes a master login name apart: "login*master". Without a separator in it master is the
// whole name and login is not set.
func (n *nameRules) split(name string) (login, master string, isMaster bool) {
	if n.separator == "" {
		return "", name, false
	}
	login, master, isMaster = strings.Cut(name, n.separator)
	if !isMaster {
		return "", name, false
	}
	return login, master, true
}

// normalise applies the default realm, the translation, the allowed characters and the format. The
// error's text is Dovecot's.
func (n *nameRules) normalise(r *passdb.Request, name string) (string, error) {
	if name == "" {
		return "", errEmptyName
	}
	user := []byte(name)
	if n.realm != "" && !strings.Contains(name, "@") {
		user = append(append(user, '@'), n.realm...)
	}
	for i, c := range user {
		user[i] = n.translation[c]
		if !n.allowed[user[i]] {
			return "", fault(fmt.Sprintf("Username character disallowed by auth_username_chars: 0x%02x (username: %s)", user[i], event.Clean(name, 128)))
		}
	}
	out := string(user)
	if n.format != nil {
		asked := *r
		asked.User = out
		var err error
		if out, err = n.format.Expand(asked.Var); err != nil {
			return "", fault("Failed to expand auth_username_format: " + err.Error())
		}
	}
	if out == "" {
		return "", errEmptyName
	}
	if len(out) > maxUser {
		return "", fault(fmt.Sprintf("Username is longer than %d bytes (username: %s)", maxUser, event.Clean(name, 64)))
	}
	return out, nil
}

// setUser takes the name that authenticates from the client.
func (t *attempt) setUser(name string) error {
	login, name, isMaster := t.chain.names.split(name)
	if !t.named {
		t.req.OrigUser, t.named = name, true
	}
	if t.certUser {
		return nil // the certificate's name stands, whatever the client says
	}
	user, err := t.chain.names.normalise(&t.req, name)
	if err != nil {
		t.req.User = ""
		return err
	}
	t.req.User = user
	if isMaster {
		return t.setLoginUser(login)
	}
	return nil
}

// setLoginUser makes the attempt a master login into the account of name.
func (t *attempt) setLoginUser(name string) error {
	switch {
	case name == "":
		return errNoLoginUser
	case name == t.req.User:
		return nil
	case len(t.chain.masters) == 0:
		return errNoMasters
	}
	user, err := t.chain.names.normalise(&t.req, name)
	if err != nil {
		return err
	}
	t.req.LoginUser = user
	return nil
}
