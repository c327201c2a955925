package main

import (
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/nearcast/nearcast/dev"
)

func devPackages() *cobra.Command {
	var tests, install bool
	cmd := &cobra.Command{
		Use:   "packages",
		Short: "List or install the Debian packages that the cluster needs",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			want := dev.RunPackages
			if tests {
				want = append(want[:len(want):len(want)], dev.TestPackages...)
			}
			if install {
				return dev.InstallPackages(cmd.Context(), want, cmd.OutOrStdout())
			}
			for _, p := range want {
				fmt.Fprintf(cmd.OutOrStdout(), "%-34s %s\n", p.Name, p.Reason)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&tests, "tests", false, "with those that only tests need")
	cmd.Flags().BoolVar(&install, "install", false, "install what is missing")
	return cmd
}

func devTools() *cobra.Command {
	return &cobra.Command{
		Use:   "tools [NAME...]",
		Short: "Find Consul, Nomad and the S3 server, building those that this machine lacks",
		Long: `Find Consul, Nomad and the S3 server, or those that are named, and build the ones
that this machine lacks. The cluster needs no nomad-autoscaler: it is built only by name.`,
		RunE: func(cmd *cobra.Command, names []string) error {
			tools, err := dev.Tools(cmd.Context(), "", cmd.ErrOrStderr(), names...)
			if err != nil {
				return err
			}
			for _, name := range slices.Sorted(maps.Keys(tools)) {
				fmt.Fprintf(cmd.OutOrStdout(), "%-10s %s\n", name, tools[name])
			}
			return nil
		},
	}
}
