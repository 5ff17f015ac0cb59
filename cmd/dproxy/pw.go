package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"dproxy/passdb/scheme"
)

// exitPw is the status that doveadm pw has for every failure.
const exitPw = 75

// pwFlags are the options of doveadm pw.
type pwFlags struct {
	list, verify                     bool
	password, scheme, stored, forWho string
	rounds                           int
}

func pwCommand() *cobra.Command {
	var p pwFlags
	cmd := &cobra.Command{
		Use:   "pw [-l] [-p PASSWORD] [-r ROUNDS] [-s SCHEME] [-t HASH] [-u USER] [-V]",
		Short: "make or check a password hash, as doveadm pw does",
		Args:  cobra.NoArgs, SilenceErrors: true, SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := p.run(cmd.Flags().Changed("password"), cmd.Flags().Changed("test")); err != nil {
				fmt.Fprintln(os.Stderr, "Fatal:", err)
				return exit(exitPw)
			}
			return nil
		},
	}
	fl := cmd.Flags()
	fl.BoolVarP(&p.list, "list", "l", false, "list the schemes")
	fl.StringVarP(&p.password, "password", "p", "", "the password; without it dproxy asks")
	fl.IntVarP(&p.rounds, "rounds", "r", 0, "rounds of the schemes that have them, 0 for the scheme's default")
	fl.StringVarP(&p.scheme, "scheme", "s", "CRYPT", "the scheme, with .b64 or .hex for another encoding")
	fl.StringVarP(&p.stored, "test", "t", "", "check whether `HASH`, with its {SCHEME}, fits the password")
	fl.StringVarP(&p.forWho, "user", "u", "", "the user name, for schemes that need it (DIGEST-MD5)")
	fl.BoolVarP(&p.verify, "verify", "V", false, "check the new hash and say so")
	return cmd
}

func (p pwFlags) run(given, test bool) error {
	if p.list {
		fmt.Println(strings.Join(scheme.Schemes(), " "))
		return nil
	}
	password := p.password
	if !given {
		var err error
		if password, err = askPassword(os.Stdin, !test); err != nil {
			return err
		}
	}
	if test {
		return p.check(p.stored, password)
	}
	hash, err := scheme.Generate(strings.ToUpper(p.scheme), password, p.forWho, p.rounds)
	switch {
	case errors.Is(err, scheme.ErrUnknown):
		return fmt.Errorf("Unknown scheme: %s", strings.ToUpper(p.scheme))
	case err != nil:
		return err
	case p.verify:
		return p.check(hash, password)
	}
	fmt.Println(hash)
	return nil
}

// check verifies a hash and prints it with the verdict.
func (p pwFlags) check(hash, password string) error {
	if !strings.HasPrefix(hash, "{") {
		return errors.New("missing scheme prefix from hash") // Dovecot wants it named, a guess could be wrong
	}
	ok, err := scheme.Verify(scheme.Split(hash, "PLAIN"), password, p.forWho)
	if err != nil {
		return fmt.Errorf("reverse decode check failed: %w", err)
	}
	if !ok {
		return errors.New("reverse password verification check failed: Password mismatch")
	}
	fmt.Println(hash, "(verified)")
	return nil
}

// askPassword reads a password from a terminal without showing it, or a line from anything else. A new one is asked for twice.
func askPassword(in *os.File, fresh bool) (string, error) {
	lines := bufio.NewReader(in)
	first, err := askOnce(in, lines, "Enter new password: ")
	if err != nil || !fresh {
		return first, err
	}
	second, err := askOnce(in, lines, "Retype new password: ")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", errors.New("Passwords don't match!")
	}
	return first, nil
}

func askOnce(in *os.File, lines *bufio.Reader, prompt string) (string, error) {
	fd := int(in.Fd())
	if before, err := unix.IoctlGetTermios(fd, unix.TCGETS); err == nil {
		quiet := *before
		quiet.Lflag &^= unix.ECHO
		if err := unix.IoctlSetTermios(fd, unix.TCSETS, &quiet); err != nil {
			return "", err
		}
		defer func() {
			_ = unix.IoctlSetTermios(fd, unix.TCSETS, before)
			fmt.Fprintln(os.Stderr)
		}()
		fmt.Fprint(os.Stderr, prompt)
	}
	line, err := lines.ReadString('\n')
	if err != nil && (!errors.Is(err, io.EOF) || line == "") {
		return "", fmt.Errorf("no password read: %w", err)
	}
	return strings.TrimRight(line, "\r\n"), nil
}
