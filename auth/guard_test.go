package auth

import (
	"testing"
	"testing/synctest"
	"time"

	"dproxy/auth/policy"
	"dproxy/passdb"
)

func TestTarpit(t *testing.T) {
	for _, tc := range []struct {
		name           string
		status         int
		after, logOnly bool
		noPenalty      bool
		want           time.Duration
	}{
		{name: "the seconds that the policy server says", status: 3, want: 3 * time.Second},
		{name: "but no more than five minutes", status: 100000, want: 5 * time.Minute},
		{name: "not after a success", status: 3, after: true},
		{name: "not when only the log shall tell", status: 3, logOnly: true},
		{name: "not for who is exempt from penalties", status: 3, noPenalty: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fakeConfig{}
				f.settings.AuthPolicyLogOnly = tc.logOnly
				r := newRig(t, f, memory{})
				c, err := r.chain("imap")
				if err != nil {
					t.Fatal(err)
				}
				a := r.attempt(c, passdb.Peer{}, "PLAIN")
				a.noPenalty = tc.noPenalty
				began := time.Now()
				if s := a.obey(t.Context(), policy.Answer{Status: tc.status}, tc.after); s != passdb.OK {
					t.Errorf("%v", s)
				}
				if got := time.Since(began); got != tc.want {
					t.Errorf("waited %v, want %v", got, tc.want)
				}
			})
		})
	}
}
