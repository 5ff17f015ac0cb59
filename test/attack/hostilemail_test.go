package attack

import (
	"crypto/tls"
	"strings"
)

// banners are good ones, and up to where the password comes: what a backend of each protocol reads and says.
var banners = map[string]struct{ banner, hello, starttls string }{
	"submission": {"220 good ESMTP\r\n", "250-good\r\n250 AUTH PLAIN LOGIN\r\n", "250-good\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n"},
	"sieve":      {"\"IMPLEMENTATION\" \"good\"\r\n\"SASL\" \"PLAIN\"\r\nOK \"ready\"\r\n", "", "\"SASL\" \"PLAIN\"\r\n\"STARTTLS\"\r\nOK \"ready\"\r\n"},
	"lmtp":       {"220 good LMTP\r\n", "250-good\r\n250 8BITMIME\r\n", "250-good\r\n250 STARTTLS\r\n"},
}

// hear reads n lines.
func (c *tap) hear(n int) bool {
	for range n {
		if _, err := c.r.ReadString('\n'); err != nil {
			return false
		}
	}
	return true
}

// upToPassword plays a good backend until it has heard the password; in LMTP, the recipient.
func (c *tap) upToPassword(protocol string) bool {
	b := banners[protocol]
	if c.send(b.banner) != nil {
		return false
	}
	switch protocol {
	case "submission":
		return c.hear(1) && c.send(b.hello) == nil && c.hear(1)
	case "lmtp":
		return c.hear(1) && c.send(b.hello) == nil && c.hear(1) && c.send("250 2.1.0 OK\r\n") == nil && c.hear(1)
	}
	return c.hear(1)
}

// says sends a text and then waits.
func says(text string) func(*tap) {
	return func(c *tap) {
		if c.send(text) == nil {
			c.wait()
		}
	}
}

// hostileMail are the backends of Submission, ManageSieve and LMTP that begin badly or go wrong later.
func hostileMail() []*hostileBackend {
	var all []*hostileBackend
	for _, protocol := range []string{"submission", "sieve", "lmtp"} {
		early := func(name string, serve func(*tap)) {
			all = append(all, &hostileBackend{name: name, protocol: protocol, serve: serve})
		}
		late := func(name string, then func(*tap)) {
			all = append(all, &hostileBackend{name: name, protocol: protocol, mayHear: true, serve: func(c *tap) {
				if c.upToPassword(protocol) {
					then(c)
				}
			}})
		}
		code := map[string]string{"submission": "454 4.7.0 ", "sieve": "NO (TRYLATER) \"", "lmtp": "451 4.3.0 "}[protocol]
		tail := map[string]string{"sieve": "\""}[protocol]
		late("silence after the password", func(c *tap) { c.wait() })
		late("a reset after the password", func(c *tap) { reset(c.Conn) })
		late("a close after the password", func(*tap) {})
		late("an endless line after the password", func(c *tap) { c.endless("y") })
		late("a reply byte by byte", func(c *tap) { c.dribble(strings.Repeat("2", 1000)) })
		late("garbage after the password", func(c *tap) { c.endless("\x00\xff\x1b[31m\r\n") })
		late("a goodbye after the password", says(map[bool]string{true: "BYE \"\x1b[31mevil\"\r\n", false: "421 4.3.2 \x1b[31mevil\r\n"}[protocol == "sieve"]))
		if protocol != "lmtp" {
			late("a refusal with terminal codes", says(code+"\x1b[31m\x00\xff\u202eevil"+tail+"\r\n"))
		}
		early("a login with the banner", says(map[string]string{
			"submission": "220 x\r\n250-x\r\n250 AUTH PLAIN\r\n235 2.7.0 in\r\n", "sieve": "\"SASL\" \"PLAIN\"\r\nOK\r\nOK \"in\"\r\n",
			"lmtp": "220 x\r\n250 x\r\n250 ok\r\n250 ok\r\n354 go\r\n250 ok\r\n250 ok\r\n",
		}[protocol]))
	}
	return append(append(all, hostileSMTP()...), hostileSieve()...)
}

