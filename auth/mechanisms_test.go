package auth

import (
	"crypto/md5"
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/xdg-go/scram"

	"dproxy/conf"
	"dproxy/passdb"
)

const userChars = "abcdefghijklmnopqrstuvwxyz0123456789.-_@"

func mechanismRig(t *testing.T) rig {
	f := &fakeConfig{services: noPenalty}
	f.settings.AuthMechanisms = "plain login cram-md5 digest-md5 scram-sha-1 scram-sha-256 xoauth2 oauthbearer external anonymous apop"
	f.settings.AuthUsernameChars, f.settings.AuthVerbose = userChars, true
	f.settings.AuthAnonymousUsername, f.settings.Hostname = "anonymous", "proxy.example.org"
	f.settings.AuthSSLUsernameFromCert = true
	return newRig(t, f, memory{
		"a": user("{PLAIN}secret", "proxy", "", "host", "192.0.2.1"), "n": row("nopassword", ""),
		"b":   user("{SHA256.HEX}2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"),
		"bad": user("{SCRAM-SHA-256}100,eHg=,eHg=,eHg="),
	})
}

// proof makes a SCRAM client-final-message whose R is the server's nonce.
func proof(format string) func([]byte) string {
	return func(challenge []byte) string {
		r, _, _ := strings.Cut(string(challenge), ",")
		return strings.ReplaceAll(format, "R", r)
	}
}

var nonce = regexp.MustCompile(`nonce="([^"]*)"`)

// digest fills the server's nonce in for N.
func digestReply(format string) func([]byte) string {
	return func(challenge []byte) string {
		return strings.ReplaceAll(format, `"N"`, `"`+string(nonce.FindSubmatch(challenge)[1])+`"`)
	}
}

func say(s string) func([]byte) string { return func([]byte) string { return s } }

