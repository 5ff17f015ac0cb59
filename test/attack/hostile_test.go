package attack

import (
	"strings"
	"time"
)

// dribble sends a text byte by byte, slower than a login takes.
func (c *tap) dribble(text string) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for i := 0; c.send(text[i%len(text):i%len(text)+1]) == nil; i++ {
		select {
		case <-c.b.over:
			return
		case <-tick.C:
		}
	}
}

// endless sends a text for ever.
func (c *tap) endless(text string) {
	block := strings.Repeat(text, 1+32<<10/len(text))
	for c.send(block) == nil {
	}
}

// hostileBanners begin badly: none of them may hear a password.
func hostileBanners() []*hostileBackend {
	var all []*hostileBackend
	for _, p := range protocols {
		protocol := p.name
		add := func(name string, serve func(*tap)) {
			all = append(all, &hostileBackend{name: name, protocol: protocol, serve: serve})
		}
		ok := p.ready + " "
		add("silence", func(c *tap) { c.wait() })
		add("an endless line for a banner", func(c *tap) { c.endless("x") })
		add("an endless good line for a banner", func(c *tap) {
			if c.send(ok) == nil {
				c.endless("x")
			}
		})
		add("a banner of 5000 bytes", func(c *tap) {
			if c.send(ok+strings.Repeat("x", 5000)+"\r\n") == nil {
				c.wait()
			}
		})
		add("a banner byte by byte", func(c *tap) { c.dribble(ok + strings.Repeat("x", 1000)) })
		add("garbage", func(c *tap) { c.endless("\x00\xff\x1b[31m\r\n") })
		add("a goodbye", func(c *tap) {
			_ = c.send(map[string]string{
				"imap": "* BYE go away\r\n", "pop3": "-ERR go away\r\n", "submission": "421 go away\r\n", "sieve": "BYE \"go away\"\r\n", "lmtp": "421 go away\r\n",
			}[protocol])
		})
		add("another protocol", func(c *tap) {
			if c.send(map[bool]string{true: "* OK IMAP\r\n", false: "220 mail ESMTP\r\n"}[p.ready == "220 "]) == nil {
				c.wait()
			}
		})
		add("a close", func(*tap) {})
		add("a reset", func(c *tap) { reset(c.Conn) })
	}
	all = append(all, &hostileBackend{name: "a login with the banner", protocol: "pop3", serve: func(c *tap) {
		if c.send("+OK ready\r\n+OK\r\n+OK you are in\r\n") == nil {
			c.wait()
		}
	}})
	for name, banner := range map[string]string{
		"PREAUTH":                     "* PREAUTH you are in\r\n",
		"PREAUTH with capabilities":   "* PREAUTH [CAPABILITY IMAP4rev1] you are in\r\n",
		"a tagged OK for a banner":    "L OK you are in\r\n",
		"a tagged OK with the banner": imapBanner + "L OK you are in\r\n",
		"a literal in the banner":     "* {10}\r\n0123456789 ready\r\n",
	} {
		all = append(all, &hostileBackend{name: name, protocol: "imap", mayHear: name == "a tagged OK with the banner", serve: func(c *tap) {
			if c.send(banner) == nil {
				c.wait()
			}
		}})
	}
	return all
}

// hostileReplies go wrong once they have the password.
func hostileReplies() []*hostileBackend {
	var all []*hostileBackend
	for _, protocol := range []string{"imap", "pop3"} {
		add := func(name string, then func(*tap)) {
			all = append(all, &hostileBackend{name: name, protocol: protocol, mayHear: true, serve: func(c *tap) {
				if takesPassword(c, protocol) {
					then(c)
				}
			}})
		}
		add("silence after the password", func(c *tap) { c.wait() })
		add("a reset after the password", func(c *tap) { reset(c.Conn) })
		add("a close after the password", func(*tap) {})
		add("an endless line after the password", func(c *tap) { c.endless("y") })
		add("a reply byte by byte", func(c *tap) { c.dribble(strings.Repeat("* OK wait\r\n", 10)[:9] + strings.Repeat("x", 1000)) })
		if protocol == "imap" {
			add("endless untagged lines", func(c *tap) { c.endless("* OK wait for it\r\n") })
			add("endless capabilities", func(c *tap) { c.endless("* CAPABILITY IMAP4rev1 " + strings.Repeat("X", 1000) + "\r\n") })
			add("endless wrong tags", func(c *tap) { c.endless("Q OK you are in\r\n") })
			add("a goodbye", func(c *tap) { _ = c.send("* BYE \x1b[31mevil\r\n") })
			add("a refusal with terminal codes", func(c *tap) {
				if c.send("L NO [UNAVAILABLE] \x1b[31m\x00\xff\u202eevil\r\n") == nil {
					c.wait()
				}
			})
		} else {
			add("a refusal with terminal codes", func(c *tap) {
				if c.send("-ERR [SYS/TEMP] \x1b[31m\x00\xff\u202eevil\r\n") == nil {
					c.wait()
				}
			})
		}
	}
	return all
}

// takesPassword plays a good backend up to the password.
func takesPassword(c *tap, protocol string) bool {
	if protocol == "imap" {
		if c.send(imapBanner) != nil {
			return false
		}
		for {
			l, err := c.r.ReadString('\n')
			if err != nil || strings.HasPrefix(l, "L ") {
				return err == nil
			}
		}
	}
	if c.send("+OK ready\r\n") != nil {
		return false
	}
	if _, err := c.r.ReadString('\n'); err != nil || c.send("+OK\r\n") != nil {
		return false
	}
	_, err := c.r.ReadString('\n')
	return err == nil
}
