package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dproxy/auth"
	"dproxy/conf"
	"dproxy/event"
	"dproxy/login"
	"dproxy/passdb"
)

// exitWarned is the status of check --strict when there are warnings and no errors.
const exitWarned = 1

// checkTimeout bounds all that check asks the network for.
const checkTimeout = time.Minute

func checkCommand(f *flags) *cobra.Command {
	var offline, asJSON, strict bool
	cmd := &cobra.Command{
		Use:   "check [-c FILE] [--offline] [--json] [--strict]",
		Short: "tell what a configuration means to dproxy, and what would not work",
		Long: `Reads a configuration as the server would and tells which settings take effect, which have none and why, which passdbs and
listeners result, what differs from Dovecot, and whether certificates load and servers answer. Nothing is started or changed.

Exit status: 0 without errors, 1 with --strict and warnings, 89 with errors.`,
		Args: cobra.NoArgs, SilenceErrors: true, SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(context.Background(), checkTimeout)
			defer cancel()
			r := check(ctx, absolute(f.conf), offline)
			var err error
			if asJSON {
				err = r.writeJSON(cmd.OutOrStdout())
			} else {
				err = r.writeText(cmd.OutOrStdout())
			}
			switch {
			case err != nil:
				return err
			case r.Errors > 0:
				return exit(exitFatal)
			case r.Warnings > 0 && strict:
				return exit(exitWarned)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&offline, "offline", false, "ask no other host: no DNS, no databases, no backends")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object for programs")
	cmd.Flags().BoolVar(&strict, "strict", false, "exit with status 1 when there are warnings")
	return cmd
}

// checker collects a report about one configuration.
type checker struct {
	*report
	config    *conf.Config
	protocols map[string]login.Protocol
	whole     bool // the configuration can be served: files are read and nothing is unknown
}

// check makes the report. It looks at everything that can be looked at, however broken the configuration is.
func check(ctx context.Context, path string, offline bool) *report {
	k := &checker{report: newReport(path, offline), protocols: protocols()}
	if !k.load(path) {
		return k.finish()
	}
	k.settings()
	k.served()
	for _, b := range k.config.FilterBlocks() {
		k.Filters = append(k.Filters, place{b.Title, b.File, b.Line})
	}
	k.passdbs(ctx)
	k.certificates()
	k.listeners()
	k.wiring(ctx)
	k.secrets(path)
	k.users()
	k.differences()
	return k.finish()
}

// load reads the file as the server does. When that fails, the error is told and a more patient reading is used, so that
// the rest can be told too.
func (k *checker) load(path string) bool {
	c, err := conf.Load(path, conf.Options{Serve: true})
	if err == nil {
		k.config, k.whole = c, true
		k.warn(c.Warnings())
		return true
	}
	k.addError("configuration", err)
	for _, o := range []conf.Options{{Lenient: true, Expand: true}, {Lenient: true}} {
		if c, lenient := conf.Load(path, o); lenient == nil {
			k.config = c
			k.warn(c.Warnings())
			if again := c.Check(); again != nil && again.Error() != err.Error() {
				k.addError("configuration", again)
			}
			return true
		}
	}
	return false
}

// warn adds the parser's warnings. What it passed over in a patient reading keeps the server from starting.
func (k *checker) warn(texts []string) {
	for _, w := range texts {
		unknown := strings.Index(w, "Unknown s")
		switch {
		case strings.Contains(w, "settings have no effect on a proxy: "):
			continue // listed one by one
		case !k.whole && unknown >= 0:
			if !k.has(w[unknown:]) {
				k.add(levelError, "configuration", w)
			}
		default:
			k.add(levelWarning, "configuration", w)
		}
	}
}

// settings sorts what the configuration sets by what dproxy does with it.
func (k *checker) settings() {
	seen := map[string]bool{}
	for _, g := range k.config.Given() {
		s := setting{Name: strings.ReplaceAll(g.Name, " { ", "/"), Block: g.Block, Why: g.Why, place: place{File: g.File, Line: g.Line}}
		key := fmt.Sprint(s.Name, "\x00", s.Block, "\x00", s.place)
		if seen[key] {
			continue
		}
		seen[key] = true
		switch g.Use {
		case conf.Used:
			k.Settings.Used = append(k.Settings.Used, s)
		case conf.Refused:
			k.Settings.Refused = append(k.Settings.Refused, s)
			k.addError("settings", &conf.Error{Position: g.Position, Text: g.Name + " is not supported: " + g.Why})
		default:
			k.Settings.Ignored = append(k.Settings.Ignored, s)
		}
	}
}

// served tells which protocols there are.
func (k *checker) served() {
	for _, p := range strings.Fields(k.config.Settings(conf.Filter{}).Protocols) {
		_, ok := k.protocols[p]
		switch {
		case slices.Contains(k.Protocols, p):
		case ok:
			k.Protocols = append(k.Protocols, p)
		case p != "none":
			k.add(levelWarning, "protocols", "protocols has "+p+", which this version does not serve: its ports stay closed")
		}
	}
	if len(k.Protocols) == 0 {
		k.add(levelError, "protocols", "no protocol is served; set protocols, for example to imap pop3")
	}
}

// notices turns what the server's parts would log at start into findings.
type notices struct{ k *checker }

// Emit implements event.Sink.
func (n notices) Emit(e event.Event) {
	notice, ok := e.(event.Notice)
	missing := ok && strings.HasPrefix(notice.Text, "passwd-file ") && strings.Contains(notice.Text, ":open(")
	if !ok || missing || n.k.has(notice.Text) {
		return // told already, with the place of the passdb
	}
	switch {
	case notice.Level >= event.Error:
		n.k.add(levelError, notice.Source, notice.Text)
	case notice.Level == event.Warning:
		n.k.add(levelWarning, notice.Source, notice.Text)
	}
}

// noNames resolves nothing.
type noNames struct{}

func (noNames) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return nil, errors.New("not looked up because of --offline")
}

