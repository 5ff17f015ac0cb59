package main

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"dproxy/admin"
)

// sessionCommands list and end sessions.
func sessionCommands(f *flags) []*cobra.Command {
	return []*cobra.Command{
		f.group("proxy", "list and end proxied sessions, as doveadm proxy does", proxyListCommand(f), proxyKickCommand(f)),
		whoCommand(f), kickCommand(f), penaltyCommand(f),
	}
}

// proxyTitles are the columns of proxy list whose title is not their key.
var proxyTitles = map[string]string{"service": "proto", "src-ip": "src ip", "dest-ip": "dest ip", "dest-port": "port"}

func proxyListCommand(f *flags) *cobra.Command {
	return f.leaf("list [-a <ipc socket path>]", "list the sessions and the logins on their way to a backend", noArgs, func(c *control, _ []string) error {
		var l proxyList
		if _, err := c.mustAll(&admin.Request{Command: "proxy list"}, l.row); err != nil {
			return err
		}
		return l.print(f.format)
	})
}

// proxyList gathers the sessions of all processes; each answers with the columns that its sessions have.
type proxyList struct {
	keys []string            // of all columns
	now  []string            // of the answer that is read
	rows []map[string]string // by key
}

func (l *proxyList) row(cells []string, first bool) error {
	if first {
		l.now = slices.Clone(cells)
		for _, key := range cells {
			if !slices.Contains(l.keys, key) {
				at := slices.Index(l.keys, "service") // user_ fields stand ahead of what every list has
				if at < 0 || !strings.HasPrefix(key, "user_") {
					at = len(l.keys)
				}
				l.keys = slices.Insert(l.keys, at, key)
			}
		}
		return nil
	}
	if len(cells) != len(l.now) {
		return fmt.Errorf("a row of %d values instead of %d; is the server of another version?", len(cells), len(l.now))
	}
	values := map[string]string{}
	for i, key := range l.now {
		values[key] = cells[i]
	}
	l.rows = append(l.rows, values)
	return nil
}

func (l *proxyList) print(format string) error {
	return l.to(func(c []column) (printer, error) { return newPrinter(format, "table", c) })
}

func (l *proxyList) to(open func([]column) (printer, error)) error {
	var columns []column
	for _, key := range l.keys {
		columns = append(columns, column{key: key, title: proxyTitles[key], expand: key == "username"})
	}
	p, err := open(columns)
	if err != nil {
		return err
	}
	cells := make([]string, len(l.keys))
	for _, values := range l.rows {
		for i, key := range l.keys {
			cells[i] = values[key]
		}
		p.row(cells...)
	}
	return p.end()
}

func proxyKickCommand(f *flags) *cobra.Command {
	var field string
	var hosts []string
	cmd := f.leaf("kick [-a <ipc socket path>] [-f <passdb field>] [-h <host> [...] | <user> [...]]", "end the sessions of users, or those at backends", nil,
		func(c *control, args []string) error {
			if len(args) == 0 && len(hosts) == 0 {
				return errUsage
			}
			q := &admin.Request{Command: "proxy kick", Users: args, Field: field}
			if len(hosts) > 0 {
				q.Users, q.Hosts = nil, append(hosts, args...)
			}
			n := 0
			if _, err := c.mustAll(q, func(cells []string, _ bool) error {
				one, err := strconv.Atoi(cells[0])
				n += one
				return err
			}); err != nil {
				return err
			}
			count := strconv.Itoa(n)
			if f.format == "" {
				fmt.Println(count, "connections kicked")
				return nil
			}
			p, err := newPrinter(f.format, "", []column{{key: "count"}})
			if err != nil {
				return err
			}
			p.row(count)
			return p.end()
		})
	cmd.Flags().Bool("help", false, "help for kick") // -h has another meaning here
	cmd.Flags().StringArrayVarP(&hosts, "host", "h", nil, "a backend, by the passdb's `HOST` or by address; what follows are others")
	cmd.Flags().StringVarP(&field, "passdb-field", "f", "", "the arguments are values of a passdb `FIELD` user_*")
	return cmd
}