// hostileSMTP go wrong in the replies of SMTP.
func hostileSMTP() []*hostileBackend {
	var all []*hostileBackend
	for _, protocol := range []string{"submission", "lmtp"} {
		hello := func(name, reply string, more func(*tap)) {
			all = append(all, &hostileBackend{name: name, protocol: protocol, serve: func(c *tap) {
				if c.send("220 x\r\n") == nil && c.hear(1) && c.send(reply) == nil {
					more(c)
				}
			}})
		}
		wait := func(c *tap) { c.wait() }
		hello("endless extensions", "250-x\r\n", func(c *tap) { c.endless("250-X" + strings.Repeat("Y", 50) + "\r\n") })
		hello("two thousand extensions", strings.Repeat("250-AUTH PLAIN\r\n", 2000)+"250 AUTH PLAIN\r\n", wait)
		hello("a short line for extensions", "25\r\n", wait)
		hello("codes that differ", "250-x\r\n354 AUTH PLAIN\r\n", wait)
		hello("a code of a thousand", "2500 x\r\n", wait)
		hello("a code of zero", "000 x\r\n", wait)
		hello("a refusal of EHLO", "421 no\r\n", wait)
		hello("an extension with NUL", "250-x\r\n250 \x00AUTH PLAIN\r\n", wait)
		hello("a second greeting", "220 x\r\n", wait)
		hello("a message is asked for", "354 go on\r\n", wait)
	}
	after := func(name, reply string, then func(*tap)) {
		all = append(all, &hostileBackend{name: name, protocol: "submission", mayHear: true, serve: func(c *tap) {
			if c.upToPassword("submission") && c.send(reply) == nil {
				then(c)
			}
		}})
	}
	after("endless lines of success", "235-in\r\n", func(c *tap) { c.endless("235-in\r\n") })
	after("success and failure in one", "235-in\r\n535 out\r\n", func(c *tap) { c.wait() })
	after("endless challenges", "334 \r\n", func(c *tap) { c.endless("334 \r\n") })
	after("a short reply", "2\r\n", func(c *tap) { c.wait() })
	after("a message is asked for", "354 go\r\n", func(c *tap) { c.wait() })
	after("a code of 1yz", "150 wait\r\n", func(c *tap) { c.wait() })
	return all
}

// hostileSieve go wrong in what only ManageSieve has.
func hostileSieve() []*hostileBackend {
	var all []*hostileBackend
	early := func(name string, serve func(*tap)) {
		all = append(all, &hostileBackend{name: name, protocol: "sieve", serve: serve})
	}
	early("endless capabilities", func(c *tap) { c.endless("\"X\" \"" + strings.Repeat("y", 50) + "\"\r\n") })
	early("a literal of 4 GB in the banner", says("\"IMPLEMENTATION\" {4294967296}\r\n"))
	early("a literal that overflows in the banner", says("\"IMPLEMENTATION\" {99999999999999999999}\r\n"))
	early("a string without an end", func(c *tap) {
		if c.send("\"IMPLEMENTATION") == nil {
			c.endless("x")
		}
	})
	early("a refusal for a banner", says("NO \"go away\"\r\n"))
	early("a goodbye for a banner", says("BYE (REFERRAL \"sieve://evil.example\") \"go there\"\r\n"))
	late := func(name, reply string) {
		all = append(all, &hostileBackend{name: name, protocol: "sieve", mayHear: true, serve: func(c *tap) {
			if c.upToPassword("sieve") && c.send(reply) == nil {
				c.wait()
			}
		}})
	}
	late("a literal of 4 GB for a reply", "NO {4294967296}\r\n")
	late("a literal that never comes", "OK {1000}\r\nx")
	late("a code without an end", "NO (TRYLATER"+strings.Repeat(" x", 100)+"\r\n")
	late("endless challenges", strings.Repeat("\"\"\r\n", 5000))
	return all
}

// hostileMailTLS are in the way of TLS: none of them may hear a password.
func hostileMailTLS(certs map[string]*tls.Config) []*hostileBackend {
	var all []*hostileBackend
	for _, protocol := range []string{"submission", "sieve", "lmtp"} {
		b := banners[protocol]
		ok := map[string]string{"sieve": "OK \"go\"\r\n"}[protocol]
		if ok == "" {
			ok = "220 go\r\n"
		}
		// offers plays a backend up to STARTTLS.
		offers := func(c *tap) bool {
			if protocol == "sieve" {
				return c.send(b.starttls) == nil && c.hear(1)
			}
			return c.send(b.banner) == nil && c.hear(1) && c.send(b.starttls) == nil && c.hear(1)
		}
		add := func(name string, serve func(*tap)) {
			all = append(all, &hostileBackend{name: name, protocol: protocol, fields: "starttls=yes", serve: serve})
		}
		answers := func(name, answer string) {
			add(name, func(c *tap) {
				if offers(c) && c.send(answer) == nil {
					c.wait()
				}
			})
		}
		add("STARTTLS is not offered", protocolOf(protocol).serve)
		answers("STARTTLS is refused", map[bool]string{true: "NO \"no\"\r\n", false: "454 no\r\n"}[protocol == "sieve"])
		answers("silence behind STARTTLS", "")
		answers("plaintext in place of the handshake", ok+strings.Repeat(ok, 10))
		answers("a login behind STARTTLS", ok+"235 in\r\nOK \"in\"\r\n")
		for kind, conf := range certs {
			add("STARTTLS with a certificate that is "+kind, func(c *tap) {
				if offers(c) && c.send(ok) == nil {
					c.startTLS(conf, protocolOf(protocol).serve)
				}
			})
		}
	}
	return all
}
