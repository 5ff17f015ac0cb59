package lmtp

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"dproxy/backend/backendtest"
)

// rcpts are the RCPT commands that a backend heard.
func (f *fake) rcpts() []string {
	return slices.DeleteFunc(f.heard(), func(c string) bool { return !strings.HasPrefix(c, "RCPT ") })
}

func TestRecipientOf(t *testing.T) {
	b := newFake(t)
	r := newRig(t, "recipient_delimiter = +-\n",
		"u@x "+at(b, ""), "renamed@x "+at(b, "destuser=other@y"), "short@x "+at(b, "destuser=short"), "odd@x "+at(b, "destuser=a<b>c"),
		`quoted.@x `+at(b, ""), "noproxy@x nologin=y", "nohost@x proxy=y", "badport@x proxy=y host=127.0.0.1 port=zz",
		"badproto@x "+at(b, "protocol=foo"), "self@x proxy=y host=127.0.0.1", "name@x proxy=y host=does-not-exist.invalid")
	for _, tt := range []struct{ name, rcpt, answer, want string }{
		{"is as the client named it", "<u@x>", "250 2.1.5 OK", "<u@x>"},
		{"keeps the detail that the lookup leaves out", "<u+folder@x>", "250 2.1.5 OK", "<u+folder@x>"},
		{"has any of the delimiters", "<u-folder@x>", "250 2.1.5 OK", "<u-folder@x>"},
		{"is the destuser with the detail and an ORCPT", "<renamed+d@x>", "250 2.1.5 OK", "<other+d@y> ORCPT=rfc822;renamed+2Bd@x"},
		{"keeps the client's ORCPT", "<renamed@x> ORCPT=rfc822;first@z", "250 2.1.5 OK", "<other@y> ORCPT=rfc822;first@z"},
		{"may be without a domain", "<short@x>", "250 2.1.5 OK", "<short> ORCPT=rfc822;short@x"},
		{"is quoted again where it must be", "<quoted.@x>", "250 2.1.5 OK", `<"quoted."@x>`},
		{"loses a source route", "<@relay,@other:u@x>", "250 2.1.5 OK", "<u@x>"},
		{"is refused when the destuser is no address", "<odd@x>", "550 5.3.5 <odd@x> Internal user lookup failure", ""},
		{"is refused when nobody knows it", "<nobody@x>", "550 5.1.1 <nobody@x> User doesn't exist: nobody@x", ""},
		{"is refused without proxy", "<noproxy@x>", "550 5.3.5 <noproxy@x> No mail is kept here, and the user has no other host", ""},
		{"is refused without a host", "<nohost@x>", "550 5.3.5 <nohost@x> Internal user lookup failure", ""},
		{"is refused with a bad port", "<badport@x>", "550 5.3.5 <badport@x> Internal user lookup failure", ""},
		{"is refused with another protocol", "<badproto@x>", "550 5.3.5 <badproto@x> Internal user lookup failure", ""},
		{"is refused when it leads back here", "<self@x>", "554 5.4.6 <self@x> Proxying loops to itself", ""},
		{"is deferred when its host has no address", "<name@x>", "451 4.3.0 <name@x> Temporary user lookup failure", ""},
		{"is not empty", "<>", "501 5.5.4 Invalid TO: Null path not allowed", ""},
		{"has no blank", "<u 1@x>", "501 5.5.4 Invalid TO: Missing '>' at end of path", ""},
		{"without a name is one like others", `<""@x>`, "550 5.1.1 <\"\"@x> User doesn't exist: @x", ""},
		{"has nothing of 8 bits", "<\xc3\xa9@x>", "501 5.5.4 Invalid TO: Invalid character in localpart", ""},
		{"has none in quotes either", "<\"\xc3\xa9\"@x>", "501 5.5.4 Invalid TO: Invalid character in quoted string", ""},
		{"has no tab in its quotes", "<\"a\tb\"@x>", "501 5.5.4 Invalid TO: Invalid character in quoted string", ""},
		{"has no line's end in its quotes", "<\"a\x0db\"@x>", "500 5.5.2 Invalid command syntax", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := len(b.rcpts())
			c := r.opened(t, "")
			c.play("C: RCPT TO:" + tt.rcpt)
			if got, err := c.line(); err != nil || got != tt.answer {
				t.Fatalf("got %q, %v, want %q", got, err, tt.answer)
			}
			got := strings.Join(b.rcpts()[before:], ";")
			if want := tt.want; want != "" && got != "RCPT TO:"+want || want == "" && got != "" {
				t.Errorf("the backend heard %q, want %q", got, want)
			}
		})
	}
}

