package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// proxy is a program under measurement. Its configuration is what an expert would write for a busy host.
type proxy struct {
	name    string
	version string
	binary  string
	// write makes the configuration files in dir and returns the command line.
	write func(dir string, e environment) ([]string, error)

	cmd     *exec.Cmd
	ended   chan struct{}
	plain   string // addresses
	secure  string
	started time.Duration // from exec to the first successful login
}

// environment is what configurations refer to.
type environment struct {
	imap, imaps, store, authHTTP int
	cert, key, both              string
}

// peers lists dproxy and the proxies that are installed.
func peers(dproxy string, want []string) []*proxy {
	var out []*proxy
	for _, p := range []*proxy{
		{name: "dproxy", binary: dproxy, write: dproxyConf},
		{name: "dovecot", binary: find("dovecot"), write: dovecotConf},
		{name: "nginx", binary: find("nginx"), write: nginxConf},
		{name: "haproxy", binary: find("haproxy"), write: haproxyConf},
	} {
		if p.binary == "" || len(want) > 0 && !contains(want, p.name) {
			continue
		}
		p.version = versionOf(p)
		out = append(out, p)
	}
	return out
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

func find(name string) string {
	for _, dir := range []string{"/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"} {
		if path := filepath.Join(dir, name); isFile(path) {
			return path
		}
	}
	return ""
}

func isFile(path string) bool { st, err := os.Stat(path); return err == nil && st.Mode().IsRegular() }

func versionOf(p *proxy) string {
	flag := map[string]string{"nginx": "-v", "haproxy": "-v"}[p.name]
	if flag == "" {
		flag = "--version"
	}
	out, _ := exec.Command(p.binary, flag).CombinedOutput()
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}

// start runs the proxy and waits for a first successful login.
func (p *proxy) start(dir string, e environment) error {
	home := filepath.Join(dir, p.name)
	if err := os.MkdirAll(home, 0o755); err != nil {
		return err
	}
	args, err := p.write(home, e)
	if err != nil {
		return err
	}
	p.plain = "127.0.0.1:" + strconv.Itoa(e.imap)
	p.secure = "127.0.0.1:" + strconv.Itoa(e.imaps)
	log, err := os.Create(filepath.Join(home, "output"))
	if err != nil {
		return err
	}
	defer log.Close()
	p.cmd = exec.Command(p.binary, args...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	began := time.Now()
	if err := p.cmd.Start(); err != nil {
		return err
	}
	p.ended = make(chan struct{})
	go func() { _ = p.cmd.Wait(); close(p.ended) }()
	for {
		c, err := target{address: p.plain}.login(0)
		if err == nil {
			p.started = time.Since(began)
			return c.Close()
		}
		select {
		case <-p.ended:
			return fmt.Errorf("%s ended at start; see %s", p.name, log.Name())
		case <-time.After(2 * time.Millisecond):
		}
		if time.Since(began) > 20*time.Second {
			p.stop()
			return fmt.Errorf("%s accepts no login: %w; see %s", p.name, err, log.Name())
		}
	}
}

func (p *proxy) pid() int { return p.cmd.Process.Pid }

func (p *proxy) stop() {
	all := processes(p.pid())
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(15 * time.Second):
	}
	for _, pid := range all {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	<-p.ended
}

// freePorts finds n ports of loopback that nobody uses now.
func freePorts(n int) ([]int, error) {
	var out []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		out = append(out, l.Addr().(*net.TCPAddr).Port)
	}
	return out, nil
}

// startAuthHTTP is nginx's auth service: it sends everybody to the store, as the static passdb of the others does.
func startAuthHTTP(port int, store int) error {
	l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		return err
	}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Auth-Status", "OK")
		w.Header().Set("Auth-Server", "127.0.0.1")
		w.Header().Set("Auth-Port", strconv.Itoa(store))
	})
	go func() {
		if err := http.Serve(l, h); !errors.Is(err, net.ErrClosed) {
			fmt.Fprintln(os.Stderr, "auth_http:", err)
		}
	}()
	return nil
}
