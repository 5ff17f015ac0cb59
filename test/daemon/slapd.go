package daemon

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Directory is an OpenLDAP server on loopback with entries of its own. It can be stopped, frozen and started again on
// the same ports. Its root is cn=admin below the suffix, with the password "admin".
type Directory struct {
	Port    int // ldap
	TLSPort int // ldaps; 0 without a certificate
	// Socket is the path of its unix socket.
	Socket string

	argv []string
	proc *Process
}

// DirectoryOptions describe a Directory.
type DirectoryOptions struct {
	Suffix string // "dc=ex"
	LDIF   string // the entries, from the suffix down
	// Cert, Key and CA are paths of PEM files for TLS; empty: no TLS. Client certificates are asked for.
	Cert, Key, CA string
	// Global and Database are further lines of slapd.conf, before and in the database's part.
	Global, Database []string
}

// StartDirectory starts slapd. Everybody may read everything except userPassword, which only serves to bind.
func StartDirectory(tb testing.TB, o DirectoryOptions) *Directory {
	tb.Helper()
	slapd, slapadd := Program(tb, "slapd", "/usr/sbin/slapd"), Program(tb, "slapadd", "/usr/sbin/slapadd")
	dir := ShortDir(tb)
	conf := filepath.Join(dir, "slapd.conf")
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		tb.Fatal(err)
	}
	for path, text := range map[string]string{conf: o.conf(dir), filepath.Join(dir, "entries.ldif"): o.LDIF} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	run(tb, dir, []string{slapadd, "-q", "-f", conf, "-l", filepath.Join(dir, "entries.ldif")})
	d := &Directory{Socket: filepath.Join(dir, "ldapi")}
	ports := NewPorts()
	free := func() int {
		port, err := ports.Free()
		if err != nil {
			tb.Fatal(err)
		}
		return port
	}
	d.Port = free()
	urls := []string{"ldap://127.0.0.1:" + strconv.Itoa(d.Port) + "/", "ldapi://" + strings.ReplaceAll(d.Socket, "/", "%2F")}
	if o.Cert != "" {
		d.TLSPort = free()
		urls = append(urls, "ldaps://127.0.0.1:"+strconv.Itoa(d.TLSPort)+"/")
	}
	d.argv = []string{slapd, "-f", conf, "-h", strings.Join(urls, " "), "-d", "0"} // -d keeps it in the foreground
	d.Start(tb)
	tb.Cleanup(func() { d.Stop(tb) })
	return d
}

func (o DirectoryOptions) conf(dir string) string {
	lines := []string{
		"modulepath /usr/lib/ldap", "moduleload back_mdb",
		"pidfile " + filepath.Join(dir, "slapd.pid"),
	}
	for _, schema := range []string{"core", "cosine", "nis", "inetorgperson"} {
		lines = append(lines, "include /etc/ldap/schema/"+schema+".schema")
	}
	if o.Cert != "" {
		lines = append(lines, "TLSCertificateFile "+o.Cert, "TLSCertificateKeyFile "+o.Key, "TLSCACertificateFile "+o.CA, "TLSVerifyClient try")
	}
	lines = append(lines, o.Global...)
	lines = append(lines, "database mdb", "suffix "+o.Suffix, "rootdn cn=admin,"+o.Suffix, "rootpw admin",
		"directory "+filepath.Join(dir, "data"), "dbnosync", "index uid eq",
		"access to attrs=userPassword by anonymous auth by self auth by * none", "access to * by * read")
	return strings.Join(append(lines, o.Database...), "\n") + "\n"
}

// Start starts the server again after Stop and waits until it listens.
func (d *Directory) Start(tb testing.TB) {
	tb.Helper()
	p, err := Start(d.argv[0], d.argv[1:]...)
	if err != nil {
		tb.Fatal(err)
	}
	d.proc = p
	ports := []int{d.Port}
	if d.TLSPort != 0 {
		ports = append(ports, d.TLSPort)
	}
	ctx, cancel := context.WithTimeout(context.Background(), databaseTimeout)
	defer cancel()
	if err := p.Ready(ctx, ports...); err != nil {
		tb.Fatalf("%v: %v\n%s", d.argv, err, p.Output())
	}
}

// Stop ends the server and its connections. A frozen server has to be thawed before.
func (d *Directory) Stop(tb testing.TB) {
	tb.Helper()
	if err := d.proc.Stop(); err != nil {
		tb.Errorf("%v\n%s", err, d.proc.Output())
	}
}

// Freeze stops the server where it is until Thaw: the kernel still takes connections for it, and it answers nothing.
func (d *Directory) Freeze(tb testing.TB) {
	tb.Helper()
	d.signal(tb, syscall.SIGSTOP)
	tasks := filepath.Join("/proc", strconv.Itoa(d.proc.PID()), "task", "*", "stat")
	for stopped := false; !stopped; time.Sleep(time.Millisecond) { // the signal is no barrier
		paths, err := filepath.Glob(tasks)
		if err != nil || len(paths) == 0 {
			tb.Fatalf("no threads at %s: %v", tasks, err)
		}
		stopped = true
		for _, p := range paths {
			text, err := os.ReadFile(p)
			if err != nil {
				continue // the thread has ended
			}
			_, state, _ := strings.Cut(string(text), ") ")
			stopped = stopped && strings.HasPrefix(state, "T")
		}
	}
}

// Thaw lets a frozen server go on.
func (d *Directory) Thaw(tb testing.TB) {
	tb.Helper()
	d.signal(tb, syscall.SIGCONT)
}

func (d *Directory) signal(tb testing.TB, s os.Signal) {
	tb.Helper()
	if err := d.proc.Signal(s); err != nil {
		tb.Fatal(err)
	}
}
