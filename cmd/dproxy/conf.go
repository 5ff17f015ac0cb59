package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dproxy/conf"
)

// dumpFlags are the options of doveconf.
type dumpFlags struct {
	all, hidden, set, changed, defaults bool
	secrets, values, expand, simple     bool
	modules, filters                    []string
	names                               []string
}

func confCommand(f *flags) *cobra.Command {
	var d dumpFlags
	cmd := &cobra.Command{
		Use:   "conf [-n | -N | -a | -s | -d] [-P] [-x] [-S] [-h] [-f KEY=VALUE] [-m MODULE] [SETTING...]",
		Short: "print the configuration as doveconf does",
		Long: `Prints the configuration as dproxy understands it, in doveconf's format and with doveconf's options. It is also what
dproxy does when it is called by the name doveconf. A configuration with errors ends with exit status 89.`,
		Aliases: []string{"config"}, SilenceErrors: true, SilenceUsage: true,
		RunE: func(_ *cobra.Command, names []string) error {
			d.names = names
			if !d.all && !d.hidden && !d.set && !d.defaults {
				d.changed = d.changed || f.nonDefault
			}
			return dump(f.conf, d)
		},
	}
	cmd.AddCommand(convertCommand(f))
	fl := cmd.Flags()
	fl.Bool("help", false, "help for conf") // -h has another meaning here
	fl.BoolVarP(&d.changed, "changed", "n", false, "only settings that differ from the defaults")
	fl.BoolVarP(&d.set, "set", "N", false, "only settings that the file sets, even to the default")
	fl.BoolVarP(&d.all, "all", "a", false, "all settings (the default)")
	fl.BoolVarP(&d.hidden, "hidden", "s", false, "all settings, hidden ones too")
	fl.BoolVarP(&d.defaults, "defaults", "d", false, "the defaults, whatever the file says")
	fl.BoolVarP(&d.secrets, "secrets", "P", false, "show passwords and keys")
	fl.BoolVarP(&d.expand, "expand", "x", false, "expand $variables and read <files")
	fl.BoolVarP(&d.simple, "simple", "S", false, "one path/to/key=value a line")
	fl.BoolVarP(&d.values, "values", "h", false, "with SETTING: only the value")
	fl.StringArrayVarP(&d.filters, "filter", "f", nil, "what a connection with `KEY=VALUE` gets: protocol, local, remote, lname")
	fl.StringArrayVarP(&d.modules, "module", "m", nil, "only the settings of a `MODULE`")
	return cmd
}

func (d dumpFlags) options() (conf.DumpOptions, error) {
	o := conf.DumpOptions{ShowSecrets: d.secrets, NoKeys: d.values, Simple: d.simple, Modules: d.modules, Names: d.names}
	switch {
	case d.changed:
		o.Scope = conf.ScopeChanged
	case d.set:
		o.Scope = conf.ScopeSet
	case d.hidden:
		o.Scope = conf.ScopeHidden
	}
	var err error
	o.Filter, err = conf.ParseFilter(d.filters)
	return o, err
}

// dump prints a configuration file. Nothing but settings goes to standard output.
func dump(path string, d dumpFlags) error {
	o, err := d.options()
	if err != nil {
		return fatal("doveconf", err)
	}
	if !d.simple && len(d.names) == 0 {
		header(os.Stdout, path, d)
	}
	if d.defaults {
		return conf.Defaults().Dump(os.Stdout, o)
	}
	c, err := conf.Load(path, conf.Options{Expand: d.expand, Warn: warnAsDoveconf})
	if err != nil {
		return fatal("doveconf", err)
	}
	if err := c.Dump(os.Stdout, o); err != nil {
		return err
	}
	if err := c.Check(); err != nil && len(d.names) == 0 {
		var e *conf.Error
		if errors.As(err, &e) && !strings.HasPrefix(e.Text, "Missing '}'") {
			fmt.Fprintln(os.Stderr, "doveconf: Error:", e.Text)
		}
		return fatal("doveconf", err)
	}
	return nil
}

// warnAsDoveconf prints a warning as it comes. One of them is an error to doveconf that it goes on from.
func warnAsDoveconf(text string) {
	level := "Warning:"
	if strings.HasPrefix(text, "Could not find a minimum ssl_min_protocol setting") {
		level = "Error:"
	}
	fmt.Fprintln(os.Stderr, "doveconf:", level, text)
}

func header(w io.Writer, path string, d dumpFlags) {
	fmt.Fprintf(w, "# dproxy %s: %s\n# Hostname: %s\n", version, path, hostdomain())
	if !d.changed && !d.set {
		fmt.Fprintln(w, "# NOTE: Send the output of `dproxy conf -n` instead when asking for help.")
	}
}

// hostdomain is the machine's full name, or its short one when no lookup knows more.
func hostdomain() string {
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	if strings.Contains(name, ".") {
		return name
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if full, err := net.DefaultResolver.LookupCNAME(ctx, name); err == nil && full != "" {
		return strings.TrimSuffix(full, ".")
	}
	return name
}

// absolute keeps a path usable after the process has left its directory.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}
