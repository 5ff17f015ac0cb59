package relay

import (
	"crypto/tls"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
)

const tls13 = tls.VersionTLS13

// onBenchEngines runs f on the event loops and on goroutines.
func onBenchEngines(b *testing.B, f func(b *testing.B, e *Engine)) {
	for _, k := range engines {
		b.Run(strings.ReplaceAll(k.name, " ", "-"), func(b *testing.B) {
			e := NewWith(k.options)
			defer e.Close()
			f(b, e)
		})
	}
}

// BenchmarkBulk moves 16 MiB per iteration; ms-cpu/GiB is this process alone.
func BenchmarkBulk(b *testing.B) {
	const size = 16 << 20
	for _, c := range []struct {
		name string
		verb string
		kind kind
	}{
		{"plain", "down", kind{}},
		{"fetch-TLS", "down", kind{client: tls13}},
		{"append-TLS", "up", kind{client: tls13}},
		{"fetch-TLS-TLS", "down", kind{tls13, tls13}},
	} {
		b.Run(c.name, func(b *testing.B) {
			onBenchEngines(b, func(b *testing.B, e *Engine) {
				p := newPeers(b, e, c.kind)
				p.open(1)
				p.do(c.verb+" %d", size) // windows have grown
				b.SetBytes(size)
				b.ReportAllocs()
				before, wake := cpu(b), e.Counters().Wakeups
				for b.Loop() {
					p.do(c.verb+" %d", size)
				}
				gib := float64(b.N) * size / (1 << 30)
				b.ReportMetric((cpu(b)-before).Seconds()*1000/gib, "ms-cpu/GiB")
				b.ReportMetric(float64(e.Counters().Wakeups-wake)/gib, "wakeups/GiB")
			})
		})
	}
}

// BenchmarkRoundTrip does small round trips on 64 sessions side by side; us-cpu/op is this process
// alone.
func BenchmarkRoundTrip(b *testing.B) {
	const width, each = 64, 50
	for _, k := range []kind{{}, {client: tls13}, {tls13, tls13}} {
		b.Run(strings.ReplaceAll(k.String(), " ", "-"), func(b *testing.B) {
			onBenchEngines(b, func(b *testing.B, e *Engine) {
				p := newPeers(b, e, k)
				p.open(width)
				p.do("ping %d", each)
				b.ReportAllocs()
				before := cpu(b)
				n := 0
				for b.Loop() {
					if n%(width*each) == 0 {
						p.do("ping %d", each)
					}
					n++
				}
				rounds := (n + width*each - 1) / (width * each) * width * each
				b.ReportMetric((cpu(b)-before).Seconds()*1e6/float64(rounds), "us-cpu/op")
			})
		})
	}
}

// BenchmarkIdle opens 1,000 sessions and reports what one costs: descriptors, memory of the process,
// and heap that is in use. "used" is after each has moved 100 KiB both ways.
func BenchmarkIdle(b *testing.B) {
	const n = 1000
	for _, k := range []kind{{}, {client: tls13}, {tls13, tls13}} {
		b.Run(strings.ReplaceAll(k.String(), " ", "-"), func(b *testing.B) {
			onBenchEngines(b, func(b *testing.B, e *Engine) {
				for b.Loop() { // b.Loop forgets what was reported before it
				}
				p := newPeers(b, e, k)
				p.open(50) // what is there once
				rss, fds, heap := resident(b), descriptors(b), inUse()
				p.open(n)
				report := func(suffix string) {
					b.ReportMetric(float64(inUse()-heap)/n/1024, "KiB-heap/session"+suffix)
					b.ReportMetric(float64(resident(b)-rss)/n/1024, "KiB-rss/session"+suffix)
				}
				b.ReportMetric(float64(descriptors(b)-fds)/n, "fds/session")
				report("")
				p.do("up %d", 100<<10)
				p.do("down %d", 100<<10)
				report("-used")
			})
		})
	}
}

func inUse() int {
	runtime.GC()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapInuse + m.StackInuse)
}

// resident is the memory of this process in bytes.
func resident(b testing.TB) int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skip("no /proc")
	}
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "RssAnon:" {
			n, _ := strconv.Atoi(f[1])
			return n << 10
		}
	}
	b.Fatal("no RssAnon in /proc/self/status")
	return 0
}

func descriptors(b testing.TB) int {
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		b.Skip("no /proc")
	}
	return len(all)
}

// BenchmarkHandOver starts and ends a session whose connections exist; the time includes both ends.
func BenchmarkHandOver(b *testing.B) {
	onBenchEngines(b, func(b *testing.B, e *Engine) {
		done := make(chan Stats)
		b.ReportAllocs()
		for b.Loop() {
			b.StopTimer()
			a, c := tcpPair(b)
			d, f := tcpPair(b)
			b.StartTimer()
			s := e.Start(Pair{Client: a, Backend: d}, func(st Stats) { done <- st })
			s.Close()
			<-done
			b.StopTimer()
			c.Close()
			f.Close()
			b.StartTimer()
		}
	})
}
