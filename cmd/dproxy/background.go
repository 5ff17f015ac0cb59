package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"dproxy/admin"
	"dproxy/conf"
)

// readyFD is set for the process in the background: the descriptor that hears "ready".
const readyFD = "DPROXY_READY_FD"

const readyLine = "ready\n"

// background starts the program once more, in a session of its own, and returns when it serves or has failed. What it says
// until then comes out on standard error.
func background(path string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if path, err = filepath.Abs(path); err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.Command(self, "-F", "-c", path)
	cmd.Env = append(os.Environ(), readyFD+"=3")
	cmd.ExtraFiles = []*os.File{w}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	_ = w.Close()
	if line, _ := bufio.NewReader(r).ReadString('\n'); line == readyLine {
		return cmd.Process.Release()
	}
	if err := cmd.Wait(); err != nil {
		var ee *exec.ExitError
		if errors.As(err, &ee) && ee.ExitCode() > 0 {
			return exit(ee.ExitCode())
		}
		return err
	}
	return nil
}

// ready tells the process that waits for this one, in the foreground or until an upgrade, that it serves now.
func ready(upgraded bool) {
	fd, err := strconv.Atoi(os.Getenv(readyFD))
	if err != nil {
		return
	}
	_ = os.Unsetenv(readyFD)
	w := os.NewFile(uintptr(fd), "ready")
	_, _ = io.WriteString(w, readyLine)
	_ = w.Close()
	if upgraded {
		takeStderr()
	} else {
		detach()
	}
}

// detach lets go of the terminal or pipe that the start came from: whoever waits for its end must not wait for ours.
func detach() {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer null.Close()
	for fd := range 3 {
		_ = unix.Dup3(int(null.Fd()), fd, 0)
	}
}

// pidFile is where Dovecot keeps its master's process id.
func pidFile(baseDir string) string { return filepath.Join(baseDir, "master.pid") }

// claim writes the pid file. Another process that lives and holds it is an error, in Dovecot's words, but for the one that
// this one takes over from (0 for none).
func claim(baseDir string, from int) error {
	if err := os.MkdirAll(baseDir, 0o755); err != nil {
		return fmt.Errorf("mkdir(%s) failed: %s; check base_dir", baseDir, errnoText(err))
	}
	path := pidFile(baseDir)
	if pid := runningPID(path); pid != 0 && pid != os.Getpid() && pid != from {
		return fmt.Errorf("dproxy is already running with PID %d (read from %s)", pid, path)
	}
	fresh := path + ".tmp"
	if err := os.WriteFile(fresh, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644); err != nil {
		return fmt.Errorf("open(%s) failed: %s; check base_dir", path, errnoText(err))
	}
	return os.Rename(fresh, path)
}

// release removes the pid file if it is still ours.
func release(baseDir string) {
	if path := pidFile(baseDir); runningPID(path) == os.Getpid() {
		_ = os.Remove(path)
	}
}

// runningPID is the process that a pid file names, 0 when there is none or it has ended.
func runningPID(path string) int {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid <= 1 || !alive(pid) {
		return 0
	}
	return pid
}

func alive(pid int) bool {
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}

func errnoText(err error) string {
	var e syscall.Errno
	if errors.As(err, &e) {
		text := e.Error()
		return strings.ToUpper(text[:1]) + text[1:]
	}
	return err.Error()
}

func reloadCommand(f *flags) *cobra.Command {
	return f.leaf("reload", "make the running server read its configuration again", noArgs, func(c *control, _ []string) error {
		return f.ask(c, "reload", syscall.SIGHUP, "reload failed, the old configuration stays")
	})
}

func upgradeCommand(f *flags) *cobra.Command {
	return f.leaf("upgrade", "start the program file anew and hand over to it; no connection is refused, no session cut", noArgs, func(c *control, _ []string) error {
		return f.ask(c, "upgrade", syscall.SIGUSR2, "upgrade failed, the running process goes on")
	})
}

// ask has the running server do something and tells why it did not. A server whose control socket is broken, or of another
// version, gets the signal with the same meaning.
func (f *flags) ask(c *control, command string, sig syscall.Signal, failure string) error {
	s, err := f.running(c)
	if err != nil {
		return err
	}
	end, err := c.call(&admin.Request{Command: command}, func([]string) error { return nil })
	var u *unreachable
	switch {
	case errors.As(err, &u):
		return syscall.Kill(s.pid, sig)
	case err != nil:
		return err
	case end.Status != admin.OK:
		return fatalAs(exitTemp, "Fatal: "+failure+": "+end.Error)
	}
	return nil
}

// stopWait is longer than the server takes for a stop.
const stopWait = 15 * time.Second

func stopCommand(f *flags) *cobra.Command {
	return f.leaf("stop", "end the running server", noArgs, func(c *control, _ []string) error {
		s, err := f.running(c)
		if err != nil {
			return err
		}
		pid := s.pid
		if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
			return err
		}
		interrupted := make(chan os.Signal, 1)
		signal.Notify(interrupted, os.Interrupt)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		// With shutdown_clients = no the process outlives its pid file until its sessions have ended.
		lives := func() bool { return alive(pid) && (s.ShutdownClients || runningPID(pidFile(s.BaseDir)) == pid) }
		for deadline := time.Now().Add(stopWait); lives(); {
			select {
			case <-interrupted:
				return exit(1)
			case <-tick.C:
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("process %d has not ended after %s", pid, stopWait)
			}
		}
		return nil
	})
}

// server is a running server.
type server struct {
	*conf.Settings
	pid int
}

// running finds the server whose configuration this is. Without one the answer is Dovecot's.
func (f *flags) running(c *control) (server, error) {
	s, err := c.settings()
	if err != nil {
		return server{}, err
	}
	path := pidFile(s.BaseDir)
	pid := runningPID(path)
	if pid == 0 {
		return server{}, fatalAs(exitTemp, "Fatal: dproxy is not running (read from "+path+")")
	}
	return server{s, pid}, nil
}

// fatal prints an error as Dovecot's programs do and gives their exit status.
func fatal(program string, err error) error {
	if program != "" {
		program += ": "
	}
	fmt.Fprintf(os.Stderr, "%sFatal: %s\n", program, err)
	return exit(exitFatal)
}
