package benchauth

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dproxy/test/daemon"
	"dproxy/test/proxy"
)

const (
	rounds = 3
	length = 2 * time.Second
)

// result is one storm's.
type result struct {
	perSecond float64
	perLogin  time.Duration // processor time
}

// TestBenchAuth prints the table. It measures, and fails only when a login does; DPROXY_BENCH_AUTH=1 turns it on, and
// the name of a source for that one.
func TestBenchAuth(t *testing.T) {
	only := os.Getenv("DPROXY_BENCH_AUTH")
	if only == "" {
		t.Skip("make bench-auth runs it")
	}
	programs := []proxy.Program{proxy.Dovecot(t), proxy.Dproxy(t)}
	var table strings.Builder
	table.WriteString("| users in | Dovecot logins/s | dproxy logins/s | Dovecot CPU per login | dproxy CPU per login | logins per CPU second, dproxy to Dovecot |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, s := range sources(t, only) {
		all := [2][]result{}
		for range rounds {
			for i, p := range programs {
				r, err := measure(t, p, s)
				if err != nil {
					t.Errorf("%s with %s: %v", p.Name, s.name, err)
					continue
				}
				t.Logf("%s %s: %.0f/s, %s", s.name, p.Name, r.perSecond, r.perLogin)
				all[i] = append(all[i], r)
			}
		}
		if len(all[0]) == 0 || len(all[1]) == 0 {
			continue
		}
		theirs, ours := median(all[0]), median(all[1])
		fmt.Fprintf(&table, "| %s | %.0f | %.0f | %d µs | %d µs | %.1f |\n", s.name, theirs.perSecond, ours.perSecond,
			theirs.perLogin.Microseconds(), ours.perLogin.Microseconds(), float64(theirs.perLogin)/float64(ours.perLogin))
	}
	t.Log("\n" + table.String())
}

func median(r []result) result {
	slices.SortFunc(r, func(a, b result) int { return cmp.Compare(a.perLogin, b.perLogin) })
	return r[len(r)/2]
}

// settings: directory.
const settings = `base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = %[1]s/log
protocols = imap
listen = 127.0.0.1
ssl = no
service imap-login {
  inet_listener imap {
    port = %[2]d
  }
}
service auth {
  client_limit = 2000
  unix_listener auth-client {
    mode = 0666
  }
}
`

// measure starts a program and storms it, once to fill caches and pools, once to count.
func measure(t *testing.T, p proxy.Program, s source) (result, error) {
	dir := daemon.ShortDir(t)
	port, err := daemon.NewPorts().Free("127.0.0.1")
	if err != nil {
		return result{}, err
	}
	conf := filepath.Join(dir, "dovecot.conf")
	if err := os.WriteFile(conf, []byte(fmt.Sprintf(settings, dir, port)+s.conf), 0o644); err != nil {
		return result{}, err
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	proc, err := p.Start(ctx, conf, port)
	if err != nil {
		return result{}, err
	}
	defer proc.Stop()
	socket := filepath.Join(dir, "run/auth-client")
	for {
		nc, err := net.Dial("unix", socket)
		if err == nil {
			_ = nc.Close()
			break
		}
		select {
		case <-ctx.Done():
			return result{}, err
		case <-time.After(10 * time.Millisecond):
		}
	}
	if _, err := storm(socket, length); err != nil {
		log, _ := os.ReadFile(filepath.Join(dir, "log"))
		return result{}, fmt.Errorf("%w\n%s", err, log[max(0, len(log)-2000):])
	}
	before, began := cpu(proc.PID()), time.Now()
	n, err := storm(socket, length)
	if err != nil {
		return result{}, err
	}
	took, used := time.Since(began), cpu(proc.PID())-before
	return result{float64(n) / took.Seconds(), used / time.Duration(n)}, nil
}
