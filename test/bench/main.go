// Command bench is what `make bench` runs: it measures what a login, an idle session and a relayed byte cost in dproxy and in the
// proxies that are installed, in one run, with the same load generator and the same mail host behind them. It prints a Markdown
// table of medians and of ratios to Dovecot. It is not part of dproxy.
package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

type options struct {
	rounds   int
	seconds  time.Duration
	idle     int
	total    int64
	sessions int
	only     []string
	verbose  bool
}

func main() {
	var o options
	dproxy := flag.String("dproxy", "bin/dproxy", "the program to measure")
	peersFlag := flag.String("peers", "", "measure only these, separated by commas (default: all that are installed)")
	only := flag.String("only", "", "measure only these: login, idle, bulk, noop, latency, start")
	out := flag.String("o", "", "write the table to this file too")
	flag.IntVar(&o.rounds, "rounds", 2, "how often each is measured; the proxies take turns")
	flag.DurationVar(&o.seconds, "t", 3*time.Second, "length of one login storm")
	flag.IntVar(&o.idle, "idle", 2000, "idle sessions per proxy")
	gib := flag.Float64("gib", 0.25, "GiB moved in one bulk transfer")
	flag.IntVar(&o.sessions, "sessions", 64, "sessions of the NOOP measurement")
	flag.BoolVar(&o.verbose, "v", false, "print each measurement as it is made")
	flag.Parse()
	o.total = int64(*gib * (1 << 30))
	o.only = words(*only)
	if err := run(*dproxy, words(*peersFlag), *out, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func words(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

func run(dproxy string, names []string, out string, o options) (err error) {
	dproxy, err = filepath.Abs(dproxy)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "dproxy-bench")
	if err != nil {
		return err
	}
	defer func() {
		if err == nil { // after a failure the logs are wanted
			_ = os.RemoveAll(dir)
		}
	}()
	if err := os.Chmod(dir, 0o755); err != nil { // login processes of other users read below it
		return err
	}
	cert, key, both, roots, err := makeCertificate(dir)
	if err != nil {
		return err
	}
	s, err := startStore("127.0.0.1:0")
	if err != nil {
		return err
	}
	list := peers(dproxy, names)
	ports, err := freePorts(2*len(list) + 1)
	if err != nil {
		return err
	}
	authPort := ports[len(ports)-1]
	if err := startAuthHTTP(authPort, s.port()); err != nil {
		return err
	}
	r := &results{values: map[string]map[string][]float64{}}
	config := &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS13}
	for round := range o.rounds {
		for i, p := range list {
			e := environment{imap: ports[2*i], imaps: ports[2*i+1], store: s.port(), authHTTP: authPort, cert: cert, key: key, both: both}
			if err := measure(p, dir, e, config, o, r); err != nil {
				return fmt.Errorf("round %d, %s: %w", round+1, p.name, err)
			}
		}
	}
	text := r.table(list, o)
	fmt.Print(text)
	if out != "" {
		return os.WriteFile(out, []byte(text), 0o644)
	}
	return nil
}

// measure starts one proxy, takes all measurements, and ends it.
func measure(p *proxy, dir string, e environment, config *tls.Config, o options, r *results) error {
	if err := p.start(dir, e); err != nil {
		return err
	}
	defer p.stop()
	add := func(metric string, v float64) {
		r.add(metric, p.name, v)
		if o.verbose {
			fmt.Fprintf(os.Stderr, "%-10s %-40s %.4g\n", p.name, metric, v)
		}
	}
	add("start to first login, ms", float64(p.started.Microseconds())/1000)
	for _, side := range []struct {
		name string
		t    target
	}{{"plain", target{address: p.plain}}, {"TLS 1.3", target{address: p.secure, tls: config}}} {
		for _, m := range []struct {
			name string
			run  func(*proxy, target, string, options, func(string, float64)) error
		}{{"login", logins}, {"latency", latency}, {"bulk", transfers}, {"noop", noops}, {"idle", idles}} {
			if len(o.only) > 0 && !contains(o.only, m.name) {
				continue
			}
			if err := m.run(p, side.t, side.name, o, add); err != nil {
				return fmt.Errorf("%s, %s: %w", m.name, side.name, err)
			}
		}
	}
	return nil
}

func logins(p *proxy, t target, side string, o options, add func(string, float64)) error {
	if _, _, err := loginStorm(t, 8, o.seconds/4); err != nil { // warm
		return err
	}
	before := cpu(p.pid())
	began := time.Now()
	n, _, err := loginStorm(t, 8, o.seconds)
	if err != nil {
		return err
	}
	wall := time.Since(began)
	add("CPU per login, "+side+", us", float64((cpu(p.pid())-before).Microseconds())/float64(n))
	add("logins/s (8 at once), "+side, float64(n)/wall.Seconds())
	return nil
}

// latency measures at a fixed rate that is about half of what Dovecot reaches on two busy cores.
func latency(_ *proxy, t target, side string, o options, add func(string, float64)) error {
	rate := 600.0
	if t.tls != nil {
		rate = 250
	}
	took, err := openLoop(t, rate, o.seconds)
	if err != nil {
		return err
	}
	add("login p50 at half load, "+side+", ms", float64(percentile(took, 0.50).Microseconds())/1000)
	add("login p99 at half load, "+side+", ms", float64(percentile(took, 0.99).Microseconds())/1000)
	return nil
}

func transfers(p *proxy, t target, side string, o options, add func(string, float64)) error {
	sessions, err := openSessions(t, 4)
	if err != nil {
		return err
	}
	defer closeAll(sessions)
	for _, way := range []struct {
		name     string
		appended bool
	}{{"FETCH", false}, {"APPEND", true}} {
		before, began := cpu(p.pid()), time.Now()
		n, err := bulk(sessions, o.total, way.appended)
		if err != nil {
			return err
		}
		gib := float64(n) / (1 << 30)
		add(way.name+" CPU per GiB, "+side+", s", (cpu(p.pid())-before).Seconds()/gib)
		add(way.name+" GiB/s, "+side, gib/time.Since(began).Seconds())
	}
	return nil
}

func noops(_ *proxy, t target, side string, o options, add func(string, float64)) error {
	sessions, err := openSessions(t, o.sessions)
	if err != nil {
		return err
	}
	defer closeAll(sessions)
	if _, err := roundTrips(sessions, 20); err != nil { // warm
		return err
	}
	each, err := roundTrips(sessions, 400)
	if err != nil {
		return err
	}
	add(fmt.Sprintf("NOOP round trip, %d sessions, %s, us", o.sessions, side), float64(each.Nanoseconds())/1000*float64(o.sessions))
	return nil
}

func idles(p *proxy, t target, side string, o options, add func(string, float64)) error {
	warm, err := openSessions(t, 50)
	if err != nil {
		return err
	}
	closeAll(warm)
	settle()
	memory, fds := pss(p.pid()), descriptors(p.pid())
	sessions, err := openSessions(t, o.idle)
	if err != nil {
		return err
	}
	defer closeAll(sessions)
	settle()
	add("memory (PSS) per idle session, "+side+", KiB", float64(pss(p.pid())-memory)/1024/float64(o.idle))
	add("descriptors per idle session, "+side, float64(descriptors(p.pid())-fds)/float64(o.idle))
	for _, i := range []int{0, o.idle / 2, o.idle - 1} {
		if err := sessions[i].command("i NOOP", "i OK"); err != nil {
			return fmt.Errorf("idle session %d no longer answers: %w", i, err)
		}
	}
	// The same after each session moved 100 KiB both ways: buffers must not stay.
	for _, c := range sessions {
		if err := c.small(100 << 10); err != nil {
			return err
		}
	}
	settle()
	add("the same after 100 KiB both ways, "+side+", KiB", float64(pss(p.pid())-memory)/1024/float64(o.idle))
	return nil
}

// settle lets collectors and idle processes come to rest before memory is read.
func settle() {
	runtime.GC()
	time.Sleep(1500 * time.Millisecond)
}
