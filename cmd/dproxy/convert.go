package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"dproxy/conf"
)

func convertCommand(f *flags) *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use:   "convert --to 2.4 [-c FILE]",
		Short: "write a 2.3 configuration in the language of Dovecot 2.4",
		Long: `Reads a configuration of Dovecot 2.3 with the files of its sql and ldap passdbs and writes one file for Dovecot 2.4 to standard
output, with the passwords that stood in those files. What has no effect on a proxy becomes a comment.

Exit status: 0 when all that has an effect is there, 1 when lines marked NOT CONVERTED need a hand, 89 when the file cannot be read.`,
		Args: cobra.NoArgs, SilenceErrors: true, SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if to != "2.4" {
				return fmt.Errorf("--to %s is not supported; use --to 2.4", to)
			}
			c, err := conf.Convert24(f.conf)
			if err != nil {
				return fatal("dproxy", err)
			}
			if _, err := io.WriteString(cmd.OutOrStdout(), c.Text); err != nil {
				return err
			}
			for _, p := range c.Problems {
				fmt.Fprintln(os.Stderr, "dproxy: Warning: not converted:", p)
			}
			if len(c.Problems) > 0 {
				return exit(exitWarned)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&to, "to", "2.4", "the version to write for")
	return cmd
}
