package attack

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// testFloods: each protocol at once is connected to from one address and from many, and left in all states.
func testFloods(t *testing.T, g *gate) {
	say := map[string][]string{
		"imap":       {"", "a", "a LOGIN {5}\r\n", "a AUTHENTICATE PLAIN\r\n", "a ID (", "a LOGIN any@example.org x\r\n"},
		"pop3":       {"", "U", "USER any@example.org\r\n", "AUTH PLAIN\r\n", "USER any@example.org\r\nPASS x\r\n"},
		"submission": {"", "E", "EHLO x\r\n", "EHLO x\r\nAUTH PLAIN\r\n", "EHLO x\r\nAUTH PLAIN " + plain("", "any@example.org", "x") + "\r\n"},
		"sieve":      {"", "A", "NOOP {100+}\r\n", "AUTHENTICATE \"PLAIN\"\r\n", "AUTHENTICATE \"PLAIN\" \"" + plain("", "any@example.org", "x") + "\"\r\n"},
		"lmtp": {
			"", "L", "LHLO x\r\nMAIL FROM:<a@example.net>\r\n", "LHLO x\r\nMAIL FROM:<a@example.net>\r\nRCPT TO:<any@example.org>\r\nDATA\r\nx",
			"LHLO x\r\nMAIL FROM:<a@example.net>\r\nRCPT TO:<any@example.org>\r\nBDAT 100000 LAST\r\n" + strings.Repeat("x", 50000),
		},
	}
	for name, from := range map[string][]string{"one address": {"127.60.50.1"}, "many addresses": sources("127.60.51", 50)} {
		t.Run("from "+name, func(t *testing.T) {
			c := newCrowd(t)
			var crowd sync.WaitGroup
			for _, pr := range protocols {
				crowd.Go(func() {
					for _, text := range say[pr.name] {
						c.join(g.addr(pr.name), 20, from, text)
						c.join(g.addr(pr.name+"s"), 5, from, clientHello+text)
						c.join(g.addr(pr.name), 5, from, pr.starttls[0])
					}
				})
			}
			crowd.Wait()
			half := 0
			c.each(func(nc net.Conn) {
				if half++; half%2 == 0 {
					reset(nc)
				}
			})
		})
	}
	t.Run("guessers in all protocols", func(t *testing.T) {
		var guessers sync.WaitGroup
		for _, pr := range protocols[:4] {
			for i := range 5 {
				guessers.Go(func() {
					p, err := dial(g.addr(pr.name), fmt.Sprintf("127.60.52.%d", i+1), nil)
					if err != nil {
						t.Error(err)
						return
					}
					defer p.Close()
					if err := p.greeting(pr.name); err != nil {
						t.Error(err)
						return
					}
					script := pr.login("victim@example.org", "wrong")
					for n := range 20 {
						for i, s := range script {
							p.send(s[0])
							l, err := p.answer(pr)
							if err != nil {
								t.Errorf("%s, guess %d: %v", pr.name, n, err)
								return
							}
							if i == len(script)-1 && strings.HasPrefix(l, s[1]) {
								t.Errorf("%s: a guess is good: %q", pr.name, l)
							}
						}
					}
				})
			}
		}
		guessers.Wait()
	})
}

// testStalledMail: an LMTP client and an LMTP backend that stand still hold little.
func testStalledMail(t *testing.T, g *gate) {
	before := rss(t, g.proc.PID())
	const n = 20
	message := strings.Repeat(strings.Repeat("x", 998)+"\r\n", 300)
	for range n {
		p := g.meet(t, "lmtp", stranger)
		p.begin(t, "any")
		p.send("DATA\r\n" + message)
	}
	if grown := rss(t, g.proc.PID()) - before; grown > n*400+16<<10 {
		t.Errorf("%d messages that have not ended took %d KiB", n, grown)
	}
}

// limits are what a proxy holds before an attack.
type limits struct{ descriptors, rss int }

func (g *gate) measure(t *testing.T) limits {
	t.Helper()
	return limits{descriptors(t, g.proc.PID()), rss(t, g.proc.PID())}
}

// slack is the descriptors of what comes and goes beside an attack: logins and messages of canaries, and what is being closed.
const slack = 20

// maxGrowth is what an attack may leave behind in memory that the runtime has not given back yet, in KiB.
const maxGrowth = 96 << 10

// calm wants a proxy to let everything go after an attack, and to do nothing any more.
func (g *gate) calm(t *testing.T, before limits) {
	t.Helper()
	eventually(t, "the attack's descriptors are closed", func() bool { return descriptors(t, g.proc.PID()) <= before.descriptors+2*slack })
	if grown := rss(t, g.proc.PID()) - before.rss; grown > maxGrowth {
		t.Errorf("%d KiB are left of the attack", grown)
	}
	g.idle(t)
}

// idle wants no thread of the proxy to run all the time. A thread that waits for a processor counts as running, so that
// the machine's load has no say in it.
func (g *gate) idle(t *testing.T) {
	t.Helper()
	const samples = 20
	running := map[string]int{}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range samples {
		<-tick.C
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", g.proc.PID()))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range threads {
			stat, err := os.ReadFile(name)
			if err != nil {
				continue // the thread has ended
			}
			if _, state, ok := strings.Cut(string(stat), ") "); ok && strings.HasPrefix(state, "R") {
				running[name]++
			}
		}
	}
	for name, n := range running {
		if n == samples {
			t.Errorf("%s runs without a pause after the attack", name)
		}
	}
}
