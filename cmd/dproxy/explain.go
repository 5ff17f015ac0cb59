package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dproxy/admin"
	"dproxy/auth"
	"dproxy/conf"
	"dproxy/event"
	"dproxy/login"
	"dproxy/passdb"
	"dproxy/session"
)

// explainer takes logins through a server's code.
func explainer(server *login.Server) admin.Explainer {
	return func(ctx context.Context, q *admin.Request, session string, say func(stage, text string)) (bool, error) {
		p, err := admin.ParsePeer(q.Info)
		if err != nil {
			return false, err
		}
		p.Session = session
		x := login.Explanation{
			Peer: p, Secure: p.Secured != "", User: q.Users[0], Master: q.Master, Password: passdb.Secret(q.Password), HasPassword: q.Checked,
			Depth: map[string]login.Depth{"dial": login.ToConnect, "login": login.ToLogin}[q.Depth], Say: say,
		}
		err = server.Explain(ctx, x)
		if errors.Is(err, login.ErrRefused) {
			return true, nil
		}
		return false, err
	}
}

// explainFlags are the options of explain.
type explainFlags struct {
	service, rip, lip, localName, master string
	secured, stdin, dial, login, asJSON  bool
}

func explainCommand(f *flags) *cobra.Command {
	var x explainFlags
	cmd := f.leaf("explain USER [--service imap] [--rip IP] [--lip IP] [--local-name NAME] [--secured] [--password-stdin] [--master USER] [--dial | --login] [--json]",
		"tell what becomes of a login, step by step, and why", nil, func(c *control, args []string) error {
			if len(args) != 1 {
				return errUsage
			}
			q, err := x.request(args[0])
			if err != nil {
				return err
			}
			return c.explain(q, x.asJSON)
		})
	cmd.Long = `Takes a login through the code of the running server: filters of the configuration, passdbs with their queries and answers,
cache, rules, route; with --dial or --login also to the backend. Without --password-stdin the passdbs are looked at
without a password. Passwords are never shown. When no server runs, the configuration is opened for this one login.

Exit status: 0 when the login would succeed, 77 when it would be refused, 75 when that cannot be told.`
	fl := cmd.Flags()
	fl.StringVar(&x.service, "service", "imap", "protocol: imap, pop3, submission, sieve or lmtp")
	fl.StringVar(&x.rip, "rip", "", "the client's `IP`")
	fl.StringVar(&x.lip, "lip", "", "the `IP` that the client connected to")
	fl.StringVar(&x.localName, "local-name", "", "the `NAME` that the client asked for in TLS")
	fl.StringVar(&x.master, "master", "", "the `USER` that authenticates")
	fl.BoolVar(&x.secured, "secured", false, "as if over TLS")
	fl.BoolVar(&x.stdin, "password-stdin", false, "read the password from standard input")
	fl.BoolVar(&x.dial, "dial", false, "connect to the backend")
	fl.BoolVar(&x.login, "login", false, "log in at the backend, and leave")
	fl.BoolVar(&x.asJSON, "json", false, "print a JSON object for each step")
	return cmd
}

func (x *explainFlags) request(user string) (*admin.Request, error) {
	q := &admin.Request{Command: "explain", Users: []string{user}, Master: x.master, Checked: x.stdin}
	for key, value := range map[string]string{"service": x.service, "rip": x.rip, "lip": x.lip, "local_name": x.localName} {
		if value != "" {
			q.Info = append(q.Info, key+"="+value)
		}
	}
	if x.secured {
		q.Info = append(q.Info, "secured=TLS")
	}
	switch {
	case x.login:
		q.Depth = "login"
	case x.dial:
		q.Depth = "dial"
	}
	if x.login && !x.stdin {
		return nil, fatalAs(exitUsage, "Error: --login needs --password-stdin")
	}
	if x.stdin {
		var err error
		if q.Password, err = askPassword(os.Stdin, false); err != nil {
			return nil, fatalAs(exitUsage, "Error: "+err.Error())
		}
	}
	return q, nil
}

