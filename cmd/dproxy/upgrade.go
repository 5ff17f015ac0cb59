package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"dproxy/event"
)

// An upgrade starts the program anew beside the running one and hands it the listening sockets as a service manager would
// (LISTEN_FDS). These variables tell the new process the rest.
const (
	upgradeFrom = "DPROXY_UPGRADE_FROM" // process id of the one that serves until now
	upgradeErr  = "DPROXY_UPGRADE_ERR"  // descriptor that becomes standard error once the new process serves
)

// upgradeTime bounds the start of the new process.
const upgradeTime = 60 * time.Second

// upgradedFrom is the process that this one takes over from, 0 for none. It makes the environment read as if a service
// manager had started this process: whoever did start it could not know its id.
func upgradedFrom() int {
	from, _ := strconv.Atoi(os.Getenv(upgradeFrom))
	if from == 0 {
		return 0
	}
	_ = os.Unsetenv(upgradeFrom)
	self := strconv.Itoa(os.Getpid())
	_ = os.Setenv("LISTEN_PID", self)
	if os.Getenv("WATCHDOG_PID") != "" {
		_ = os.Setenv("WATCHDOG_PID", self)
	}
	return from
}

// handOver upgrades, and tells the log and systemd. On an error nothing has changed.
func (a *app) handOver() error {
	pid, err := a.upgrade()
	if err != nil {
		a.say(event.Error, "upgrade failed, this process goes on: "+err.Error())
		return err
	}
	a.upgraded = true
	notify(fmt.Sprintf("MAINPID=%d\n%s", pid, daemon.SdNotifyReady))
	return nil
}

// upgrade hands over to the program that now lies where this one was started from. On an error nothing has changed.
func (a *app) upgrade() (pid int, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer r.Close()
	errR, errW, err := os.Pipe()
	if err != nil {
		_ = w.Close()
		return 0, err
	}
	defer errR.Close()
	var child *os.Process
	err = a.sockets.Descriptors(func(fds []uintptr) error {
		child, err = startSuccessor(self, a.path, fds, w, errW)
		return err
	})
	_ = w.Close()
	_ = errW.Close()
	if err != nil {
		return 0, fmt.Errorf("%s: %s", self, errnoText(err))
	}
	said := make(chan string, 1)
	go func() { said <- lastWords(errR) }() // ends with the start of the new process: it closes the pipe, or its end does
	_ = r.SetReadDeadline(time.Now().Add(upgradeTime))
	if line, _ := bufio.NewReader(r).ReadString('\n'); line == readyLine {
		go func() { _, _ = child.Wait() }() // so that its end, if it comes before ours, leaves no zombie
		return child.Pid, nil
	}
	_ = child.Kill()
	state, _ := child.Wait()
	if text := <-said; text != "" {
		return 0, errors.New(text)
	}
	return 0, fmt.Errorf("%s: %v", self, state)
}

// startSuccessor starts the program with the listening sockets from descriptor 3 on. exec.Cmd would make them block.
func startSuccessor(self, path string, sockets []uintptr, ready, stderr *os.File) (*os.Process, error) {
	n := len(sockets)
	files := append([]uintptr{0, 1, stderr.Fd()}, sockets...)
	files = append(files, ready.Fd(), 2)
	env := append(os.Environ(),
		"LISTEN_FDS="+strconv.Itoa(n),
		fmt.Sprintf("%s=%d", upgradeFrom, os.Getpid()),
		fmt.Sprintf("%s=%d", readyFD, 3+n),
		fmt.Sprintf("%s=%d", upgradeErr, 4+n),
	)
	pid, err := syscall.ForkExec(self, []string{self, "-F", "-c", path}, &syscall.ProcAttr{Env: env, Files: files})
	if err != nil {
		return nil, err
	}
	return os.FindProcess(pid)
}

// retire lets the connections of a process that has been upgraded live on. Only a signal to end cuts them.
func (a *app) retire(signals <-chan os.Signal) {
	preLogin, relayed := a.registry.Counts()
	a.say(event.Info, fmt.Sprintf("upgraded: the new process accepts connections; %d sessions and %d logins go on in this one", relayed, preLogin))
	close(a.stopping)
	a.moveControl()
	a.http.Close()
	a.sockets.Leave()
	a.mailers.Retire() // mail servers connect to the new process as soon as they have their answers
	defer a.mailers.Close()
	if !a.outlive(signals) {
		a.cut()
	}
}

// lastWords is what a process said on standard error, in one bounded line.
func lastWords(r io.Reader) string {
	b, _ := io.ReadAll(io.LimitReader(r, 4096))
	_, _ = io.Copy(io.Discard, r)
	return event.Clean(strings.Join(strings.FieldsFunc(string(b), func(c rune) bool { return c == '\n' }), "; "), 1024)
}

// takeStderr makes the descriptor that the process before this one left the standard error.
func takeStderr() {
	fd, err := strconv.Atoi(os.Getenv(upgradeErr))
	if err != nil {
		return
	}
	_ = os.Unsetenv(upgradeErr)
	_ = unix.Dup3(fd, 2, 0)
	_ = unix.Close(fd)
}
