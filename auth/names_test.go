package auth

import (
	"strings"
	"testing"

	"dproxy/conf"
	"dproxy/passdb"
)

func TestUserNames(t *testing.T) {
	def := conf.Settings{AuthUsernameChars: "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01234567890.-_@", AuthUsernameFormat: "%Lu"}
	with := func(change func(*conf.Settings)) conf.Settings { s := def; change(&s); return s }
	const bad = "Username character disallowed by auth_username_chars: "
	for _, c := range []struct {
		name, in, want, err string
		set                 conf.Settings
	}{
		{name: "the format lower-cases", in: "BoB@EX.org", want: "bob@ex.org", set: def},
		{name: "a blank is refused", in: "a b", err: bad + "0x20 (username: a b)", set: def},
		{name: "an empty name is refused", in: "", err: "Empty username", set: def},
		{name: "the default realm is for names without one", in: "bob", want: "bob@d", set: with(func(s *conf.Settings) { s.AuthDefaultRealm = "d" })},
		{name: "a realm stays", in: "bob@x", want: "bob@x", set: with(func(s *conf.Settings) { s.AuthDefaultRealm = "d" })},
		{name: "an empty name gets no realm", in: "", err: "Empty username", set: with(func(s *conf.Settings) { s.AuthDefaultRealm = "d" })},
		{name: "translation comes before the check", in: "bob#x", want: "bob@x", set: with(func(s *conf.Settings) { s.AuthUsernameTranslation = "#@/@%@" })},
		{name: "the realm is added before the translation", in: "bob#x", want: "bob@x@d", set: with(func(s *conf.Settings) {
			s.AuthUsernameTranslation, s.AuthDefaultRealm = "#@", "d"
		})},
		{name: "the format may drop the domain", in: "BoB@x", want: "bob", set: with(func(s *conf.Settings) { s.AuthUsernameFormat = "%Ln" })},
		{name: "a format that leaves nothing is refused", in: "@x", err: "Empty username", set: with(func(s *conf.Settings) { s.AuthUsernameFormat = "%n" })},
		{name: "no list of characters allows 8-bit ones", in: "jürgen", want: "jürgen", set: with(func(s *conf.Settings) { s.AuthUsernameChars = "" })},
		{name: "but no control bytes", in: "a\nb", err: bad + "0x0a (username: a?b)", set: with(func(s *conf.Settings) { s.AuthUsernameChars = "" })},
		{name: "nor NUL", in: "a\x00b", err: bad + "0x00 (username: a?b)", set: with(func(s *conf.Settings) { s.AuthUsernameChars = "" })},
		{name: "nor DEL", in: "a\x7f", err: bad + "0x7f (username: a?)", set: with(func(s *conf.Settings) { s.AuthUsernameChars = "" })},
		{name: "a name is bounded", in: strings.Repeat("a", 513), err: "Username is longer than 512 bytes (username: " + strings.Repeat("a", 64) + ")", set: def},
		{name: "its value is not expanded again", in: "%d@x", want: "%d@x", set: with(func(s *conf.Settings) { s.AuthUsernameChars = "" })},
	} {
		t.Run(c.name, func(t *testing.T) {
			n, err := newNameRules(&c.set)
			if err != nil {
				t.Fatal(err)
			}
			got, err := n.normalise(&passdb.Request{}, c.in)
			text := ""
			if err != nil {
				text = err.Error()
			}
			if got != c.want || text != c.err {
				t.Fatalf("%q %q, want %q %q", got, text, c.want, c.err)
			}
		})
	}
}

func TestAFormatWithAnUnknownVariableIsAStartError(t *testing.T) {
	_, err := newNameRules(&conf.Settings{AuthUsernameFormat: "%{nosuch}"})
	if err == nil || err.Error() != "auth_username_format: Unknown variable '%nosuch'" {
		t.Fatal(err)
	}
}

