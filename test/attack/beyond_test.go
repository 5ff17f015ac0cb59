package attack

import (
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// badDelivery is an LMTP backend that goes wrong once it has accepted a recipient.
type badDelivery struct {
	name string
	then func(*tap)
	on   *target
}

// badDeliveries adds a user of each.
func (g *gate) badDeliveries(t *testing.T) []*badDelivery {
	t.Helper()
	// data plays on until the message is read.
	data := func(then func(*tap)) func(*tap) {
		return func(c *tap) {
			if c.hear(1) && c.send("354 go\r\n") == nil && c.message() {
				then(c)
			}
		}
	}
	all := []*badDelivery{
		{name: "silence for DATA", then: func(c *tap) { c.wait() }},
		{name: "a close for DATA", then: func(c *tap) { c.hear(1) }},
		{name: "a reset for DATA", then: func(c *tap) { c.hear(1); reset(c.Conn) }},
		{name: "a consent without asking for a message", then: func(c *tap) { c.hear(1); says("250 saved\r\n")(c) }},
		{name: "an endless line for DATA", then: func(c *tap) { c.hear(1); c.endless("3") }},
		{name: "silence for the message", then: data(func(c *tap) { c.wait() })},
		{name: "a close for the message", then: data(func(*tap) {})},
		{name: "a reset for the message", then: data(func(c *tap) { reset(c.Conn) })},
		{name: "a second request for the message", then: data(says("354 more\r\n"))},
		{name: "garbage for the message", then: data(says("\x00\x1b[31m\r\n"))},
		{name: "an endless reply", then: data(func(c *tap) { c.endless("250-saved\r\n") })},
		{name: "a reply byte by byte", then: data(func(c *tap) { c.dribble(strings.Repeat("2", 1000)) })},
		{name: "a reply of two codes", then: data(says("250-saved\r\n550 not\r\n"))},
		{name: "a goodbye for the message", then: data(says("421 4.3.2 \x1b[31mbye\r\n"))},
	}
	for i, b := range all {
		b.on = newTarget(t, func(c *tap) {
			if c.upToPassword("lmtp") && c.send("250 2.1.5 ok\r\n") == nil {
				b.then(c)
			}
		})
		g.user("lmtp", fmt.Sprintf("bad%d", i), fmt.Sprintf("port=%d proxy_timeout=2", b.on.port))
	}
	return all
}

// testDeliveries: whatever one backend does, the recipient at another has its message once and is told so.
func testDeliveries(t *testing.T, g *gate, all []*badDelivery) {
	answers := make([][2]string, len(all))
	var clients sync.WaitGroup
	for i := range all {
		clients.Go(func() {
			p, err := dial(g.addr("lmtp"), stranger, nil)
			if err != nil {
				return
			}
			defer p.Close()
			pr := protocolOf("lmtp")
			if p.greeting("lmtp") != nil || p.talk(pr, [][2]string{
				{"LHLO x\r\n", "250 "},
				{"MAIL FROM:<s@example.net>\r\n", "250 "},
				{fmt.Sprintf("RCPT TO:<bad%d@example.org>\r\n", i), "250 "},
				{"RCPT TO:<any@example.org>\r\n", "250 "},
				{"DATA\r\n", "354 "},
			}) != nil {
				return
			}
			p.send(fmt.Sprintf("Subject: beside-%d-\r\n\r\nx\r\n.\r\n", i))
			for j := range answers[i] {
				answers[i][j], _ = p.answer(pr)
			}
		})
	}
	clients.Wait()
	for i, b := range all {
		t.Run(b.name, func(t *testing.T) {
			if !strings.HasPrefix(answers[i][0], "451 4.") {
				t.Errorf("its recipient: %q", answers[i][0])
			}
			if !strings.HasPrefix(answers[i][1], "250 2.0.0 <any@example.org>") {
				t.Errorf("the other recipient: %q", answers[i][1])
			}
			if got := g.good["lmtp"].message(fmt.Sprintf("beside-%d-", i)); len(got) != 1 {
				t.Errorf("the other recipient has %d messages", len(got))
			}
		})
	}
}

// testBounds: what one connection may make the proxy hold or do.
func testBounds(t *testing.T, g *gate) {
	t.Run("recipients without end are refused for now", func(t *testing.T) {
		p := g.meet(t, "lmtp", stranger)
		p.begin(t, "any")
		go p.send(strings.Repeat("RCPT TO:<any@example.org>\r\n", 2000))
		accepted := 0
		for range 2000 {
			l := p.line(t)
			if strings.HasPrefix(l, "250 ") {
				accepted++
			} else if !strings.HasPrefix(l, "452 ") {
				t.Fatalf("answer %q", l)
			}
		}
		if accepted > 1000 {
			t.Errorf("%d recipients are accepted", accepted)
		}
	})
	t.Run("a PROXY header byte by byte has three seconds", func(t *testing.T) {
		p := g.connect(t, "imapha", balancer)
		began := time.Now()
		closed := make(chan string, 1)
		go func() {
			b := make([]byte, 100)
			n, _ := p.Read(b)
			closed <- string(b[:n])
		}()
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case got := <-closed:
				if got != "" {
					t.Errorf("answer %q", got)
				}
				return
			case <-tick.C:
				p.send("PROXY TCP4 203.0.113.9 203.0.113.8 4242 143\r\n"[i%40 : i%40+1])
				if time.Since(began) > patience-time.Second {
					t.Fatal("not closed")
				}
			}
		}
	})
	t.Run("names with control bytes in a handshake do not act in the log", func(t *testing.T) {
		for _, l := range secure() {
			for _, s := range []string{"a\x1b[31mb", "a\nimap-login: Info: Login: user=<evil>", "\u202eevil", "\xff\xfe", "a\x00b", strings.Repeat("x.", 5000)} {
				for _, c := range []*tls.Config{{ServerName: s, InsecureSkipVerify: true}, {ServerName: "x", NextProtos: []string{s[:min(len(s), 255)]}, InsecureSkipVerify: true}} {
					nc, err := net.DialTimeout("tcp", g.addr(l), patience)
					if err != nil {
						t.Fatal(err)
					}
					_ = nc.SetDeadline(time.Now().Add(patience))
					_ = tls.Client(nc, c).Handshake()
					nc.Close()
				}
			}
		}
		if strings.Contains(g.log(t), "\nimap-login: Info: Login: user=<evil>") {
			t.Error("a name wrote a line of its own")
		}
	})
	t.Run("nobody gets another's bytes", func(t *testing.T) {
		var sessions sync.WaitGroup
		for i := range 100 {
			sessions.Go(func() {
				l := []string{"imap", "imaps"}[i%2]
				p, err := g.login(l, "127.60.70.1", []string{"victim", "fresh"}[i/2%2])
				if err != nil {
					t.Error(err)
					return
				}
				defer p.Close()
				for n := range 20 {
					token := fmt.Sprintf("s%dn%d", i, n)
					if err := p.ask(token+" NOOP\r\n", token+" OK"); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		sessions.Wait()
	})
}

// stall leaves connections of all protocols in the middle of a handshake, with and without STARTTLS.
func (g *gate) stall(c *crowd) (made int) {
	for _, pr := range protocols {
		made += c.join(g.addr(pr.name+"s"), 5, []string{stranger}, clientHello)
		made += c.join(g.addr(pr.name+"s"), 2, []string{stranger}, "")
		made += c.join(g.addr(pr.name), 3, []string{stranger}, pr.starttls[0])
	}
	return made
}