// TestDialogues has what a real Dovecot 2.3.19.1 was seen to do with the same messages: the user of
// its reply and its log line.
func TestDialogues(t *testing.T) {
	zeros, x32 := strings.Repeat("0", 32), base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", 32)))
	const mismatched = ": Password mismatch"
	full := `username="a",nonce="N",cnonce="c",nc=00000001,digest-uri="imap/x",response=` + zeros
	for _, c := range []struct {
		mech    string
		initial string // "-": none
		more    []func([]byte) string
		ok      bool
		user    string
		log     string // without "auth: Info: "
	}{
		{"PLAIN", "x", nil, false, "", "plain(?): invalid input"},
		{"PLAIN", "\x00a", nil, false, "", "plain(?): invalid input"},
		{"PLAIN", "\x00a\x00sec\x00ret", nil, false, "", "plain(?): invalid input"},
		{"PLAIN", "", nil, false, "", "plain(?): invalid input"},
		{"PLAIN", "-", []func([]byte) string{say("\x00a\x00secret")}, true, "a", ""},
		{"LOGIN", "a", []func([]byte) string{say("secret")}, true, "a", ""},
		{"LOGIN", "", []func([]byte) string{say("a"), say("secret")}, true, "a", ""},
		{"LOGIN", "-", []func([]byte) string{say("a"), say("sec\x00ret")}, false, "a", ""},
		{"LOGIN", "a b", nil, false, "a b", "login(?): Username character disallowed by auth_username_chars: 0x20 (username: a b)"},
		{"LOGIN", "a\x00b", nil, false, "", ""},
		{"CRAM-MD5", "-", []func([]byte) string{say("a")}, false, "", "cram-md5(?): missing digest"},
		{"CRAM-MD5", "-", []func([]byte) string{say("a 00")}, false, "a", "cram-md5(a)" + mismatched},
		{"CRAM-MD5", "-", []func([]byte) string{say("a " + zeros)}, false, "a", "cram-md5(a)" + mismatched},
		{"CRAM-MD5", "ignored", []func([]byte) string{say("a " + zeros)}, false, "a", "cram-md5(a)" + mismatched},
		{"CRAM-MD5", "-", []func([]byte) string{say("a\x00b 00")}, false, "", ""},
		{"CRAM-MD5", "-", []func([]byte) string{say("zz 00")}, false, "zz", "db1(zz): unknown user"},
		{"CRAM-MD5", "-", []func([]byte) string{say("b 00")}, false, "b", "db1(b): Requested CRAM-MD5 scheme, but we have only SHA256.HEX"},
		{"SCRAM-SHA-256", "n", nil, false, "", "scram-sha-256(?): Invalid initial client message: Missing first ',' in GS2 header"},
		{"SCRAM-SHA-256", "n,", nil, false, "", "scram-sha-256(?): Invalid initial client message: Missing second ',' in GS2 header"},
		{"SCRAM-SHA-256", "n,,", nil, false, "", "scram-sha-256(?): Invalid initial client message: Missing nonce field"},
		{"SCRAM-SHA-256", "n,,n=a", nil, false, "", "scram-sha-256(?): Invalid initial client message: Missing nonce field"},
		{"SCRAM-SHA-256", "x,,n=a,r=abc", nil, false, "", "scram-sha-256(?): Invalid GS2 header"},
		{"SCRAM-SHA-256", "p=tls-unique,,n=a,r=abc", nil, false, "", "scram-sha-256(?): Channel binding not supported"},
		{"SCRAM-SHA-256", "n,a=b,n=a,r=abc", nil, false, "a", "scram-sha-256(a): Master user login attempted without master passdbs"},
		{"SCRAM-SHA-256", "n,a=,n=a,r=abc", nil, false, "a", "scram-sha-256(a): Master user login attempted to use empty login username"},
		{"SCRAM-SHA-256", "n,a=b=,n=a,r=abc", nil, false, "", "scram-sha-256(?): authzid escaping is invalid"},
		{"SCRAM-SHA-256", "n,,n=a=,r=abc", nil, false, "", "scram-sha-256(?): Username escaping is invalid"},
		{"SCRAM-SHA-256", "n,,m=x,n=a,r=abc", nil, false, "", "scram-sha-256(?): Mandatory extension(s) not supported"},
		{"SCRAM-SHA-256", "n,,r=abc,n=a", nil, false, "", "scram-sha-256(?): Invalid username field"},
		{"SCRAM-SHA-256", "n,,n=zz,r=abc", nil, false, "zz", "db1(zz): unknown user"},
		{"SCRAM-SHA-256", "n,,n=b,r=abc", nil, false, "b", "db1(b): Requested SCRAM-SHA-256 scheme, but we have only SHA256.HEX"},
		{"SCRAM-SHA-256", "n,,n=bad,r=abc", nil, false, "bad", "scram-sha-256(bad): Invalid SCRAM-SHA-256 iteration count in passdb"},
		{"SCRAM-SHA-256", "n,,n=,r=abc", nil, false, "", "scram-sha-256(?): Empty username"},
		{"SCRAM-SHA-256", "n,,n=a b,r=abc", nil, false, "a b", "scram-sha-256(?): Username character disallowed by auth_username_chars: 0x20 (username: a b)"},
		{"SCRAM-SHA-256", "n,,n=a,r=abc", []func([]byte) string{proof("")}, false, "a", "scram-sha-256(a): Invalid final client message"},
		{"SCRAM-SHA-256", "n,,n=a,r=abc", []func([]byte) string{proof("c=biws,R")}, false, "a", "scram-sha-256(a): Invalid final client message"},
		{"SCRAM-SHA-256", "n,,n=a,r=abc", []func([]byte) string{proof("c=biws,R,p=")}, false, "a", "scram-sha-256(a): Invalid ClientProof length"},
		{"SCRAM-SHA-256", "n,,n=a,r=abc", []func([]byte) string{proof("c=biws,R,p=AAAA")}, false, "a", "scram-sha-256(a): Invalid ClientProof length"},
		{"SCRAM-SHA-256", "n,,n=a,r=abc", []func([]byte) string{proof("c=biws,R,p=***")}, false, "a", "scram-sha-256(a): Invalid base64 encoding"},
		{"SCRAM-SHA-256", "n,,n=a,r=abc", []func([]byte) string{proof("c=biws,R,p=" + x32)}, false, "a", "scram-sha-256(a)" + mismatched},
		{"SCRAM-SHA-256", "n,,n=a,r=abc", []func([]byte) string{proof("c=eSws,R,p=" + x32)}, false, "a", "scram-sha-256(a): Invalid channel binding data"},
		{"SCRAM-SHA-256", "n,,n=a,r=abc", []func([]byte) string{proof("c=biws,r=foo,p=" + x32)}, false, "a", "scram-sha-256(a): Wrong nonce"},
		{"SCRAM-SHA-256", "n,,n=a,r=abc", []func([]byte) string{proof("R,c=biws,p=AAAA")}, false, "a", "scram-sha-256(a): Invalid channel binding data"},
		{"XOAUTH2", "", nil, false, "", "xoauth2(?): Username or token missing"},
		{"XOAUTH2", "user=a\x01\x01", nil, false, "a", "xoauth2(a): Username or token missing"},
		{"XOAUTH2", "auth=Bearer x\x01\x01", nil, false, "", "xoauth2(?): Username or token missing"},
		{"XOAUTH2", "user=a\x01auth=Basic tok\x01\x01", nil, false, "", "xoauth2(?): Invalid continued data"},
		{"XOAUTH2", "user=a\x01auth=Bearer secret\x01\x01", nil, true, "a", ""},
		{"XOAUTH2", "auth=bearer secret\x01foo=1\x01user=a", nil, true, "a", ""},
		{"XOAUTH2", "user=a\x01auth=Bearer tok\x01\x01", []func([]byte) string{say("")}, false, "a", "db1(a)" + mismatched},
		{"OAUTHBEARER", "", nil, false, "", "oauthbearer(?): Invalid continued data"},
		{"OAUTHBEARER", "n,a=a,\x01host=h\x01port=1\x01auth=Bearer secret\x01\x01", nil, true, "a", ""},
		{"OAUTHBEARER", "y,a=a,\x01auth=Bearer secret\x01\x01", nil, true, "a", ""},
		{"OAUTHBEARER", "n,a=a,\x01auth=Bearer bad\x01\x01", []func([]byte) string{say("\x01")}, false, "a", "db1(a)" + mismatched},
		{"OAUTHBEARER", "n,,\x01auth=Bearer secret\x01\x01", nil, false, "", "oauthbearer(?): Missing username or token"},
		{"OAUTHBEARER", "p=x,a=a,\x01auth=Bearer secret\x01\x01", nil, false, "", "oauthbearer(?): Client requested and used channel-binding"},
		{"OAUTHBEARER", "x,a=a,\x01auth=Bearer secret\x01\x01", nil, false, "", "oauthbearer(?): Invalid gs2-header in request"},
		{
			"OAUTHBEARER", "n,a=a=2Cb,\x01auth=Bearer secret\x01\x01", nil, false, "a,b",
			"oauthbearer(?): Username character disallowed by auth_username_chars: 0x2c (username: a,b)",
		},
		{"OAUTHBEARER", "n,a=a=zz,\x01auth=Bearer secret\x01\x01", nil, false, "", "oauthbearer(?): Invalid username escaping"},
		{"OAUTHBEARER", "n,a=a,auth=Bearer secret\x01\x01", nil, false, "", "oauthbearer(?): Invalid username escaping"},
		{"OAUTHBEARER", "n,a=a,\x01\x01", nil, false, "a", "oauthbearer(a): Missing username or token"},
		{"EXTERNAL", "", nil, false, "", "external(?): username not known"},
		{"EXTERNAL", "-", []func([]byte) string{say("a")}, false, "", "external(?): username not known"},
		{"ANONYMOUS", "x@y", nil, true, "anonymous", "anonymous(x@y): login"},
		{"ANONYMOUS", "-", []func([]byte) string{say("tr")}, true, "anonymous", "anonymous(tr): login"},
		{"APOP", "-", nil, false, "", "apop(?): no initial response"},
		{"APOP", "", nil, false, "", "apop(?): no initial response"},
		{"APOP", "<x>", nil, false, "", "apop(?): malformed data"},
		{"APOP", "<1@x>\x00a\x00xxxxxxxxxxxxxxxx", nil, false, "a", "apop(a)" + mismatched},
		{"DIGEST-MD5", "-", []func([]byte) string{say("")}, false, "", "digest-md5(?): Client sent no input"},
		{"DIGEST-MD5", "-", []func([]byte) string{say(`username="a"`)}, false, "", "digest-md5(?): Missing nonce parameter"},
		{"DIGEST-MD5", "-", []func([]byte) string{digestReply(`username="a",nonce="N"`)}, false, "", "digest-md5(?): Missing cnonce parameter"},
		{"DIGEST-MD5", "-", []func([]byte) string{digestReply(`nonce="N",cnonce="c"`)}, false, "", "digest-md5(?): Missing username parameter"},
		{"DIGEST-MD5", "-", []func([]byte) string{digestReply(`nonce="N",cnonce="c",cnonce="d"`)}, false, "", "digest-md5(?): cnonce must not exist more than once"},
		{"DIGEST-MD5", "-", []func([]byte) string{say(`username="a",nonce="zz"`)}, false, "", "digest-md5(?): Invalid nonce"},
		{"DIGEST-MD5", "-", []func([]byte) string{digestReply(`nonce="N",nc=00000002`)}, false, "", "digest-md5(?): re-auth not supported currently"},
		{"DIGEST-MD5", "-", []func([]byte) string{digestReply(`nonce="N",response=000`)}, false, "", "digest-md5(?): Invalid response value"},
		{"DIGEST-MD5", "-", []func([]byte) string{digestReply(full + `,qop=auth-int`)}, false, "", "digest-md5(?): Nonallowed QoP requested"},
		{"DIGEST-MD5", "-", []func([]byte) string{digestReply(full)}, false, "a", "digest-md5(a)" + mismatched},
		{"DIGEST-MD5", "-", []func([]byte) string{digestReply(full + `,realm="x.example"`)}, false, "a@x.example", "db1(a@x.example): unknown user"},
	} {
		t.Run(fmt.Sprintf("%s %q", c.mech, c.initial), func(t *testing.T) {
			r := mechanismRig(t)
			q := Request{Mech: c.mech, Initial: []byte(c.initial), HasInitial: c.initial != "-"}
			if !q.HasInitial {
				q.Initial = nil
			}
			x, challenge, reply := r.Start(t.Context(), q)
			for i, m := range c.more {
				if reply != nil {
					t.Fatalf("a verdict after %d messages: %+v", i, reply)
				}
				challenge, reply = x.Step(t.Context(), []byte(m(challenge)))
			}
			if reply == nil {
				t.Fatalf("another challenge: %q", challenge)
			}
			var want []string
			if c.log != "" {
				want = []string{"auth: Info: " + c.log}
			}
			if lines := r.log.lines(); reply.OK != c.ok || reply.Code != CodeNone || !slices.Equal(lines, want) {
				t.Errorf("ok=%v code %v log %q, want ok=%v log %q", reply.OK, reply.Code, lines, c.ok, want)
			}
			if reply.User != c.user {
				t.Errorf("user %q, want %q", reply.User, c.user)
			}
		})
	}
}

