// Command demo is what `make run` runs: two small mail hosts in memory, a database that says which user lives where,
// and dproxy in front of them. It logs in as both users and says what to try. It is not part of dproxy.
package main

import (
	"database/sql"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/mattn/go-isatty"
	_ "modernc.org/sqlite" // the driver that users.db is made with
)

var (
	//go:embed dovecot.conf
	confText string
	//go:embed dovecot-sql.conf.ext
	sqlConfText string
	//go:embed users.sql
	usersText string
)

// Ports above 1024, so that no root is needed.
var ports = map[string]int{"IMAP": 10143, "IMAPS": 10993, "POP3": 10110, "POP3S": 10995}

func main() {
	dproxy := flag.String("dproxy", "bin/dproxy", "the program to run")
	dir := flag.String("dir", "run", "directory for configuration, database and log")
	stay := flag.String("stay", "auto", "yes: serve until Ctrl-C; no: end after the proof; auto: yes on a terminal")
	flag.Parse()
	if err := demo(*dproxy, *dir, *stay == "yes" || *stay == "auto" && isatty.IsTerminal(os.Stdin.Fd())); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func demo(program, dir string, stay bool) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	one, err := startStore("store1", "alice", "wonderland")
	if err != nil {
		return err
	}
	two, err := startStore("store2", "bob", "builder")
	if err != nil {
		return err
	}
	if err := prepare(dir, one, two); err != nil {
		return err
	}
	cmd := exec.Command(program, "-F", "-c", filepath.Join(dir, "dovecot.conf"))
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
	}()
	if err := listening(ended); err != nil {
		ended <- err // for the deferred wait
		return fmt.Errorf("dproxy did not start: %w; see %s", err, filepath.Join(dir, "dproxy.log"))
	}
	if err := prove(dir, one, two); err != nil {
		return fmt.Errorf("%w; see %s", err, filepath.Join(dir, "dproxy.log"))
	}
	fmt.Printf(hints, ports["IMAPS"], ports["POP3S"], ports["IMAPS"], ports["IMAP"], filepath.Join(dir, "dovecot.conf"), filepath.Join(dir, "dproxy.log"))
	if !stay {
		fmt.Println("No terminal: stopping. `make run STAY=yes` keeps it running.")
		return nil
	}
	fmt.Println("Running until Ctrl-C.")
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	select {
	case <-stop:
		return nil
	case err := <-ended:
		ended <- err
		return fmt.Errorf("dproxy ended: %v", err)
	}
}

const hints = `
Try it (alice's password is wonderland and she lives on store1; bob's is builder and he lives on store2):

  curl -k -u alice:wonderland 'imaps://127.0.0.1:%d/INBOX;MAILINDEX=1'
  curl -k -u bob:builder 'pop3s://127.0.0.1:%d/1'
  openssl s_client -quiet -connect 127.0.0.1:%d        # then: a LOGIN alice wonderland
  openssl s_client -quiet -starttls imap -connect 127.0.0.1:%d

Configuration: %s
Log:           %s
`

// listening waits until dproxy accepts connections, or has ended.
func listening(ended <-chan error) error {
	deadline := time.Now().Add(20 * time.Second)
	for _, p := range ports {
		for {
			c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p)))
			if err == nil {
				_ = c.Close()
				break
			}
			select {
			case err := <-ended:
				return fmt.Errorf("it ended: %v", err)
			case <-time.After(20 * time.Millisecond):
			}
			if time.Now().After(deadline) {
				return errors.New("it does not listen after 20 seconds")
			}
		}
	}
	return nil
}

// prepare writes the configuration, the certificate and the database.
func prepare(dir string, one, two *store) error {
	for name, p := range ports {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p)))
		if err != nil {
			return fmt.Errorf("port %d for %s is taken: end what uses it and try again (%w)", p, name, err)
		}
		_ = l.Close()
	}
	for _, d := range []string{dir, filepath.Join(dir, "base"), filepath.Join(dir, "state")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	if err := writeCertificate(filepath.Join(dir, "proxy.crt"), filepath.Join(dir, "proxy.key")); err != nil {
		return err
	}
	me, err := user.Current()
	if err != nil {
		return err
	}
	values := []string{
		"@DIR@", dir, "@USER@", me.Username,
		"@IMAP1@", strconv.Itoa(port(one.imap)), "@POP31@", strconv.Itoa(port(one.pop3)),
		"@IMAP2@", strconv.Itoa(port(two.imap)), "@POP32@", strconv.Itoa(port(two.pop3)),
	}
	for name, p := range ports {
		values = append(values, "@"+name+"@", strconv.Itoa(p))
	}
	fill := strings.NewReplacer(values...)
	for name, text := range map[string]string{"dovecot.conf": confText, "dovecot-sql.conf.ext": sqlConfText} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(fill.Replace(text)), 0o600); err != nil {
			return err
		}
	}
	return makeDatabase(filepath.Join(dir, "users.db"), fill.Replace(usersText))
}

func makeDatabase(path, statements string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		return err
	}
	_, err = db.Exec(statements)
	return errors.Join(err, db.Close())
}
