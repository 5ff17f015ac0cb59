package auth

import (
	"context"
	"slices"
	"strings"
	"testing"

	"dproxy/conf"
	"dproxy/passdb"
)

func TestPlain(t *testing.T) {
	r := newRig(t, &fakeConfig{}, memory{"u": user("secret", "proxy", "y", "host", "192.0.2.1")})
	t.Run("the right password is accepted and kept for the backend", func(t *testing.T) {
		got := r.plain(t, "u", "secret")
		if !got.OK || got.User != "u" || got.Password != "secret" || !got.HasPassword {
			t.Fatalf("got %+v", got)
		}
		if h, _ := got.Fields.Get("host"); h != "192.0.2.1" {
			t.Fatalf("host %q", h)
		}
	})
	t.Run("a wrong password is a plain failure without proxy fields", func(t *testing.T) {
		got := r.plain(t, "u", "bad")
		if got.OK || got.Code != CodeNone || got.Fields.Has("host") {
			t.Fatalf("got %+v", got)
		}
	})
	t.Run("LOGIN asks for both names", func(t *testing.T) {
		if got := r.authenticate(t, Request{Mech: "login"}, "u", "secret"); !got.OK {
			t.Fatalf("got %+v", got)
		}
	})
	t.Run("a database that is down is a temporary failure", func(t *testing.T) {
		down := newRig(t, &fakeConfig{}, memory(nil))
		if got := down.plain(t, "u", "secret"); got.OK || got.Code != CodeTempFail {
			t.Fatalf("got %+v", got)
		}
	})
}

// judge is a Verifier with one password for everybody it knows.
type verifying struct {
	memory
	password string
}

func (v verifying) Verify(ctx context.Context, r *passdb.Request, password passdb.Secret) (passdb.Result, error) {
	res, err := v.Lookup(ctx, r)
	if err == nil && res.Status == passdb.OK && string(password) != v.password {
		res.Status, res.Detail = passdb.Mismatch, "Password mismatch (for LDAP bind)"
	}
	return res, err
}