func TestWithoutLMTPProxy(t *testing.T) {
	r := newRig(t, "lmtp_proxy = no\n", "u@x "+at(newFake(t), ""))
	r.opened(t, "").play("C: RCPT TO:<u@x>", "S: 550 5.3.5 <u@x> No mail is kept here, and lmtp_proxy is off")
}

func TestDefaultPortIsTheOneTheClientUsed(t *testing.T) {
	r := newRig(t, "", "u@x proxy=y host=127.0.0.9")
	_, port, err := net.SplitHostPort(r.addr)
	if err != nil {
		t.Fatal(err)
	}
	r.opened(t, "").play("C: RCPT TO:<u@x>", `S: 451 4\.4\.0 Proxy failed \(connect, session=`+sid+`\)`)
	r.waitFor(t, `^Error: lmtp-client: conn 127\.0\.0\.9:`+port+` \[1\]: connect\(127\.0\.0\.9:`+port+`\) failed: Connection refused$`)
}

func TestSharedConnections(t *testing.T) {
	b, other := newFake(t), newFake(t)
	r := newRig(t, "", "u1@x "+at(b, ""), "u2@x "+at(b, ""), "u3@x "+at(b, "source_ip=127.0.0.84"), "u4@x "+at(other, ""), "u5@x "+at(b, "protocol=smtp"))
	c := r.opened(t, "")
	for _, u := range []string{"u1", "u2", "u3", "u4", "u5", "u1"} {
		c.play("C: RCPT TO:<"+u+"@x>", "S: 250 2.1.5 OK")
	}
	c.play("C: DATA", "S: 354 OK", `Q: "hi\r\n.\r\n"`, "S: 250 2.0.0 <u1@x> "+sid+" Saved", "S: 250 2.0.0 <u2@x> "+sid+":R2 Saved", "S: 250 2.0.0 <u3@x> "+sid+":R3 Saved",
		"S: 250 2.0.0 <u4@x> "+sid+":R4 Saved", "S: 250 2.0.0 <u5@x> "+sid+":R5 Saved", "S: 250 2.0.0 <u1@x> "+sid+":R6 Saved",
		"C: MAIL FROM:<a@x>", "S: 250 .*", "C: RCPT TO:<u1@x>", "S: 250 .*", "C: DATA", "S: 354 OK", `Q: "hi\r\n.\r\n"`, "S: 250 2.0.0 <u1@x> "+sid+":T2 Saved")
	b.mu.Lock()
	defer b.mu.Unlock()
	if want := []string{"127.0.0.1", "127.0.0.84", "127.0.0.1", "127.0.0.1"}; !slices.Equal(b.peers, want) {
		t.Errorf("connections came from %v, want %v", b.peers, want)
	}
}

