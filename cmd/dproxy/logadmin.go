package main

import (
	"fmt"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"dproxy/admin"
)

// logCommands find, test and reopen the logs.
func logCommands(f *flags) *cobra.Command {
	var since string
	errs := f.leaf("errors [-s <min_timestamp>]", "show the last warnings and errors", noArgs, func(c *control, _ []string) error {
		q := &admin.Request{Command: "log errors"}
		if since != "" {
			q.Since, _ = strconv.ParseInt(since, 10, 64) // doveadm takes what is no number for 0
		}
		if f.format != "" {
			return c.logErrors(q)
		}
		_, err := c.must(q, func(cells []string) error {
			fmt.Printf("%s %s: %s: %s\n", cells[0], cells[2], shown(cells[1]), shown(cells[3]))
			return nil
		})
		return err
	})
	errs.Flags().StringVarP(&since, "since", "s", "", "only those since a Unix `TIME`")
	find := f.leaf("find [<dir>]", "show where the logs are", atMost(1), func(c *control, _ []string) error { return c.logFind() })
	reopen := f.leaf("reopen", "close and open the log files again", noArgs, func(c *control, _ []string) error { return c.done("log reopen") })
	test := f.leaf("test", "write a line of each level to the logs", noArgs, func(c *control, _ []string) error { return c.done("log test") })
	return f.group("log", "find, test and reopen the logs, as doveadm log does", errs, find, reopen, test)
}

// done runs a command that has no output.
func (c *control) done(command string) error {
	_, err := c.must(&admin.Request{Command: command}, func([]string) error { return nil })
	return err
}

func (c *control) logErrors(q *admin.Request) error {
	return c.list(q, "", []column{{key: "timestamp"}, {key: "prefix"}, {key: "type"}, {key: "text"}})
}

// logFind prints where lines of each level go.
func (c *control) logFind() error {
	s, err := c.settings()
	if err != nil {
		return err
	}
	paths := [3]string{s.DebugLogPath, s.InfoLogPath, s.LogPath}
	for i := len(paths) - 1; i >= 0; i-- {
		switch {
		case paths[i] != "":
		case i == len(paths)-1:
			paths[i] = "syslog"
		default:
			paths[i] = paths[i+1]
		}
	}
	for i, level := range []string{"Debug", "Info", "Warning", "Error", "Fatal"} {
		path := paths[min(i, len(paths)-1)]
		if path == "syslog" {
			path += " (facility " + s.SyslogFacility + ")"
		}
		fmt.Fprintln(os.Stdout, level+": "+path)
	}
	return nil
}