func TestChain(t *testing.T) {
	down := memory(nil)
	u1, u2 := memory{"u": user("one", "a", "1")}, memory{"u": user("two", "b", "2")}
	for _, c := range []struct {
		name     string
		blocks   []conf.Passdb
		dbs      []passdb.Driver
		password string
		ok       bool
		code     Code
		fields   string
	}{
		{name: "a wrong password goes on to the next passdb", dbs: []passdb.Driver{u1, u2}, password: "two", ok: true, fields: "b=2"},
		{name: "a broken passdb goes on to the next", dbs: []passdb.Driver{down, u2}, password: "two", ok: true, fields: "b=2"},
		{name: "a broken passdb and a wrong password are a temporary failure", dbs: []passdb.Driver{down, u2}, password: "x", code: CodeTempFail},
		{name: "a wrong password and a broken passdb are a temporary failure", dbs: []passdb.Driver{u1, down}, password: "x", code: CodeTempFail},
		{
			name: "internalfail=return-fail stops", blocks: []conf.Passdb{{ResultInternalfail: "return-fail"}}, dbs: []passdb.Driver{down, u2}, password: "two",
			code: CodeTempFail,
		},
		{
			name: "internalfail=return-ok accepts, as Dovecot does", blocks: []conf.Passdb{{ResultInternalfail: "return-ok"}}, dbs: []passdb.Driver{down}, password: "x",
			ok: true,
		},
		{
			name: "success=continue checks the password once", blocks: []conf.Passdb{{ResultSuccess: "continue"}}, dbs: []passdb.Driver{u1, u2}, password: "one",
			ok: true, fields: "a=1 b=2",
		},
		{
			name: "success=continue asks a Verifier without the password", blocks: []conf.Passdb{{ResultSuccess: "continue"}},
			dbs: []passdb.Driver{u1, verifying{u2, "two"}}, password: "one", ok: true, fields: "a=1 b=2",
		},
		{
			name: "success=continue-ok survives a broken passdb", blocks: []conf.Passdb{{ResultSuccess: "continue-ok"}}, dbs: []passdb.Driver{u1, down}, password: "one",
			ok: true, fields: "a=1",
		},
		{name: "a Verifier accepts", dbs: []passdb.Driver{verifying{u2, "bind"}}, password: "bind", ok: true, fields: "b=2"},
		{name: "a Verifier refuses although the stored password fits", dbs: []passdb.Driver{verifying{u2, "bind"}}, password: "two"},
		{name: "nopassword accepts anything", dbs: []passdb.Driver{memory{"u": row("nopassword", "n")}}, password: "x", ok: true},
		{name: "nopassword before a password does not open the door", dbs: []passdb.Driver{memory{"u": user("s", "nopassword", "y")}}, password: "x"},
		{name: "an empty stored password accepts nobody", dbs: []passdb.Driver{memory{"u": user("")}}},
		{name: "no password and no nopassword accepts nobody", dbs: []passdb.Driver{memory{"u": row()}}, password: "x"},
		{name: "broken stored data is a temporary failure", dbs: []passdb.Driver{memory{"u": user("{SHA256}zz")}}, password: "x", code: CodeTempFail},
		{name: "an unknown scheme is a failure", dbs: []passdb.Driver{memory{"u": user("{NOPE}zz")}}, password: "x"},
		{
			name: "disabled ends the chain", dbs: []passdb.Driver{memory{"u": {Status: passdb.Disabled, Fields: []passdb.Field{{Name: "reason", Value: "gone"}}}}, u2},
			password: "two", code: CodeUserDisabled, fields: "reason=gone",
		},
		{
			name: "expired ends the chain and says so", dbs: []passdb.Driver{memory{"u": {Status: passdb.Expired}}, u2}, password: "two",
			code: CodePassExpired, fields: "reason=Password expired",
		},
		{
			name: "deny with a Verifier does not verify", blocks: []conf.Passdb{{Deny: true}}, dbs: []passdb.Driver{verifying{u1, "never"}, u2}, password: "two",
			code: CodeUserDisabled, fields: "a=1",
		},
		{name: "deny does not concern others", blocks: []conf.Passdb{{Deny: true}}, dbs: []passdb.Driver{memory{}, u2}, password: "two", ok: true, fields: "b=2"},
		{name: "a broken deny list refuses for now", blocks: []conf.Passdb{{Deny: true}}, dbs: []passdb.Driver{down, u2}, password: "two", code: CodeTempFail},
		{
			name: "an empty destuser of a later passdb changes nothing",
			dbs:  []passdb.Driver{memory{"u": row("noauthenticate", "", "destuser", "d")}, memory{"u": user("two", "destuser", "", "host", "", "pass", "")}}, password: "two",
			ok: true, fields: "destuser=d",
		},
		{
			name: "an empty flag is a flag", dbs: []passdb.Driver{memory{"u": user("two", "proxy", "")}}, password: "two", ok: true, fields: "proxy=",
		},
		{
			name: "passdb_import cannot import itself for ever", dbs: []passdb.Driver{memory{"u": user("two", "passdb_import", "x=1\tpassdb_import=y=2")}}, password: "two",
			ok: true, fields: "x=1",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, &fakeConfig{passdbs: c.blocks}, c.dbs...)
			got := r.plain(t, "u", c.password)
			if got.OK != c.ok || got.Code != c.code || fieldText(got.Fields) != c.fields {
				t.Fatalf("got ok=%v code=%v fields %q", got.OK, got.Code, fieldText(got.Fields))
			}
		})
	}
}

func fieldText(f passdb.Fields) string {
	var out []string
	for _, x := range f.All() {
		out = append(out, x.Name+"="+x.Value)
	}
	return strings.Join(out, " ")
}

func TestProtocolPassdbsHaveTheirOwnChain(t *testing.T) {
	r := newRig(t, &fakeConfig{passdbs: []conf.Passdb{{Mechanisms: "none"}}}, memory{"u": user("p")}, memory{"u": user("q")})
	if got := r.plain(t, "u", "q"); !got.OK {
		t.Fatalf("got %+v", got)
	}
	if got := r.Lookup(t.Context(), passdb.Peer{Service: "lmtp"}, "u"); !got.OK {
		t.Fatalf("got %+v", got)
	}
}