func TestBackendsRefusals(t *testing.T) {
	for _, tt := range []struct {
		name  string
		rules []rule
		want  string
	}{
		{"RCPT is refused with the client's own path", []rule{{"RCPT", "550 5.1.1 <nobody> unknown here"}}, "550 5.1.1 <u@x> unknown here"},
		{"an enhanced code is made up for a refusal", []rule{{"RCPT", "450 no enh"}}, "450 4.0.0 <u@x> no enh"},
		{"and for a consent", []rule{{"RCPT", "250 fine"}}, "250 2.1.0 fine"},
		{"MAIL's refusal is the recipient's", []rule{{"MAIL", "550 5.7.0 bad sender"}}, "550 5.7.0 <u@x> bad sender"},
		{"control bytes are not passed on", []rule{{"RCPT", "550 5.1.1 a\x1b[31mb"}}, `550 5.1.1 <u@x> a\?\[31mb`},
		{"a refusing greeting is passed on", []rule{{"CONNECT", "554 5.3.2 go away"}}, "554 5.3.2 <u@x> go away"},
		{"no reply at all", []rule{{"RCPT", "what?"}}, `451 4.4.0 Proxy failed \(bad reply, session=` + sid + `\)`},
		{"a code that is none of a refusal", []rule{{"RCPT", "350 hm"}}, `451 4.4.0 <u@x> Proxy failed \(bad reply\)`},
		{"a close instead of the greeting", []rule{{"CONNECT", "!close"}}, `451 4.4.0 Proxy failed \(connection lost, session=` + sid + `\)`},
		{"a close within the transaction", []rule{{"RCPT", "!close"}}, `451 4.4.0 Proxy failed \(connection lost, session=` + sid + `\)`},
		{"421 is a lost connection", []rule{{"RCPT", "421 4.3.2 bye"}}, `451 4.4.0 Proxy failed \(connection lost, session=` + sid + `\)`},
		{"a reply too many", []rule{{"CONNECT", "220 b\r\n250 b"}}, `451 4.4.0 Proxy failed \(bad reply, session=` + sid + `\)`},
		{"silence about a recipient", []rule{{"RCPT", "!hang"}}, `451 4.4.0 Proxy failed \(timed out, session=` + sid + `\)`},
		{"silence", []rule{{"CONNECT", "!hang"}}, `451 4.4.0 Proxy failed \(connect, session=` + sid + `\)`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newFake(t, tt.rules...)
			r := newRig(t, "", "u@x "+at(b, "proxy_timeout=1"))
			r.opened(t, "").play("C: RCPT TO:<u@x>", "S: "+tt.want)
		})
	}
	t.Run("lmtp_verbose_replies tells why", func(t *testing.T) {
		b := newFake(t)
		b.stop()
		r := newRig(t, "lmtp_verbose_replies = yes\n", "u@x "+at(b, ""))
		r.opened(t, "").play("C: RCPT TO:<u@x>", `S: 451 4.4.0 Proxy failed: Failed to connect to remote server \(session=`+sid+`\)`)
	})
	t.Run("a failed connection is not tried again for the next recipient", func(t *testing.T) {
		b := newFake(t, rule{"CONNECT", "!close"})
		r := newRig(t, "", "u1@x "+at(b, ""), "u2@x "+at(b, ""))
		r.opened(t, "").play("C: RCPT TO:<u1@x>", "S: 451 .*", "C: RCPT TO:<u2@x>", "S: 451 .*")
		b.mu.Lock()
		defer b.mu.Unlock()
		if len(b.peers) != 1 {
			t.Errorf("%d connections", len(b.peers))
		}
	})
}

func TestBackendTLS(t *testing.T) {
	cert := backendtest.NewCerts(t).Get("rogue")
	b := newFake(t)
	b.caps, b.cert = append(b.caps, "STARTTLS"), &cert
	r := newRig(t, "", "any@x "+at(b, "starttls=any-cert"), "verified@x "+at(b, "starttls=y"), "none@x "+at(newFake(t), "starttls=any-cert"))
	for _, tt := range []struct{ name, user, want string }{
		{"any-cert takes every certificate", "any@x", "250 2.1.5 OK"},
		{"a certificate that does not verify ends it", "verified@x", `451 4.4.0 Proxy failed \(connect, session=.*`},
		{"a backend without STARTTLS gets nothing in clear text", "none@x", `451 4.4.0 Proxy failed \(connect, session=.*`},
	} {
		t.Run(tt.name, func(t *testing.T) { r.opened(t, "").play("C: RCPT TO:<"+tt.user+">", "S: "+tt.want) })
	}
}