func TestFirstChallenges(t *testing.T) {
	r := mechanismRig(t)
	for mech, want := range map[string]string{
		"PLAIN": `^$`, "LOGIN": `^Username:$`, "SCRAM-SHA-1": `^$`, "XOAUTH2": `^$`, "EXTERNAL": `^$`, "ANONYMOUS": `^$`,
		"CRAM-MD5":   `^<\d{16}\.\d{10}@proxy\.example\.org>$`,
		"DIGEST-MD5": `^realm="",nonce="[A-Za-z0-9+/]{22}==",qop="auth",charset="utf-8",algorithm="md5-sess"$`,
	} {
		_, challenge, reply := r.Start(t.Context(), Request{Mech: mech})
		if reply != nil || challenge == nil || !regexp.MustCompile(want).Match(challenge) {
			t.Errorf("%s: %q %+v", mech, challenge, reply)
		}
	}
}

func TestChallengeMechanismsHaveNoPassword(t *testing.T) {
	r := mechanismRig(t)
	if got := r.cramMD5(t, "a", "secret"); !got.OK || got.HasPassword || !got.Fields.Has("proxy") {
		t.Fatalf("%+v", got)
	}
	if got := r.cramMD5(t, "n", ""); got.OK {
		t.Fatalf("nopassword and an empty password: %+v", got)
	}
}

