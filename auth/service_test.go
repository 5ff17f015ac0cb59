package auth

import (
	"context"
	"crypto/hmac"
	"crypto/md5"
	"encoding/hex"
	"testing"
	"testing/synctest"
	"time"

	"dproxy/conf"
	"dproxy/passdb"
)

// service is a passdb that judges passwords and challenges itself.
type service struct {
	password string
	res      passdb.Result // of a right password
	refusal  passdb.Result
	url      string
	asked    int
}

func (s *service) Lookup(context.Context, *passdb.Request) (passdb.Result, error) {
	return passdb.Result{Status: passdb.SchemeNotAvailable}, nil
}

func (s *service) Verify(_ context.Context, _ *passdb.Request, password passdb.Secret) (passdb.Result, error) {
	s.asked++
	if string(password) == s.password {
		return s.res, nil
	}
	return s.refusal, nil
}

func (s *service) VerifyChallenge(_ context.Context, r *passdb.Request, c passdb.Challenge) (passdb.Result, error) {
	s.asked++
	h := hmac.New(md5.New, []byte(s.password))
	h.Write([]byte(c.Salt))
	if r.Mech == "CRAM-MD5" && hex.EncodeToString(h.Sum(nil)) == c.Digest {
		return s.res, nil
	}
	return s.refusal, nil
}

func (s *service) OpenIDConfigurationURL() string { return s.url }

type cachedService struct{ *service }

func (cachedService) CacheVars() []string { return []string{"user"} }

func TestAServiceJudgesTheAnswerToAChallenge(t *testing.T) {
	s := &service{password: "secret", res: row("proxy", "", "pass", "other"), refusal: passdb.Result{Status: passdb.Mismatch}}
	r := newRig(t, &fakeConfig{settings: conf.Settings{AuthMechanisms: "cram-md5", AuthCacheSize: 1 << 20, AuthCacheTTL: time.Hour}}, cachedService{s})
	for range 2 {
		reply := r.cramMD5(t, "bob", "secret")
		if pass, _ := reply.Fields.Get("pass"); !reply.OK || pass != "other" {
			t.Errorf("the right answer: %+v", reply)
		}
		if reply := r.cramMD5(t, "bob", "wrong"); reply.OK {
			t.Errorf("a wrong answer: %+v", reply)
		}
	}
	if s.asked != 4 {
		t.Errorf("asked %d times, want 4: an answer to a challenge is nobody else's", s.asked)
	}
}

func TestAProofCountsForThePassdbThatFoundItOnly(t *testing.T) {
	s := &service{password: "one", res: row("allow_nets", "192.0.2.0/24")}
	r := newRig(t, &fakeConfig{settings: conf.Settings{AuthMechanisms: "cram-md5"}}, s, memory{"bob": user("two")})
	if reply := r.cramMD5(t, "bob", "one"); reply.OK {
		t.Error("the second passdb let in what only the first, which refused, found right")
	}
}

func TestTheClientHearsTheReasonOfThePassdbAskedLast(t *testing.T) {
	s := &service{refusal: passdb.Result{Status: passdb.Mismatch, Reason: "Pay your bill"}}
	if reply := newRig(t, &fakeConfig{}, s).plain(t, "bob", "x"); reply.OK || reply.Reason != "Pay your bill" {
		t.Errorf("%+v", reply)
	}
	if reply := newRig(t, &fakeConfig{}, s, memory{}).plain(t, "bob", "x"); reply.OK || reply.Reason != "" {
		t.Errorf("%+v", reply)
	}
	s.refusal.Status = passdb.InternalFailure
	if reply := newRig(t, &fakeConfig{}, s).plain(t, "bob", "x"); reply.Code != CodeTempFail || reply.Reason != "Pay your bill" {
		t.Errorf("%+v", reply)
	}
}

func TestARefusalWaitsAsLongAsThePassdbSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{refusal: passdb.Result{Status: passdb.Mismatch, Wait: 7 * time.Second}}
		r := newRig(t, &fakeConfig{settings: conf.Settings{AuthFailureDelay: 2 * time.Second}}, s)
		began := time.Now()
		r.plain(t, "bob", "x")
		if d := time.Since(began); d != 7*time.Second {
			t.Errorf("held for %s", d)
		}
		r.Close()
	})
}

func TestNoCacheKeepsAnAnswerLongerThanItIsTrue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{password: "token", res: passdb.Result{Until: time.Now().Add(time.Minute)}, refusal: passdb.Result{Status: passdb.Mismatch}}
		r := newRig(t, &fakeConfig{settings: conf.Settings{AuthCacheSize: 1 << 20, AuthCacheTTL: time.Hour}}, cachedService{s})
		for range 2 {
			if reply := r.plain(t, "bob", "token"); !reply.OK {
				t.Fatalf("%+v", reply)
			}
		}
		if s.asked != 1 {
			t.Errorf("asked %d times, want 1", s.asked)
		}
		time.Sleep(time.Minute)
		s.refusal.Status, s.password = passdb.InternalFailure, "another"
		if reply := r.plain(t, "bob", "token"); reply.OK || reply.Code != CodeTempFail {
			t.Errorf("an answer that has ended served while the service is down: %+v", reply)
		}
		r.Close()
	})
}

func TestARefusedTokenTellsWhereToAsk(t *testing.T) {
	for _, c := range []struct{ mech, initial, url, want string }{
		{"XOAUTH2", "user=bob\x01auth=Bearer t\x01\x01", "", `{"status":"401","schemes":"bearer","scope":"mail"}`},
		{"XOAUTH2", "user=bob\x01auth=Bearer t\x01\x01", "https://i/?a&b", `{"status":"401","schemes":"bearer","scope":"mail","openid-configuration":"https://i/?a&b"}`},
		{"OAUTHBEARER", "n,a=bob,\x01auth=Bearer t\x01\x01", `https://i/"`, `{"status":"invalid_token","openid-configuration":"https://i/\""}`},
		{"OAUTHBEARER", "n,a=bob,\x01auth=Bearer t\tt\x01\x01", `https://i/"`, `{"status":"invalid_token"}`}, // no passdb was asked
	} {
		r := newRig(t, &fakeConfig{settings: conf.Settings{AuthMechanisms: c.mech}}, &service{url: c.url, refusal: passdb.Result{Status: passdb.Mismatch}})
		_, challenge, reply := r.Start(t.Context(), Request{Mech: c.mech, Initial: []byte(c.initial), HasInitial: true})
		if reply != nil || string(challenge) != c.want {
			t.Errorf("%s: %s, %+v, want %s", c.mech, challenge, reply, c.want)
		}
	}
}