func TestNewRefuses(t *testing.T) {
	one := func(p conf.Passdb) []conf.Passdb { p.Driver = "mem"; return []conf.Passdb{p} }
	two := func(p conf.Passdb) []conf.Passdb { return append(one(p), one(conf.Passdb{})...) }
	for _, c := range []struct {
		name, mechs, want string
		blocks            []conf.Passdb
		cache             uint64
	}{
		{name: "no passdbs", want: "No passdbs specified in configuration file. PLAIN mechanism needs one"},
		{name: "master passdbs only", blocks: one(conf.Passdb{Master: true}), want: "No passdbs specified in configuration file. PLAIN mechanism needs one"},
		{name: "an unknown mechanism", mechs: "plain foo", blocks: one(conf.Passdb{}), want: "Unknown authentication mechanism 'FOO'"},
		{name: "no mechanism", mechs: " ", blocks: one(conf.Passdb{}), want: "No authentication mechanisms configured"},
		{name: "OTP", mechs: "otp", blocks: one(conf.Passdb{}), want: "OTP mechanism can't be supported with given passdbs"},
		{
			name: "a challenge mechanism over a passdb that only verifies", mechs: "plain cram-md5", blocks: []conf.Passdb{{Driver: "verify"}},
			want: "CRAM-MD5 mechanism can't be supported with given passdbs",
		},
		{name: "pass=yes at the end", blocks: one(conf.Passdb{Pass: true}), want: "Last passdb can't have pass=yes"},
		{name: "a denying master", blocks: two(conf.Passdb{Master: true, Deny: true}), want: "Master passdb can't have deny=yes"},
		{name: "a passing master alone", blocks: one(conf.Passdb{Master: true, Pass: true}), want: "Master passdb can't have pass=yes if there are no passdbs"},
		{name: "pass=yes mixed", blocks: two(conf.Passdb{Pass: true, ResultSuccess: "return"}), want: "Obsolete pass=yes setting mixed with non-default result_success"},
		{name: "an unknown driver", blocks: []conf.Passdb{{Driver: "nosuch"}}, want: "Unknown passdb driver 'nosuch'"},
		{name: "a tiny cache", blocks: one(conf.Passdb{}), cache: 1000, want: "auth_cache_size value is too small"},
		{
			name: "the place of a bad block is told", blocks: []conf.Passdb{{Driver: "mem", Pass: true, Position: conf.Position{File: "/etc/x.conf", Line: 7}}},
			want: "Last passdb can't have pass=yes (passdb in /etc/x.conf line 7)",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fakeConfig{passdbs: c.blocks}
			f.settings.AuthMechanisms = orElse(c.mechs, "plain")
			f.settings.AuthCacheSize = c.cache
			a, err := open(f, map[string]passdb.Factory{
				"mem":    func(conf.Passdb) (passdb.Driver, error) { return memory{}, nil },
				"verify": func(conf.Passdb) (passdb.Driver, error) { return verifyOnly{}, nil },
			}, &recorder{})
			if err == nil {
				a.Close()
				t.Fatal("no error")
			}
			if err.Error() != c.want {
				t.Fatalf("got %q\nwant %q", err, c.want)
			}
		})
	}
}

type verifyOnly struct{ verifying }

func (verifyOnly) VerifyOnly() {}

func TestLookup(t *testing.T) {
	db := memory{"u": user("secret", "host", "h"), "none": row(), "open": row("nopassword", "y"), "bad": user("{NOPE}x")}
	for _, c := range []struct {
		name, user string
		db         passdb.Driver
		ok         bool
		code       Code
	}{
		{name: "a user is found without a password", user: "u", db: db, ok: true},
		{name: "nopassword is found", user: "open", db: db, ok: true},
		{name: "an unknown user is not a fault", user: "zz", db: db},
		{name: "a user without any password is a fault", user: "none", db: db, code: CodeTempFail},
		{name: "an unknown scheme is a fault", user: "bad", db: db, code: CodeTempFail},
		{name: "a broken database is a fault", user: "u", db: memory(nil), code: CodeTempFail},
		{name: "a Verifier's user is found", user: "none", db: verifying{db, "x"}, ok: true},
		{name: "a bad name is nobody", user: "a b", db: db},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fakeConfig{}
			f.settings.AuthUsernameChars = "abcdefghijklmnopqrstuvwxyz"
			got := newRig(t, f, c.db).Lookup(t.Context(), passdb.Peer{Service: "lmtp"}, c.user)
			if got.OK != c.ok || got.Code != c.code {
				t.Fatalf("got %+v", got)
			}
		})
	}
}