func TestSCRAM(t *testing.T) {
	for _, c := range []struct {
		mech string
		hash scram.HashGeneratorFcn
	}{{"SCRAM-SHA-1", scram.SHA1}, {"SCRAM-SHA-256", scram.SHA256}} {
		t.Run(c.mech, func(t *testing.T) {
			r := mechanismRig(t)
			client, err := c.hash.NewClient("a", "secret", "")
			if err != nil {
				t.Fatal(err)
			}
			conv := client.NewConversation()
			first, _ := conv.Step("")
			x, challenge, reply := r.Start(t.Context(), Request{Mech: c.mech, Initial: []byte(first), HasInitial: true})
			if reply != nil {
				t.Fatalf("%+v", reply)
			}
			if !regexp.MustCompile(`^r=[!-~]{80,},s=[^,]+,i=4096$`).Match(challenge) {
				t.Errorf("challenge %q", challenge)
			}
			final, err := conv.Step(string(challenge))
			if err != nil {
				t.Fatal(err)
			}
			if _, reply = x.Step(t.Context(), []byte(final)); reply == nil || !reply.OK {
				t.Fatalf("%+v", reply)
			}
			if _, err := conv.Step(string(reply.Final)); err != nil || !conv.Valid() {
				t.Fatalf("the server's proof %q: %v", reply.Final, err)
			}
		})
	}
}

