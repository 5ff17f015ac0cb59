package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"dproxy/admin"
)

// authCommands ask the running server's passdbs.
func authCommands(f *flags) *cobra.Command {
	cache := f.group("cache", "the auth cache", authFlushCommand(f))
	return f.group("auth", "ask the running server's passdbs, as doveadm auth does", cache, authTestCommand(f, "login"), authLookupCommand(f), authTestCommand(f, "test"))
}

// authTestCommand is auth test or auth login, which differs by the password that its answer has.
func authTestCommand(f *flags, name string) *cobra.Command {
	q := &admin.Request{Command: "auth " + name}
	use, short := "test [-a <auth socket path>] [-x <auth info>] [-M <master user>] <user> [<password>]", "log a user in at the passdbs"
	if name == "login" {
		use, short = "login [-a <auth-login socket path>] [-m <auth-master socket path>] [-x <auth info>] [-M <master user>] <user> [<password>]", "the same, and show the password that a backend would get"
	}
	cmd := f.leaf(use, short, atMost(2), func(c *control, args []string) error {
		if len(args) == 0 {
			return errUsage
		}
		q.Users = args[:1]
		if len(args) == 2 {
			q.Password = args[1]
		} else {
			var err error
			if q.Password, err = askPassword(os.Stdin, false); err != nil {
				return fatalAs(exitTemp, "Fatal: "+err.Error())
			}
		}
		return c.authTest(q)
	})
	cmd.Flags().StringVarP(&q.Master, "master-user", "M", "", "the `USER` that authenticates; the password is that user's")
	cmd.Flags().StringArrayVarP(&q.Info, "auth-info", "x", nil, "`KEY=VALUE` of the connection: service, session, rip, lip, rport, lport, real_*, local_name, forward_*")
	if name == "login" {
		cmd.Flags().StringP("auth-master-socket-path", "m", "", "has no effect: there is one socket")
	}
	return cmd
}

func (c *control) authTest(q *admin.Request) error {
	var rows [][]string
	end, err := c.call(q, func(cells []string) error { rows = append(rows, cells); return nil })
	var u *unreachable
	switch {
	case errors.As(err, &u):
		return fatalAs(exitDenied, "Error: auth-client: conn unix:"+u.path+": "+u.Error())
	case err != nil:
		return err
	case len(rows) == 0 && end.Status == admin.Usage:
		return fatalAs(exitUsage, "Error: "+end.Error)
	case len(rows) == 0:
		return fatalAs(exitTemp, "Fatal: "+end.Error)
	}
	verdict := "failed"
	if end.Status == admin.OK {
		verdict = "succeeded"
	}
	fmt.Printf("passdb: %s auth %s\nextra fields:\n", shown(q.Users[0]), verdict)
	for _, cells := range rows {
		if len(cells) == 1 {
			fmt.Println("  " + shown(cells[0]))
		} else {
			fmt.Println("  " + shown(cells[0]) + "=" + shown(cells[1]))
		}
	}
	if end.Status != admin.OK {
		return exit(exitDenied)
	}
	return nil
}

func authLookupCommand(f *flags) *cobra.Command {
	q := &admin.Request{Command: "auth lookup"}
	var field string
	cmd := f.leaf("lookup [-a <userdb socket path>] [-x <auth info>] [-f field] <user> [<user> [...]]", "ask the passdbs about users without their passwords", nil, func(c *control, args []string) error {
		if len(args) == 0 {
			return errUsage
		}
		q.Users = args
		l := lookup{field: field}
		end, err := c.call(q, func(cells []string) error { l.row(cells); return nil })
		var u *unreachable
		switch {
		case errors.As(err, &u):
			for _, user := range args {
				fmt.Fprintf(os.Stderr, "Error: auth-master: passdb lookup(%s): %s\nError: passdb lookup failed for %s\n", shown(user), u, shown(user))
			}
			return exit(exitTemp)
		case err != nil:
			return err
		case end.Status != admin.OK:
			return fatalAs(exitTemp, "Fatal: "+end.Error)
		case l.status != 0:
			return exit(l.status)
		}
		return nil
	})
	cmd.Flags().StringVarP(&field, "field", "f", "", "print the values of one `FIELD` only")
	cmd.Flags().StringArrayVarP(&q.Info, "auth-info", "x", nil, "`KEY=VALUE` of the connection, as for auth test")
	return cmd
}

// lookup prints the rows of auth lookup.
type lookup struct {
	field  string
	users  int
	status int
}

func (l *lookup) row(cells []string) {
	if len(cells) == 4 {
		l.begin(shown(cells[1]), cells[2], shown(cells[3]))
		return
	}
	name, value := shown(cells[0]), shown(cells[1])
	switch {
	case l.field == "" && value == "":
		fmt.Printf("  %-10s\n", name)
	case l.field == "":
		fmt.Printf("  %-10s: %s\n", name, value)
	case name == l.field && value != "":
		fmt.Println(value)
	}
}

// begin prints what became of a user.
func (l *lookup) begin(user, verdict, text string) {
	if l.users++; l.users > 1 {
		fmt.Println()
	}
	switch verdict {
	case "ok":
		if l.field == "" {
			fmt.Println("passdb: " + user)
		}
	case "unknown":
		l.status = exitNoUser
		if l.field == "" {
			fmt.Printf("passdb lookup: user %s doesn't exist\n", user)
		} else {
			fmt.Fprintf(os.Stderr, "passdb lookup: user %s doesn't exist\n", user)
		}
	default:
		l.status = exitTemp
		if text != "" {
			text = ": " + text
		}
		fmt.Fprintf(os.Stderr, "Error: passdb lookup failed for %s%s\n", user, text)
	}
}

func authFlushCommand(f *flags) *cobra.Command {
	return f.leaf("flush [-a <master socket path>] [<user> [...]]", "forget what is cached about users (masks with * and ?), or everything", nil, func(c *control, args []string) error {
		n := "0"
		if _, err := c.must(&admin.Request{Command: "auth cache flush", Users: args}, func(cells []string) error { n = cells[0]; return nil }); err != nil {
			return err
		}
		fmt.Println(n, "cache entries flushed")
		return nil
	})
}