func TestIdentity(t *testing.T) {
	b := newFake(t)
	b.caps = append(b.caps, "XCLIENT ADDR PORT PROTO HELO LOGIN SESSION TTL TIMEOUT", "XRCPTFORWARD")
	r := newRig(t, "", "u@x "+at(b, "forward_own=1"))
	said := func() string {
		for _, c := range slices.Backward(b.heard()) {
			if strings.HasPrefix(c, "XCLIENT ") {
				return c
			}
		}
		return ""
	}
	for _, tt := range []struct {
		name, from string
		steps      []string
		want       string // what the backend's XCLIENT begins with
	}{
		{"a client is told of", "", nil, "XCLIENT HELO=client.example.com PROTO=LMTP SESSION="},
		{"with the first hop count", "", nil, "TTL=5 PORT="},
		{"and its address", "", nil, "ADDR=127.0.0.1"},
		{"a trusted client's word goes on, one hop less", "127.0.0.5", []string{
			"C: XCLIENT ADDR=192.0.2.7 PORT=1234 TTL=3 HELO=remote.example.com PROTO=ESMTP LOGIN=me+2Byou SESSION=abc TIMEOUT=20", hello,
		}, "XCLIENT HELO=remote.example.com PROTO=ESMTP LOGIN=me+2Byou SESSION=abc:P1 TTL=2 PORT=1234 ADDR=192.0.2.7"},
		{"one hop left is sent as none", "127.0.0.5", []string{"C: XCLIENT TTL=1", hello}, " TTL=0 "},
		{"IPv6 may have its prefix", "127.0.0.5", []string{"C: XCLIENT ADDR=IPV6:2001:db8::1", hello}, " ADDR=2001:db8::1"},
		{"what follows a name in HELO is not sent on", "127.0.0.5", []string{"C: XCLIENT HELO=a+0D+0Ab", hello}, "HELO=a "},
		{"what is not available changes nothing", "127.0.0.5", []string{"C: XCLIENT ADDR=[UNAVAILABLE] HELO=[UNAVAILABLE]", hello}, "HELO=client.example.com"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := r.connect(t, tt.from)
			c.play(hello)
			c.play(tt.steps...)
			c.play("LHLO", "C: MAIL FROM:<a@x>", "S: 250 .*", "C: RCPT TO:<u@x>", "S: 250 .*")
			if got := said(); !strings.Contains(got, tt.want) {
				t.Errorf("the backend heard %q, want %q", got, tt.want)
			}
		})
	}
	t.Run("a name that is none is not handed on", func(t *testing.T) {
		c := r.connect(t, "")
		c.play(hello, "C: LHLO a\tb", "S: 250-.*", "S: 250-.*", "S: 250-.*", "S: 250-.*", "S: 250 .*", "C: MAIL FROM:<a@x>", "S: 250 .*", "C: RCPT TO:<u@x>", "S: 250 .*")
		if got := said(); !strings.HasPrefix(got, "XCLIENT PROTO=LMTP ") {
			t.Errorf("the backend heard %q", got)
		}
	})
	t.Run("no hop left refuses", func(t *testing.T) {
		c := r.connect(t, "127.0.0.5")
		c.play(hello, "C: XCLIENT TTL=0", hello, "C: MAIL FROM:<a@x>", "S: 250 .*", "C: RCPT TO:<u@x>", `S: 554 5.4.6 <u@x> Proxying appears to be looping \(TTL=0\)`)
	})
	t.Run("forwarded fields reach the backend with the passdb's own", func(t *testing.T) {
		r.opened(t, "127.0.0.5").play("C: RCPT TO:<u@x> XRCPTFORWARD=mine+3D2", "S: 250 .*")
		got := b.rcpts()
		if last := got[len(got)-1]; !strings.Contains(last, "mine+3D2") || !strings.Contains(last, "own+3D1") {
			t.Errorf("the backend heard %q", last)
		}
	})
	for _, tt := range []struct{ name, from, say, want string }{
		{"XCLIENT of a stranger", "", "XCLIENT ADDR=192.0.2.7", "550 5.7.14 You are not from trusted IP"},
		{"an address that is none", "127.0.0.5", "XCLIENT ADDR=xx", "501 5.5.4 Invalid ADDR parameter"},
		{"a port too high", "127.0.0.5", "XCLIENT PORT=99999", "501 5.5.4 Invalid PORT parameter"},
		{"a negative hop count", "127.0.0.5", "XCLIENT TTL=-1", "501 5.5.4 Invalid TTL parameter"},
		{"a NUL", "127.0.0.5", "XCLIENT LOGIN=u+00", "501 5.5.4 Invalid LOGIN parameter: Encountered NUL character in xtext"},
		{"another protocol", "127.0.0.5", "XCLIENT PROTO=HTTP", "501 5.5.4 Invalid PROTO parameter"},
		{"a bare equals sign", "127.0.0.5", "XCLIENT ADDR==", "501 5.5.4 Invalid parameter: Unexpected character in parameter value"},
	} {
		t.Run(tt.name+" is refused", func(t *testing.T) {
			r.connect(t, tt.from).play(hello, "C: "+tt.say, "S: "+tt.want)
		})
	}
	t.Run("XRCPTFORWARD of a stranger is refused", func(t *testing.T) {
		r.opened(t, "").play("C: RCPT TO:<u@x> XRCPTFORWARD=a+3Db", "S: 550 5.7.14 Unacceptable XRCPTFORWARD= parameter: You are not from trusted IP")
	})
	t.Run("XCLIENT within a transaction is refused", func(t *testing.T) {
		r.opened(t, "127.0.0.5").play("C: XCLIENT TTL=3", "S: 503 5.5.0 XCLIENT not permitted during a mail transaction")
	})
}