func TestARefusedLoginShowsNoProof(t *testing.T) {
	f := &fakeConfig{passdbs: []conf.Passdb{{ResultSuccess: "return"}}}
	f.settings.AuthMechanisms = "scram-sha-1"
	r := newRig(t, f, memory{"a": user("secret")})
	client, err := scram.SHA1.NewClient("a", "secret", "")
	if err != nil {
		t.Fatal(err)
	}
	conv := client.NewConversation()
	first, _ := conv.Step("")
	x, challenge, _ := r.Start(t.Context(), Request{Mech: "SCRAM-SHA-1", Initial: []byte(first), HasInitial: true})
	final, err := conv.Step(string(challenge))
	if err != nil {
		t.Fatal(err)
	}
	if _, reply := x.Step(t.Context(), []byte(final)); reply.OK || reply.Final != nil {
		t.Fatalf("%+v", reply)
	}
}

// TestDigestMD5 replays dialogues that a real Dovecot 2.3.19.1 accepted.
func TestDigestMD5(t *testing.T) {
	for _, c := range []struct{ nonce, response, final, user string }{
		{
			"3BWTTeYLPh6Cn4hn5uoznA==",
			`username="a",realm="",nonce="3BWTTeYLPh6Cn4hn5uoznA==",cnonce="OA6MHXh6VqTrRk",nc=00000001,qop=auth,digest-uri="imap/mail.example.org",response=c25888a8c72441977d449ded68be7999,charset=utf-8`,
			"rspauth=d48016e18f0a844e5a6fc7514d440a8b", "a",
		},
		{
			"hoc7Jq7HSQrkAP0sCXsexg==",
			`username="b",realm="b.example",nonce="hoc7Jq7HSQrkAP0sCXsexg==",cnonce="OA6MHXh6VqTrRk",nc=00000001,qop=auth,digest-uri="imap/mail.example.org",response=5b192ad93a9ed447c1c2a9bf15745712,charset=utf-8`,
			"rspauth=dc8b5cadbc6bf09971309358a8ed3a57", "b@b.example",
		},
	} {
		f := &fakeConfig{}
		f.settings.AuthMechanisms = "digest-md5"
		hash := md5.Sum([]byte("b:b.example:geheim"))
		r := newRig(t, f, memory{"a": user("secret"), "b@b.example": user(fmt.Sprintf("{DIGEST-MD5}%x", hash))})
		x, _, _ := r.Start(t.Context(), Request{Mech: "DIGEST-MD5"})
		x.mech = &digestMD5{nonce: c.nonce}
		_, reply := x.Step(t.Context(), []byte(c.response))
		if !reply.OK || string(reply.Final) != c.final || reply.User != c.user {
			t.Errorf("%+v final %q", reply, reply.Final)
		}
	}
}

