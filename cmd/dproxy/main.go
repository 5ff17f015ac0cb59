// Command dproxy is a login proxy that reads Dovecot's configuration. This package only wires the rooms together: flags and
// subcommands, start, reload and stop. It may import every room; none imports it.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the linker; see the Makefile.
var version = "unknown"

const defaultConf = "/etc/dovecot/dovecot.conf"

// The exit statuses that scripts know from Dovecot.
const (
	exitOK    = 0
	exitUsage = 64
	exitFatal = 89
)

// exit is an error that has been told to the user already.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

func main() { os.Exit(run(os.Args)) }

// run executes a command line and returns the exit status. Called by the name doveconf, dproxy is its conf command; called by
// the name doveadm, a command line that names no command shows how doveadm is used.
func run(args []string) int {
	words, program := args[1:], filepath.Base(args[0])
	switch program {
	case "doveconf":
		words = append([]string{"conf"}, words...)
	case "doveadm":
	default:
		program = "dproxy"
	}
	root := rootCommand(program)
	root.SetArgs(words)
	err := root.Execute()
	switch e := err.(type) {
	case nil:
		return exitOK
	case exit:
		return int(e)
	}
	fmt.Fprintln(os.Stderr, "Error:", err)
	return exitUsage
}

// flags are those of the dovecot command.
type flags struct {
	conf       string
	foreground bool
	nonDefault bool
	all        bool
	hostdomain bool
	format     string // of doveadm's commands; "" is each command's own
	program    string // the name to show
}

func rootCommand(program string) *cobra.Command {
	f := flags{program: program}
	root := &cobra.Command{
		Use:   "dproxy [-F] [-c FILE] [-n | -a]",
		Short: "login proxy for mail that reads Dovecot's configuration",
		Long: `dproxy is a login proxy for IMAP, POP3 and their relatives. It reads the dovecot.conf of a Dovecot proxy unchanged, asks the
same user databases, logs in to the user's backend and relays.

Without a subcommand it starts the server, in the background unless -F is given.`,
		Version:       version + " (" + runtime.Version() + ", " + revision() + ")",
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		// Options ahead of the command are this one's: doveadm -f json auth lookup -f host.
		TraverseChildren: true,
		RunE:             func(*cobra.Command, []string) error { return f.run() },
	}
	root.SetVersionTemplate("dproxy {{.Version}}\n")
	root.PersistentFlags().StringVarP(&f.conf, "config", "c", defaultConf, "configuration `FILE`")
	root.Flags().BoolVarP(&f.foreground, "foreground", "F", false, "stay in the foreground")
	root.Flags().BoolVarP(&f.nonDefault, "non-default", "n", false, "print the settings that are not defaults, as doveconf -n, and exit")
	root.Flags().BoolVarP(&f.all, "all", "a", false, "print all settings, as doveconf -a, and exit")
	root.Flags().BoolVar(&f.hostdomain, "hostdomain", false, "print this machine's name as Dovecot's dovecot --hostdomain does, and exit")
	root.Flags().StringVarP(&f.format, "formatter", "f", "", "how commands print lists: `FORMAT` flow, pager, tab, table or json")
	root.Flags().BoolP("debug", "D", false, "has no effect; doveadm has it")
	root.Flags().BoolP("verbose", "v", false, "has no effect; doveadm has it")
	root.AddCommand(confCommand(&f), checkCommand(&f), reloadCommand(&f), upgradeCommand(&f), stopCommand(&f), pwCommand())
	root.AddCommand(sessionCommands(&f)...)
	root.AddCommand(authCommands(&f), logCommands(&f), explainCommand(&f), traceCommands(&f))
	return root
}

func (f *flags) run() error {
	switch {
	case f.nonDefault:
		return dump(f.conf, dumpFlags{changed: true})
	case f.all:
		return dump(f.conf, dumpFlags{all: true})
	case f.hostdomain:
		fmt.Println(hostdomain())
		return nil
	case f.program == "doveadm":
		return fatalAs(exitUsage, "usage: doveadm [-Dv] [-f <formatter>] <command> [<args>]; dproxy help lists the commands that there are")
	case f.foreground:
		return serve(f.conf)
	}
	return background(f.conf)
}

func revision() string {
	info, ok := debug.ReadBuildInfo()
	if ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 10 {
				return s.Value[:10]
			}
		}
	}
	return "no revision"
}
