package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
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
	for _, text := range d.filters {
		if err := addFilter(&o.Filter, text); err != nil {
			return o, err
		}
	}
	return o, nil
}

// addFilter reads one argument of -f, with doveconf's words for what is wrong.
func addFilter(f *conf.Filter, text string) error {
	key, value, _ := strings.Cut(text, "=")
	switch key {
	case "service", "protocol":
		f.Protocol = value
	case "lname", "local_name":
		f.LocalName = value
	case "local", "lip", "remote", "rip":
		ip, err := netip.ParseAddr(value)
		if err != nil {
			if ip, err = lookupOne(value); err != nil {
				return fmt.Errorf("%s filter: gethostbyname(%s) failed: Name or service not known", key, value)
			}
		}
		if key[0] == 'l' {
			f.Local = ip.Unmap()
		} else {
			f.Remote = ip.Unmap()
		}
	default:
		return fmt.Errorf("Unknown filter argument: %s", text)
	}
	return nil
}

func lookupOne(host string) (netip.Addr, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil || len(ips) == 0 {
		return netip.Addr{}, fmt.Errorf("no address for %q: %w", host, err)
	}
	return ips[0], nil
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
	c, err := conf.Load(path, conf.Options{Expand: d.expand})
	if err != nil {
		return fatal("doveconf", err)
	}
	for _, w := range c.Warnings() {
		fmt.Fprintln(os.Stderr, "doveconf: Warning:", w)
	}
	if err := c.Dump(os.Stdout, o); err != nil {
		return err
	}
	if err := c.Check(); err != nil && len(d.names) == 0 {
		return fatal("doveconf", err)
	}
	return nil
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
