package e2e

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	keptSessions = 500 // half IMAP, half POP3; half with TLS
	keptReloads  = 20
	keptUpgrades = 3
	loginRate    = 50 // a second
)

// keptSession is a logged-in session of either protocol.
type keptSession struct {
	*imapConn
	imap bool
}

// ask shows that the session's server answers.
func (s keptSession) ask() error {
	if s.imap {
		_, err := s.cmd("NOOP")
		return err
	}
	return s.pop3("NOOP")
}

func (c *imapConn) pop3(command string) error {
	if err := c.nc.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(c.nc, "%s\r\n", command); err != nil {
		return err
	}
	l, err := c.line()
	if err == nil && !strings.HasPrefix(l, "+OK") {
		err = fmt.Errorf("%s: the server says %s", command, l)
	}
	return err
}

// login is the i-th of a row of sessions that takes turns in protocol and TLS.
func (f *front) login(h *house, i int) (s keptSession, err error) {
	s.imap = i%2 == 0
	service, conf := "pop3", (*tls.Config)(nil)
	if s.imap {
		service = "imap"
	}
	if i%4 >= 2 {
		service, conf = service+"s", h.clientTLS()
	}
	if s.imapConn, err = dialIMAP(f.addr(service), "", conf); err != nil {
		return s, err
	}
	if s.imap {
		_, err = s.cmd("LOGIN many@example.org %s", password)
	} else if err = s.pop3("USER bob@example.org"); err == nil {
		err = s.pop3("PASS " + password)
	}
	if err != nil {
		s.nc.Close()
	}
	return s, err
}

// masterPID is the process that the pid file names, 0 while there is none.
func (f *front) masterPID(t *testing.T) int {
	t.Helper()
	pid, _ := strconv.Atoi(strings.TrimSpace(f.read(t, "run/master.pid")))
	return pid
}

// endSuccessors ends the processes that upgrades have started; the first process is its owner's to end.
func (f *front) endSuccessors(t *testing.T, pids []int) {
	t.Helper()
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGTERM)
		eventually(t, fmt.Sprintf("process %d has ended", pid), func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) })
	}
}

// testUpgrade changes configuration and program under live sessions and a stream of logins. None is lost, none refused.
func testUpgrade(t *testing.T, h *house, _ *front) {
	if h.reference {
		t.Skip("Dovecot cuts its sessions")
	}
	f := h.start(t, sqlPassdb, h.wikiFiles(t))
	sessions := make([]keptSession, keptSessions)
	defer func() {
		for _, s := range sessions {
			if s.imapConn != nil {
				s.nc.Close()
			}
		}
	}()
	err := inParallel(sessionLogin, keptSessions, func(i int) (err error) {
		sessions[i], err = f.login(h, i)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}

	var logins, refused atomic.Int64
	var firstRefusal error
	var once sync.Once
	stop := make(chan struct{})
	var streams, all sync.WaitGroup
	streams.Go(func() {
		tick := time.NewTicker(time.Second / loginRate)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			all.Go(func() {
				s, err := f.login(h, i)
				if err != nil {
					once.Do(func() { firstRefusal = err })
					refused.Add(1)
					return
				}
				logins.Add(1)
				s.nc.Close()
			})
		}
	})

	master := f.masterPID(t)
	var successors []int
	defer func() { f.endSuccessors(t, successors) }()
	reloads := 0
	for reload := range keptReloads {
		if err := syscall.Kill(master, syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the log tells of the reload", func() bool {
			reloads = strings.Count(f.read(t, "log"), "configuration reloaded for")
			return reloads > reload
		})
		before := logins.Load() + refused.Load()
		eventually(t, "logins go on", func() bool { return logins.Load()+refused.Load() >= before+loginRate/5 })
		if reload%(keptReloads/keptUpgrades) != 0 || len(successors) == keptUpgrades {
			continue
		}
		if err := syscall.Kill(master, syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a new process serves", func() bool { return f.masterPID(t) != master })
		master = f.masterPID(t)
		successors = append(successors, master)
	}
	close(stop)
	streams.Wait()
	all.Wait()

	var lost atomic.Int64
	_ = inParallel(sessionLogin, keptSessions, func(i int) error {
		if err := sessions[i].ask(); err != nil {
			lost.Add(1)
			t.Errorf("session %d: %v", i, err)
		}
		return nil
	})
	t.Logf("%d sessions across %d reloads and %d upgrades beside %d logins: %d lost, %d logins refused",
		keptSessions, reloads, len(successors), logins.Load(), lost.Load(), refused.Load())
	if refused.Load() > 0 {
		t.Errorf("a login failed: %v", firstRefusal)
	}
	if logins.Load() == 0 {
		t.Error("no login was tried")
	}
}

// testBrokenUpgrade tries upgrades that cannot work: the process that serves goes on and says why.
func testBrokenUpgrade(t *testing.T, h *house, _ *front) {
	if h.reference {
		t.Skip("Dovecot cuts its sessions")
	}
	f := h.start(t, sqlPassdb, h.wikiFiles(t))
	session, err := loginIMAP(f.addr("imap"), "", nil, "alice@example.org")
	if err != nil {
		t.Fatal(err)
	}
	defer session.nc.Close()
	good := f.read(t, "dovecot.conf")
	f.write(t, "dovecot.conf", good+"no_such_setting = yes\n")
	if err := f.proc.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the log says why there is no upgrade", func() bool {
		return strings.Contains(f.read(t, "log"), "Error: upgrade failed, this process goes on: doveconf: Fatal: Error in configuration file") &&
			strings.Contains(f.read(t, "log"), "Unknown setting: no_such_setting")
	})
	if pid := f.masterPID(t); pid != f.proc.PID() {
		t.Errorf("the pid file names %d after a failed upgrade, not %d", pid, f.proc.PID())
	}
	if _, err := session.cmd("NOOP"); err != nil {
		t.Error(err)
	}
	if _, err := loginIMAP(f.addr("imap"), "", nil, "alice@example.org"); err != nil {
		t.Errorf("a login after a failed upgrade: %v", err)
	}
	out, err := exec.Command(os.Getenv("DPROXY"), "upgrade", "-c", f.conf()).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "no_such_setting") {
		t.Errorf("the command says %q, %v", out, err)
	}
	f.write(t, "dovecot.conf", good)
	if out, err := exec.Command(os.Getenv("DPROXY"), "upgrade", "-c", f.conf()).CombinedOutput(); err != nil {
		t.Errorf("upgrade: %v, %s", err, out)
	}
	eventually(t, "the upgrade works once the configuration does", func() bool { return f.masterPID(t) != f.proc.PID() })
	f.endSuccessors(t, []int{f.masterPID(t)})
	if _, err := os.Stat(f.file("run/master.pid")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the pid file is left behind: %v", err)
	}
}
