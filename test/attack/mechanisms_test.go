package attack

import (
	"encoding/base64"
	"strings"
	"testing"

	"dproxy/test/dialog"
)

// mechanisms are all that need no database of their own.
const mechanisms = "auth_mechanisms = plain login cram-md5 digest-md5 scram-sha-1 scram-sha-256 xoauth2 oauthbearer external anonymous apop\n"

// testMechanisms: whatever is said in an exchange of any mechanism, nobody is logged in and no backend hears of it.
func testMechanisms(t *testing.T, certs *dialog.Certs) {
	g := newGate(t, certs)
	g.start(t, mechanisms+"auth_failure_delay = 0\n"+lenient, 0)
	birds := g.hatch(t)
	long := strings.Repeat("x", 4000)
	responses := map[string][]string{
		"PLAIN":         {"\x00\x00", "\x00\x00\x00", "a\x00b\x00c\x00d", "\x00victim@example.org\x00", "\x00" + long + "\x00x", "victim@example.org\x00\x00" + password},
		"LOGIN":         {"victim@example.org", "victim@example.org\x00", long},
		"CRAM-MD5":      {"", "x", "victim@example.org", "victim@example.org ", "victim@example.org " + strings.Repeat("0", 32), "victim@example.org " + strings.Repeat("g", 32), " " + strings.Repeat("0", 32), long},
		"DIGEST-MD5":    {"", "x", "username=", `username="victim@example.org"`, `username="victim@example.org",realm="",nonce="x",cnonce="y",nc=00000001,qop=auth,digest-uri="imap/x",response=` + strings.Repeat("0", 32), strings.Repeat(`username="a",`, 300), `username="` + strings.Repeat(`\`, 1001) + `"`},
		"SCRAM-SHA-1":   {"", "n,,", "n,,n=", "n,,n=victim@example.org,r=", "n,,n=victim@example.org,r=x,i=99999999", "p=tls-unique,,n=victim@example.org,r=x", "y,,n=victim=2,r=x", "n,a=fresh@example.org,n=victim@example.org,r=abc", "n,,m=x,n=victim@example.org,r=x", "n,,n=" + long + ",r=x", "c=biws,r=x,p=AAAA"},
		"SCRAM-SHA-256": {"n,,n=victim@example.org,r=x", "n,,n=victim@example.org,r=" + long},
		"XOAUTH2":       {"", "user=victim@example.org\x01auth=Bearer \x01\x01", "user=victim@example.org\x01auth=Bearer x\x01\x01", "\x01\x01", "user=" + long, "auth=Bearer x\x01user=victim@example.org"},
		"OAUTHBEARER":   {"", "n,,\x01auth=Bearer \x01\x01", "n,a=victim@example.org,\x01auth=Bearer x\x01\x01", "n,a=victim@example.org\x01", "p=x,,\x01auth=Bearer x\x01\x01", "n,,\x01" + strings.Repeat("a=b\x01", 500)},
		"EXTERNAL":      {"", "victim@example.org", "\x00"},
		"ANONYMOUS":     {strings.Repeat("x", 300), "a\x00b"},
		"APOP":          {"<x> victim@example.org 00000000000000000000000000000000", ""},
		"NTLM":          {"NTLMSSP\x00\x01\x00\x00\x00"}, "GSSAPI": {"x"}, "-": {"x"}, "%s%n": {"x"},
	}
	challenges := 0
	birds.during(t, func() {
		for mech, all := range responses {
			for _, r := range all {
				for name, ask := range map[string][3]string{
					"imap": {"a AUTHENTICATE " + mech + "\r\n", "", "a "}, "pop3": {"AUTH " + mech + "\r\n", "", ""},
					"submission": {"AUTH " + mech + "\r\n", "", ""}, "sieve": {"AUTHENTICATE \"" + mech + "\"\r\n", "\"", ""},
				} {
					p := g.meet(t, name, stranger)
					pr := protocolOf(name)
					if name == "submission" {
						if err := p.talk(pr, [][2]string{{"EHLO x\r\n", "250 "}}); err != nil {
							t.Fatal(err)
						}
					}
					p.send(ask[0])
					for range 4 { // as many challenges as any has
						l, err := p.next()
						if err != nil {
							break
						}
						if strings.HasPrefix(l, "a OK") || strings.HasPrefix(l, "+OK") || strings.HasPrefix(l, "235 ") || strings.HasPrefix(l, "OK") {
							t.Errorf("%s, %s, %.60q: %q", name, mech, r, l)
						}
						if challenge := strings.HasPrefix(l, "+ ") || strings.HasPrefix(l, "334 ") || strings.HasPrefix(l, `"`); !challenge {
							break
						}
						challenges++
						p.send(ask[1] + base64.StdEncoding.EncodeToString([]byte(r)) + ask[1] + "\r\n")
					}
					p.Close()
				}
			}
		}
	})
	if challenges < 150 {
		t.Errorf("only %d challenges: the mechanisms are not asked for", challenges)
	}
	for _, pr := range protocols {
		if text := g.good[pr.name].text(); strings.Contains(text, "victim") || strings.Contains(text, plain("victim@example.org", "victim@example.org", password)) {
			t.Errorf("the %s backend heard of the victim", pr.name)
		}
	}
}
