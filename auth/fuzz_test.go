package auth

import (
	"context"
	"strings"
	"testing"
	"time"

	"dproxy/conf"
	"dproxy/passdb"
)

// FuzzSASL feeds two messages to each mechanism. Nobody gets in without the password, which is not
// in the corpus, and each step gives a challenge or a verdict.
func FuzzSASL(f *testing.F) {
	f.Add("PLAIN", []byte("\x00u\x00p"), []byte(""))
	f.Add("LOGIN", []byte("u"), []byte("p"))
	f.Add("SCRAM-SHA-256", []byte("n,,n=u,r=abc"), []byte("c=biws,r=abc,p=AAAA"))
	f.Add("SCRAM-SHA-1", []byte("n,a=v,n=u,r=abc,x=y"), []byte("c=biws,r=abc,p=AAAA"))
	f.Add("OAUTHBEARER", []byte("n,a=u,\x01auth=Bearer t\x01\x01"), []byte("\x01"))
	f.Add("XOAUTH2", []byte("user=u\x01auth=Bearer t\x01\x01"), []byte(""))
	f.Add("EXTERNAL", []byte("u"), []byte(""))
	f.Add("CRAM-MD5", []byte("u 00112233445566778899aabbccddeeff"), []byte(""))
	f.Add("DIGEST-MD5", []byte(`username="u",realm="",nonce="x",cnonce="y",nc=00000001,qop=auth,response=00112233445566778899aabbccddeeff`), []byte(""))
	f.Add("APOP", []byte("<1@x>\x00u\x000123456789abcdef"), []byte(""))
	f.Fuzz(func(t *testing.T, mech string, first, second []byte) {
		c := &fakeConfig{services: noPenalty}
		c.settings.AuthMechanisms = "plain login cram-md5 digest-md5 scram-sha-1 scram-sha-256 xoauth2 oauthbearer external apop"
		c.settings.AuthMasterUserSeparator, c.settings.Hostname = "*", "h"
		r := newRig(t, c, memory{"u": user("8f14e45fceea167a5a36dedd4bea2543")})
		x, challenge, reply := r.Start(t.Context(), Request{Mech: mech, Initial: first, HasInitial: true})
		for _, m := range [][]byte{second, first, second} {
			if (challenge == nil) == (reply == nil) {
				t.Fatalf("challenge %q and verdict %+v", challenge, reply)
			}
			if reply != nil {
				break
			}
			challenge, reply = x.Step(t.Context(), m)
		}
		if reply != nil && reply.OK {
			t.Fatalf("%s %q %q: %+v", mech, first, second, reply)
		}
	})
}

// FuzzFields sets any field. The hidden ones stay hidden, and nothing but a user field renames.
func FuzzFields(f *testing.F) {
	f.Add("proxy=y\thost:protected=h\tuserdb_x=1\tuser=v", "allow_nets", "10.0.0.0/8,local")
	f.Add("passdb_import=x=1", "delay_until", "99+5")
	f.Add("x:remove", "domain", "d@e")
	f.Fuzz(func(t *testing.T, list, name, value string) {
		c := &fakeConfig{}
		r := newRig(t, c, memory{})
		ch, err := r.chain("imap")
		if err != nil {
			t.Fatal(err)
		}
		a := r.attempt(ch, passdb.Peer{}, "PLAIN")
		a.entry, a.req.User = ch.normal[0], "u"
		a.setField("passdb_import", list, "PLAIN")
		a.setField(name, value, "PLAIN")
		if a.req.User == "" {
			t.Fatal("the user lost its name")
		}
		if a.req.User != "u" && !strings.Contains(list, "user") && !strings.Contains(list, "domain") && !strings.Contains(name, "user") && !strings.Contains(name, "domain") {
			t.Fatalf("renamed to %q", a.req.User)
		}
		if d := time.Until(a.delayUntil); d > maxDelay {
			t.Fatalf("delayed by %v", d)
		}
		for _, ok := range []bool{true, false} {
			shown := a.visible(ok)
			for _, h := range hidden {
				if shown.Has(h) {
					t.Fatalf("%s is shown", h)
				}
			}
			for _, n := range unsetWhenEmpty {
				if v, has := shown.Get(n); has && v == "" {
					t.Fatalf("%s is set and empty", n)
				}
			}
			if len(shown.WithPrefix("userdb_")) != 0 {
				t.Fatal("userdb_ is shown")
			}
		}
	})
}

// FuzzFieldTemplates reads default_fields.
func FuzzFieldTemplates(f *testing.F) {
	f.Add("proxy=y host=%d x=%{passdb:y}")
	f.Add("a=%{if;%u;eq;x;1;2} =b c=")
	f.Fuzz(func(t *testing.T, list string) {
		parsed, err := parseFieldTemplates(list)
		if err != nil {
			return
		}
		for _, p := range parsed {
			if strings.ContainsAny(p.name, " =") {
				t.Fatalf("name %q in %q", p.name, list)
			}
			_, _ = p.value.Expand((&passdb.Request{User: "u@d"}).Var) // a mistake in it shows here
		}
	})
}

// FuzzUserNames normalises names: what passes holds allowed characters only.
func FuzzUserNames(f *testing.F) {
	f.Add("u@d", "@#")
	f.Add("a\x00b", "")
	f.Fuzz(func(t *testing.T, name, translation string) {
		n, err := newNameRules(&conf.Settings{AuthUsernameTranslation: translation, AuthUsernameFormat: "%u"})
		if err != nil {
			t.Fatal(err)
		}
		got, err := n.normalise(&passdb.Request{}, name)
		if err != nil {
			return
		}
		if got == "" || len(got) > maxUser {
			t.Fatalf("%q gives %q", name, got)
		}
		for _, c := range []byte(got) {
			if c < 0x20 || c == 0x7f {
				t.Fatalf("%q gives %q", name, got)
			}
		}
	})
}

// FuzzDigestDirectives parses digest-responses.
func FuzzDigestDirectives(f *testing.F) {
	f.Add(`username="u",realm="a\"b",nonce="n",cnonce="c",nc=00000001, qop=auth`)
	f.Fuzz(func(t *testing.T, in string) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r, fault := parseDigest(in, "n")
		if ctx.Err() != nil {
			t.Fatalf("%d bytes took a second", len(in))
		}
		if fault == "" && (r["nonce"] != "n" || r["username"] == "" || r["nc"] != "00000001" || r["qop"] != "auth") {
			t.Fatalf("%q gives %q", in, r)
		}
	})
}