// wiring puts the parts together as the server does.
func (k *checker) wiring(ctx context.Context) {
	if !k.whole {
		return
	}
	events := notices{k}
	authenticator, authErr := auth.New(auth.Options{Config: k.config, Drivers: drivers(), Events: events})
	if authErr != nil {
		k.addError("auth", authErr)
	}
	o := login.SnapshotOptions{
		Context: ctx, Config: k.config, Auth: authenticator, AuthErr: authErr, Hostname: hostname(), Events: events,
		Resolver: net.DefaultResolver, Protocols: k.protocols,
	}
	if k.Offline {
		o.Resolver = noNames{}
	}
	snapshot, err := login.NewSnapshot(o)
	if err != nil {
		k.addError("tls", err)
		if authenticator != nil {
			authenticator.Close()
		}
		return
	}
	snapshot.Close()
}

func hostname() string {
	if name, err := os.Hostname(); err == nil {
		return name
	}
	return "localhost"
}

// users looks for the accounts that the configuration names.
func (k *checker) users() {
	s := k.config.Settings(conf.Filter{})
	for _, u := range []struct{ setting, name string }{
		{"default_login_user", s.DefaultLoginUser}, {"default_internal_user", s.DefaultInternalUser},
	} {
		var missing user.UnknownUserError
		if _, err := user.Lookup(u.name); u.name != "" && errors.As(err, &missing) {
			k.add(levelWarning, "users", fmt.Sprintf("%s = %s, but there is no such user here", u.setting, u.name))
		}
	}
}

// uniquePassdbs lists the passdbs of the served protocols, each once, in the order of the file.
func (k *checker) uniquePassdbs() []conf.Passdb {
	var out []conf.Passdb
	for _, p := range append([]string{""}, k.Protocols...) {
		for _, db := range k.config.Passdbs(p) {
			if !slices.ContainsFunc(out, func(o conf.Passdb) bool { return o.Index == db.Index }) {
				out = append(out, db)
			}
		}
	}
	slices.SortFunc(out, func(a, b conf.Passdb) int { return a.Index - b.Index })
	return out
}

// closeDriver lets a driver go.
func closeDriver(d passdb.Driver) {
	if c, ok := d.(io.Closer); ok {
		_ = c.Close()
	}
}