func TestTwoEntriesWithEqualArgsAreKeptApart(t *testing.T) {
	db := memory{"a@one": user("p", "t", "1"), "b@two": user("p")}
	f := &fakeConfig{passdbs: []conf.Passdb{
		{Driver: "same", UsernameFilter: "*@one", OverrideFields: "n=first"}, {Driver: "same", UsernameFilter: "*@two", OverrideFields: "n=second"},
	}}
	r := newRig(t, f, db, db)
	for user, want := range map[string]string{"a@one": "first", "b@two": "second"} {
		got := r.plain(t, user, "p")
		if v, _ := got.Fields.Get("n"); !got.OK || v != want {
			t.Errorf("%s: ok=%v n=%q, want %q", user, got.OK, v, want)
		}
	}
}

func TestFlagWarningsAreGivenOnce(t *testing.T) {
	r := newRig(t, &fakeConfig{}, memory{"u": user("p", "proxy", "no")})
	r.plain(t, "u", "p")
	r.plain(t, "u", "p")
	n := 0
	for _, l := range r.log.lines() {
		if strings.Contains(l, "proxy=no counts as yes") {
			n++
		}
	}
	if n != 1 {
		t.Fatalf("%d warnings", n)
	}
}

func TestPasswordsInLogs(t *testing.T) {
	for _, c := range []struct {
		setting string
		want    []string
	}{
		{"no", nil},
		{"plain", []string{
			"auth: Info: db1(u): Password mismatch (given password: bad) - trying the next passdb", "auth: Info: db2(u): unknown user (given password: bad)",
		}},
		{"sha1:6", []string{
			"auth: Info: db1(u): Password mismatch (SHA1 of given password: 1902e3) - trying the next passdb",
			"auth: Info: db2(u): unknown user (SHA1 of given password: 1902e3)",
		}},
		{"yes:2", []string{
			"auth: Info: db1(u): Password mismatch (given password: ba) - trying the next passdb", "auth: Info: db2(u): unknown user (given password: ba)",
		}},
	} {
		t.Run("auth_verbose_passwords="+c.setting, func(t *testing.T) {
			f := &fakeConfig{}
			f.settings.AuthVerbosePasswords = c.setting
			r := newRig(t, f, memory{"u": user("p")}, memory{})
			r.log.lines() // the warning that passwords are logged
			r.plain(t, "u", "bad")
			if got := r.log.lines(); !slices.Equal(got, c.want) {
				t.Fatalf("got %q", got)
			}
		})
	}
}

func TestDebugLines(t *testing.T) {
	for _, c := range []struct {
		name      string
		passwords bool
		want      []string
	}{
		{name: "auth_debug tells the steps", want: []string{
			"auth: Debug: db1(u): Performing passdb lookup", "auth: Info: db1(u): Password mismatch", "auth: Debug: db1(u): Finished passdb lookup",
			"auth: Debug: auth(u): Auth request finished",
		}},
		{name: "auth_debug_passwords shows both passwords", passwords: true, want: []string{
			"auth: Debug: db1(u): Performing passdb lookup", "auth: Debug: db1(u): PLAIN(bad) != 'p'", "auth: Info: db1(u): Password mismatch",
			"auth: Debug: db1(u): Finished passdb lookup", "auth: Debug: auth(u): Auth request finished",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fakeConfig{}
			f.settings.AuthDebug, f.settings.AuthDebugPasswords = true, c.passwords
			r := newRig(t, f, memory{"u": user("p")})
			r.log.lines()
			r.plain(t, "u", "bad")
			if got := r.log.lines(); !slices.Equal(got, c.want) {
				t.Fatalf("got %q", got)
			}
		})
	}
}

func TestALineIsQuietUnlessAskedFor(t *testing.T) {
	for _, c := range []struct {
		global bool
		entry  string
		want   int
	}{{false, "default", 0}, {true, "default", 1}, {false, "yes", 1}, {true, "no", 0}} {
		f := &fakeConfig{passdbs: []conf.Passdb{{AuthVerbose: c.entry}}}
		f.settings.AuthVerbose = c.global
		r := newRig(t, f, memory{"u": user("p")})
		r.plain(t, "u", "bad")
		if got := r.log.lines(); len(got) != c.want {
			t.Errorf("auth_verbose %v and %s: %q", c.global, c.entry, got)
		}
	}
}
