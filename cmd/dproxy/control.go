package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"dproxy/admin"
	"dproxy/conf"
)

// The exit statuses of doveadm's commands.
const (
	exitNoUser   = 67 // the user does not exist
	exitNotFound = 68 // nothing matched
	exitTemp     = 75
	exitDenied   = 77 // authentication failed
)

// control is a command's way to the running server.
type control struct {
	flags  *flags
	socket string // "" is that of the configuration's base_dir
}

// path is the control socket's.
func (c *control) path() (string, error) {
	if c.socket != "" {
		return c.socket, nil
	}
	s, err := c.settings()
	if err != nil {
		return "", err
	}
	return admin.SocketPath(s.BaseDir), nil
}

func (c *control) settings() (*conf.Settings, error) {
	config, err := conf.Load(c.flags.conf, conf.Options{})
	if err != nil {
		return nil, fatal("doveconf", err)
	}
	return config.Settings(conf.Filter{}), nil
}

// unreachable is a server that does not answer on its control socket.
type unreachable struct {
	path string
	err  error
}

func (u *unreachable) Error() string {
	var op *net.OpError
	if errors.As(u.err, &op) && op.Op == "dial" {
		return "connect(" + u.path + ") failed: " + errnoText(u.err)
	}
	return "read(" + u.path + ") failed: " + u.err.Error()
}

// call runs a command at the server. The error is an *unreachable when there is no answer, or an exit status when the
// configuration cannot be read.
func (c *control) call(q *admin.Request, row func([]string) error) (admin.End, error) {
	path, err := c.path()
	if err != nil {
		return admin.End{}, err
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	end, err := admin.Call(ctx, path, q, row)
	var told exit
	if err == nil || errors.As(err, &told) {
		return end, err
	}
	return end, &unreachable{path, err}
}

// callAll is call for commands about sessions: it asks processes that have been upgraded too. Only the server itself must
// answer. first is set for the first row of each answer. The End is that of the first process that has something to act on.
func (c *control) callAll(q *admin.Request, row func(cells []string, first bool) error) (admin.End, error) {
	path, err := c.path()
	if err != nil {
		return admin.End{}, err
	}
	var end admin.End
	for i, p := range admin.SocketPaths(path) {
		first := true
		one := control{flags: c.flags, socket: p}
		e, err := one.call(q, func(cells []string) error {
			was := first
			first = false
			return row(cells, was)
		})
		var u *unreachable
		switch {
		case i > 0 && errors.As(err, &u): // it has just ended
			continue
		case err != nil:
			return e, err
		}
		if i == 0 || end.Status == admin.NotFound {
			end = e
		}
	}
	return end, nil
}

// mustAll is callAll with must's ends.
func (c *control) mustAll(q *admin.Request, row func(cells []string, first bool) error) (admin.End, error) {
	end, err := c.callAll(q, row)
	return c.judge(end, err)
}

// must is call for commands whose every failure is Dovecot's Fatal with status 75, but for a wrong command line.
func (c *control) must(q *admin.Request, row func([]string) error) (admin.End, error) {
	end, err := c.call(q, row)
	return c.judge(end, err)
}

func (*control) judge(end admin.End, err error) (admin.End, error) {
	var u *unreachable
	switch {
	case errors.As(err, &u):
		return end, fatalAs(exitTemp, "Fatal: net_"+strings.Replace(u.Error(), "connect(", "connect_unix(", 1))
	case err != nil:
		return end, err
	case end.Status == admin.Usage:
		return end, fatalAs(exitUsage, "Error: "+end.Error)
	case end.Status == admin.Temporary || end.Status == admin.Unknown:
		return end, fatalAs(exitTemp, "Fatal: "+end.Error)
	}
	return end, nil
}

// list runs a command whose rows are printed as they are.
func (c *control) list(q *admin.Request, own string, columns []column) error {
	p, err := newPrinter(c.flags.format, own, columns)
	if err != nil {
		return err
	}
	_, err = c.mustAll(q, func(cells []string, _ bool) error {
		if len(cells) != len(columns) {
			return fmt.Errorf("a row of %d values instead of %d; is the server of another version?", len(cells), len(columns))
		}
		p.row(cells...)
		return nil
	})
	if err != nil {
		return err
	}
	return p.end()
}

// leaf makes a command of doveadm's. Its use is what doveadm shows when the arguments are wrong.
func (f *flags) leaf(use, short string, args func([]string) error, run func(c *control, args []string) error) *cobra.Command {
	c := &control{flags: f}
	cmd := &cobra.Command{
		Use: use, Short: short, SilenceErrors: true, SilenceUsage: true,
		RunE: func(cmd *cobra.Command, words []string) error {
			if args != nil {
				if err := args(words); err != nil {
					return err
				}
			}
			err := run(c, words)
			if errors.Is(err, errUsage) {
				return fatalAs(exitUsage, f.program+" "+strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" ")+strings.TrimPrefix(use, cmd.Name()))
			}
			return err
		},
	}
	cmd.SetFlagErrorFunc(optionError)
	cmd.Flags().StringVarP(&c.socket, "socket", "a", "", "control socket `PATH`, instead of the one in the configuration's base_dir")
	return cmd
}

// errUsage makes a command show how it is used.
var errUsage = errors.New("usage")

// noArgs refuses arguments in doveadm's words.
func noArgs(words []string) error { return atMost(0)(words) }

// atMost refuses arguments beyond the first n.
func atMost(n int) func([]string) error {
	return func(words []string) error {
		if len(words) > n {
			return fatalAs(exitUsage, "Error: Extraneous arguments found: "+strings.Join(words[n:], " "))
		}
		return nil
	}
}

// group is a command that only has subcommands.
func (f *flags) group(name, short string, commands ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{
		Use: name, Short: short, SilenceErrors: true, SilenceUsage: true, TraverseChildren: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for cmd.Parent() != cmd.Root() { // doveadm shows the outer group
				cmd = cmd.Parent()
			}
			var b strings.Builder
			fmt.Fprintf(&b, "usage: %s [-Dv] [-f <formatter>] %s <command> [<args>]", f.program, cmd.Name())
			for _, sub := range cmd.Commands() {
				fmt.Fprintf(&b, "\n  %-12s %s", sub.Name(), arguments(sub))
			}
			return fatalAs(exitUsage, b.String())
		},
	}
	g.AddCommand(commands...)
	return g
}

// arguments is what follows a command's name: its options, or the commands of a group.
func arguments(cmd *cobra.Command) string {
	var names []string
	for _, sub := range cmd.Commands() {
		names = append(names, sub.Name())
	}
	if len(names) > 0 {
		return strings.Join(names, "|")
	}
	return strings.TrimPrefix(strings.TrimPrefix(cmd.Use, cmd.Name()), " ")
}

// shorthand finds the option that a parser's message is about.
var shorthand = regexp.MustCompile(`^(unknown shorthand flag|flag needs an argument): '(.)' in `)

// optionError gives what is wrong with an option getopt's words, as doveadm has them.
func optionError(cmd *cobra.Command, err error) error {
	m := shorthand.FindStringSubmatch(err.Error())
	switch {
	case m == nil:
		return err
	case m[1] == "flag needs an argument":
		return fatalAs(exitUsage, cmd.Name()+": option requires an argument -- '"+m[2]+"'")
	}
	return fatalAs(exitUsage, cmd.Name()+": invalid option -- '"+m[2]+"'")
}