func TestConcurrencyLimit(t *testing.T) {
	r := newRig(t, "lmtp_user_concurrency_limit = 1\n", "u@x "+at(newFake(t), ""), "v@x "+at(newFake(t), ""))
	first, second := r.opened(t, ""), r.opened(t, "")
	first.play("C: RCPT TO:<u@x>", "S: 250 .*")
	second.play("C: RCPT TO:<u@x>", "S: 451 4.3.0 <u@x> Too many concurrent deliveries for user", "C: RCPT TO:<v@x>", "S: 250 .*")
	first.message("hi\r\n.\r\n", "250 .*")
	first.play("C: NOOP", "S: 250 .*")
	second.play("C: RCPT TO:<u@x>", "S: 250 .*", "C: RSET", "S: 250 .*")
	first.play("C: MAIL FROM:<a@x>", "S: 250 .*", "C: RCPT TO:<u@x>", "S: 250 .*")
}

func TestBackendsOfOneMessageAreBounded(t *testing.T) {
	b := newFake(t)
	var users []string
	for i := range maxBackends + 1 {
		users = append(users, fmt.Sprintf("u%d@x %s", i, at(b, fmt.Sprintf("source_ip=127.0.1.%d", i+1))))
	}
	c := newRig(t, "", users...).opened(t, "")
	for i := range maxBackends {
		c.play(fmt.Sprintf("C: RCPT TO:<u%d@x>", i), "S: 250 .*")
	}
	c.play(fmt.Sprintf("C: RCPT TO:<u%d@x>", maxBackends), "S: 452 4.5.3 <u64@x> Too many backends for one message", "C: RCPT TO:<u0@x>", "S: 250 .*")
}

// TestBrokenSender: a sender that is no address does not keep a message from its recipients.
func TestBrokenSender(t *testing.T) {
	b := newFake(t)
	r := newRig(t, "", "u@x "+at(b, ""))
	for _, path := range []string{"a(b)@c", `a"b@c`, "a@b@c", "a@", "@b", "foo,bar@c", "\xc3\xa9@x"} {
		c := r.connect(t, "")
		c.play(hello, "C: MAIL FROM:<"+path+">", "S: 250 2.1.0 OK", "C: RCPT TO:<u@x>", "S: 250 2.1.5 OK")
		_ = c.nc.Close()
	}
	for _, path := range []string{"<a b@c>", "<a@b>x", "a@b", "<a<b>", "<a@b"} {
		c := r.connect(t, "")
		c.play(hello, "C: MAIL FROM:"+path, "S: 501 5.5.4 Invalid FROM: .*")
		_ = c.nc.Close()
	}
}
