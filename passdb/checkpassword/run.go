package checkpassword

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"dproxy/passdb"
)

const (
	// maxEnvironment bounds what is read of a program's environment, in bytes.
	maxEnvironment = 1 << 20
	// killGrace is how long what a program left behind may keep its descriptors open.
	killGrace = time.Second
)

// reply is what a program runs in the end, in the place of Dovecot's checkpassword-reply: it writes the environment
// to descriptor 4.
func reply() []string { return []string{"/bin/sh", "-c", "exec /usr/bin/env -0 >&4"} }

// variables are handed to the program as AUTH_NAME in upper case.
func variables() []string {
	return strings.Fields("user username domain service lip local_ip rip remote_ip pid mech mechanism lport local_port rport remote_port cert secured " +
		"session real_lip real_local_ip real_rip real_remote_ip real_lport real_local_port real_rport real_remote_port local_name client_id " +
		"orig_user orig_username orig_domain original_user original_username original_domain auth_user auth_username auth_domain " +
		"master_user login_user login_username login_domain domain_first domain_last")
}

// environment is everything the program sees: none of ours but PATH.
func environment(r *passdb.Request, more []string) []string {
	env := []string{"PATH=" + os.Getenv("PATH"), "SERVICE=" + r.Service, "PROTO=TCP", "ORIG_UID=" + strconv.Itoa(os.Getuid())}
	for _, a := range []struct {
		side string
		addr netip.AddrPort
	}{{"LOCAL", r.Local}, {"REMOTE", r.Remote}} {
		if a.addr.Addr().IsValid() {
			ip := a.addr.Addr().Unmap().String()
			env = append(env, "TCP"+a.side+"IP="+ip, a.side+"_IP="+ip, "TCP"+a.side+"PORT="+strconv.Itoa(int(a.addr.Port())))
		}
	}
	if r.MasterUser != "" {
		env = append(env, "MASTER_USER="+r.MasterUser)
	}
	for _, name := range variables() {
		if v, ok := r.Var(name); ok && !strings.Contains(v, "\x00") {
			env = append(env, "AUTH_"+strings.ToUpper(name)+"="+v)
		}
	}
	return append(env, more...)
}

// run starts the program and waits for its end.
func (d *driver) run(ctx context.Context, r *passdb.Request, password string, more []string) (outcome, error) {
	if strings.Contains(r.User+password, "\x00") {
		return outcome{}, errors.New("a NUL cannot be handed to a program")
	}
	var args []string
	for _, a := range d.args {
		v, err := a.Expand(r.Var)
		if err != nil {
			return outcome{}, fmt.Errorf("Failed to expand checkpassword args %s: %w", a.text, err)
		}
		args = append(args, v)
	}
	select {
	case d.slots <- struct{}{}:
		defer func() { <-d.slots }()
	case <-ctx.Done():
		return outcome{}, fmt.Errorf("%d programs are running: %w", maxPrograms, ctx.Err())
	}
	cmd := exec.CommandContext(ctx, d.program, append(args, reply()...)...)
	cmd.Env = environment(r, more)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = killGrace
	out, err := exchange(cmd, r.User+"\x00"+password+"\x00\x00") // no time stamp, as in Dovecot
	if err != nil {
		return outcome{}, err
	}
	return d.end(ctx, cmd, out)
}

// exchange runs the command with the question on descriptor 3 and returns what came on descriptor 4.
func exchange(cmd *exec.Cmd, question string) ([]byte, error) {
	questionOut, questionIn, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer questionIn.Close()
	replyOut, replyIn, err := os.Pipe()
	if err != nil {
		_ = questionOut.Close()
		return nil, err
	}
	defer replyOut.Close()
	cmd.ExtraFiles = []*os.File{questionOut, replyIn}
	err = cmd.Start()
	_ = questionOut.Close() // the child has its own
	_ = replyIn.Close()
	if err != nil {
		return nil, fmt.Errorf("execv(%s) failed: %w", cmd.Path, err)
	}
	// The pipe holds any question a login can make; a program that has gone does not matter.
	_ = questionIn.SetWriteDeadline(time.Now().Add(killGrace))
	_, _ = io.WriteString(questionIn, question)
	_ = questionIn.Close()
	read := make(chan []byte, 1)
	go func() {
		b, err := io.ReadAll(io.LimitReader(replyOut, maxEnvironment+1))
		if err != nil {
			b = nil
		}
		if len(b) > maxEnvironment {
			_ = replyOut.Close() // the program must not wait for a reader
		}
		read <- b
	}()
	waited := cmd.Wait()
	_ = replyOut.SetReadDeadline(time.Now().Add(killGrace)) // what it left running may hold the pipe open
	out := <-read
	var exit *exec.ExitError
	if waited != nil && !errors.As(waited, &exit) && !errors.Is(waited, exec.ErrWaitDelay) {
		return nil, waited
	}
	return out, nil
}

// end reads how the program ended.
func (d *driver) end(ctx context.Context, cmd *exec.Cmd, out []byte) (outcome, error) {
	state := cmd.ProcessState
	if err := ctx.Err(); err != nil {
		return outcome{}, fmt.Errorf("%s was killed: %w", d.program, err)
	}
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return outcome{}, fmt.Errorf("Child %d died with signal %d", state.Pid(), ws.Signal())
	}
	if len(out) > maxEnvironment {
		return outcome{}, fmt.Errorf("the environment of %s is larger than %d bytes", d.program, maxEnvironment)
	}
	o := outcome{pid: state.Pid(), status: state.ExitCode()}
	if len(out) == 0 {
		return o, nil
	}
	o.env = map[string]string{}
	for _, v := range strings.Split(string(out), "\x00") {
		if name, value, ok := strings.Cut(v, "="); ok {
			o.env[name] = value
		}
	}
	return o, nil
}