// explain asks the running server, or does it itself.
func (c *control) explain(q *admin.Request, asJSON bool) error {
	began := time.Now()
	say := func(stage, text string) {
		if asJSON {
			fmt.Printf(`{"ms":%d,"stage":%s,"text":%s}`+"\n", time.Since(began).Milliseconds(), jsonText(stage), jsonText(text))
			return
		}
		fmt.Printf("%-9s %s\n", stage+":", shown(text))
	}
	end, err := c.call(q, func(cells []string) error {
		say(cells[0], strings.Join(cells[1:], " "))
		return nil
	})
	var u *unreachable
	if errors.As(err, &u) && strings.HasPrefix(u.Error(), "connect(") {
		say("server", "none runs ("+u.Error()+"): the configuration is opened for this login")
		return c.explainAlone(q, say)
	}
	switch {
	case err != nil:
		return fatalAs(exitTemp, "Fatal: "+err.Error())
	case end.Status == admin.Denied:
		return exit(exitDenied)
	case end.Status == admin.Usage:
		return fatalAs(exitUsage, "Error: "+end.Error)
	case end.Status != admin.OK:
		return fatalAs(exitTemp, "Fatal: "+end.Error)
	}
	return nil
}

// explainAlone opens the configuration as the server would, for one login.
func (c *control) explainAlone(q *admin.Request, say func(stage, text string)) error {
	config, err := conf.Load(absolute(c.flags.conf), conf.Options{Serve: true})
	if err != nil {
		return fatal("doveconf", err)
	}
	traces := &admin.Traces{}
	events := event.Fanout{traces}
	server := login.NewServer(login.Options{Protocols: protocols(), Events: events, Registry: session.NewRegistry(), Resolver: net.DefaultResolver})
	ctx, cancel := context.WithTimeout(context.Background(), checkTimeout)
	defer cancel()
	authenticator, authErr := auth.New(auth.Options{Config: config, Drivers: drivers(), Events: events})
	snapshot, err := login.NewSnapshot(login.SnapshotOptions{
		Context: ctx, Config: config, Auth: authenticator, AuthErr: authErr, Hostname: hostdomain(), Events: events, Resolver: net.DefaultResolver, Protocols: server.Protocols,
	})
	if err != nil {
		return fatalAs(exitTemp, "Fatal: "+err.Error())
	}
	server.Use(snapshot)
	defer server.Use(nil)
	refused := false
	err = admin.Explain(ctx, q, traces, func(ctx context.Context, q *admin.Request, session string, say func(stage, text string)) (bool, error) {
		var err error
		refused, err = explainer(server)(ctx, q, session, say)
		return false, err
	}, say)
	switch {
	case err != nil:
		return fatalAs(exitTemp, "Fatal: "+err.Error())
	case refused:
		return exit(exitDenied)
	}
	return nil
}

// traceCommands have the logins of a user or network told in the log.
func traceCommands(f *flags) *cobra.Command {
	var lasts time.Duration
	start := f.leaf("start [--for 10m] <user mask>|<ip/bits>", "write each step of these logins to the log, for some time", atMost(1), func(c *control, args []string) error {
		if len(args) == 0 {
			return errUsage
		}
		q := &admin.Request{Command: "trace start", Seconds: int(lasts / time.Second)}
		if err := masks(q, args); err != nil {
			return err
		}
		_, err := c.must(q, func(cells []string) error {
			fmt.Println("traced until", cells[0])
			return nil
		})
		return err
	})
	start.Flags().DurationVar(&lasts, "for", 10*time.Minute, "how long")
	stop := f.leaf("stop [<user mask>|<ip/bits>]", "end these traces, or all", atMost(1), func(c *control, args []string) error {
		q := &admin.Request{Command: "trace stop"}
		if err := masks(q, args); err != nil {
			return err
		}
		_, err := c.must(q, func(cells []string) error {
			fmt.Println(cells[0], "traces stopped")
			return nil
		})
		return err
	})
	list := f.leaf("list", "show what is traced", noArgs, func(c *control, _ []string) error {
		return c.list(&admin.Request{Command: "trace list"}, "table", []column{{key: "what"}, {key: "until"}})
	})
	return f.group("trace", "write the steps of chosen logins to the log", list, start, stop)
}