// masks sorts arguments into a user mask and a network, as doveadm who does.
func masks(q *admin.Request, args []string) error {
	for _, x := range args {
		if _, err := netip.ParseAddr(x); err == nil || strings.Contains(x, "/") && isNet(x) {
			if q.Net != "" {
				return fatalAs(exitUsage, "Error: Multiple network masks not supported")
			}
			q.Net = x
			continue
		}
		if len(q.Users) > 0 {
			return fatalAs(exitUsage, "Error: Multiple username masks not supported")
		}
		q.Users = []string{x}
	}
	return nil
}

func isNet(s string) bool {
	_, err := admin.ParseNet(s)
	return err == nil
}

func whoCommand(f *flags) *cobra.Command {
	var q admin.Request
	cmd := f.leaf("who [-a <anvil socket path>] [-1] [<user mask>] [<ip/bits>]", "show who is logged in, as doveadm who does", nil, func(c *control, args []string) error {
		q.Command = "who"
		if err := masks(&q, args); err != nil {
			return err
		}
		columns := []column{{key: "username"}, {key: "connections", title: "#"}, {key: "service", title: "proto"}, {key: "pids", title: "(pids)"}, {key: "ips", title: "(ips)"}}
		if q.Separate {
			columns = []column{{key: "username", expand: true}, {key: "service", title: "proto"}, {key: "pid"}, {key: "ip"}}
		}
		return c.list(&q, "table", columns)
	})
	cmd.Flags().BoolVarP(&q.Separate, "separate-connections", "1", false, "one line for each session")
	cmd.Flags().StringVarP(&q.Field, "passdb-field", "f", "", "names are those of a passdb `FIELD` user_*")
	return cmd
}

func kickCommand(f *flags) *cobra.Command {
	var field string
	cmd := f.leaf("kick [-a <anvil socket path>] <user mask>[|]<ip/bits>", "end sessions by user and address, as doveadm kick does", nil, func(c *control, args []string) error {
		q := &admin.Request{Command: "kick", Field: field}
		if err := masks(q, args); err != nil {
			return err
		}
		var users []string
		end, err := c.mustAll(q, func(cells []string, _ bool) error {
			if !slices.Contains(users, cells[0]) {
				users = append(users, cells[0])
			}
			return nil
		})
		if err != nil {
			return err
		}
		if err := printKicked(f, users); err != nil {
			return err
		}
		if end.Status == admin.NotFound {
			return exit(exitNotFound)
		}
		return nil
	})
	cmd.Flags().BoolP("force", "f", false, "has no effect: a session that is ended takes no other with it")
	cmd.Flags().StringVar(&field, "passdb-field", "", "the mask is for a passdb `FIELD` user_*")
	return cmd
}

// printKicked prints what doveadm 2.3 does, which has the users ahead of its sentence unless a person looks on.
func printKicked(f *flags, users []string) error {
	const sentence = "kicked connections from the following users:"
	switch {
	case f.format != "":
		p, err := newPrinter(f.format, "", []column{{key: "result"}})
		if err != nil {
			return err
		}
		if len(users) == 0 && f.format != "json" {
			p.row("no users kicked")
		}
		for _, u := range users {
			p.row(u)
		}
		return p.end()
	case len(users) == 0:
		fmt.Println("no users kicked")
	case isTerminal(os.Stdout):
		fmt.Println(sentence)
		fmt.Println(shown(strings.Join(users, " ")))
	default:
		fmt.Print(shown(strings.Join(users, " ")), " ", sentence, "\n\n")
	}
	return nil
}

func penaltyCommand(f *flags) *cobra.Command {
	return f.leaf("penalty [-a <anvil socket path>] [<ip/bits>]", "show the addresses that are slowed down, as doveadm penalty does", atMost(1), func(c *control, args []string) error {
		q := &admin.Request{Command: "penalty"}
		if len(args) == 1 {
			q.Net = args[0]
		}
		return c.list(q, "table", []column{{key: "IP"}, {key: "penalty"}, {key: "last_penalty"}, {key: "last_update"}})
	})
}