func TestMasterLogins(t *testing.T) {
	masters := memory{"boss": user("bosspw", "m", "1"), "low": user("lowpw", "master", "adm", "pass", "admpw")}
	users := memory{"u@d": user("upw", "proxy", "", "host", "h"), "boss": user("own")}
	returning := []conf.Passdb{{Master: true}, {}}
	for _, c := range []struct {
		name                 string
		blocks               []conf.Passdb
		authzid, in, pw      string
		ok                   bool
		code                 Code
		user, master, fields string
	}{
		{name: "pass=yes takes the other user's fields", blocks: masterBlocks, in: "u@d*boss", pw: "bosspw", ok: true, user: "u@d", master: "boss", fields: "m=1 proxy= host=h"},
		{name: "without pass=yes any user exists", blocks: returning, in: "no@d*boss", pw: "bosspw", ok: true, user: "no@d", master: "boss", fields: "m=1"},
		{name: "an unknown user is refused to the master", blocks: masterBlocks, in: "no@d*boss", pw: "bosspw", code: CodeAuthzFail, user: "no@d", master: "boss", fields: "m=1"},
		{name: "the user's password is not the master's", blocks: masterBlocks, in: "u@d*boss", pw: "upw", user: "boss"},
		{name: "a master's account is not a user's", blocks: masterBlocks, in: "boss", pw: "bosspw", user: "boss"},
		{name: "a user of the same name is another", blocks: masterBlocks, in: "boss", pw: "own", ok: true, user: "boss"},
		{name: "an unknown master is refused", blocks: masterBlocks, in: "u@d*nobody", pw: "x", user: "nobody"},
		{name: "a user cannot be a master", blocks: masterBlocks, in: "boss*u@d", pw: "upw", user: "u@d"},
		{name: "authzid does the same", blocks: masterBlocks, authzid: "u@d", in: "boss", pw: "bosspw", ok: true, user: "u@d", master: "boss", fields: "m=1 proxy= host=h"},
		{name: "authzid wins over the separator", blocks: masterBlocks, authzid: "u@d", in: "x@y*boss", pw: "bosspw", ok: true, user: "u@d", master: "boss", fields: "m=1 proxy= host=h"},
		{name: "authzid equal to authcid is none", blocks: masterBlocks, authzid: "u@d", in: "u@d", pw: "upw", ok: true, user: "u@d", fields: "proxy= host=h"},
		{name: "authzid equal after normalising is none", blocks: masterBlocks, authzid: "u@d", in: "U@D", pw: "upw", ok: true, user: "u@d", fields: "proxy= host=h"},
		{name: "only the first separator counts", blocks: masterBlocks, in: "u@d*boss*x", pw: "bosspw"},
		{name: "no login user", blocks: masterBlocks, in: "*boss", pw: "bosspw", user: "boss"},
		{name: "a master passdb may name what the backend gets", blocks: returning, in: "u@d*low", pw: "lowpw", ok: true, user: "u@d", master: "low", fields: "master=adm pass=admpw"},
		{name: "no other user without a master passdb", blocks: []conf.Passdb{{}, {}}, authzid: "u@d", in: "boss", pw: "bosspw", user: "boss"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fakeConfig{passdbs: append([]conf.Passdb(nil), c.blocks...)}
			f.settings.AuthMasterUserSeparator, f.settings.AuthUsernameFormat, f.settings.AuthUsernameChars = "*", "%Lu", userChars+"UD"
			r := newRig(t, f, masters, users)
			got := r.authenticate(t, Request{Mech: "PLAIN", Initial: []byte(c.authzid + "\x00" + c.in + "\x00" + c.pw), HasInitial: true})
			user := got.User
			if c.user == "" {
				user = ""
			}
			if got.OK != c.ok || got.Code != c.code || user != c.user || got.MasterUser != c.master || fieldText(got.Fields) != c.fields {
				t.Fatalf("%+v", got)
			}
			if want := orElse(c.master, got.OrigUser); got.AuthUser != want {
				t.Errorf("auth_user %q, want %q", got.AuthUser, want)
			}
		})
	}
}