// TestAPOP is the example of RFC 1939 section 7.
func TestAPOP(t *testing.T) {
	f := &fakeConfig{}
	f.settings.AuthMechanisms = "apop"
	r := newRig(t, f, memory{"mrose": user("tanstaaf"), "hash": user("{SHA}xx")})
	const challenge = "<1896.697170952@dbc.mtview.ca.us>"
	sum := md5.Sum([]byte(challenge + "tanstaaf"))
	if got := fmt.Sprintf("%x", sum); got != "c4c9334bac560ecc979e58001b3e22fb" {
		t.Fatal(got)
	}
	login := func(user string) *Reply {
		return r.authenticate(t, Request{Mech: "APOP", Initial: append([]byte(challenge+"\x00"+user+"\x00"), sum[:]...), HasInitial: true})
	}
	if got := login("mrose"); !got.OK {
		t.Fatalf("%+v", got)
	}
	if got := login("hash"); got.OK {
		t.Fatalf("%+v", got)
	}
	if m := r.Mechanisms(); !m[0].Private {
		t.Fatalf("%+v", m)
	}
}

func TestAMasterProvesItsOwnPassword(t *testing.T) {
	f := &fakeConfig{passdbs: masterBlocks}
	f.settings.AuthMechanisms, f.settings.AuthMasterUserSeparator = "cram-md5", "*"
	r := newRig(t, f, memory{"boss": user("bosspw")}, memory{"u": user("upw", "host", "h")})
	if got := r.cramMD5(t, "u*boss", "bosspw"); !got.OK || got.User != "u" || got.MasterUser != "boss" {
		t.Errorf("%+v", got)
	}
	if got := r.cramMD5(t, "u*boss", "upw"); got.OK || got.Code != CodeAuthzFail {
		t.Errorf("%+v", got)
	}
}

func TestCertificates(t *testing.T) {
	f := &fakeConfig{}
	f.settings.AuthMechanisms, f.settings.AuthSSLUsernameFromCert = "plain external", true
	r := newRig(t, f, memory{"cn": row("nopassword", "")})
	login := func(name string, valid bool) *Reply {
		q := Request{Mech: "EXTERNAL", Initial: []byte{}, HasInitial: true}
		q.Peer = passdb.Peer{CertName: name, CertValid: valid}
		return r.authenticate(t, q)
	}
	if got := login("cn", true); !got.OK || got.User != "cn" || !got.HasPassword || got.Password != "" {
		t.Errorf("%+v", got)
	}
	if got := login("cn", false); got.OK {
		t.Errorf("a name from a certificate that is not valid: %+v", got)
	}
	q := Request{Mech: "PLAIN", Initial: []byte("\x00other\x00pw"), HasInitial: true}
	q.Peer = passdb.Peer{CertName: "cn", CertValid: true}
	if got := r.authenticate(t, q); !got.OK || got.User != "cn" || got.OrigUser != "other" {
		t.Errorf("the certificate's name replaces the typed one: %+v", got)
	}
}
