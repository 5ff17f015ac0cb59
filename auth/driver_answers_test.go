package auth

import (
	"context"
	"strings"
	"testing"

	"dproxy/conf"
	"dproxy/passdb"
	"dproxy/passdb/static"
)

// judging is a driver that judges passwords itself and writes to the log.
type judging struct {
	asked   int
	noCache bool
}

func (*judging) CacheVars() []string { return []string{"user"} }
func (*judging) Unshared()           {}

func (j *judging) Lookup(ctx context.Context, r *passdb.Request) (passdb.Result, error) {
	return j.Verify(ctx, r, r.Password)
}

func (j *judging) Verify(_ context.Context, r *passdb.Request, password passdb.Secret) (passdb.Result, error) {
	j.asked++
	r.Say(passdb.Warning, "seen\n"+r.User)
	if password != "right" {
		return passdb.Result{Status: passdb.Mismatch, NoCache: j.noCache}, nil
	}
	return passdb.Result{NoCache: j.noCache}, nil
}

// TestAVerifiedPasswordIsTheOnlyOne: nopassword beside a driver that judges passwords does not make the
// cache accept others.
func TestAVerifiedPasswordIsTheOnlyOne(t *testing.T) {
	db := &judging{}
	r := newRig(t, &fakeConfig{settings: cached(), passdbs: []conf.Passdb{{DefaultFields: "nopassword=y"}}}, db)
	for i, c := range []struct {
		password string
		ok       bool
	}{{"right", true}, {"wrong", false}, {"right", true}, {"other", false}} {
		if got := r.plain(t, "alice", c.password); got.OK != c.ok {
			t.Errorf("%d: %s: %v", i, c.password, got.OK)
		}
	}
}

func TestWhatMustNotBeCachedIsAskedAgain(t *testing.T) {
	for _, noCache := range []bool{false, true} {
		db := &judging{noCache: noCache}
		r := newRig(t, &fakeConfig{settings: cached()}, db)
		for range 3 {
			if !r.plain(t, "alice", "right").OK {
				t.Fatal("refused")
			}
		}
		if want := map[bool]int{false: 1, true: 3}[noCache]; db.asked != want {
			t.Errorf("NoCache=%v: asked %d times, want %d", noCache, db.asked, want)
		}
	}
}

func TestADriversLinesHaveTheUserBeforeThem(t *testing.T) {
	r := newRig(t, &fakeConfig{}, &judging{})
	r.plain(t, "alice", "right")
	if got := strings.Join(r.log.lines(), "\n"); !strings.Contains(got, "auth: Warning: db1(alice): seen?alice") {
		t.Errorf("got %s", got)
	}
}

func cached() conf.Settings {
	return conf.Settings{AuthCacheSize: 1 << 20, AuthCacheTTL: 1 << 40, AuthCacheNegativeTTL: 1 << 40}
}

// TestNumbers: %! and the ports have Dovecot's values (2.3.19): blocks with equal driver and args are one
// passdb, masters count after the others, a port that is not known is 0.
func TestNumbers(t *testing.T) {
	block := func(password string) conf.Passdb {
		return conf.Passdb{Driver: "static", Args: "password=" + password + " id=%! port=%{real_lport}:%a:%b"}
	}
	master := block("mm")
	master.Master = true
	again := block("aa")
	again.Skip = "authenticated"
	c := &fakeConfig{passdbs: []conf.Passdb{block("aa"), master, block("bb"), again, block("cc")}}
	c.settings.AuthMechanisms, c.settings.AuthMasterUserSeparator = "plain", "*"
	a, err := open(c, map[string]passdb.Factory{"static": static.New}, &recorder{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	r := rig{a, &recorder{}}
	for password, want := range map[string]string{"aa": "1", "bb": "2", "cc": "3", "mm": "4"} {
		user := "u"
		if password == "mm" {
			user = "u*m"
		}
		reply := r.plain(t, user, password)
		id, _ := reply.Fields.Get("id")
		port, _ := reply.Fields.Get("port")
		if !reply.OK || id != want || port != "0:0:0" {
			t.Errorf("%s: %v id=%s port=%s", password, reply.OK, id, port)
		}
	}
}
